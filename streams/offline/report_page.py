"""Makes the report of an evaluation as one HTML file, with tables, and plots as inline SVG."""

from collections.abc import Sequence
from html import escape

from streams.offline.evaluation import Report
from streams.offline.ranking_metrics import Figure

_WIDTH, _BAR, _LEFT, _RIGHT = 760, 22, 190, 190

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1d2733 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .25rem .75rem; text-align: right }
td:first-child, th:first-child { text-align: left } tr + tr { border-top: 1px solid #dde3ea }
svg text { font: 13px system-ui, sans-serif; fill: #1d2733 } .ours { fill: #1f6feb } .other { fill: #9fb3c8 }
line { stroke: #1d2733 } @media (prefers-color-scheme: dark) { body { background: #10151b; color: #dbe4ee }
svg text { fill: #dbe4ee } line { stroke: #dbe4ee } tr + tr { border-color: #2b3642 } }
"""


def page(encoder: str, data: str, reports: Sequence[Report], remarks: Sequence[tuple[str, str]] = ()) -> str:
    """Make the whole page. The first report is that of the encoder; the others are of baselines or variants.

    ``remarks`` are names and values that are shown above the plots.
    """
    first = reports[0]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Evaluation of {escape(encoder)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(first.model)}</h1><p>{escape(encoder)} on {escape(data)}: {first.predictions:,} predictions, ",
        "per cent, with 95% bootstrap intervals.</p>",
    ]
    if remarks:
        rows = "".join(f"<tr><td>{escape(name)}<td>{escape(value)}" for name, value in remarks)
        parts.append(f"<table>{rows}</table>")
    parts += [
        f"<h2>{name}</h2>{_bars([(report.model, report.accuracy[name]) for report in reports])}"
        for name in ("recall@20", "mrr@20", "ndcg@20")
    ]
    parts.append("<h2>By history and for cold items: recall@20</h2>")
    named = [(f"{name} ({first.counts[name]:,})", group["recall@20"]) for name, group in first.groups.items()]
    parts.append(_bars(named, all_ours=True))
    parts.append("<h2>All figures</h2>" + _table(reports))
    if first.cost is not None:
        parts.append(
            f"<p>Update {first.cost.update_us:.1f} us per event, ranking {first.cost.rank_us:.0f} us per user.</p>"
        )
    return "\n".join(parts) + "\n"


def _bars(rows: Sequence[tuple[str, Figure]], *, all_ours: bool = False) -> str:
    most = max((figure.high for _, figure in rows), default=0.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    drawn = []
    for index, (name, figure) in enumerate(rows):
        top, middle = index * (_BAR + 8), index * (_BAR + 8) + _BAR / 2
        kind = "ours" if all_ours or index == 0 else "other"
        low, high = _LEFT + figure.low * scale, _LEFT + figure.high * scale
        text = f"{100 * figure.mean:.2f} ({100 * figure.low:.2f} to {100 * figure.high:.2f})"
        drawn.append(
            f"<text x=0 y={middle + 5}>{escape(name)}</text>"
            f"<rect class={kind} x={_LEFT} y={top} width={figure.mean * scale:.1f} height={_BAR} rx=3 />"
            f"<line x1={low:.1f} x2={high:.1f} y1={middle} y2={middle} />"
            f"<text x={high + 8:.1f} y={middle + 5}>{text}</text>"
        )
    height = len(rows) * (_BAR + 8)
    return f"<svg viewBox='0 0 {_WIDTH} {height}' width=100% role=img>{''.join(drawn)}</svg>"


def _table(reports: Sequence[Report]) -> str:
    names = list(reports[0].accuracy)
    head = "".join(f"<th>{escape(report.model)}" for report in reports)
    rows = [
        f"<tr><td>{name}" + "".join(f"<td>{100 * report.accuracy[name].mean:.2f}" for report in reports)
        for name in names
    ]
    rows += [
        f"<tr><td>{name}" + "".join(f"<td>{report.beyond[name]:.3f}" for report in reports)
        for name in reports[0].beyond
    ]
    return f"<table><tr><th>{head}{''.join(rows)}</table>"
