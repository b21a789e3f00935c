"""The metrics of online quality, for Prometheus: scored events, hits, and the contents of the lists."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from schemas.recommendation import REASON_KINDS


class QualityMetrics:
    """Counts events, hits and reciprocal ranks under the same labels; a reader divides them to get rates.

    The label ``model`` is the encoder version that made the scored list. ``user`` is ``new`` or ``known``.
    ``reason`` is the kind of reason with which the item was recommended.
    """

    def __init__(self, registry: CollectorRegistry, namespace: str) -> None:
        self._namespace = namespace

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"prefstream_{name}", text, ["namespace", *labels], registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"prefstream_{name}", text, ["namespace", *labels], registry=registry)

        self._scored = counter("online_events", "Events scored against the last list of their user.", "model", "user")
        self._hits = counter("online_hits", "Scored events whose item was in the list.", "model", "user", "reason")
        self._ranks = counter(
            "online_reciprocal_rank", "Sum of 1/rank of the hits; the first item has rank 1.", "model", "user", "reason"
        )
        self._trend_hits = counter(
            "online_baseline_hits", "Scored events whose item was in the trending top-k.", "model", "user"
        )
        self._trend_ranks = counter(
            "online_baseline_reciprocal_rank", "Sum of 1/rank of the hits in the trending top-k.", "model", "user"
        )
        self._unscored = counter("online_unscored_events", "Events applied but not scored, by reason.", "why")
        self._unknown = counter("unknown_item_events", "Events of items that have no vector.")
        self._purchases = counter("purchases", "Purchases applied.")
        self._conversions = counter(
            "conversions", "Purchases that followed from a recommendation, by the evidence for it.", "via", "reason"
        )
        self._attributed = counter(
            "attributed_events", "Events that carry a recommendation id, by which list it names.", "type", "list"
        )
        self._items = counter("recommended_items", "Items in recommendations, by reason.", "reason")
        self._bits = counter("recommended_self_information_bits", "Sum of the items' self-information.")
        self._distinct = gauge("recommended_items_distinct", "Items that this worker recommended in the last hour.")
        self._coverage = gauge(
            "catalog_coverage_ratio",
            "Items recommended in the last hour, as a share of all items whose vector is known.",
        )
        self._drift = gauge(
            "vector_drift_ratio",
            "Cosine distance between the mean vectors of the last minutes and the last hours.",
            "of",
        )

    def begin(self, model: str) -> None:
        """Show every series of a model at 0 from the start: `rate` needs a first value."""
        for user in ("known", "new"):
            self.scored(model, user, 0)
            self.trending_hits(model, user, 0, 0.0)
            for reason in REASON_KINDS:
                self.hits(model, user, reason, 0, 0.0)
        for why in ("no-list", "left-out"):
            self.unscored(why, 0)
        self.unknown_items(0)
        self.purchases(0)
        for reason in REASON_KINDS:
            self.conversions("list", reason, 0)
        self.recommended([0] * (len(REASON_KINDS) + 1), 0.0)

    def scored(self, model: str, user: str, events: int) -> None:
        """Count events that were compared with a list."""
        self._scored.labels(self._namespace, model, user).inc(events)

    def hits(self, model: str, user: str, reason: str, hits: int, reciprocal_ranks: float) -> None:
        """Count events whose item was in the list, and add the sum of their 1/rank."""
        self._hits.labels(self._namespace, model, user, reason).inc(hits)
        self._ranks.labels(self._namespace, model, user, reason).inc(reciprocal_ranks)

    def trending_hits(self, model: str, user: str, hits: int, reciprocal_ranks: float) -> None:
        """Count events whose item was in the trending top-k, the popularity baseline."""
        self._trend_hits.labels(self._namespace, model, user).inc(hits)
        self._trend_ranks.labels(self._namespace, model, user).inc(reciprocal_ranks)

    def unscored(self, why: str, events: int) -> None:
        """Count events that no list could have hit: no-list, or left-out (the item was excluded)."""
        self._unscored.labels(self._namespace, why).inc(events)

    def unknown_items(self, events: int) -> None:
        """Count events of items that are not in the index."""
        self._unknown.labels(self._namespace).inc(events)

    def purchases(self, events: int) -> None:
        """Count purchases that were applied."""
        self._purchases.labels(self._namespace).inc(events)

    def conversions(self, via: str, reason: str, purchases: int) -> None:
        """Count purchases that followed from a recommendation; ``via`` is list, visit, or id (the event carries it)."""
        self._conversions.labels(self._namespace, via, reason).inc(purchases)

    def attributed(self, event_type: str, which: str, events: int) -> None:
        """Count events that carry a recommendation_id: of their user's last list, or of an earlier list."""
        self._attributed.labels(self._namespace, event_type, which).inc(events)

    def recommended(self, by_reason: Sequence[int], bits: float) -> None:
        """Count recommended items by reason code (0 is no item), and add the sum of their self-information."""
        for reason, items in zip(REASON_KINDS, by_reason[1:], strict=False):
            self._items.labels(self._namespace, reason).inc(items)
        self._bits.labels(self._namespace).inc(bits)

    def coverage(self, distinct: int, items: int) -> None:
        """Set how many different items were recommended within the window, out of ``items`` known."""
        self._distinct.labels(self._namespace).set(distinct)
        self._coverage.labels(self._namespace).set(distinct / items if items else 0.0)

    def drift(self, of: str, distance: float) -> None:
        """Set the drift of the vectors; ``of`` says whose: items or users."""
        self._drift.labels(self._namespace, of).set(distance)
