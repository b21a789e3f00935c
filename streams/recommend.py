"""Fresh recommendations of the users that a batch touched: rank, explain, encode, send."""

import time
from collections.abc import Sequence

import numpy as np

from encoders.graph import RankingGraph
from encoders.index import ItemIndex
from schemas.codec import encode
from schemas.events import EVENT_TYPES
from schemas.ids import id_hashes
from schemas.recommendation import Cause, Recommendation, RecommendedItem, Revision
from streams.batch import EventBatch
from streams.emitter import Emitter
from streams.list_statistics import ListStatistics
from streams.metrics import Metrics
from streams.online_quality import OnlineQuality
from streams.preference import IntpArray
from streams.profiles import ProfileTable
from streams.ranking import (
    TRENDING_CODE,
    ReasonWriter,
    Rules,
    adjustments,
    head_inputs,
    left_out,
    popular,
    trending_items,
    trending_places,
)
from streams.trending import Trending


class Recommender:
    """Runs in a thread while the event loop is free: the caller holds the batch boundary meanwhile."""

    def __init__(
        self,
        table: ProfileTable,
        index: ItemIndex,
        graph: RankingGraph,
        trending: Trending,
        emitter: Emitter,
        metrics: Metrics,
        rules: Rules,
        k: int,
        quality: OnlineQuality,
        statistics: ListStatistics,
    ) -> None:
        self._table, self._index, self._graph = table, index, graph
        self._trending, self._emitter, self._metrics = trending, emitter, metrics
        self._rules, self._k = rules, k
        self._quality, self._statistics = quality, statistics
        self._sequence = 0

    def refresh(self, events: EventBatch, slots: IntpArray, causes: IntpArray, term: int) -> None:
        """Rank B users, note their preference vectors and send each its list.

        Parameters
        ----------
        events : the batch that touched them
        slots : intp array of shape (B,), each user once
        causes : intp array of shape (B,), the place in ``events`` of the last event of each
        term : the term under which the revision counts
        """
        table, index = self._table, self._index
        with self._metrics.stage("rank"):
            inputs = head_inputs(table, slots, index, self._graph.encoder.manifest.history)
            barred = left_out(table, slots, index, self._rules)
            ranked = self._graph.rank(inputs, index.snapshot(), barred, adjustments(barred), self._k)
            table.preferences[slots] = np.stack([ranked.short_term, ranked.long_term, ranked.user], axis=1)
        with self._metrics.stage("emit"):
            writer = ReasonWriter(table, slots, index, ranked)
            known = np.asarray(ranked.user.any(axis=1))
            rows, reasons = writer.rows, writer.reasons
            ids = [f"{term:x}-{self._sequence + 1 + place:x}" for place in range(len(slots))]
            fallback: dict[int, list[RecommendedItem]] = {}
            unknown = np.flatnonzero(~known)
            if len(unknown):
                top = popular(self._trending.top(), index)
                places = trending_places(top.rows, barred[unknown], rows.shape[1])
                rows[unknown] = np.where(places >= 0, top.rows[places], -1) if len(top.rows) else -1
                reasons[unknown] = np.where(places >= 0, TRENDING_CODE, 0)
                for user, chosen in zip(unknown.tolist(), places, strict=True):
                    fallback[user] = trending_items(top, chosen[chosen >= 0], index)
            latencies = []
            for place, (slot, cause) in enumerate(zip(slots.tolist(), causes.tolist(), strict=True)):
                # an empty list is sent too: it replaces one that is no longer true
                items = writer.items(place) if known[place] else fallback[place]
                latency = self._send(events, cause, ids[place], items, term, int(table.times[slot, 0]))
                if latency is not None:
                    latencies.append(latency)
            self._quality.remember(slots, rows, reasons, id_hashes(ids), self._graph.encoder.manifest.version)
            self._statistics.recommended(rows, reasons, ranked.user)
            self._metrics.latency(latencies)
            self._metrics.recommendations("personal", int(known.sum()))
            self._metrics.recommendations("trending", int((~known).sum()))

    def _send(
        self, events: EventBatch, cause: int, id_: str, items: Sequence[RecommendedItem], term: int, newest_ms: int
    ) -> float | None:
        self._sequence += 1
        now_ms = time.time_ns() // 1_000_000
        user_id = events.user_ids[cause]
        received_ms = int(events.received[cause])
        message = Recommendation(
            recommendation_id=id_,
            user_id=user_id,
            revision=Revision(term=term, sequence=self._sequence),
            items=list(items),
            cause=Cause(
                event_id=events.event_ids[cause],
                event_type=EVENT_TYPES[events.types[cause]],
                item_id=events.item_ids[cause],
                event_time_ms=int(events.times[cause]),
            ),
            encoder_version=self._graph.encoder.manifest.version,
            event_time_ms=newest_ms,
            received_ms=received_ms,
            emitted_ms=now_ms,
        )
        self._emitter.recommend(user_id, encode(message))
        return max(0, now_ms - received_ms) / 1000.0 if received_ms else None
