"""The emitter of a worker in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from faust.types import TP


class FakeDeliveries:
    """Confirmed once the emitter says that Kafka takes records."""

    def __init__(self, emitter: "FakeEmitter") -> None:
        self._emitter = emitter
        self.produced = 0
        self.withheld = False
        """Not confirmed, even if Kafka takes all later records."""

    @property
    def confirmed(self) -> bool:
        return self._emitter.confirming and not self.withheld

    def wait(self, timeout_s: float) -> bool:
        return self.confirmed


class FakeEmitter:
    """Notes what is produced; re-routed records go into the world's logs, as they would on Kafka."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.confirming = True
        self.swapped: list[FakeDeliveries] = []
        self.tombstones: list[str] = []
        self.refused: list[Any] = []
        self.written: list[Any] = []

    def swap(self) -> FakeDeliveries:
        self.swapped.append(FakeDeliveries(self))
        return self.swapped[-1]

    def recommend(self, user_id: str, value: bytes | None) -> None:
        if value is None:
            self.tombstones.append(user_id)

    def write(self, records: Sequence[Any]) -> None:
        self.written += records

    def refuse(self, refused: Sequence[Any]) -> None:
        self.refused += refused

    def reroute(self, misplaced: Sequence[Any]) -> None:
        for one in misplaced:
            headers = tuple(one.origin.to_headers(one.record.headers))
            self._world.append(TP("rerouted", one.partition), one.record.value, headers)

    def trending(self, counts: Mapping[int, bytes]) -> None: ...
