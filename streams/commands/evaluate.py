"""``prefstream evaluate``: measures how well an encoder predicts recorded events, beside baselines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.errors import CommandError
from streams.commands.output import check_writable, note, say, say_json, say_table

if TYPE_CHECKING:
    from streams.offline.evaluation import Report


def evaluate(
    folder: Annotated[Path, typer.Argument(help="The encoder folder.")],
    data: Annotated[
        Path, typer.Argument(help="Events that the encoder was not trained on: JSON lines, CSV or Parquet.")
    ],
    catalog: Annotated[
        Path | None,
        typer.Option(help="Catalog items, one JSON object a line; a text encoder needs them.", show_default=False),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            help="The events that the encoder was trained on. The baselines learn from them.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Make this many predictions at most: a random sample of the events.")
    ] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of the sample and of the intervals.")] = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write a report with plots to this HTML file.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Measure how well an encoder predicts the next item of users, with the same code that a worker runs.

    Every event is predicted from the earlier events of the same user. The report has recall (exactly one item came
    next, so it is the hit rate too), MRR and NDCG with 95% bootstrap intervals, by length of history and for items that
    the encoder was not trained on. It also has coverage, novelty and diversity of the lists. Items that the user has
    just seen or purchased may be recommended. With --train the baselines make the same predictions: popularity,
    item-to-item, VSKNN, VSTAN and matrix factorisation (which needs the extra `train`).

    \b
    Examples:
      prefstream evaluate encoders/v1 tomorrow.jsonl --catalog items.jsonl
      prefstream evaluate encoders/v1 test.parquet --train train.parquet --html report.html
    """
    from encoders.artifact import manifest
    from encoders.runtime import Runtime
    from streams.commands.questions import known_items, read_questions
    from streams.offline.evaluation import StreamModel, evaluate_stream, judge
    from streams.offline.event_logs import read_log

    if html is not None:
        check_writable(html)
    encoder = manifest.load(folder)
    items, trained_on = known_items(encoder, catalog)
    if not items:
        raise CommandError(f"'{folder}' is a text encoder: it needs the texts of the items. Give them with --catalog.")
    asked = read_questions(data, limit, seed)
    model = StreamModel(encoder, Runtime("cpu"), list(items.values()))
    reports = [evaluate_stream(model, asked, trained_on, seed)]
    if train is not None:
        from streams.offline.baselines import BASELINES

        log = read_log(train)
        if log.skipped.count:
            note(f"{train}: {log.skipped}")
        past = [history.items for history in log.histories]
        for name, make in BASELINES.items():
            note(f"measuring the baseline {name}")
            try:
                baseline = make(past)
            except ImportError as error:
                note(
                    f"{name} is skipped: it needs {error.name}; in a checkout run `make .venv/.dev`, elsewhere "
                    "`pip install 'prefstream[train]'`"
                )
                continue
            lists = [baseline.recommend(items, 20) for items in asked.items_before()]
            reports.append(judge(name, lists, asked, trained_on, model.index, seed))
    if html is not None:
        from streams.offline.report_page import page

        html.write_text(page(str(folder), str(data), reports), "utf-8")
    if as_json:
        say_json([_as_dict(report) for report in reports])
    else:
        _say(reports)


def _say(reports: "list[Report]") -> None:
    names = ["recall@5", "recall@10", "recall@20", "mrr@20", "ndcg@20"]
    rows = []
    for report in reports:
        figures = [report.accuracy[name] for name in names]
        shown = [f"{100 * f.mean:.2f} ({100 * f.low:.2f} to {100 * f.high:.2f})" for f in figures]
        rows.append([report.model, *shown, *(f"{value:.3f}" for value in report.beyond.values())])
    say_table(["model", *names, "coverage", "novelty", "diversity"], rows, "per cent, with 95% intervals")
    groups = list(reports[0].groups)
    rows = []
    for report in reports:
        by_group = [report.groups.get(name) for name in groups]
        rows.append([report.model, *("" if f is None else f"{100 * f['recall@20'].mean:.2f}" for f in by_group)])
    counts = reports[0].counts
    say_table(["recall@20", *(f"{name} ({counts[name]:,})" for name in groups)], rows)
    cost = reports[0].cost
    if cost is not None:
        say(f"update {cost.update_us:.1f} us per event, ranking {cost.rank_us:.0f} us per user, in one process")


def _as_dict(report: "Report") -> dict[str, Any]:
    figures: dict[str, Any] = {"model": report.model, "predictions": report.predictions}
    figures |= {name: figure._asdict() for name, figure in report.accuracy.items()}
    figures |= report.beyond
    figures["groups"] = {
        name: {"predictions": report.counts[name]} | {key: figure._asdict() for key, figure in group.items()}
        for name, group in report.groups.items()
    }
    if report.cost is not None:
        figures |= {"update_us": report.cost.update_us, "rank_us": report.cost.rank_us}
    return figures
