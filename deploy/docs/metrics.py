"""The page of metrics, from the registry of a worker."""

from typing import Any, Final, NamedTuple

from prometheus_client import Metric
from prometheus_client.registry import Collector

from deploy.docs import markdown
from deploy.docs.markdown import prose, table
from schemas.errors import DecodeReason
from schemas.events import EVENT_TYPES
from schemas.recommendation import REASON_KINDS
from streams.monitoring.metrics import Metrics
from streams.quality.online_quality import NEW_USER_EVENTS, USERS, VIAS
from streams.settings import Settings
from streams.state.profile_update import OUTCOMES
from streams.worker.feature_table import features_of

INTRO = """\
A worker shows its metrics at `/metrics` on [`server.port`](settings.md#server), in Prometheus' text format. Every
series has the label `namespace`, the value of the setting of that name. The name of a counter ends in `_total`; a
histogram has the series `_bucket`, `_sum` and `_count`. Both have the series `_created` too. All times are in
seconds, and a share is 0 to 1.

Each worker counts its own work, so counters of several workers can be added up. These gauges can't:
`prefstream_index_items`, `prefstream_index_lag_records`, `prefstream_candidate_probes`,
`prefstream_candidate_recall`, `prefstream_recommended_items_distinct`, `prefstream_catalog_coverage_ratio` and
`prefstream_vector_drift_ratio`.

The dashboards and rules that read the metrics are in [Operate workers](../how-to/operate-workers.md), the alerts in
[Answer alerts](../how-to/answer-alerts.md)."""

QUALITY = f"""\
Before an event changes the state, its item is looked for in the list that its user was last given. The same event is
scored against the worker's trending list under the same exclusions, as the popularity baseline. What the figures say
is in [Quality](../explanation/quality.md). A user with fewer than {NEW_USER_EVENTS} events is new."""


def _words(*values: str) -> str:
    return ", ".join(f"`{value}`" for value in values)


_REASON = f"Kind of reason with which the item was recommended: {_words(*REASON_KINDS)}."
_MODEL = "Encoder version that made the scored list."
_USER = f"Whether the user is new: {_words(*USERS)}."
_TOPIC = "Topic on the broker, with the namespace."

