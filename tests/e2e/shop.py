"""A namespace of its own on the session's stack, with topics, settings and a worker."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local.stack import Stack
from streams.kafka.topics import create_topics, wanted_topics
from streams.settings import load_settings
from streams.versions.builtin_encoder import load_encoder
from tests.e2e.worker_process import WorkerProcess, settings_on, wait_for, write_settings


class ShopOnStack:
    """Produces to and reads from one namespace; ``sections`` of settings are laid over the usual ones."""

    def __init__(self, stack: Stack, folder: Path, **sections: Any) -> None:
        self.namespace = f"s{uuid.uuid4().hex[:10]}"
        self.folder = folder
        stated = settings_on(stack, self.namespace, folder) | {
            "encoder": {"threads": 1},
            "checkpoint": {"interval_s": 0.3},
        }
        for name, section in sections.items():
            stated[name] = {**stated.get(name, {}), **section}
        self.config = write_settings(folder / "prefstream.toml", stated)
        self.settings = load_settings(self.config)
        self.bootstrap = stack.bootstrap_servers
        self.admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
        create_topics(self.admin, wanted_topics(self.settings, load_encoder(self.settings).manifest.version))
        self.producer = Producer(
            {
                "bootstrap.servers": stack.bootstrap_servers,
                "partitioner": "murmur2_random",
                "message.max.bytes": 1_048_000,
                "topic.metadata.refresh.interval.ms": 500,
                "log_level": 2,
            }
        )

    def start_worker(self, name: str = "worker") -> WorkerProcess:
        """A worker that is ready."""
        worker = WorkerProcess(self.config, self.folder / f"{name}.log")
        worker.wait_ready()
        return worker

    def topic(self, name: str) -> str:
        """Full name of a topic."""
        return f"{self.namespace}.{name}"

    def send(self, topic: str, key: str, value: Any, **more: Any) -> None:
        """Produce a record and wait until Kafka has it; bytes and None go as they are, else JSON."""
        data = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        self.producer.produce(self.topic(topic), data, key, **more)
        assert self.producer.flush(30) == 0

    def click(self, user: str, item: str, **more: Any) -> str:
        """A click now; returns the event's id."""
        event_id = uuid.uuid4().hex
        event = {"event_id": event_id, "user_id": user, "item_id": item, "event_time_ms": int(time.time() * 1000)}
        self.send("clicks", user, event, **more)
        return event_id


class TopicReader:
    """Follows a topic from its beginning, a test's way of being a downstream consumer."""

    def __init__(self, shop: ShopOnStack, topic: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": shop.bootstrap, "group.id": "reader", "enable.auto.commit": False, "log_level": 2}
        )
        name = shop.topic(topic)
        partitions = self._consumer.list_topics(name, timeout=30).topics[name].partitions
        self._consumer.assign([TopicPartition(name, number, 0) for number in partitions])
        self.messages: list[Any] = []

    def until(self, what: str, wanted: Any, timeout_s: float = 30.0) -> Any:
        """The first message, old or new, for which ``wanted`` is true."""
        seen = 0

        def look() -> Any:
            nonlocal seen
            self.messages += [one for one in self._consumer.consume(500, timeout=0.1) if one.error() is None]
            fresh, seen = self.messages[seen:], len(self.messages)
            # in a list, as a message without a value has the length 0, and so is false
            return [one for one in fresh if wanted(one)]

        return wait_for(what, look, timeout_s, every_s=0.0)[0]

    def close(self) -> None:
        """Let go."""
        self._consumer.close()
