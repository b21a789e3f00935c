"""What is seen from outside while a scenario runs: the workers' metrics, and offsets that must never go back."""

import threading
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.e2e.worker_process import WorkerProcess, sum_of_samples, wait_for

_EVERY_S = 0.4
_TIMEOUT_S = 5.0

AWAY = (KafkaException, TimeoutError)
"""What a question to a broker that is away, or just back, ends with."""


class WatchedWorker(WorkerProcess):
    """A worker whose last metrics outlive it."""

    def __init__(self, config: Path, log: Path, tree: Path | None = None) -> None:
        super().__init__(config, log, tree)
        self.page = ""
        self.held = False
        """Stopped by SIGSTOP: it can't answer."""
        self.ended = False
        """By the scenario; a worker that ends by itself is a failure."""

    @property
    def name(self) -> str:
        """For messages."""
        return self.log.stem

    def scrape(self) -> str:
        """Its metrics now, or the last that it gave."""
        if not self.held and not self.ended and self.process.poll() is None:
            status, page = self.get("/metrics")
            if status == 200:
                self.page = page
        return self.page

    def seen(self, metric: str, *labels: str) -> float:
        """A metric by the last page it gave."""
        return sum_of_samples(self.page, metric, *labels)


class GroupOffsets:
    """Reads what a group has committed, without joining it.

    By a consumer: librdkafka's admin client takes the process down when a coordinator that is away lets it time out.
    """

    def __init__(self, bootstrap: str, group: str, topics: list[str]) -> None:
        config = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 2}
        self._consumer = Consumer(config)
        self._topics = topics

    def read(self) -> dict[tuple[str, int], int]:
        """Committed offsets by topic and partition; one of `AWAY` while the broker is away."""
        known = self._consumer.list_topics(timeout=_TIMEOUT_S).topics
        parts = [
            TopicPartition(topic, number)
            for topic in self._topics
            if topic in known
            for number in known[topic].partitions
        ]
        found = self._consumer.committed(parts, timeout=_TIMEOUT_S)
        return {(part.topic, part.partition): part.offset for part in found if part.offset >= 0}


class Watch:
    """A thread that scrapes the workers and reads the group's offsets."""

    def __init__(self, offsets: GroupOffsets) -> None:
        self._offsets = offsets
        self.workers: list[WatchedWorker] = []
        self.committed: dict[tuple[str, int], int] = {}
        self.went_back: list[str] = []
        """Offsets that were committed below an earlier one: an owner of former times did that."""
        self.round = 0
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(self._scrape,), name="scrape", daemon=True),
            threading.Thread(target=self._repeat, args=(self._read_offsets,), name="offsets", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def progress(self) -> int:
        """Records committed so far."""
        return sum(self.committed.values())

    def wait_progress(self, timeout_s: float = 60.0) -> None:
        """Wait until the group commits more than it has by now."""
        before = self.progress
        wait_for("the group to commit more", lambda: self.progress > before, timeout_s)

    def forget_topic(self, topic: str) -> None:
        """A topic is made anew: its offsets begin again."""
        self.committed = {part: offset for part, offset in self.committed.items() if part[0] != topic}

    def stop(self) -> None:
        """End both threads."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(3 * _TIMEOUT_S)

    def _repeat(self, look: Callable[[], None]) -> None:
        while not self._stopping.wait(_EVERY_S):
            look()

    def _scrape(self) -> None:
        for worker in list(self.workers):
            try:
                worker.scrape()
            except (AssertionError, OSError, ValueError):
                continue  # it ended between the question and the answer

    def _read_offsets(self) -> None:
        try:
            found = self._offsets.read()
        except AWAY:
            return  # the broker is away
        before = self.committed
        for part, offset in found.items():
            if offset < before.get(part, 0):
                self.went_back.append(f"{part[0]}:{part[1]} from {before[part]} to {offset}")
        self.committed = {**before, **found}
        self.round += 1
