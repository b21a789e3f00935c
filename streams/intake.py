"""Between the agent and the pipeline: what is fetched while a group of batches is processed becomes the next group.

So a group is small while there is little to do, and an event waits for no other; under load it grows up to
``max_records``, and what costs the same for one event and for a thousand is paid once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from streams.transport import RecordBatch

Step = Callable[[list[RecordBatch]], Awaitable[Any]]


class Intake:
    """Holds batches in order of arrival, about as many records as a group takes.

    Parameters
    ----------
    max_records : of a group, where it is of more than one batch
    together : topics whose batches may share a group; one of another topic is a group of its own
    """

    def __init__(self, max_records: int, together: Collection[str]) -> None:
        self._max_records = max_records
        self._together = frozenset(together)
        self._waiting: deque[RecordBatch] = deque()
        self._records = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    def __len__(self) -> int:
        """Batches that wait."""
        return len(self._waiting)

    async def put(self, batch: RecordBatch) -> None:
        """Add a batch; waits while enough of them wait."""
        while self._records >= self._max_records:
            self._taken.clear()
            await self._taken.wait()
        self.add(batch)

    def add(self, batch: RecordBatch) -> None:
        """Add without waiting."""
        self._waiting.append(batch)
        self._records += len(batch)
        self._arrived.set()

    async def run_forever(self, step: Step) -> None:
        """Hand groups to ``step``, one after the other."""
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            await step(self.take())

    def take(self) -> list[RecordBatch]:
        """The next group: batches of one assignment; empty if nothing waits."""
        group: list[RecordBatch] = []
        records = 0
        while self._waiting:
            batch = self._waiting[0]
            if group and not (
                records + len(batch) <= self._max_records
                and batch.epoch == group[0].epoch
                and {batch.topic, group[0].topic} <= self._together
            ):
                break
            group.append(self._waiting.popleft())
            records += len(batch)
        self._records -= records
        self._taken.set()
        return group
