"""What the load consists of, from a seed: events of known users and items, repeats, late ones, and broken records."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.e2e.oracle import ACTIONS, Sent

ITEMS = [f"item-{number}" for number in range(300)]
TOPIC_OF = {"click": "clicks", "browse": "browses", "purchase": "purchases"}
TYPE_OF = {topic: kind for kind, topic in TOPIC_OF.items()}
WINDOW = 64
"""Events of a user within which a repeated id is recognised (the default of ``profiles.duplicate_window``)."""

_ODD_FIELDS: list[tuple[str, Any]] = [
    ("session_id", 123),
    ("recommendation_id", None),
    ("recommendation_id", {"id": 1}),
    ("list", ["home"]),
    ("position", "first"),
    ("dwell_ms", -5),
    ("quantity", "2.0"),
    ("price", "9,50"),
    ("currency", "usd"),
    ("intent", "wish"),
    ("later", [1, {}]),
]
_PURPOSES = ("marketing", "ads")
_LATE_MS = 300_000
_FAR_FUTURE_MS = 86_400_000
_ID_BYTES = 256
_FIRST_SECOND, _FIRST_MICROSECOND = 100_000_000, 100_000_000_000_000  # of the times that readers take: docs, Events


class Record(NamedTuple):
    """A record as it is to be produced; ``sent`` is None for one that can't be read."""

    topic: str
    key: str
    value: bytes | None
    sent: Sent | None
    partition: int | None = None
    """A partition that it is forced to, its key's or not."""
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Mix:
    """How hard the load is, in shares of its records."""

    users: int = 1_000
    busy_users: int = 2
    """Each with 1 record in 25, all of them clicks: the order of their events is that of one partition's log."""
    repeats: float = 0.02
    far_repeats: float = 0.01
    """Of the busy users' events: those repeated beyond the window, which must count again."""
    late: float = 0.1
    broken: float = 0.01
    misplaced: float = 0.02
    orders: float = 0.3
    """Of the purchases: orders with several items in one record."""
    shared_ids: float = 0.3
    """Of the purchases: orders of a record for each item, which share an event id with each other and with a click."""

    odd: float = 0.1
    """Of the sound records: those with fields that have to be mended, and times in other units."""
    actions: float = 0.05
    """Of the other users' records: refunds, removals from the cart, hidden items and consents. Half of the refunds come
    before their purchase."""

    @property
    def topics(self) -> list[str]:
        """The inputs that broken records go to."""
        return [*TYPE_OF, "actions"] if self.actions else list(TYPE_OF)

    def as_before_identities(self) -> "Mix":
        """The mix beside releases that know an event by its id alone: nothing that they count otherwise."""
        return replace(self, orders=0.0, shared_ids=0.0, repeats=0.0, far_repeats=0.0, actions=0.0, odd=0.0)


