"""How often aiokafka fetches: pauses while a few records come at a time, none while a backlog waits."""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import consumer, fetcher

_PAUSE_A_RECORD_S, _LONGEST_PAUSE_S = 0.005, 0.020
"""How long the next fetch waits once a few records were taken. Each fetch costs the broker and this process some
milliseconds of CPU, whatever it brings: without a pause, a few hundred records a second keep both of them busy, and
every record waits for that. After one that brought nothing the next waits at the broker anyway."""


class _Fetcher(fetcher.Fetcher):  # type: ignore[misc]  # aiokafka ships no types
    """The pause is before a fetch is sent, so that it brings what came meanwhile.

    aiokafka sends the next fetch as soon as records are taken. A pause before they are taken would leave them lying,
    and what comes in the meantime for the fetch after the next.
    """

    _not_before = 0.0  # of time.monotonic

    async def fetched_records(
        self, partitions: Collection[TopicPartition], timeout: float = 0, max_records: int | None = None
    ) -> Mapping[TopicPartition, list[Any]]:
        taken: Mapping[TopicPartition, list[Any]] = await super().fetched_records(partitions, timeout, max_records)
        if taken and not any(self._more_waits(tp, records) for tp, records in taken.items()):
            pause_s = min(sum(map(len, taken.values())) * _PAUSE_A_RECORD_S, _LONGEST_PAUSE_S)
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


def pace_fetches() -> None:
    """Have aiokafka's consumers fetch so, in this process."""
    consumer.Fetcher = _Fetcher
