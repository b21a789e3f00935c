"""What stands for Kafka in a worker in memory: an emitter, and a consumer without a broker."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.fetch.batch_consumer import Consumer
from streams.fetch.hooks import FetchHooks


class FakeDeliveries:
    """Confirmed once the emitter says that Kafka takes records."""

    def __init__(self, emitter: "FakeEmitter") -> None:
        self._emitter = emitter
        self.produced = 0

    @property
    def confirmed(self) -> bool:
        return self._emitter.confirming

    def wait(self, timeout_s: float) -> bool:
        return self.confirmed


class FakeEmitter:
    """Notes what is produced; re-routed records go into the world's logs, as they would on Kafka."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.confirming = True
        self.tombstones: list[str] = []
        self.refused: list[Any] = []

    def swap(self) -> FakeDeliveries:
        return FakeDeliveries(self)

    def recommend(self, user_id: str, value: bytes | None) -> None:
        if value is None:
            self.tombstones.append(user_id)

    def refuse(self, refused: Sequence[Any]) -> None:
        self.refused += refused

    def reroute(self, misplaced: Sequence[Any]) -> None:
        for one in misplaced:
            headers = tuple(one.origin.to_headers(one.record.headers))
            self._world.append(TP("rerouted", one.partition), one.record.value, headers)

    def trending(self, counts: Mapping[int, bytes]) -> None: ...


async def _no_ends(partitions: Any) -> dict[TP, int]:
    return {}


def bare_consumer(hooks: FetchHooks) -> Consumer:
    """The product's consumer without a broker behind it: its own parts are made, of Faust's those that acks need."""

    def without_broker(self: Any, app: Any) -> None:
        self.app = app
        self._acked = defaultdict(list)
        self._unacked_messages = set()
        self._committed_offset = defaultdict(lambda: None)
        self._commit_fut = None
        self._stopped = SimpleNamespace(is_set=lambda: False)
        self._crashed = self._stopped
        self._thread = SimpleNamespace(highwater=lambda tp: 1 << 40, assignment=set, ends=_no_ends)

    with mock.patch.object(driver.Consumer, "__init__", without_broker):
        return Consumer(SimpleNamespace(fetch_hooks=hooks, consumer_generation_id=3))
