"""Fresh recommendations of the users that a batch touched: rank, explain, encode, send."""

import time

import numpy as np

from encoders.ranking.ranking_io import HeadInputs
from schemas.codec import encode
from schemas.ids import id_hashes
from streams.arrays import IntpArray
from streams.decode.event_batch import EventBatch
from streams.emit.envelope_json import frames
from streams.emit.list_json import reason_codes
from streams.emit.producer import Emitter
from streams.monitoring.metrics import Metrics
from streams.quality.list_statistics import ListStatistics
from streams.quality.online_quality import OnlineQuality
from streams.rank.exclusions import (
    TRENDING_CODE,
    Exclusions,
    excluded_rows,
    head_inputs,
    popular,
    trending_items,
    trending_places,
)
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.state.profile_table import ProfileTable
from streams.state.trending import Trending

_AT_ONCE = 4_096
"""Users whose preference vectors are worked out in one go: some 25 MB of recents' vectors."""


class Recommender:
    """Runs in a thread while the event loop is free: the caller holds the batch state_lock meanwhile."""

    def __init__(
        self,
        table: ProfileTable,
        serving: ActiveEncoder,
        trending: Trending,
        emitter: Emitter,
        metrics: Metrics,
        rules: Exclusions,
        k: int,
        quality: OnlineQuality,
        statistics: ListStatistics,
    ) -> None:
        self._table, self._serving = table, serving
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
        table, space = self._table, self._serving.space
        index = space.index
        with self._metrics.stage("rank"):
            inputs = self._head_inputs(space, slots)
            excluded = excluded_rows(table, slots, index, self._rules)
            ranked = space.rank(inputs, excluded, self._k)
            table.preferences[slots] = np.stack([ranked.short_term, ranked.long_term, ranked.user], axis=1)
        with self._metrics.stage("encode"):
            known = np.asarray(ranked.user.any(axis=1))
            reasons = reason_codes(ranked)
            sequences = range(self._sequence + 1, self._sequence + 1 + len(slots))
            self._sequence += len(slots)
            of_term = f"{term:x}-"
            ids = [f"{of_term}{sequence:x}" for sequence in sequences]
            newest_ms = table.times[slots, 0]
            framed = frames(events, causes, ids, term, sequences, newest_ms, space.version, _now_ms())
            # an empty list is sent too: it replaces one that is no longer true
            messages = space.lists.encode(table, slots, ranked, reasons, framed)
            rows = np.where(reasons > 0, ranked.rows, -1)
            unknown = np.flatnonzero(~known)
            if len(unknown):
                top = popular(self._trending.top(), index)
                places = trending_places(top.rows, excluded[unknown], rows.shape[1])
                given = places >= 0
                rows[unknown] = np.where(given, top.rows[places], -1) if len(top.rows) else -1
                reasons[unknown] = np.where(given, TRENDING_CODE, 0)
                for user, chosen in zip(unknown.tolist(), places, strict=True):
                    messages[user] = framed.around(user, encode(trending_items(top, chosen[chosen >= 0], index)))
        with self._metrics.stage("quality"):
            self._quality.remember(slots, rows, reasons, id_hashes(ids), space.version)
            self._statistics.recommended(rows, reasons, ranked.user)
        with self._metrics.stage("produce"):
            users = [events.user_ids[cause] for cause in causes.tolist()]
            self._emitter.recommend_all(list(zip(users, messages, strict=True)))
            written = events.written[causes]
            self._metrics.latency(np.maximum(0, _now_ms() - written[written > 0]) / 1000.0)
            self._metrics.recommendations("personal", int(known.sum()))
            self._metrics.recommendations("trending", int((~known).sum()))

    def note_preferences(self, slots: IntpArray) -> None:
        """Work out the preference vectors of users who are not ranked now, in the space that serves now."""
        for start in range(0, len(slots), _AT_ONCE):
            some = slots[start : start + _AT_ONCE]
            space = self._serving.space
            user, short_term, long_term = space.graph.vectors(self._head_inputs(space, some))
            self._table.preferences[some] = np.stack([short_term, long_term, user], axis=1)

    def _head_inputs(self, space: LoadedEncoder, slots: IntpArray) -> HeadInputs:
        history = space.graph.encoder.manifest.history
        return head_inputs(self._table, slots, space.index, history, space.sums.half_life_s)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
