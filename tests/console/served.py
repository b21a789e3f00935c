"""A worker with the simulator and a console, each a process of its own as a user starts them, and a shop around."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.catalog import CatalogItem
from schemas.codec import encode
from schemas.events import Click
from streams.settings import ENV_PREFIX

ROOT = Path(__file__).parents[2]
START_S = 60.0


class Process:
    """``prefstream ...``, whose output is kept in a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / f"{arguments[-3]}.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", *arguments],
                cwd=folder,
                stdout=output,
                stderr=output,
                env=clean | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            )

    def said(self, pattern: str) -> str:
        """What the pattern's group matches in the output, once it does."""
        deadline = time.monotonic() + START_S
        while not (found := re.search(pattern, self.log.read_text("utf-8", "replace"))):
            assert self.process.poll() is None, f"it ended: {self.log.read_text('utf-8', 'replace')[-2000:]}"
            assert time.monotonic() < deadline, f"{pattern!r} was not said within {START_S:.0f} s"
            time.sleep(0.05)
        return found[1]

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Served:
    """The shop of ``items``, with its page at ``url``."""

    def __init__(self, folder: Path, items: Sequence[CatalogItem]) -> None:
        self.worker = Process(folder, "worker", "--port", "0")
        self.address = self.worker.said(r"at (127\.0\.0\.1:\d+);")
        self.worker.said("(worker started)")
        self._producer = Producer({"bootstrap.servers": self.address, "partitioner": "murmur2_random", "log_level": 0})
        for item in items:
            self.put("catalog", item.item_id, encode(item))
        self._folder = folder
        self.start_console(0)

    def start_console(self, port: int) -> None:
        """A console, at ``url``."""
        self.console = Process(self._folder, "--broker", self.address, "console", "--port", str(port))
        self.url = self.console.said(r"(http://127\.0\.0\.1:\d+/)")

    def put(self, topic: str, key: str, value: bytes | None) -> None:
        """Produce a record and wait until the broker has it."""
        self._producer.produce(topic, value, key)
        assert self._producer.flush(10) == 0

    def click(self, user: str, item_id: str) -> None:
        """A click now."""
        event = Click(
            event_id=f"{user[:99]}-{item_id[:99]}",
            user_id=user,
            item_id=item_id,
            event_time_ms=int(time.time() * 1000),
        )
        self.put("clicks", user, encode(event))

    def records(self, topic: str) -> list[Any]:
        """Every record of a topic."""
        return read_all(self.address, topic)

    def stop(self) -> None:
        """Stop both; each has to end well."""
        assert self.console.stop() == 0
        assert self.worker.stop() == 0


def read_all(address: str, topic: str) -> list[Any]:
    """Every record of a topic of the broker at ``address``."""
    options = {"bootstrap.servers": address, "group.id": "test", "log_level": 0, "fetch.wait.max.ms": 5}
    consumer = Consumer(options)
    try:
        numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1] for n in numbers}
        consumer.assign([TopicPartition(topic, number, 0) for number, end in ends.items() if end])
        found: list[Any] = []
        while len(found) < sum(ends.values()):
            found += consumer.consume(100, timeout=0.1)
        return found
    finally:
        consumer.close()
