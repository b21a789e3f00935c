"""Workers as real processes, and what a test waits for: always to a deadline."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from deploy.local.stack import Stack

INPUTS = ("clicks", "browses", "purchases", "rerouted", "profile-commands", "actions")


class Late(AssertionError):
    """A deadline passed."""


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 60.0, every_s: float = 0.1) -> Any:
    """The first true value of ``condition``; `Late` after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Late(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(every_s)


def settings_on(stack: Stack, namespace: str, folder: Path) -> dict[str, Any]:
    """Settings of a namespace on a stack, with the short timeouts of tests."""
    return {
        "namespace": namespace,
        "data_dir": str(folder / "data"),
        "kafka": {
            "bootstrap_servers": stack.bootstrap_servers,
            "session_timeout_s": 6.0,
            "heartbeat_interval_s": 2.0,
            "metadata_max_age_s": 5.0,
        },
        "store": {
            "kind": "cassandra",
            "cassandra": {"hosts": stack.cassandra_hosts, "port": stack.cassandra_port},
        },
        "logging": {"format": "json"},
    }


def write_settings(path: Path, sections: dict[str, Any]) -> Path:
    """A TOML settings file: values are numbers, strings, booleans, lists of those, or tables."""
    lines: list[str] = []

    def table(name: str, values: dict[str, Any]) -> None:
        plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
        if name:
            lines.append(f"[{name}]")
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in plain.items())
        for key, value in values.items():
            if isinstance(value, dict):
                table(f"{name}.{key}" if name else key, value)

    table("", sections)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def sum_of_samples(text: str, name: str, *labels: str) -> float:
    """Sum of a metric's samples in a page of Prometheus' format, of those that carry the labels (``key="value"``)."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith((f"{name} ", f"{name}{{")) and all(label in line for label in labels)
    )


class WorkerProcess:
    """``prefstream worker`` in a process of its own."""

    def __init__(self, config: Path, log: Path, tree: Path | None = None) -> None:
        """``tree`` is another checkout whose worker it is, with the environment in its ``.venv``; None: this one.

        A checkout without an environment runs with this one's packages.
        """
        python = Path(sys.executable) if tree is None else tree / ".venv" / "bin" / "python"
        if not python.exists():
            python = Path(sys.executable)
        self.log = log
        self._start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    str(python),
                    *("-m", "streams.cli", "--config", str(config), "worker", "--port", "0"),
                ],
                cwd=tree,
                stdout=output,
                stderr=output,
            )
        self._port: int | None = None

    @property
    def port(self) -> int | None:
        """The health port, once the worker has said it."""
        if self._port is None:
            with self.log.open("rb") as lines:
                lines.seek(self._start)
                for line in lines:
                    if b'"health server"' in line:
                        self._port = int(json.loads(line)["port"])
        return self._port

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the worker; 0 while it can't be reached."""
        if self.process.poll() is not None:
            tail = self.log.read_text("utf-8", "replace")[-2000:]
            raise AssertionError(f"the worker ended with {self.process.returncode}; the end of its log:\n{tail}")
        if self.port is None:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until /readyz says so."""
        wait_for("a worker to be ready", lambda: self.get("/readyz")[0] == 200, timeout_s)

    def metric(self, name: str) -> float:
        """Sum of a metric's samples."""
        return sum_of_samples(self.get("/metrics")[1], name)

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def log_ends(admin: AdminClient, topics: list[str], timeout_s: float = 30.0) -> dict[tuple[str, int], int]:
    """Where the topics' logs end, by topic and partition."""
    metadata = admin.list_topics(timeout=timeout_s).topics
    parts = [TopicPartition(topic, number) for topic in topics for number in metadata[topic].partitions]
    ends = admin.list_offsets({part: OffsetSpec.latest() for part in parts}, request_timeout=timeout_s)
    return {(part.topic, part.partition): future.result(timeout_s).offset for part, future in ends.items()}


def backlog(admin: AdminClient, group: str, topics: list[str], timeout_s: float = 30.0) -> int:
    """Records of the topics that the group has not committed."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return _backlog(admin, group, topics)
        except KafkaException as error:  # new topics have no leader yet, a broker that comes back answers late
            if time.monotonic() > deadline:
                raise Late(f"the broker did not tell the backlog in {timeout_s:.0f} s: {error}") from error
            time.sleep(0.2)


def _backlog(admin: AdminClient, group: str, topics: list[str]) -> int:
    metadata = admin.list_topics(timeout=30).topics
    parts = [TopicPartition(topic, number) for topic in topics for number in metadata[topic].partitions]
    brokers = ",".join(f"{broker.host}:{broker.port}" for broker in admin.list_topics(timeout=30).brokers.values())
    # not the admin client's list_consumer_group_offsets, which was seen to crash on a broker that has just started
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group, "enable.auto.commit": False, "log_level": 2})
    try:
        committed = {(part.topic, part.partition): part.offset for part in consumer.committed(parts, timeout=30)}
    finally:
        consumer.close()
    ends = admin.list_offsets({part: OffsetSpec.latest() for part in parts})
    return sum(
        future.result(30).offset - max(committed.get((part.topic, part.partition), 0), 0)
        for part, future in ends.items()
    )


def read_topic(bootstrap: str, topic: str, timeout_s: float = 60.0) -> list[Any]:
    """Every record of a topic, from its beginning to its present end."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test-reader", "enable.auto.commit": False})
    try:
        parts = [
            TopicPartition(topic, number) for number in consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ]
        marks = {part.partition: consumer.get_watermark_offsets(part, timeout=30) for part in parts}
        left = {number for number, (low, high) in marks.items() if high > low}
        consumer.assign([TopicPartition(topic, number, marks[number][0]) for number in sorted(left)])
        found: list[Any] = []
        deadline = time.monotonic() + timeout_s
        while left:
            if time.monotonic() > deadline:
                raise Late(f"reading {topic} took more than {timeout_s:.0f} s")
            found += [message for message in consumer.consume(5_000, timeout=0.5) if message.error() is None]
            positions = consumer.position([TopicPartition(topic, number) for number in left])
            left -= {part.partition for part in positions if part.offset >= marks[part.partition][1]}
        return found
    finally:
        consumer.close()
