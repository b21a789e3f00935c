"""What every profile must be, computed from the list of events alone; shares no code with the product.

It knows the documented facts: ids are hashed by xxh3, recents are the L largest events by (time, id hash), the rest is
in decayed sums, a row's state is a MessagePack map of little-endian arrays.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash

TYPES = ("click", "browse", "purchase")


class Sent(NamedTuple):
    """An event as it was produced, duplicates and all."""

    event_id: str
    user_id: str
    item_id: str
    type: str
    time_ms: int


def hashed(text: str) -> int:
    """How ids are stored."""
    return xxhash.xxh3_64_intdigest(text.encode())


@dataclass
class Oracle:
    """The rules of a run."""

    history: int
    half_lives_s: list[float]
    type_weights: dict[str, list[float]]
    dimension: int
    _vectors: dict[str, np.ndarray] = field(default_factory=dict)

    def vector(self, item_id: str) -> np.ndarray:
        """A random unit vector, seeded by the item's id."""
        if item_id not in self._vectors:
            made = np.random.default_rng(hashed(item_id)).standard_normal(self.dimension)
            self._vectors[item_id] = (made / np.linalg.norm(made)).astype(np.float32)
        return self._vectors[item_id]

    def compare(self, sent: list[Sent], rows: dict[str, Any]) -> dict[str, Any]:
        """Count the users whose stored row differs from what the events say."""
        by_user: dict[str, dict[str, Sent]] = defaultdict(dict)
        duplicates: Counter[str] = Counter()
        for event in sent:
            if event.event_id in by_user[event.user_id]:
                duplicates[event.user_id] += 1
            else:
                by_user[event.user_id][event.event_id] = event
        report = {
            "events": sum(len(events) for events in by_user.values()),
            "applied": 0,
            "duplicates": 0,
            "users": len(rows),
            "users_missing": len(by_user.keys() - rows.keys()),
            "users_unexpected": len(rows.keys() - by_user.keys()),
            "recents_wrong": 0,
            "counters_wrong": 0,
            "purchases_wrong": 0,
            "max_state_error": 0.0,
        }
        for user, events in by_user.items():
            if user in rows:
                self._compare_user(list(events.values()), duplicates[user], rows[user], report)
        return report

    def _compare_user(self, events: list[Sent], duplicates: int, row: Any, report: dict[str, Any]) -> None:
        state = msgspec.msgpack.decode(row.state)
        counters = state["counters"]
        report["applied"] += sum(counters["applied"])
        report["duplicates"] += counters["duplicates"]
        by_type = [sum(event.type == name for event in events) for name in TYPES]
        wrong = counters["applied"] != by_type or counters["duplicates"] != duplicates or counters["pending_dropped"]
        report["counters_wrong"] += bool(wrong)

        def key(event: Sent) -> tuple[int, int]:
            return event.time_ms, hashed(event.event_id)

        ordered = sorted(events, key=key, reverse=True)
        recents = [
            (hashed(e.item_id), TYPES.index(e.type), e.time_ms, hashed(e.event_id)) for e in ordered[: self.history]
        ]
        report["recents_wrong"] += recents != _events(state["recents"])
        bought = [(e.time_ms, hashed(e.item_id)) for e in events if e.type == "purchase"]
        stored = zip(
            np.frombuffer(state["purchased_times"], "<i8").tolist(),
            np.frombuffer(state["purchased_items"], "<u8").tolist(),
            strict=True,
        )
        report["purchases_wrong"] += sorted(bought, reverse=True)[:32] != list(stored)
        error = self._sums_error(ordered[self.history :], state)
        report["max_state_error"] = max(report["max_state_error"], error)

    def _sums_error(self, older: list[Sent], state: Any) -> float:
        """Largest relative difference of mass and sums; what still waits for a vector is added to the stored sums."""
        waiting = {event[3] for event in _events(state["pending"])}
        folded = [event for event in older if hashed(event.event_id) not in waiting]
        if len(folded) + len(waiting) != len(older):
            return float("inf")
        if not folded:
            return float("inf") if any(any(np.frombuffer(s["mass"], "<f4")) for s in state["sums"]) else 0.0
        newest = max(event.time_ms for event in folded)
        age_s = np.array([(newest - event.time_ms) / 1000 for event in folded])
        weights = np.array([self.type_weights[event.type] for event in folded])  # (E, T)
        weights = weights * 2.0 ** (-age_s[:, None] / np.array(self.half_lives_s))
        vectors = np.stack([self.vector(event.item_id) for event in folded]).astype(np.float64)
        sums, mass = weights.T @ vectors, weights.sum(axis=0)
        if len(state["sums"]) != 1 or state["sums"][0]["time_ms"] != newest:
            return float("inf")
        stored_mass = np.frombuffer(state["sums"][0]["mass"], "<f4")
        stored_sums = np.frombuffer(state["sums"][0]["sums"], "<f4").reshape(sums.shape)
        mass_error = np.abs(stored_mass - mass) / mass
        sums_error = np.linalg.norm(stored_sums - sums, axis=1) / np.linalg.norm(sums, axis=1)
        return float(max(mass_error.max(), sums_error.max()))


def _events(log: Any) -> list[tuple[int, int, int, int]]:
    columns = zip(("items", "types", "times", "ids"), ("<u8", "u1", "<i8", "<u8"), strict=True)
    arrays = [np.frombuffer(log[name], kind).tolist() for name, kind in columns]
    return list(zip(*arrays, strict=True))
