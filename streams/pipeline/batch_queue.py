"""Joins fetched batches into micro-batches: batches that arrive while one is processed become the next one.

A micro-batch is small while there is little to do, so no event waits for others. Under load it grows up to
``max_records``, so work that costs the same for one event and for a thousand is done once. A micro-batch starts as soon
as the last one allows it: its users are loaded while those of the last one are ranked.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from streams.fetch.record_batch import RecordBatch

Step = Callable[[list[RecordBatch], Callable[[], None]], Coroutine[Any, Any, Any]]
"""Processes a micro-batch. Calls `entered` as soon as the next micro-batch may start; if it never does, the next one
starts when this call returns."""


class BatchQueue:
    """Holds batches in order of arrival, with about as many records as one micro-batch may have.

    Parameters
    ----------
    max_records : the most records of a micro-batch; a larger batch is a micro-batch by itself
    together : topics whose batches may share a micro-batch; a batch of another topic is a micro-batch by itself
    """

    def __init__(self, max_records: int, together: Collection[str]) -> None:
        self._max_records = max_records
        self._together = frozenset(together)
        self._waiting: deque[RecordBatch] = deque()
        self._records = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    def __len__(self) -> int:
        """Number of batches that wait."""
        return len(self._waiting)

    async def put(self, batch: RecordBatch) -> None:
        """Add a batch, once fewer than ``max_records`` records wait."""
        while self._records >= self._max_records:
            self._taken.clear()
            await self._taken.wait()
        self.add(batch)

    def add(self, batch: RecordBatch) -> None:
        """Add a batch at once, however many records wait."""
        self._waiting.append(batch)
        self._records += len(batch)
        self._arrived.set()

    async def run_forever(self, step: Step) -> None:
        """Start ``step`` for each micro-batch, in order. An error of a step is raised here."""
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
        """Wait for ``wanted``. Forgets steps that have ended, and raises the error of the first step that failed."""
        try:
            while not wanted.done():
                await asyncio.wait({wanted, *under_way}, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in under_way if task.done()]:
                    under_way.remove(task)
                    task.result()
        finally:
            wanted.cancel()

    def take(self) -> list[RecordBatch]:
        """Take the next micro-batch: batches of one assignment; empty if no batch waits."""
        micro_batch: list[RecordBatch] = []
        records = 0
        while self._waiting:
            batch = self._waiting[0]
            if micro_batch and not (
                records + len(batch) <= self._max_records
                and batch.epoch == micro_batch[0].epoch
                and {batch.topic, micro_batch[0].topic} <= self._together
            ):
                break
            micro_batch.append(self._waiting.popleft())
            records += len(batch)
        self._records -= records
        self._taken.set()
        return micro_batch
