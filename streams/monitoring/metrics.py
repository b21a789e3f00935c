"""The metrics of a worker, for Prometheus. Every metric has the namespace as a label."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Protocol

from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streams.monitoring.batch_histogram import BatchHistogram
from streams.monitoring.quality_metrics import QualityMetrics

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LATENCY = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class Waiting(Protocol):
    """Work that sometimes waits on purpose."""

    @property
    def waited_s(self) -> float:
        """Seconds spent waiting so far."""
        ...


class _Children(dict[tuple[str, ...], Any]):
    """The series of one metric by their label values."""

    # the metric's own `labels` takes 2 us, six times as long as this lookup

    def __init__(self, metric: Any, namespace: str) -> None:
        self._metric, self._namespace = metric, namespace

    def __missing__(self, labels: tuple[str, ...]) -> Any:
        child = self[labels] = self._metric.labels(self._namespace, *labels)
        return child


class Metrics:
    """The metrics of one worker, in a registry of their own: several workers can run in one test process."""

    def __init__(self, namespace: str = "") -> None:
        self.registry = CollectorRegistry()
        self._namespace = namespace

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"prefstream_{name}", text, ["namespace", *labels], registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"prefstream_{name}", text, ["namespace", *labels], registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(
                f"prefstream_{name}", text, ["namespace", *labels], registry=self.registry, buckets=buckets
            )

        def children(metric: Any) -> _Children:
            return _Children(metric, namespace)

        events = counter("events", "Records read, by topic and outcome.", "topic", "outcome")
        self._events = children(events)
        self._actions = counter("actions", "Actions that counted, by kind.", "action")
        self._rerouted = counter("rerouted", "Records rerouted to their user's partition.", "topic")
        self._misplaced = counter(
            "misplaced",
            "Records on another partition than their user's, by cause, without those of expected partitioners.",
            *("topic", "cause"),
        )
        self._dead = counter("dead_letters", "Records refused as dead letters, by reason.", "topic", "reason")
        self._faults = counter(
            "field_faults",
            "Optional fields that were left out, or cut, because they are wrong.",
            "topic",
            "field",
            "reason",
        )
        self._batch = children(histogram("batch_records", "Records in a batch.", _SIZES, "topic"))
        self._stage = children(histogram("stage_seconds", "Seconds a batch spends in a stage.", _FAST, "stage"))
        self._latency = BatchHistogram(
            name="prefstream_event_to_recommendation_seconds",
            text="Seconds from a record's Kafka timestamp to its recommendation.",
            buckets=_LATENCY,
            labels={"namespace": namespace},
            registry=self.registry,
        )
        self._lag = gauge(
            "consumer_lag", "Records not processed yet, without those of open transactions.", "topic", "partition"
        )
        self._cache = children(
            counter("cache_lookups", "Users looked up: hit = in memory, miss = in the store.", "result")
        )
        self._hot = gauge("hot_users", "Users in memory.")
        self._dirty = gauge("dirty_users", "Users whose state is not saved yet.")
        self._checkpoint = histogram("checkpoint_seconds", "Seconds that a checkpoint takes.", _FAST)
        self._checkpoint_time = gauge(
            "last_checkpoint_timestamp_seconds", "Unix time of the last successful checkpoint."
        )
        self._purchases_dropped = counter(
            "purchases_dropped", "Purchased items that were forgotten for want of room, though still excluded."
        )
        self._saved = counter("profiles_saved", "Rows written to the store.")
        self._store_errors = counter("store_errors", "Calls to the store that failed.", "operation")
        self._recommendations = children(counter("recommendations", "Recommendations emitted.", "kind"))
        self._short_lists = children(
            counter("short_lists", "Recommendations with too few items that are not excluded, by kind.", "kind")
        )
        self._items = gauge("index_items", "Items whose vector is known.")
        self._probes = gauge(
            "candidate_probes", "IVF lists of items that are searched for a user; 0 if all items are ranked."
        )
        self._recall = gauge(
            "candidate_recall", "Share of the exact top-k among the candidates; 1 if all items are ranked."
        )
        self._encoded = counter("items_encoded", "Catalog items, by outcome.", "outcome")
        self._offers = counter("offers", "Records of offers, which every worker reads, by outcome.", "outcome")
        self._partitions = gauge("assigned_partitions", "Input partitions that this worker owns.")
        self._waits = counter("waits", "Times that the worker had to wait, by reason.", "reason")
        self._encoder = gauge("encoder_info", "1 for the encoder version that serves.", "version")
        self._index_lag = gauge(
            "index_lag_records", "Item vectors and offers in the topics that are not in the index yet."
        )
        self._broker_errors = counter("broker_errors", "Errors that Kafka clients report.", "error")
        # show these at 0 from the start: `rate` needs a first value, and 0 tells an operator that nothing failed
        for operation in ("load", "save", "read"):
            self._store_errors.labels(namespace, operation)
        self._purchases_dropped.labels(namespace)
        for error in ("_TRANSPORT", "_ALL_BROKERS_DOWN"):
            self._broker_errors.labels(namespace, error)
        self.candidates(0, 1.0)
        self.quality = QualityMetrics(self.registry, namespace)
        self._provider = gauge("onnx_provider_info", "1 for the ONNX Runtime provider that really runs.", "provider")

    def events(self, topic: str, outcome: str, count: int = 1) -> None:
        """Count records of a topic by ``outcome``: applied, forgotten, replayed, duplicate, rerouted, dead, command."""
        if count:
            self._events[topic, outcome].inc(count)

    def actions(self, action: str, count: int) -> None:
        """Count actions by their kind, as in `schemas.actions.ACTION_TYPES`."""
        if count:
            self._actions.labels(self._namespace, action).inc(count)

    def rerouted(self, topic: str, count: int) -> None:
        """Count records that were rerouted."""
        self._rerouted.labels(self._namespace, topic).inc(count)

    def misplaced(self, topic: str, cause: str, count: int) -> None:
        """Count records that came on another partition than their user's, without those of expected partitioners."""
        self._misplaced.labels(self._namespace, topic, cause).inc(count)

    def dead_letter(self, topic: str, reason: str) -> None:
        """Count a record that was refused."""
        self._dead.labels(self._namespace, topic, reason).inc()

    def field_fault(self, topic: str, field: str, reason: str) -> None:
        """Count a record that is used without one of its fields; ``field`` is a field of the message."""
        self._faults.labels(self._namespace, topic, field, reason).inc()

    def batch(self, topic: str, records: int) -> None:
        """Note the size of a batch."""
        self._batch[topic,].observe(records)

    @contextmanager
    def stage(self, name: str, pace: Waiting | None = None) -> Iterator[None]:
        """Time a stage: decode, load, quality, update, rank, encode, produce, save.

        The seconds that ``pace`` waits meanwhile do not count.
        """
        start = perf_counter() - (pace.waited_s if pace else 0.0)
        try:
            yield
        finally:
            self._stage[name,].observe(perf_counter() - start - (pace.waited_s if pace else 0.0))

    def latency(self, seconds: ArrayLike) -> None:
        """Note the seconds from event to recommendation, one value a recommendation."""
        self._latency.observe(seconds)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """Set the number of records of a partition that are not processed yet."""
        self._lag.labels(self._namespace, topic, str(partition)).set(records)

    def forget_lags(self) -> None:
        """Drop the lag of partitions that may have gone to another worker."""
        self._lag.clear()

    def cache(self, hits: int, misses: int) -> None:
        """Count users that were found in memory, and users that were looked up in the store."""
        self._cache["hit",].inc(hits)
        self._cache["miss",].inc(misses)

    def users(self, hot: Callable[[], int], dirty: Callable[[], int]) -> None:
        """Give two functions, called at each scrape: they count the users in memory, and those not saved yet."""
        self._hot.labels(self._namespace).set_function(hot)
        self._dirty.labels(self._namespace).set_function(dirty)

    def purchases_dropped(self, count: int) -> None:
        """Count purchases that profiles had no room for, although their items are excluded still."""
        if count:
            self._purchases_dropped.labels(self._namespace).inc(count)

    def checkpoint(self, seconds: float, saved: int, unix_time: float) -> None:
        """Note a checkpoint that succeeded."""
        self._checkpoint.labels(self._namespace).observe(seconds)
        self._saved.labels(self._namespace).inc(saved)
        self._checkpoint_time.labels(self._namespace).set(unix_time)

    def store_error(self, operation: str) -> None:
        """Count a call to the store that failed."""
        self._store_errors.labels(self._namespace, operation).inc()

    def recommendations(self, kind: str, count: int) -> None:
        """Count emitted recommendations; ``kind`` is personal or trending."""
        if count:
            self._recommendations[kind,].inc(count)

    def short_lists(self, kind: str, count: int) -> None:
        """Count recommendations by ``kind``: seen-again (filled up with seen items), short (not full), empty."""
        if count:
            self._short_lists[kind,].inc(count)

    def items(self, known: int) -> None:
        """Set the number of items in the index."""
        self._items.labels(self._namespace).set(known)

    def candidates(self, probes: int, recall: float) -> None:
        """Set how the candidates of a large catalog are searched: IVF lists searched, and recall."""
        self._probes.labels(self._namespace).set(probes)
        self._recall.labels(self._namespace).set(recall)

    def offers(self, outcome: str, count: int) -> None:
        """Count records of offers by ``outcome``: read, refused."""
        if count:
            self._offers.labels(self._namespace, outcome).inc(count)

    def encoded(self, outcome: str, count: int) -> None:
        """Count catalog items by ``outcome``: encoded, withdrawn, removed, unknown (no vector)."""
        if count:
            self._encoded.labels(self._namespace, outcome).inc(count)

    def partitions(self, count: int) -> None:
        """Set the number of input partitions that this worker owns."""
        self._partitions.labels(self._namespace).set(count)

    def wait(self, reason: str) -> None:
        """Count a wait by ``reason``: unequal-partitions, unassigned-partitions, dirty-budget, store, term."""
        self._waits.labels(self._namespace, reason).inc()

    def encoder(self, version: str) -> None:
        """Set the encoder version that serves."""
        self._encoder.clear()
        self._encoder.labels(self._namespace, version).set(1)
        self.quality.begin(version)

    def provider(self, name: str) -> None:
        """Set the ONNX Runtime provider that really runs."""
        self._provider.labels(self._namespace, name).set(1)

    def index_lag(self, records: int) -> None:
        """Set the number of item vectors that are not in the index yet."""
        self._index_lag.labels(self._namespace).set(records)

    def broker_error(self, name: str) -> None:
        """Count an error of a Kafka client by librdkafka's name for it; called in the clients' threads."""
        self._broker_errors.labels(self._namespace, name).inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
