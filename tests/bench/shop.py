"""A namespace of the bench: topics, settings, events, and items whose vectors are clustered as a trained model's."""

import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer

from deploy.local.stack import Stack
from encoders.building import lookup
from tests.bench import workload
from tests.e2e import taobao
from tests.e2e.oracle import Sent
from tests.e2e.shop import ShopOnStack
from tests.e2e.worker_process import WorkerProcess, sum_of_samples, wait_for

_FILL = {"partitioner": "murmur2_random", "linger.ms": 20, "queue.buffering.max.messages": 1_000_000, "log_level": 2}


class BenchShop(ShopOnStack):
    """One worker core: ONNX Runtime gets one thread, as the figures are of one."""

    def __init__(self, stack: Stack, folder: Path, items: int, **sections: Any) -> None:
        encoder = folder / f"encoder-{items}"
        if not encoder.is_dir():
            lookup.build(encoder, workload.item_ids(items), workload.item_vectors(items), f"bench-{items}")
        self.items = items
        folder = Path(tempfile.mkdtemp(dir=folder, prefix="shop-"))
        settings: dict[str, Any] = {
            "encoder": {"folder": str(encoder), "threads": 1},
            "ranking": {"k": workload.K},
            "profiles": {"history": workload.HISTORY},
            "kafka": {"max_batch_records": workload.BATCH},
            "checkpoint": {"interval_s": 1.0},
        }
        for name, section in sections.items():
            settings[name] = {**settings.get(name, {}), **section}
        super().__init__(stack, folder, **settings)

    def start_workers(self, count: int = 1) -> list["BenchWorker"]:
        """Workers that know all items; the catalog is sent first."""
        workers = [BenchWorker(self.config, self.folder / f"worker-{number}.log") for number in range(count)]
        taobao.Shop(self.bootstrap, self.namespace).send_catalog(workload.item_ids(self.items))
        for worker in workers:
            worker.wait_ready()
        for worker in workers:
            wait_for("the items", lambda w=worker: w.metric("prefstream_index_items") >= self.items, 300.0)
        return workers

    def send_all(self, events: list[Sent], workers: Sequence[WorkerProcess] = ()) -> None:
        """Produce events as fast as Kafka takes them; ``workers`` are held meanwhile, so that they meet a backlog."""
        for worker in workers:
            worker.process.send_signal(signal.SIGSTOP)
        try:
            self._send(events)
        finally:
            for worker in workers:
                worker.process.send_signal(signal.SIGCONT)

    def _send(self, events: list[Sent]) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, **_FILL})
        for event in events:
            topic = self.topic(workload.TOPIC_OF[event.type])
            producer.produce(topic, workload.event_json(event), event.user_id)
        if producer.flush(120):
            raise RuntimeError("Kafka did not take the events")


class BenchWorker(WorkerProcess):
    """A worker whose CPU is read from outside: user and system time of all its threads."""

    def cpu_s(self) -> float:
        """Seconds since its start."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def counts(self) -> tuple[float, float]:
        """Events applied, and users that are not saved yet."""
        page = self.get("/metrics")[1]
        applied = sum_of_samples(page, "prefstream_events_total", 'outcome="applied"')
        return applied, sum_of_samples(page, "prefstream_dirty_users")
