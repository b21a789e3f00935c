"""Between the agent and the pipeline: what is fetched while a group of batches is processed becomes the next group.

So a group is small while there is little to do, and an event waits for no other; under load it grows up to
``max_records``, and what costs the same for one event and for a thousand is paid once. The next group is begun when the
last one says so: its users are loaded while those of the last are ranked.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from streams.fetch.record_batch import RecordBatch

Step = Callable[[list[RecordBatch], Callable[[], None]], Coroutine[Any, Any, Any]]
"""What is done to a group. It calls its second argument when the next group may be begun; else that is at its end."""


class BatchQueue:
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
        """Hand on groups in order; what fails in a step is raised here."""
        under_way: set[asyncio.Task[Any]] = set()
        try:
            while True:
                while not self._waiting:
                    self._arrived.clear()
                    await self._unless_failed(asyncio.create_task(self._arrived.wait()), under_way)
                entered = asyncio.Event()
                task = asyncio.create_task(step(self.take(), entered.set))
                under_way.add(task)
                task.add_done_callback(lambda _, entered=entered: entered.set())  # type: ignore[misc]
                await self._unless_failed(asyncio.create_task(entered.wait()), under_way)
        finally:
            for task in under_way:
                task.cancel()

    async def _unless_failed(self, wanted: asyncio.Task[Any], under_way: set[asyncio.Task[Any]]) -> None:
        """Wait; steps that have ended are let go of, and the first that failed is raised."""
        try:
            while not wanted.done():
                await asyncio.wait({wanted, *under_way}, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in under_way if task.done()]:
                    under_way.remove(task)
                    task.result()
        finally:
            wanted.cancel()

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
