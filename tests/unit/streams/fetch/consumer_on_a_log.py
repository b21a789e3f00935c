"""The product's consumer, made by Faust as in a worker, on a log in memory instead of a broker."""

from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

import faust
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.fetch.batch_consumer import Consumer
from streams.fetch.consumer_thread import ConsumerThread, Progress
from streams.fetch.hooks import FetchHooks
from streams.fetch.record_batch import RecordBatch

CLICKS_0, CLICKS_1, BROWSES_0 = TP("clicks", 0), TP("clicks", 1), TP("browses", 0)
PARTITIONS = {CLICKS_0, CLICKS_1, BROWSES_0}


def records(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=offset, timestamp=1_500, timestamp_type=0) for offset in offsets]


class LogThread(ConsumerThread):
    """Answers as the thread that talks to the broker does: with what the test put there."""

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.fetches: list[dict[TP, list[Any]]] = []
        """Results of the next fetches; after them a fetch brings nothing."""
        self.asked: list[set[TP]] = []
        """Partitions that each fetch asked for."""
        self.end = 1 << 40
        self.committed: dict[TP, int | None] = {}
        self.positions: dict[TP, int] = {}
        self.read_to: dict[TP, int] = {}
        """Positions after the next fetch, where they lie beyond its last record."""
        self.refused: dict[TP, int] = {}
        """Positions that the broker says are not in the log."""
        self.held = (0, 0)
        """Start and end of each log, for who asks because of a refused position."""
        self.looked_at: Callable[[], object] = lambda: None
        """Called between a fetch and the delivery of its batches."""

    async def getmany(self, active_partitions: Collection[TP], timeout: float) -> dict[TP, list[Any]]:
        self.asked.append({*active_partitions})
        fetched = self.fetches.pop(0) if self.fetches else {}
        ends = {tp: found[-1].offset + 1 for tp, found in fetched.items() if found}
        self.progress = self.progress._replace(positions={**self.progress.positions, **ends, **self.read_to})
        return fetched

    async def take_out_of_range(self) -> dict[TP, int]:
        refused, self.refused = self.refused, {}
        return refused

    async def span(self, tp: TP) -> tuple[int, int]:
        return self.held

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.committed |= offsets
        return True

    async def seek_to_committed(self, topic_ids: Mapping[str, str] | None = None) -> Mapping[TP, int | None]:
        self.topic_ids = topic_ids or {}
        self.progress = Progress(
            self.progress.seek + 1, {tp: at for tp, at in self.committed.items() if at is not None}
        )
        return dict(self.committed)

    async def ends(self, partitions: Collection[TP]) -> dict[TP, int]:
        return dict.fromkeys(partitions, self.end)

    async def behind(self, ends: Mapping[TP, int]) -> set[TP]:
        return {tp for tp, end in ends.items() if self.positions.get(tp, 0) < end}

    def assignment(self) -> set[TP]:
        return PARTITIONS

    def highwater(self, tp: TP) -> int:
        self.looked_at()
        return self.end


class LogConsumer(Consumer):
    """The product's consumer on a `LogThread`."""

    log_thread: LogThread

    def _new_consumer_thread(self) -> LogThread:
        self.log_thread = LogThread(self, loop=self.loop, beacon=self.beacon)
        return self.log_thread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rejoins = 0
        self.received: list[ConsumerMessage] = []

    def rejoin(self) -> None:
        self.rejoins += 1

    async def fetch(self, *results: dict[TP, list[Any]]) -> list[ConsumerMessage]:
        """Fetch once for each result, and return the messages that Faust would hand on."""
        self.log_thread.fetches += results
        return [message for _ in results or ({},) async for _, message in self.getmany(1.0)]

    async def deliver(self, *offsets: int, tp: TP = CLICKS_0) -> RecordBatch:
        """Fetch records of one partition, and return their batch."""
        (message,) = await self.fetch({tp: records(*offsets)})
        (batch,) = message.value
        assert isinstance(batch, RecordBatch)
        return batch

    async def committed(self) -> dict[TP, int]:
        """Commit as Faust does every second, and return the offsets that Kafka got."""
        before = dict(self.log_thread.committed)
        await self.commit()
        return {tp: offset for tp, offset in self.log_thread.committed.items() if offset != before.get(tp)}  # type: ignore[misc]

    async def seek_back(self, committed: int, tp: TP = CLICKS_0) -> None:
        self.log_thread.committed[tp] = committed
        await self.perform_seek()


async def make_consumer(hooks: FetchHooks, revoked: Callable[[set[TP]], object] = lambda _: None) -> LogConsumer:
    """Make a consumer that owns `PARTITIONS`; ``revoked`` is called where Faust lets its app drop partitions."""
    app = faust.App("test", broker="kafkabatch://127.0.0.1:1", store="memory://", autodiscover=False)
    app.fetch_hooks = hooks

    async def ignore(*_: Any) -> None: ...

    async def on_revoked(partitions: set[TP]) -> None:
        revoked(partitions)

    consumer = LogConsumer(
        app.transport, ignore, on_partitions_revoked=on_revoked, on_partitions_assigned=ignore, loop=app.loop
    )
    app.consumer = consumer
    await consumer.on_partitions_assigned(PARTITIONS)
    return consumer
