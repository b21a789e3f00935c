"""Raw fetch: what an event costs before anybody has looked at it."""

import json
import subprocess
import sys
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.stack import Stack
from tests.bench import workload
from tests.bench.fetchers import CONTENDERS

_SLOW = ("faust-stock",)
_SLOW_SHARE = 0.1


def fetch(stack: Stack, count: int) -> dict[str, Any]:
    """Events a second and CPU an event of each way to read one topic of ``count`` events on four partitions."""
    topic = f"fetch-{count}"
    _fill(stack, topic, count)
    rows = {}
    for name in CONTENDERS:
        events = int(count * _SLOW_SHARE) if name in _SLOW else count
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.fetchers", name, stack.bootstrap_servers, topic, str(events)],
            capture_output=True,
            text=True,
            timeout=180,
        )
        found = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None
        if not found:
            raise RuntimeError(f"the fetcher {name} failed: {done.stderr[-1000:]}")
        rows[name] = found
    return rows


def _fill(stack: Stack, topic: str, count: int) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(30)
    producer = Producer(
        {"bootstrap.servers": stack.bootstrap_servers, "linger.ms": 50, "batch.size": 1 << 19, "log_level": 2}
    )
    values = [workload.event_json(event) for event in workload.events("zipf", 10_000, 10_000, 1, 1_700_000_000_000)]
    for number in range(count):
        while True:
            try:
                producer.produce(topic, values[number % len(values)], partition=number % 4)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)
