"""Event to recommendation at a fixed rate that waits for nobody: a late answer delays no later event."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.local.stack import Stack
from tests.bench import workload
from tests.bench.shop import BenchShop, BenchWorker
from tests.e2e.worker_process import wait_for

_TICK_S = 0.005
_LINGER_MS = 20
"""That the producer waits for more: part of end to end, and not the worker's. It sends a request for each partition,
and with its own 5 ms those took more of the broker than all that the worker asks of it."""
_QUANTILES = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}


def latency(
    stack: Stack, folder: Path, items: int, shares: dict[str, float], overload: float, seconds: float, warm: int
) -> dict[str, Any]:
    """Milliseconds by load, in shares of the peak.

    The peak is what the worker keeps up with while its events are produced and its lists are read on the same cores:
    events are produced at ``overload`` a second, more than it can take, and the time is noted until all are applied.

    ``end_to_end``: from the moment an event was due to be produced until its list was read from the topic. ``worker``:
    from the moment the worker had the event until its list was ranked, to be written and produced (a millisecond more),
    by the message's own times.
    ``broker``: until the broker had taken the event, by the producer's own clock: what no worker can be faster than.
    ``cores``: how many were busy meanwhile, with all that ran on them, and with the worker.
    A list stands for the last event of its user in a group, as the worker sends one for each. ``warm`` events go before
    all that: users that the worker has seen are in its memory, the others are asked for in Cassandra.
    """
    shop = BenchShop(stack, folder, items)
    worker = shop.start_workers()[0]
    reader = Reader(shop)
    try:
        shop.send_all(workload.events("zipf", warm, items, 5, int(time.time() * 1000)))
        reader.wait_quiet()
        before, start = worker.counts()[0], time.monotonic()
        events = len(_produce(shop, overload, seconds, items, 99, []))
        wait_for("the peak's events", lambda: worker.counts()[0] - before >= events, 300.0, every_s=0.1)
        peak = events / (time.monotonic() - start)
        reader.wait_quiet()
        reader.take({})
        found = {}
        for number, (name, share) in enumerate(shares.items()):
            found[name] = at_rate(shop, worker, reader, peak * share, seconds, 100 + number)
        return found
    finally:
        reader.close()
        worker.stop()


def at_rate(
    shop: BenchShop, worker: BenchWorker, reader: "Reader", rate: float, seconds: float, seed: int
) -> dict[str, Any]:
    """What ``latency`` says of one load of ``rate`` events a second."""
    taken_ms: list[float] = []
    before, start = np.array([_busy_s(), worker.cpu_s()]), time.monotonic()
    due = _produce(shop, rate, seconds, shop.items, seed, taken_ms)
    cores = (np.array([_busy_s(), worker.cpu_s()]) - before) / (time.monotonic() - start)
    reader.wait_quiet()
    return {
        "rate": round(rate),
        **reader.take(due),
        "broker": _quantiles(taken_ms),
        "cores": {"all": round(float(cores[0]), 2), "worker": round(float(cores[1]), 2)},
    }


def _produce(
    shop: BenchShop, rate: float, seconds: float, items: int, seed: int, taken_ms: list[float]
) -> dict[str, float]:
    """Produce at ``rate``; returns when each event was due, in seconds since 1970, and adds what the broker took."""

    def taken(error: Any, message: Any) -> None:
        if error is not None:
            raise RuntimeError(f"Kafka did not take an event: {error}")
        taken_ms.append(message.latency() * 1000)

    events = workload.events("zipf", int(rate * seconds), items, seed, int(time.time() * 1000))
    producer = Producer({"bootstrap.servers": shop.bootstrap, "partitioner": "murmur2_random", "linger.ms": _LINGER_MS})
    start = time.time() + 0.1
    due = {}
    for number, event in enumerate(events):
        due_s = start + number / rate
        while time.time() < due_s:
            producer.poll(0)
            time.sleep(_TICK_S)
        due[event.event_id] = due_s
        topic = shop.topic(workload.TOPIC_OF[event.type])
        value = workload.event_json(event._replace(time_ms=int(due_s * 1000)))
        producer.produce(topic, value, event.user_id, on_delivery=taken)
        producer.poll(0)
    producer.flush(30)
    return due


def _busy_s() -> float:
    """Seconds that all cores together were busy."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


class Reader:
    """A thread that notes when each list was read."""

    def __init__(self, shop: BenchShop) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": shop.bootstrap,
                "group.id": "bench",
                "enable.auto.commit": False,
            }
        )
        topic = shop.topic("recommendations")
        partitions = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        self._seen: list[tuple[float, bytes]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None and message.value():
                self._seen.append((time.time(), message.value()))

    def wait_quiet(self) -> None:
        """Until no list has come for two seconds."""
        count = -1
        while count != len(self._seen) or count == 0:
            count = len(self._seen)
            time.sleep(2.0)

    def take(self, due: dict[str, float]) -> dict[str, Any]:
        """What was read since the last time, as quantiles."""
        seen, self._seen = self._seen, []
        end_to_end, worker = [], []
        for read_s, value in seen:
            message = json.loads(value)
            due_s = due.get(message["cause"]["event_id"])
            if due_s is not None:
                end_to_end.append((read_s - due_s) * 1000)
                worker.append(message["emitted_ms"] - message["received_ms"])
        return {
            "lists": len(worker),
            "end_to_end": _quantiles(end_to_end),
            "worker": _quantiles(worker),
        }

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(5)
        self._consumer.close()


def _quantiles(values: list[float]) -> dict[str, float]:
    return {name: round(float(np.percentile(values, at)), 1) for name, at in _QUANTILES.items()} if values else {}
