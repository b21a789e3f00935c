"""Changes aiokafka's consumer where its settings do not suffice.

Its records are lighter, it pauses between fetches, it hands over positions that no longer exist in a log, and the
leader of the group shares out the partitions that the topics have now.

The changes replace three classes of `aiokafka.consumer`. ``REPLACED`` lists the source code that they override or rely
on, and ``TESTED_VERSIONS`` the releases whose source code was read. A test compares the installed source code with
``SOURCE_DIGEST``. If the test fails, read the changes in aiokafka, adapt this file, and renew both constants.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import consumer, fetcher, group_coordinator
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from streams.fetch.record_batch import Record

TESTED_VERSIONS = ("0.14.0",)
REPLACED: tuple[Any, ...] = (
    fetcher.PartitionRecords,
    fetcher.Fetcher.fetched_records,
    fetcher.Fetcher._proc_fetch_request,
    fetcher.Fetcher._set_error,
    fetcher.Fetcher._update_fetch_positions,
    group_coordinator.GroupCoordinator._perform_assignment,
    consumer.AIOKafkaConsumer.start,
)
SOURCE_DIGEST = "ea030fd67c138a465484f1353c70510c8d0b9afa62d352efa784ad778fb3b050"

PAUSE_A_RECORD_S = 0.005
LONGEST_PAUSE_S = 0.020
_METADATA_PATIENCE_S = 5.0


class _Fetcher(fetcher.Fetcher):  # type: ignore[misc]  # aiokafka ships no types
    """Pauses before it sends a fetch, as long as few records arrive at a time; never pauses while a backlog waits.

    The consumer's ``auto_offset_reset`` must be ``none``. A partition without a committed offset begins at its
    beginning. A position that the log does not hold is kept and noted in ``out_of_range``: a reset would jump over
    records without a word.

    Each fetch costs the broker and this process some milliseconds of CPU, however few records it brings. Without a
    pause, a few hundred records a second keep both busy, and every record waits for that. After an empty fetch no pause
    is needed: the next fetch waits at the broker anyway.

    The pause comes before the fetch is sent, so the fetch brings all records that arrived during the pause. A pause
    between a fetch and its hand-over would delay the fetched records, and leave later records to the fetch after the
    next.
    """

    pause_a_record_s = PAUSE_A_RECORD_S
    longest_pause_s = LONGEST_PAUSE_S
    _not_before = 0.0  # time.monotonic before which no fetch is sent

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.out_of_range: dict[TopicPartition, int] = {}
        """Positions that the broker refused; who handles them takes them out."""

    def _set_error(self, tp: TopicPartition, error: Exception) -> None:
        if not isinstance(error, NoOffsetForPartitionError):
            super()._set_error(tp, error)
            return
        assignment = self._subscriptions.subscription.assignment
        if assignment is not None and tp in assignment.tps:
            assignment.state_value(tp).await_reset(fetcher.OffsetResetStrategy.EARLIEST)

    async def fetched_records(
        self, partitions: Collection[TopicPartition], timeout: float = 0, max_records: int | None = None
    ) -> Mapping[TopicPartition, list[Any]]:
        try:
            taken: Mapping[TopicPartition, list[Any]] = await super().fetched_records(partitions, timeout, max_records)
        except OffsetOutOfRangeError as error:  # raised only if no record was taken
            self.out_of_range |= error.args[0]
            return {}
        if taken and not any(self._more_waits(tp, records) for tp, records in taken.items()):
            pause_s = min(sum(map(len, taken.values())) * self.pause_a_record_s, self.longest_pause_s)
            self._not_before = time.monotonic() + pause_s
        return taken

    def _more_waits(self, tp: TopicPartition, records: list[Any]) -> bool:
        """Tell whether the broker has later records, as when the size limit of a fetch cuts a backlog."""
        subscription = self._subscriptions.subscription
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(tp) if assignment is not None else None
        return state is not None and readable_end(state, 0) > records[-1].offset + 1

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        try:
            await asyncio.sleep(self._not_before - time.monotonic())
        except asyncio.CancelledError:
            return False  # the same answer as aiokafka's own method: the assignment or the consumer has ended
        return bool(await super()._proc_fetch_request(assignment, node_id, request))


class _LightRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Makes `Record`s instead of aiokafka's own ConsumerRecord."""

    # a Record costs half the CPU of a ConsumerRecord

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


class _Coordinator(group_coordinator.GroupCoordinator):  # type: ignore[misc]
    """Asks for the topics' present partitions before it shares them out; aiokafka uses what it knew."""

    async def _perform_assignment(self, response: Any) -> Any:
        # a broker that is silent now fails the join too
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._client.force_metadata_update(), _METADATA_PATIENCE_S)
        return await super()._perform_assignment(response)


def readable_end(state: Any, unknown: Any = None) -> Any:
    """Return the offset up to which a partition can be read: its last stable offset, as of the last fetch.

    Parameters
    ----------
    state : aiokafka's state of an assigned partition
    unknown : the result if no fetch has brought an answer yet
    """
    # -1 stands for "unknown" in the answer of a broker that keeps no last stable offset
    if state.lso is not None and state.lso >= 0:
        return state.lso
    return unknown if state.highwater is None else state.highwater


def patch_consumers(pause_a_record_s: float = PAUSE_A_RECORD_S, longest_pause_s: float = LONGEST_PAUSE_S) -> None:
    """Make aiokafka's consumers in this process return `Record`s and pause between small fetches.

    These consumers must not have deserializers, and their ``auto_offset_reset`` must be ``none``.

    Parameters
    ----------
    pause_a_record_s : seconds of pause for each record of the last fetch
    longest_pause_s : the longest pause, in seconds
    """
    pauses = {"pause_a_record_s": pause_a_record_s, "longest_pause_s": longest_pause_s}
    fetcher.PartitionRecords = _LightRecords
    consumer.GroupCoordinator = _Coordinator
    consumer.Fetcher = type("PausingFetcher", (_Fetcher,), pauses)
