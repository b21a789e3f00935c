"""What every profile must be, computed from the list of events alone; shares no code with the product.

It knows the documented facts: ids are hashed by xxh3, an event has an identity of id, type and items, recents are the L
largest events by (time, identity), the rest is in decayed sums, a row's state is a MessagePack map of little-endian
arrays.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash

TYPES = ("click", "browse", "purchase")
ACTIONS = ("refund", "cart_removal", "hide", "consent")
TAKEN_BACK = {"refund": "purchase", "cart_removal": "click"}
"""Actions that count as an event with a negative vector."""
_FOR_EVER = 2**63 - 1
PURCHASES = 64
"""Purchased items of a user that are remembered (the default of ``profiles.purchases``)."""


class Sent(NamedTuple):
    """A record as it was produced, duplicates and all."""

    event_id: str
    user_id: str
    item_id: str
    type: str
    time_ms: int
    more: tuple[str, ...] = ()
    """The other items of an order, if it is one record."""
    detail: int = 0
    """Of a hide: until when, 0 = for ever. Of a consent: whether it is given; its item is ``purpose=`` and the purpose.
    """

    def lines(self) -> list["Sent"]:
        """Its events: one for each item."""
        return [self._replace(item_id=item, more=()) for item in dict.fromkeys((self.item_id, *self.more))]


def hashed(text: str) -> int:
    """How ids are stored."""
    return xxhash.xxh3_64_intdigest(text.encode())


def identity(sent: Sent) -> int:
    """How records are recognised: docs/reference/stored-row.md has the formula."""
    mixed = (hashed(sent.event_id) + ((*TYPES, *ACTIONS).index(sent.type) + 1) * 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
    items = {sent.item_id, *sent.more}
    return ((mixed ^ mixed >> 31) + sum(map(hashed, items))) % 2**64


def latest_first(event: Sent) -> tuple[int, int]:
    """The key by which events are sorted, largest first."""
    return event.time_ms, identity(event)


@dataclass
class Oracle:
    """The rules of a run."""

    history: int
    half_lives_s: list[float]
    type_weights: dict[str, list[float]]
    dimension: int
    spaces: dict[str, np.ndarray] = field(default_factory=dict)
    """Encoder version -> matrix (d, d') with orthonormal rows that turns the items' vectors into that version's."""
    before_identities: bool = False
    """Whether rows may be of an earlier release: its ids are hashes of event ids, and an item is there repeatedly."""
    _vectors: dict[str, np.ndarray] = field(default_factory=dict)

    def vector(self, item_id: str) -> np.ndarray:
        """A random unit vector, seeded by the item's id."""
        if item_id not in self._vectors:
            made = np.random.default_rng(hashed(item_id)).standard_normal(self.dimension)
            self._vectors[item_id] = (made / np.linalg.norm(made)).astype(np.float32)
        return self._vectors[item_id]

    def compare(
        self,
        sent: list[Sent],
        rows: Mapping[str, Any],
        *,
        duplicate_window: int | None = None,
        forgotten: Mapping[str, Collection[str]] | None = None,
    ) -> dict[str, Any]:
        """Compare every user's stored row with what the events say.

        ``sent`` is in the order of the log. A repeated record counts again once more than ``duplicate_window`` records
        of its user were counted since (never, if that is None). ``forgotten`` names the users that were forgotten, and
        for each the ids of the events before that: they stay in the counters only.
        """
        counted, duplicates = _without_duplicates(sent, duplicate_window)
        report = {
            "events": sum(len(events) for events in counted.values()),
            "applied": 0,
            "duplicates": 0,
            "users": len(rows),
            "users_missing": len(counted.keys() - rows.keys()),
            "users_unexpected": len(rows.keys() - counted.keys()),
            "recents_wrong": 0,
            "counters_wrong": 0,
            "purchases_wrong": 0,
            "actions_wrong": 0,
            "lost": 0,
            "double_counted": 0,
            "max_state_error": 0.0,
        }
        for user, events in counted.items():
            if user in rows:
                before = (forgotten or {}).get(user, ())
                kept = [event for event in events if event.event_id not in before]
                self._compare_user(events, kept, duplicates[user], rows[user], report)
                report["lost"] += _unseen_actions(kept, rows[user], duplicate_window)
            else:
                report["lost"] += len(events)
        for user in rows.keys() - counted.keys():
            report["double_counted"] += sum(msgspec.msgpack.decode(rows[user].state)["counters"]["applied"])
        return report

    def _compare_user(
        self, counted: list[Sent], kept: list[Sent], duplicates: int, row: Any, report: dict[str, Any]
    ) -> None:
        events, actions = apart(counted)[0], apart(kept)[1]
        kept = apart(kept)[0]
        state = msgspec.msgpack.decode(row.state)
        counters = state["counters"]
        former_ids = {hashed(e.event_id): identity(e) for e in events} if self.before_identities else {}
        report["applied"] += sum(counters["applied"])
        report["duplicates"] += counters["duplicates"]
        by_type = [sum(event.type == name for event in events) for name in TYPES]
        wrong = counters["applied"] != by_type or counters["duplicates"] != duplicates or counters["pending_dropped"]
        report["counters_wrong"] += bool(wrong)
        ordered = sorted(kept, key=latest_first, reverse=True)
        recents = [(hashed(e.item_id), TYPES.index(e.type), e.time_ms, identity(e)) for e in ordered[: self.history]]
        stored_recents = _events(state["recents"], former_ids)
        if self.before_identities:
            stored_recents.sort(key=lambda event: event[2:], reverse=True)
        report["recents_wrong"] += recents != stored_recents
        # what the duplicate window caught of a replay that got past the fences was doubled all the same
        pairs = [*zip(by_type, counters["applied"], strict=True), (duplicates, counters["duplicates"])]
        missing = Counter(recents) - Counter(stored_recents)
        extra = Counter(stored_recents) - Counter(recents)
        lost, doubled = (sum(max(0, sign * (want - got)) for want, got in pairs) for sign in (1, -1))
        report["lost"] += max(lost, missing.total() if not doubled else 0)
        report["double_counted"] += max(doubled, extra.total() if not lost else 0)
        latest: dict[str, int] = {}
        for event in kept:
            if event.type == "purchase":
                latest[event.item_id] = max(event.time_ms, latest.get(event.item_id, 0))
        bought = sorted(((time_ms, hashed(item)) for item, time_ms in latest.items()), reverse=True)
        stored = list(
            zip(
                np.frombuffer(state["purchased_times"], "<i8").tolist(),
                np.frombuffer(state["purchased_items"], "<u8").tolist(),
                strict=True,
            )
        )
        if self.before_identities:
            last = {item: time_ms for time_ms, item in reversed(stored)}  # the newest first
            stored = sorted(((time_ms, item) for item, time_ms in last.items()), reverse=True)
        report["purchases_wrong"] += bought[:PURCHASES] != stored
        stored_actions = state.get("actions") or {}
        report["actions_wrong"] += any(
            _without_written(stored_actions.get(name, {})) != want for name, want in _kept(actions).items()
        )
        waiting = {event[3] for event in _events(state["pending"], former_ids)}
        waiting |= {entry[3] for entry in stored_actions.get("pending", ())}
        taken_back = [action for action in actions if action.type in TAKEN_BACK]
        error = self._sums_error([*ordered[self.history :], *taken_back], state, waiting)
        report["max_state_error"] = max(report["max_state_error"], error)

    def _sums_error(self, older: list[Sent], state: Any, waiting: set[int]) -> float:
        """Largest relative difference of mass and sums; what still waits for a vector is added to the stored sums."""
        folded = [event for event in older if identity(event) not in waiting]
        if len(folded) + len(waiting) != len(older):
            return float("inf")
        if not folded:
            return float("inf") if any(any(np.frombuffer(s["mass"], "<f4")) for s in state["sums"]) else 0.0
        sums, mass, newest = self.sums(folded)
        parts = state["sums"]
        if len({part["encoder"] for part in parts}) != max(1, len(parts)) or len(parts) > max(1, len(self.spaces)):
            return float("inf")
        if max(part["time_ms"] for part in parts) != newest:
            return float("inf")
        stored_sums, stored_mass = np.zeros_like(sums), np.zeros_like(mass)
        for part in parts:
            kept = 2.0 ** (-(newest - part["time_ms"]) / 1000 / np.array(self.half_lives_s))
            part_sums = np.frombuffer(part["sums"], "<f4").reshape(len(mass), -1)
            if part["encoder"] in self.spaces:
                part_sums = part_sums @ self.spaces[part["encoder"]].T
            stored_sums += kept[:, None] * part_sums
            stored_mass += kept * np.frombuffer(part["mass"], "<f4")
        mass_error = np.abs(stored_mass - mass) / mass
        # by the mass: sums of what was taken back may be near zero
        sums_error = np.linalg.norm(stored_sums - sums, axis=1) / mass
        return float(max(mass_error.max(), sums_error.max()))

    def sums(self, folded: list[Sent]) -> tuple[np.ndarray, np.ndarray, int]:
        """Decayed sums (T, d) and mass (T,) of events, and their time; events that were taken back are negative."""
        newest = max(event.time_ms for event in folded)
        age_s = np.array([(newest - event.time_ms) / 1000 for event in folded])
        kinds = [TAKEN_BACK.get(event.type, event.type) for event in folded]
        weights = np.array([self.type_weights[kind] for kind in kinds])  # (E, T)
        weights = weights * 2.0 ** (-age_s[:, None] / np.array(self.half_lives_s))
        vectors = np.stack([self.vector(event.item_id) for event in folded]).astype(np.float64)
        vectors *= np.array([-1.0 if event.type in TAKEN_BACK else 1.0 for event in folded])[:, None]
        return weights.T @ vectors, weights.sum(axis=0), newest

    def counted(self, sent: list[Sent], duplicate_window: int | None = None) -> dict[str, list[Sent]]:
        """Each user's events that count."""
        return _without_duplicates(sent, duplicate_window)[0]


def apart(sent: list[Sent]) -> tuple[list[Sent], list[Sent]]:
    """Events, and actions."""
    return [one for one in sent if one.type in TYPES], [one for one in sent if one.type in ACTIONS]


def _unseen_actions(kept: list[Sent], row: Any, window: int | None) -> int:
    """Number of actions that a row has never seen; 0 if it has seen so many records that it may forget some."""
    seen = set(np.frombuffer(msgspec.msgpack.decode(row.state)["seen_ids"], "<u8").tolist())
    if window is None or len(seen) >= window:
        return 0
    return sum(identity(action) not in seen for action in apart(kept)[1])


def _kept(actions: list[Sent]) -> dict[str, dict[Any, list[Any]]]:
    """What a row keeps of a user's few actions: the latest on each thing. Kafka's times are not known here."""
    kept: dict[str, dict[Any, list[Any]]] = {"refunds": {}, "hidden_items": {}, "consents": {}}
    for action in actions:
        if action.type == "refund":
            things, key, entry = kept["refunds"], hashed(action.item_id), [action.time_ms]
        elif action.type == "hide":
            things, key = kept["hidden_items"], hashed(action.item_id)
            entry = [action.time_ms, action.detail or _FOR_EVER]
        elif action.type == "consent":
            things, key = kept["consents"], action.item_id.removeprefix("purpose=")
            entry = [action.time_ms, bool(action.detail)]
        else:
            continue
        things[key] = max(entry, things.get(key, entry))
    return kept


def _without_written(entries: dict[Any, list[Any]]) -> dict[Any, list[Any]]:
    """Entries of a row without Kafka's time, which is the second."""
    return {key: [entry[0], *entry[2:]] for key, entry in entries.items()}


def _without_duplicates(sent: list[Sent], window: int | None) -> tuple[dict[str, list[Sent]], Counter[str]]:
    """Each user's events that count, and how many of the user's records don't."""
    counted: dict[str, list[Sent]] = defaultdict(list)
    last: dict[tuple[Any, ...], int] = {}  # record -> how many records of the user came before it
    records: Counter[str] = Counter()
    duplicates: Counter[str] = Counter()
    for record in sent:
        user = record.user_id
        key = (user, record.event_id, record.type, frozenset((record.item_id, *record.more)))
        if key in last and (window is None or records[user] - last[key] <= window):
            duplicates[user] += 1
        else:
            last[key] = records[user]
            records[user] += 1
            counted[user] += record.lines()
    return counted, duplicates


def _events(log: Any, former_ids: Mapping[int, int]) -> list[tuple[int, int, int, int]]:
    """Events of a row; ids that earlier releases wrote are replaced by identities."""
    columns = zip(("items", "types", "times", "ids"), ("<u8", "u1", "<i8", "<u8"), strict=True)
    arrays = [np.frombuffer(log[name], kind).tolist() for name, kind in columns]
    return [(item, kind, time_ms, former_ids.get(id_, id_)) for item, kind, time_ms, id_ in zip(*arrays, strict=True)]