LABELS: Final = {
    ("events", "topic"): _TOPIC,
    (
        "events",
        "outcome",
    ): f"{_words(*OUTCOMES)} (see below), `rerouted` (written again on its user's partition), `dead` (refused), "
    "`command` (a command about a profile).",
    ("rerouted", "topic"): _TOPIC,
    ("dead_letters", "topic"): _TOPIC,
    ("dead_letters", "reason"): f"{_words(*DecodeReason)}: see [Dead letters](topics.md#dead-letters).",
    ("batch_records", "topic"): _TOPIC,
    ("stage_seconds", "stage"): "{stages}, and a stage for each feature: {features}.",
    ("misplaced", "topic"): _TOPIC,
    (
        "misplaced",
        "cause",
    ): "`no-key`, `form-of-key` (the user's id in quotes or in another form), `other-key`, `partitioner` (the key is "
    "right, and hashed otherwise).",
    ("field_faults", "topic"): "The inputs and the catalog.",
    ("field_faults", "field"): "Field of the message, such as `price`.",
    ("field_faults", "reason"): "As those of dead letters.",
    ("consumer_lag", "topic"): f"{_TOPIC} The inputs and the catalog.",
    ("consumer_lag", "partition"): "Number of the partition.",
    ("cache_lookups", "result"): "`hit`, `miss`.",
    ("store_errors", "operation"): "`load`, `save`, `term` (a term could not be taken), `read` (a row is broken).",
    ("recommendations", "kind"): "`personal`, `trending` (the user's taste is unknown).",
    (
        "short_lists",
        "kind",
    ): "`seen-again` (filled up with items that the user has seen), `short` (fewer than `ranking.k` items, even so), "
    "`empty`.",
    ("actions", "action"): "`refund`, `cart_removal`, `hide`, `consent`, `impression`.",
    ("offers", "outcome"): "`read`, `refused` (the log says why).",
    ("items_encoded", "outcome"): "`encoded`, `no-vector` (nothing that the encoder can use), `withdrawn` (`available: "
    "false`), `removed` (a record without a value).",
    (
        "waits",
        "reason",
    ): "`unequal-partitions` (the inputs have unequal partition counts), `dirty-budget` (too many unsaved "
    "users), `store`, `term`, `unassigned-partitions` (the group has left partitions out).",
    ("encoder_info", "version"): "Encoder version.",
    ("broker_errors", "error"): "Name of the error in librdkafka, such as `_TRANSPORT`, `_ALL_BROKERS_DOWN`.",
    ("online_events", "model"): _MODEL,
    ("online_events", "user"): _USER,
    ("online_hits", "model"): _MODEL,
    ("online_hits", "user"): _USER,
    ("online_hits", "reason"): _REASON,
    ("online_reciprocal_rank", "model"): _MODEL,
    ("online_reciprocal_rank", "user"): _USER,
    ("online_reciprocal_rank", "reason"): _REASON,
    ("online_baseline_hits", "model"): _MODEL,
    ("online_baseline_hits", "user"): _USER,
    ("online_baseline_reciprocal_rank", "model"): _MODEL,
    ("online_baseline_reciprocal_rank", "user"): _USER,
    (
        "online_unscored_events",
        "why",
    ): "`no-list` (the user had no list yet), `left-out` (the item was excluded from the user's lists).",
    (
        "conversions",
        "via",
    ): f"{_words(*VIAS)}: the item is in the user's last list; the user visited the item from an earlier "
    "list; the event names a recommendation.",
    ("conversions", "reason"): f"{_REASON} Or `unknown`.",
    ("attributed_events", "type"): f"Event type: {_words(*EVENT_TYPES)}.",
    ("attributed_events", "list"): "`last` (the event names the user's last list), `earlier`.",
    ("recommended_items", "reason"): _REASON,
    ("vector_drift_ratio", "of"): "`items` (that events name), `users` (their taste).",
    ("onnx_provider_info", "provider"): "Name of the provider, such as `CUDAExecutionProvider`.",
}

STAGES: Final = ("decode", "load", "update", "rank", "encode", "produce", "save", "encode_items")
"""Stages of the core; `tests/unit/deploy/docs` compares them with the calls of `Metrics.stage`."""

OUTCOME_TEXTS: Final = {
    "applied": "The event counts in the profile.",
    "forgotten": "The event was written before its user was forgotten: it counts in the counters only.",
    "replayed": "The event's offset is below the applied offset of its log: it counted before.",
    "duplicate": "A recent record of the user has the same event id, type and items.",
}

UNITS: Final = {
    "candidate_recall": "share",
    "vector_drift_ratio": "cosine distance",
    "candidate_probes": "IVF lists",
    "online_reciprocal_rank": "sum of 1/rank",
    "online_baseline_reciprocal_rank": "sum of 1/rank",
    "assigned_partitions": "partitions",
    "cache_lookups": "users",
    "hot_users": "users",
    "dirty_users": "users",
    "profiles_saved": "rows",
    "store_errors": "calls",
    "broker_errors": "errors",
    "waits": "waits",
    "field_faults": "fields",
    "misplaced": "records",
    "recommendations": "lists",
    "short_lists": "lists",
    "index_items": "items",
    "items_encoded": "items",
    "offers": "records",
    "actions": "actions",
    "recommended_items": "items",
    "recommended_items_distinct": "items",
    "purchases": "events",
    "purchases_dropped": "items",
    "conversions": "events",
    "online_hits": "events",
    "online_baseline_hits": "events",
    "events": "events",
    "rerouted": "records",
    "dead_letters": "records",
    "consumer_lag": "records",
}
"""Units that the end of a metric's name does not tell."""

ENDINGS: Final = {
    "_timestamp_seconds": "seconds since 1970",
    "_seconds": "seconds",
    "_bits": "bits",
    "_ratio": "share",
    "_info": "1",
    "_records": "records",
    "_events": "events",
}


