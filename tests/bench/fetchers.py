"""Reads a topic and does nothing with it, in one of four ways; prints what an event cost.

python -m tests.bench.fetchers faust-batch BOOTSTRAP TOPIC COUNT
"""

import asyncio
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from typing import Any

WARM_UP = 0.1
"""Share of the events before the clock starts: joining a group takes seconds and is no part of fetching."""


class Meter:
    """Counts events; when all have come, prints what those after the warm-up cost, and ends the process.

    At once: Faust's threads end slowly, and have nothing left to say.
    """

    def __init__(self, count: int) -> None:
        self._count, self._seen = count, 0
        self._start: tuple[float, float, int] | None = None

    def add(self, events: int) -> None:
        """So many have come."""
        self._seen += events
        if self._start is None:
            if self._seen >= self._count * WARM_UP:
                self._start = (time.process_time(), time.perf_counter(), self._seen)
        elif self._seen >= self._count:
            cpu_s, wall_s, before = self._start
            fetched = self._seen - before
            found = {
                "events": fetched,
                "cpu_us": (time.process_time() - cpu_s) / fetched * 1e6,
                "events_s": fetched / (time.perf_counter() - wall_s),
            }
            print(json.dumps(found), flush=True)
            os._exit(0)


def confluent(bootstrap: str, topic: str, meter: Meter) -> None:
    """confluent-kafka, 1,000 messages a call."""
    from confluent_kafka import Consumer

    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest", "log_level": 2}
    )
    consumer.subscribe([topic])
    while True:
        meter.add(len(consumer.consume(1_000, timeout=1.0)))


def aiokafka(bootstrap: str, topic: str, meter: Meter) -> None:
    """aiokafka's own consumer, a fetch at a time."""
    from aiokafka import AIOKafkaConsumer

    async def read() -> None:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=uuid.uuid4().hex, auto_offset_reset="earliest"
        )
        await consumer.start()
        while True:
            meter.add(sum(map(len, (await consumer.getmany(timeout_ms=1_000)).values())))

    asyncio.run(read())


def faust_stock(bootstrap: str, topic: str, meter: Meter) -> None:
    """An agent of stock Faust, an event at a time."""
    _faust(
        f"kafka://{bootstrap}",
        meter,
        lambda app: app.topic(topic, value_type=bytes, value_serializer="raw"),
        lambda stream: ((event, 1) async for event in stream.events()),
    )


def faust_batch(bootstrap: str, topic: str, meter: Meter) -> None:
    """An agent on prefstream's transport, a batch at a time, each batch acked; garbage is collected as in a worker."""
    from streams.fetch.hooks import FetchHooks
    from streams.fetch.transport import batch_topic
    from streams.worker.process_tuning import collect_rarely

    collect_rarely()

    async def batches(stream: Any) -> Any:
        async for event in stream.noack().events():
            for batch in event.value:
                batch.ack()
                yield event, len(batch)

    def topic_of(app: Any) -> Any:
        app.fetch_hooks = FetchHooks()
        return batch_topic(app, [topic])

    _faust(f"kafkabatch://{bootstrap}", meter, topic_of, batches)


def _faust(broker: str, meter: Meter, make_topic: Callable[[Any], Any], counted: Callable[[Any], Any]) -> None:
    import faust

    async def run() -> None:
        app = faust.App(
            uuid.uuid4().hex,
            broker=broker,
            store="memory://",
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="earliest",
            stream_wait_empty=False,
            datadir=tempfile.mkdtemp(),
        )

        @app.agent(make_topic(app))  # type: ignore[untyped-decorator]
        async def count(stream: Any) -> None:
            async for _, events in counted(stream):
                meter.add(events)

        app.finalize()
        await app.start()
        await asyncio.Event().wait()

    asyncio.run(run())


CONTENDERS = {"faust-batch": faust_batch, "faust-stock": faust_stock, "aiokafka": aiokafka, "confluent": confluent}


def main() -> None:
    """Run one contender."""
    name, bootstrap, topic, count = sys.argv[1:]
    CONTENDERS[name](bootstrap, topic, Meter(int(count)))


if __name__ == "__main__":
    main()
