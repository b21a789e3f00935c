"""The hot path without servers: a table of users with a past, a space of items, and batches of new events."""

import asyncio
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.building import lookup
from encoders.ranking.ranking_io import HeadInputs, Ranked
from encoders.runtime import Runtime
from streams.arrays import IntpArray
from streams.decode.decoder import Decoder
from streams.decode.event_batch import EventBatch
from streams.emit.list_json import ListEncoder
from streams.fetch.record_batch import RecordBatch
from streams.kafka.topics import TopicNames
from streams.monitoring.metrics import Metrics
from streams.rank.candidate_search import CandidateSearch
from streams.rank.exclusions import Exclusions, excluded_rows
from streams.rank.head_inputs import head_inputs
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.settings import Ranking
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import Applied, apply_batch
from streams.worker.process_tuning import one_blas_thread
from tests.bench import workload
from tests.still_feed import StillFeed

_NAMES = TopicNames()


class HotPath:
    """Decode, update and rank as the worker does, uniform users, one partition.

    Parameters
    ----------
    past : batches of 2,000 events that the users have done already
    """

    def __init__(self, folder: Path, items: int, users: int, past: int) -> None:
        one_blas_thread()
        few = workload.item_vectors(64)
        encoder = lookup.build(folder / f"encoder-{items}-{users}", workload.item_ids(len(few)), few, "hot-path")
        self.items, self.users = items, users
        runtime = Runtime("cpu", 1)
        self.space = LoadedEncoder.load(encoder, runtime)
        self.space.index.put(workload.item_ids(items), workload.item_vectors(items))
        self._lists = ListEncoder(self.space.index)
        self.history = encoder.manifest.history
        shape = ProfileShape(
            history=workload.HISTORY,
            dimension=workload.DIMENSION,
            half_lives=len(encoder.manifest.half_lives_s),
            recommended=workload.K,
        )
        self.table = ProfileTable(users, shape)
        self.slots = self.table.allocate([f"user-{number}" for number in range(users)], 0, 1)
        self.table.set_logs([(_NAMES.full(topic), "id") for topic in ("clicks", "browses", "purchases")])
        self._decoder = Decoder(_NAMES, lambda topic: "id", "murmur2")
        self._seed = self._offset = 0
        for _ in range(past):
            self.update(self.decode(self.records(workload.BATCH)))
        search = CandidateSearch(
            Ranking(k=workload.K), runtime, self.table, ActiveEncoder(self.space, StillFeed()), Metrics()
        )
        asyncio.run(search.prepare(self.space))

    def records(self, count: int) -> RecordBatch:
        """New events, undecoded."""
        self._seed += 1
        self._offset += count
        now_ms = int(time.time() * 1000)
        events = workload.events("uniform", count, self.items, self._seed, now_ms, self.users)
        return workload.record_batch(events, "clicks", self._offset, now_ms)

    def decode(self, records: RecordBatch) -> EventBatch:
        """Records to arrays."""
        events = self._decoder.decode([records], 1).events
        assert events is not None
        return events

    def update(self, events: EventBatch) -> Applied:
        """Events into the table."""
        return apply_batch(self.table, events, self.table.find(events.user_ids), self.space.index, self.space.sums)

    def inputs(self, slots: IntpArray) -> HeadInputs:
        """What the head reads of users."""
        return head_inputs(self.table, slots, self.space.index, self.history)

    def encode(self, slots: IntpArray, ranked: Ranked, reasons: NDArray[np.uint8]) -> list[bytes]:
        """The users' lists as JSON, with their reasons."""
        return self._lists.encode(self.table.rows[slots], self.table.types[slots], ranked, reasons)

    def rank(self, slots: IntpArray) -> Ranked:
        """The users' best items."""
        return self.space.rank(
            self.inputs(slots), excluded_rows(self.table, slots, self.space.index, Exclusions()), workload.K
        )