class Described(NamedTuple):
    """A metric as the page shows it."""

    name: str  # without the prefix
    kind: str
    text: str
    labels: tuple[str, ...]  # without the namespace
    buckets: tuple[float, ...]


def metrics() -> list[Described]:
    """Return the metrics of a worker, in the order of their registration."""
    registry = Metrics().registry
    collectors: dict[Collector, Any] = registry._collector_to_names
    return [_described(collector, family) for collector in collectors for family in collector.collect()]


def _described(collector: Any, family: Metric) -> Described:
    # an ordinary metric holds the names of its labels and its buckets; the histogram of batches has label values
    labels = getattr(collector, "_labelnames", None) or tuple(collector._labels)
    buckets = getattr(collector, "_kwargs", {}).get("buckets", getattr(collector, "_bounds", ()))
    return Described(
        name=family.name.removeprefix("prefstream_"),
        kind=family.type,
        text=family.documentation,
        labels=tuple(label for label in labels if label != "namespace"),
        buckets=tuple(float(bound) for bound in buckets if bound != float("inf")) if family.type == "histogram" else (),
    )


def page() -> str:
    """Return the text of the page."""
    all_metrics = metrics()
    used = {(metric.name, label) for metric in all_metrics for label in metric.labels}
    assert used == LABELS.keys(), f"labels without a meaning or a metric: {sorted(used ^ LABELS.keys())}"
    quality = {metric.name for metric in all_metrics[_first_of_quality(all_metrics) :]} - {"onnx_provider_info"}
    parts = [INTRO]
    for title, text, chosen in (
        ("The work", "", [metric for metric in all_metrics if metric.name not in quality]),
        ("Online quality", QUALITY, [metric for metric in all_metrics if metric.name in quality]),
    ):
        parts += [f"## {title}", *([text] if text else []), _table(chosen)]
    parts += ["## Labels", _labels(all_metrics)]
    parts += ["## Outcomes of events", table(("outcome", "meaning"), [(f"`{o}`", OUTCOME_TEXTS[o]) for o in OUTCOMES])]
    parts += ["## Buckets of the histograms", _buckets(all_metrics)]
    return markdown.page("Metrics", *parts)


def _first_of_quality(all_metrics: list[Described]) -> int:
    return [metric.name for metric in all_metrics].index("online_events")


def _series(metric: Described) -> str:
    return f"prefstream_{metric.name}" + ("_total" if metric.kind == "counter" else "")


def _unit(name: str) -> str:
    return UNITS.get(name) or next(unit for ending, unit in ENDINGS.items() if name.endswith(ending))


def _table(chosen: list[Described]) -> str:
    rows = [
        (
            f"`{_series(metric)}`<br>{_words(*metric.labels)}".removesuffix("<br>"),
            metric.kind,
            _unit(metric.name),
            prose(metric.text),
        )
        for metric in chosen
    ]
    return table(("metric<br>labels", "type", "unit", "meaning"), rows)


def _labels(all_metrics: list[Described]) -> str:
    """Return a table of all labels; metrics whose labels have one meaning share a row."""
    metrics_of: dict[tuple[str, str], list[str]] = {}
    for metric in all_metrics:
        for label in metric.labels:
            metrics_of.setdefault((label, LABELS[metric.name, label]), []).append(_series(metric))
    features = _words(*(feature.name for feature in features_of(Settings.model_construct())))
    rows = [
        (f"`{label}`", ", ".join(f"`{name}`" for name in names), text.format(stages=_words(*STAGES), features=features))
        for (label, text), names in sorted(metrics_of.items())
    ]
    return table(("label", "of", "values"), rows)


def _buckets(all_metrics: list[Described]) -> str:
    rows = [
        (f"`{_series(metric)}`", ", ".join(f"{bound:g}" for bound in metric.buckets))
        for metric in all_metrics
        if metric.buckets
    ]
    return table(("histogram", "upper bounds, beside infinity"), rows)
