"""Kinds of panels of the dashboards, each with a title, its meaning and its queries."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, FieldColorModeId, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

HEIGHT, WIDTH = 8, 24
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")

Panel = Builder[models.Panel]


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the name of its series, with labels in double braces."""

    expr: str
    legend: str = ""


def _target(query: Query, number: int) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(chr(ord("A") + number))
        .datasource(SOURCE)
        .range()
    )


def _levels(warn: float | None, bad: float | None) -> dashboard.ThresholdsConfig:
    """Green below ``warn``, amber up to ``bad``, red beyond; if ``bad`` is below ``warn``, small values are bad."""
    if warn is not None and bad is not None and bad < warn:
        steps = [Threshold(value=None, color="red"), Threshold(bad, "orange"), Threshold(warn, "green")]
    else:
        given = [Threshold(value, color) for value, color in ((warn, "orange"), (bad, "red")) if value is not None]
        steps = [Threshold(value=None, color="green"), *given]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def lines(
    title: str,
    meaning: str,
    queries: Sequence[Query],
    unit: str,
    *,
    warn: float | None = None,
    bad: float | None = None,
    stack: bool = False,
    most: float | None = None,
    width: int = WIDTH // 3,
) -> timeseries.Panel:
    """Panel of series over time; thresholds are drawn if given."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(HEIGHT)
        .line_width(1)
        .fill_opacity(25 if stack else 8)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if most is not None:
        panel.max(most)
    if stack:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if warn is not None or bad is not None:
        panel.thresholds(_levels(warn, bad)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        )
    for number, query in enumerate(queries):
        panel.with_target(_target(query, number))
    return panel


def figure(
    title: str,
    meaning: str,
    query: Query,
    unit: str,
    *,
    warn: float | None = None,
    bad: float | None = None,
    width: int = WIDTH // 6,
) -> stat.Panel:
    """Panel of one number, coloured by its thresholds, on a graph of its recent past."""
    return (
        stat.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(HEIGHT // 2)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(BigValueGraphMode.AREA)
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .thresholds(_levels(warn, bad))
        .with_target(_target(query, 0))
    )


def buckets(title: str, meaning: str, expr: str, unit: str, *, width: int = WIDTH // 2) -> heatmap.Panel:
    """Panel of a histogram over time: ``expr`` gives the increase of each bucket, labelled ``le``."""
    target = _target(Query(expr, "{{le}}"), 0).format(PromQueryFormat.HEATMAP)
    return (
        heatmap.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .span(width)
        .height(HEIGHT)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Turbo").steps(64))
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .with_target(target)
    )


def board(uid: str, title: str, about: str, rows: Sequence[tuple[str, Sequence[Panel]]]) -> models.Dashboard:
    """Dashboard of rows of panels; users choose its data source and namespaces."""
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["prefstream"])
        .timezone("browser")
        .refresh("30s")
        .time("now-3h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("namespace")
            .label("namespace")
            .datasource(SOURCE)
            .query("label_values(prefstream_hot_users, namespace)")
            .multi(True)
            .include_all(True)
            # a worker of the default namespace has no label `namespace`
            .all_value(".*")
        )
    )
    for name, panels in rows:
        built.with_row(dashboard.Row(name))
        for panel in panels:
            built.with_panel(panel)
    made = built.build()
    for number, placed in enumerate(made.panels or (), start=1):
        if isinstance(placed, models.Panel | models.RowPanel):
            placed.id_val = number
    return made
