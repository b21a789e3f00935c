"""Ranks the users that a micro-batch touched, and explains, encodes and sends their new lists."""

import numpy as np

from schemas.codec import encode
from schemas.ids import id_hashes
from schemas.recommendation import ListReasons
from streams.arrays import IntpArray
from streams.clock import now_ms
from streams.decode.event_batch import EventBatch
from streams.emit.envelope_json import frames
from streams.emit.list_json import ListEncoder, reason_codes
from streams.emit.producer import Emitter
from streams.features.contract import RecommendedLists
from streams.features.running import RunningFeatures
from streams.monitoring.metrics import Metrics
from streams.rank.exclusions import Exclusions, excluded_rows, hide_labels
from streams.rank.fallback import SEEN_AGAIN_CODE, fill_up
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.rank.popular_items import TRENDING_CODE, popular, trending_items, trending_places
from streams.rank.preference_vectors import PreferenceVectors
from streams.state.state import State


class Recommender:
    """Makes new lists in a thread, so that the event loop stays free. The caller holds the state lock meanwhile."""

    def __init__(
        self,
        *,
        state: State,
        active: ActiveEncoder,
        preference_vectors: PreferenceVectors,
        emitter: Emitter,
        metrics: Metrics,
        exclusions: Exclusions,
        k: int,
        features: RunningFeatures,
        list_reasons: ListReasons = "full",
    ) -> None:
        """``k`` is the number of items in a list; ``list_reasons`` says which reasons a list tells."""
        self._state, self._active = state, active
        self._preference_vectors, self._emitter, self._metrics = preference_vectors, emitter, metrics
        self._exclusions, self._k = exclusions, k
        self._features = features
        self._list_reasons = list_reasons
        self._lists = ListEncoder(active.encoder.index, list_reasons)
        self._sequence = 0

    def refresh(self, events: EventBatch, slots: IntpArray, causes: IntpArray, term: int) -> None:
        """Rank B users, note their preference vectors and send each of them a list.

        Parameters
        ----------
        events : the events that touched the users
        slots : intp array of shape (B,), each user once
        causes : intp array of shape (B,), the index in ``events`` of each user's last event
        term : the term of the lists' revisions
        """
        if self._state.table.actions:
            # their exclusions are so many that all others would be slowed down
            alone = hide_labels(self._state.table, slots)
            for user in np.flatnonzero(alone).tolist():
                self._refresh(events, slots[[user]], causes[[user]], term)
            slots, causes = slots[~alone], causes[~alone]
        if len(slots):
            self._refresh(events, slots, causes, term)

    def _refresh(self, events: EventBatch, slots: IntpArray, causes: IntpArray, term: int) -> None:
        table, encoder = self._state.table, self._active.encoder
        index = encoder.index
        with self._metrics.stage("rank"):
            inputs = self._preference_vectors.head_inputs(encoder, slots)
            excluded = excluded_rows(table, slots, index, self._exclusions)
            ranked = encoder.rank(inputs, excluded, self._k)
            ranked, seen_again = fill_up(encoder, table, slots, inputs, self._exclusions, events.items[causes], ranked)
            table.preferences[slots] = np.stack([ranked.short_term, ranked.long_term, ranked.user], axis=1)
        with self._metrics.stage("encode"):
            known = np.asarray(ranked.user.any(axis=1))
            reasons = reason_codes(ranked)
            reasons[seen_again] = SEEN_AGAIN_CODE
            sequences = range(self._sequence + 1, self._sequence + 1 + len(slots))
            self._sequence += len(slots)
            of_term = f"{term:x}-"
            ids = [f"{of_term}{sequence:x}" for sequence in sequences]
            newest_ms = table.newest_ms(slots)
            framed = frames(
                events, causes, ids, term, sequences, newest_ms, encoder.version, now_ms(), self._list_reasons
            )
            # an empty list is sent too: it replaces a list that is no longer valid
            messages = self._lists_of(encoder).encode(table.rows[slots], table.types[slots], ranked, reasons, framed)
            rows = np.where(reasons > 0, ranked.rows, -1)
            unknown = np.flatnonzero(~known)
            if len(unknown):
                top = popular(self._state.trending.top(), index)
                places = trending_places(top.rows, excluded[unknown], rows.shape[1])
                is_filled = places >= 0
                rows[unknown] = np.where(is_filled, top.rows[places], -1) if len(top.rows) else -1
                reasons[unknown] = np.where(is_filled, TRENDING_CODE, 0)
                for user, chosen in zip(unknown.tolist(), places, strict=True):
                    messages[user] = framed.around(
                        user, encode(trending_items(top, chosen[chosen >= 0], index, self._list_reasons))
                    )
            hashes = id_hashes(ids)
            table.note_recommended(slots, index.hashes(rows), reasons, hashes, encoder.version)
        records = self._features.recommended(
            RecommendedLists(slots=slots, rows=rows, reasons=reasons, id_hashes=hashes, user_vectors=ranked.user)
        )
        with self._metrics.stage("produce"):
            users = [events.user_ids[cause] for cause in causes.tolist()]
            self._emitter.recommend_all(list(zip(users, messages, strict=True)))
            self._emitter.write(records)
            written = events.written[causes]
            self._metrics.latency(np.maximum(0, now_ms() - written[written > 0]) / 1000.0)
            self._metrics.recommendations("personal", int(known.sum()))
            self._metrics.recommendations("trending", int((~known).sum()))
            lengths = (reasons > 0).sum(axis=1)
            self._metrics.short_lists("seen-again", int(seen_again.any(axis=1).sum()))
            self._metrics.short_lists("short", int(((lengths > 0) & (lengths < self._k)).sum()))
            self._metrics.short_lists("empty", int((lengths == 0).sum()))

    def _lists_of(self, encoder: LoadedEncoder) -> ListEncoder:
        """Return the list encoder of the encoder's index; makes a new one after a swap."""
        if self._lists.index is not encoder.index:
            self._lists = ListEncoder(encoder.index, self._list_reasons)
        return self._lists