@dataclass
class Content:
    """Records without an end. A user that is not busy stays far below WINDOW events, so their order does not matter."""

    seed: int
    mix: Mix
    partitions: int
    _number: int = 0
    _due: list[tuple[int, Record]] = field(default_factory=list)  # record number at which one follows
    _of_user: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _due_busy: dict[str, list[tuple[int, Record]]] = field(default_factory=lambda: defaultdict(list))
    _bought: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def next(self, now_ms: int) -> Iterator[Record]:
        """The next record, and the repeats and purchases that are due after it."""
        self._number += 1
        mix, rng = self.mix, self._rng
        if rng.random() < mix.broken:
            yield broken(rng, now_ms, f"b{self._number}", mix.topics)
            return
        if rng.random() < mix.busy_users / 25:
            yield from self._busy(f"busy-{rng.randrange(mix.busy_users)}", now_ms)
        else:
            user = f"user-{rng.randrange(mix.users)}"
            for record in self._records(user, rng.choices(list(TOPIC_OF), [30, 60, 10])[0], now_ms):
                if rng.random() < mix.odd:
                    record = odd(rng, record)
                if rng.random() < mix.misplaced:
                    record = record._replace(partition=rng.randrange(self.partitions))
                yield record
                if rng.random() < mix.repeats:
                    self._due.append((self._number + rng.randrange(1, 200), record))
        while self._due and min(self._due)[0] <= self._number:
            first = min(self._due)
            self._due.remove(first)
            yield first[1]

    def _busy(self, user: str, now_ms: int) -> Iterator[Record]:
        record = event_record(self._sent(user, "click", now_ms))
        yield record
        self._of_user[user] += 1
        place, due = self._of_user[user], self._due_busy[user]
        if self._rng.random() < self.mix.far_repeats:
            due.append((place + self._rng.randrange(201, 260), record))
        elif self._rng.random() < self.mix.repeats:
            due.append((place + self._rng.randrange(1, WINDOW // 2), record))
        for one in [one for one in due if one[0] <= place]:
            due.remove(one)
            yield one[1]

    def _records(self, user: str, kind: str, now_ms: int) -> list[Record]:
        """An event of a user: one record, or some records with one id; or an action."""
        if self._rng.random() < self.mix.actions:
            return [self._action(user, now_ms)]
        sent, chance = self._sent(user, kind, now_ms), self._rng.random()
        if kind == "purchase":
            self._bought[user].append(sent.item_id)
        if kind != "purchase" or chance >= self.mix.orders + self.mix.shared_ids:
            return [event_record(sent)]
        more = self._rng.sample([item for item in ITEMS if item != sent.item_id], self._rng.randrange(1, 12))
        if chance < self.mix.orders:
            return [event_record(sent._replace(more=tuple(more)))]
        lines = sent._replace(more=tuple(more[:3])).lines()
        return [event_record(one) for one in (sent._replace(type="click"), *lines)]

    def _action(self, user: str, now_ms: int) -> Record:
        rng, kind = self._rng, self._rng.choices(ACTIONS, [40, 20, 20, 20])[0]
        sent = self._sent(user, kind, now_ms)
        match kind:
            case "refund" if self._bought[user] and rng.random() < 0.5:
                sent = sent._replace(item_id=rng.choice(self._bought[user]))
            case "refund":
                purchase = sent._replace(event_id=f"p{sent.event_id}", type="purchase", time_ms=sent.time_ms - 1_000)
                self._due.append((self._number + rng.randrange(1, 200), event_record(purchase)))
            case "hide":  # few things, so that a later action meets an earlier one
                until_ms = rng.choice([0, now_ms - 1_000, now_ms + 1_000])
                sent = sent._replace(item_id=rng.choice(ITEMS[:2]), detail=until_ms)
            case "consent":
                sent = sent._replace(item_id=f"purpose={rng.choice(_PURPOSES)}", detail=rng.randrange(2))
        return event_record(sent)

    def _sent(self, user: str, kind: str, now_ms: int) -> Sent:
        late_ms = self._rng.randrange(_LATE_MS) if self._rng.random() < self.mix.late else 0
        return Sent(f"s{self.seed}-{self._number}", user, self._rng.choice(ITEMS), kind, now_ms - late_ms)


def event_record(sent: Sent) -> Record:
    """An event or an action as a shop's producer would send it."""
    value: dict[str, Any] = {
        "event_id": sent.event_id,
        "user_id": sent.user_id,
        "event_time_ms": sent.time_ms,
    }
    if sent.type in ACTIONS:
        value["action"] = sent.type
        if sent.type == "consent":
            value |= {"purpose": sent.item_id.removeprefix("purpose="), "given": bool(sent.detail)}
        else:
            value["item_id"] = sent.item_id
        if sent.type == "hide" and sent.detail:
            value["until_ms"] = sent.detail
        return Record("actions", sent.user_id, json.dumps(value).encode(), sent)
    if sent.more:
        value["items"] = [{"item_id": item, "quantity": 1.5} for item in (sent.item_id, *sent.more)]
    else:
        value["item_id"] = sent.item_id
    return Record(TOPIC_OF[sent.type], sent.user_id, json.dumps(value).encode(), sent)


def odd(rng: random.Random, record: Record) -> Record:
    """The record as another producer would write it: optional fields that are wrong or null, times in other units."""
    value = json.loads(record.value or b"")
    time_ms = value["event_time_ms"]
    text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    value["event_time_ms"] = rng.choice([time_ms, float(time_ms), str(time_ms), time_ms * 1_000, time_ms * 10**6, text])
    value |= dict(rng.sample(_ODD_FIELDS, 3))
    data = json.dumps(value).encode()
    return record._replace(value=b"\x00\x00\x00\x00\x07" + data if rng.random() < 0.1 else data)


def broken(rng: random.Random, now_ms: int, name: str, topics: Sequence[str]) -> Record:
    """A record of one of ``topics`` that can't be read: one of a dozen kinds, or a fuzzed event or action."""
    good = {"event_id": name, "user_id": f"user-{rng.randrange(100)}", "item_id": "item-1", "event_time_ms": now_ms}
    topic = rng.choice(topics)
    if topic == "actions":
        good["action"] = rng.choice(["refund", "cart_removal"])
    headers: tuple[tuple[str, bytes], ...] = ()
    value: bytes | None
    match rng.randrange(14):
        case 12:  # Avro behind a schema id
            value = b"\x00\x00\x00\x00\x07\x04u1" + rng.randbytes(20)
        case 13:
            value = json.dumps(good).encode(rng.choice(["utf-16", "utf-16-le", "utf-32"]))
        case 0:
            value = None
        case 1:
            value = rng.randbytes(rng.randrange(1, 200)).replace(b"{", b"")
        case 2:
            without = rng.choice(list(good))
            value = json.dumps({name: good[name] for name in good if name != without}).encode()
        case 3:
            value = json.dumps(
                good | {rng.choice(["event_id", "user_id", "item_id"]): rng.choice([True, None, []])}
            ).encode()
        case 4:
            value = json.dumps(good | {"event_time_ms": now_ms + _FAR_FUTURE_MS}).encode()
        case 5:
            value = json.dumps(good | {"event_time_ms": rng.choice([-1, "soon", 1.5, None])}).encode()
        case 6:
            value = json.dumps(
                good | {rng.choice(["event_id", "user_id", "item_id"]): rng.choice(["", "x" * 5_000])}
            ).encode()
        case 7:
            value, headers = json.dumps(good).encode(), (("content-type", b"application/x-unknown"),)
        case _:
            value = fuzzed(rng, json.dumps(good).encode(), now_ms)
    key = f"user-{rng.randrange(100)}"
    headers += (("trace", rng.randbytes(4)),) if rng.random() < 0.2 else ()
    return Record(topic, key, value, None, headers=headers)


def fuzzed(rng: random.Random, value: bytes, now_ms: int) -> bytes:
    """``value`` with bytes flipped, cut, doubled or put in, until it surely is no event any more."""
    while True:
        data = bytearray(value)
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(len(data) or 1)
            match rng.randrange(4):
                case 0 if data:
                    data[place] ^= 1 << rng.randrange(8)
                case 1:
                    del data[place : place + rng.randrange(1, 20)]
                case 2:
                    data[place:place] = rng.randbytes(rng.randrange(1, 5))
                case _:
                    data[place:place] = data[place : place + rng.randrange(1, 10)]
        if surely_broken(bytes(data), now_ms):
            return bytes(data)


def surely_broken(data: bytes, now_ms: int) -> bool:
    """Whether no reader could take this for an event; False where it might be one, or might be taken for one."""
    try:
        found = json.loads(data.decode())
    except ValueError:
        return True
    if not isinstance(found, dict):
        return True
    ids = [found.get(name) for name in ("event_id", "user_id", "item_id")]
    # a number is an id as well
    if any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in ids):
        return True
    if any(not one or len(one) > _ID_BYTES for one in ids if isinstance(one, str)):
        return True
    time = found.get("event_time_ms")
    if isinstance(time, str):  # may be a date
        return False
    if isinstance(time, bool) or not isinstance(time, int | float):
        return True
    # numbers of other sizes are seconds, micro- or nanoseconds, most of them of years that nobody can know here
    return time < _FIRST_SECOND or now_ms + _FAR_FUTURE_MS < time < _FIRST_MICROSECOND
