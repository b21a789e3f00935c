"""Pictures of the dashboards from Prometheus' answers to their queries: Grafana's layout, drawn by matplotlib."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tests.e2e.dashboards import Away, Evaluated, Run

COLUMNS = 24
UNIT_INCHES = (0.5, 0.235)
"""Of Grafana's grid: width of a column, height of a row."""
DPI = 100
COLOURS = 256
"""In the file: lines and letters need no more, and it is half the size."""
LEGEND_SERIES = 6
PALETTE = ("#3274d9", "#e0752d", "#56a64b", "#a352cc", "#d44a3a", "#2fb5c7", "#b8860b", "#777777")
LEVELS = {"green": "#3b8c33", "orange": "#e07b1a", "red": "#c9302c"}
GREY = "#5b6270"


@dataclass(frozen=True)
class Box:
    """A panel's place in Grafana's grid."""

    x: int
    y: int
    w: int
    h: int


def draw(run: Run, dashboard: Path, path: Path) -> None:
    """One dashboard as a PNG."""
    board = json.loads(dashboard.read_text("utf-8"))
    rows = max(box.y + box.h for box in map(_box, board["panels"])) + 2
    figure = Figure(figsize=(COLUMNS * UNIT_INCHES[0], rows * UNIT_INCHES[1]), facecolor="white")
    with mpl.rc_context({"font.size": 7, "axes.edgecolor": "#c8ccd4", "text.color": "#20242c"}):
        _header(figure, board["title"], run, rows)
        for panel in board["panels"]:
            box = _box(panel)
            if panel["type"] == "row":
                top = 1 - (box.y + 2.75) / rows
                figure.text(0.008, top, panel["title"], fontsize=9, fontweight="bold", va="center")
                continue
            asked = (dashboard.stem, panel["id"])
            found = [one for one in run.evaluated if (one.query.dashboard, one.query.panel_id) == asked]
            _panel(figure, panel, box, rows, found, run)
    figure.savefig(path, dpi=DPI)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _box(panel: dict[str, Any]) -> Box:
    return Box(*(int(panel["gridPos"].get(side, 0)) for side in "xywh"))


def _header(figure: Figure, title: str, run: Run, rows: int) -> None:
    away = ", ".join(f"{one.what} is away" for one in run.away)
    words = f"the dashboard's queries, answered by Prometheus over the {run.seconds:.0f} s of a live run; grey: {away}"
    height = 1 - 1 / rows
    figure.text(0.008, height, title, fontsize=12, fontweight="bold", va="center")
    figure.text(0.992, height, words, fontsize=7.5, color=GREY, va="center", ha="right")


def _panel(figure: Figure, panel: dict[str, Any], box: Box, rows: int, found: Sequence[Evaluated], run: Run) -> None:
    is_figure = panel["type"] == "stat"
    left, bottom = (0.25, 0.4) if is_figure else (1.0, 1.2)  # in units of the grid
    place = (
        (box.x + left) / COLUMNS,
        1 - (box.y + 2 + box.h - bottom) / rows,
        (box.w - left - 0.3) / COLUMNS,
        (box.h - bottom - 1.5) / rows,
    )
    axes = figure.add_axes(place)
    axes.set_title(panel["title"], fontsize=7.5, loc="left", pad=4)
    axes.set_xlim(0, run.seconds)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    {"stat": _figure, "heatmap": _heatmap}.get(panel["type"], _lines)(axes, panel, found)
    if not is_figure:
        axes.tick_params(length=2, labelsize=6, colors=GREY)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
        _shade(axes, run.away)


def _shade(axes: Axes, away: Sequence[Away]) -> None:
    for one in away:
        axes.axvspan(one.since_s, one.until_s, color="#9aa3b2", alpha=0.22, lw=0)


