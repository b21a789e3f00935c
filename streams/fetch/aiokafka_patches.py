"""Changes to aiokafka's consumer, which its settings don't offer: lighter records, and a pause between fetches.

They replace two classes of `aiokafka.consumer`. ``REPLACED`` names the source that they override or rely on, and
``TESTED_VERSIONS`` the releases whose source was read. A test compares the installed source with ``SOURCE_DIGEST``: if
it fails, read what aiokafka changed, adapt this file, and renew both.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import consumer, fetcher

from streams.fetch.record_batch import Record

TESTED_VERSIONS = ("0.14.0",)
REPLACED: tuple[Any, ...] = (
    fetcher.PartitionRecords,
    fetcher.Fetcher.fetched_records,
    fetcher.Fetcher._proc_fetch_request,
    consumer.AIOKafkaConsumer.start,
)
SOURCE_DIGEST = "f92fb4385a672667ea71f33c04afb00be6c6e8dc535db30cf1f7fcd4ea45cbc0"

PAUSE_A_RECORD_S = 0.005
LONGEST_PAUSE_S = 0.020


class _Fetcher(fetcher.Fetcher):  # type: ignore[misc]  # aiokafka ships no types
    """Pauses before it sends a fetch, while a few records come at a time; never while a backlog waits.

    Each fetch costs the broker and this process some milliseconds of CPU, whatever it brings. Without a pause, a few
    hundred records a second keep both busy, and every record waits for that. After a fetch that brought nothing the
    next one waits at the broker anyway.

    The pause is before the fetch is sent, so the fetch brings all that came meanwhile. A pause before records are
    taken would delay them, and leave later records to the fetch after the next.
    """

    pause_a_record_s = PAUSE_A_RECORD_S
    longest_pause_s = LONGEST_PAUSE_S
    _not_before = 0.0  # of time.monotonic

    async def fetched_records(
        self, partitions: Collection[TopicPartition], timeout: float = 0, max_records: int | None = None
    ) -> Mapping[TopicPartition, list[Any]]:
        taken: Mapping[TopicPartition, list[Any]] = await super().fetched_records(partitions, timeout, max_records)
        if taken and not any(self._more_waits(tp, records) for tp, records in taken.items()):
            pause_s = min(sum(map(len, taken.values())) * self.pause_a_record_s, self.longest_pause_s)
            self._not_before = time.monotonic() + pause_s
        return taken

    def _more_waits(self, tp: TopicPartition, records: list[Any]) -> bool:
        """Whether the broker has told of records behind these, as when the size of a fetch cuts a backlog."""
        subscription = self._subscriptions.subscription
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(tp) if assignment is not None else None
        return state is not None and (state.highwater or 0) > records[-1].offset + 1

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        try:
            await asyncio.sleep(self._not_before - time.monotonic())
        except asyncio.CancelledError:
            return False  # as aiokafka's own does: the assignment is over, or the consumer
        return bool(await super()._proc_fetch_request(assignment, node_id, request))


class _LightRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Makes `Record`s, which cost half the CPU of aiokafka's own ConsumerRecord."""

    def _consumer_record(self, tp: Any, record: Any) -> Record:
        return Record(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            record.timestamp_type,
            record.key,
            record.value,
            tuple(record.headers),
        )


def patch_consumers(pause_a_record_s: float = PAUSE_A_RECORD_S, longest_pause_s: float = LONGEST_PAUSE_S) -> None:
    """Let aiokafka's consumers of this process make `Record`s and pause between small fetches.

    Such consumers must not have deserializers.

    Parameters
    ----------
    pause_a_record_s : seconds that the next fetch waits for each record that was taken
    longest_pause_s : seconds that it waits at most
    """
    pauses = {"pause_a_record_s": pause_a_record_s, "longest_pause_s": longest_pause_s}
    fetcher.PartitionRecords = _LightRecords
    consumer.Fetcher = type("PausingFetcher", (_Fetcher,), pauses)