def _series(found: Sequence[Evaluated]) -> list[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Name, times and values of every series."""
    return [
        (_name(one.query.legend, series.labels), np.array(series.times), np.array(series.values))
        for one in found
        for series in one.series
    ]


def _name(legend: str, labels: dict[str, str]) -> str:
    name = re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), legend)
    return re.sub(r"\bs[0-9a-f]{10}\.", "", name)  # the run's namespace


def _lines(axes: Axes, panel: dict[str, Any], found: Sequence[Evaluated]) -> None:
    series = sorted(_series(found), key=lambda one: -float(np.nanmax(one[2])))
    stacked = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "normal"
    if stacked:
        times = np.unique(np.concatenate([times for _, times, _ in series]))
        levels = np.zeros((len(series), len(times)))
        for level, (_, own, values) in zip(levels, series, strict=True):
            level[np.searchsorted(times, own)] = np.nan_to_num(values)
        axes.stackplot(times, levels, colors=_colours(len(series)), alpha=0.55, lw=0)
        handles = axes.collections[: len(series)]
    else:
        handles = [
            axes.plot(times, values, lw=1.0, color=colour)[0]
            for (_, times, values), colour in zip(series, _colours(len(series)), strict=True)
        ]
    limits = panel["fieldConfig"]["defaults"]
    axes.set_ylim(bottom=0, top=limits.get("max"))
    if axes.get_ylim()[1] <= 0 or not any(np.nanmax(values) > 0 for *_, values in series):
        axes.set_ylim(0, 1)
    for step in limits.get("thresholds", {}).get("steps", ()):
        if step["value"] is not None and step["value"] <= axes.get_ylim()[1]:
            axes.axhline(step["value"], color=LEVELS[step["color"]], lw=0.8, ls=(0, (4, 3)))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: number(value, limits["unit"]))
    axes.grid(axis="y", color="#e8eaee", lw=0.6)
    axes.set_axisbelow(True)
    names = [name for name, *_ in series][:LEGEND_SERIES]
    axes.legend(
        handles[: len(names)],
        names,
        fontsize=5.5,
        loc="upper left",
        ncols=2,
        frameon=True,
        framealpha=0.75,
        edgecolor="none",
        borderpad=0.2,
        labelspacing=0.2,
        handlelength=1.0,
        columnspacing=0.8,
    )


def _colours(count: int) -> list[str]:
    return [PALETTE[place % len(PALETTE)] for place in range(count)]


def _figure(axes: Axes, panel: dict[str, Any], found: Sequence[Evaluated]) -> None:
    [(_, times, values)] = _series(found)
    last = float(values[np.isfinite(values)][-1])
    colour = GREY
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or last >= step["value"]:
            colour = LEVELS[step["color"]]
    axes.fill_between(times, np.nan_to_num(values), color=colour, alpha=0.18, lw=0)
    axes.set_ylim(0, 2.2 * float(np.nanmax(values)) or 1)
    axes.axis("off")
    text = number(last, panel["fieldConfig"]["defaults"]["unit"])
    axes.text(0.5, 0.62, text, transform=axes.transAxes, fontsize=15, color=colour, ha="center", va="center")


def _heatmap(axes: Axes, panel: dict[str, Any], found: Sequence[Evaluated]) -> None:
    buckets = sorted(
        ((float(one.labels["le"]), one) for query in found for one in query.series), key=lambda pair: pair[0]
    )
    times = np.array(buckets[0][1].times)
    counts = np.diff(np.array([one.values for _, one in buckets]), axis=0, prepend=0)  # le adds up
    axes.pcolormesh(
        times, np.arange(len(buckets)), np.where(counts > 0, counts, np.nan), cmap="turbo", shading="nearest"
    )
    places = range(0, len(buckets), 2)
    unit = panel["options"]["yAxis"]["unit"]
    axes.set_yticks(places, [number(buckets[place][0], unit) for place in places])


def number(value: float, unit: str) -> str:
    """A value as Grafana would write it.

    >>> number(0.0125, "s"), number(0.061, "percentunit"), number(23_000, "short"), number(2.5, "suffix:×")
    ('12.5 ms', '6.1%', '23k', '2.5×')
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else "-"
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit == "s":
        return str(ticker.EngFormatter("s")(value)) if value < 1 else f"{value:.3g} s"
    short = ticker.EngFormatter(sep="").format_eng(value) if value >= 1000 else f"{value:.3g}"
    return short + {"eps": "/s", "ops": "/s", "wps": "/s", "suffix:×": "×"}.get(unit, "")
