"""Records to arrays: every record ends in exactly one place, and always in the same."""

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead_letter import DeadLetter
from schemas.errors import DecodeReason
from schemas.ids import id_hash
from schemas.rerouted import Rerouted
from streams.decode.decoder import Decoded, Decoder
from streams.decode.partitioner import partitions_of
from streams.fetch.record_batch import RecordBatch
from streams.kafka.log_id import LogId
from streams.kafka.topics import EVENT_TOPICS, TopicNames
from tests.strategies import record_values
from tests.unit.streams.profile_model import identity

PARTITIONS = 4
NOW_MS = 1_700_000_000_000
USER = "anna"
HOME = int(partitions_of([USER], PARTITIONS, "murmur2")[0])
STRANGER = next(user for user in map(str, range(99)) if partitions_of([user], PARTITIONS, "murmur2")[0] != HOME)
"""A user of another partition."""
DECODER = Decoder(TopicNames(), lambda topic: f"id-of-{topic}", "murmur2", max_future_s=300)


def record(
    value: bytes | None,
    topic: str = "clicks",
    offset: int = 5,
    partition: int = HOME,
    headers: tuple[Any, ...] = (),
    timestamp: int | None = NOW_MS,
) -> Any:
    return SimpleNamespace(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=timestamp,
        timestamp_type=0,
        key=b"k",
        value=value,
        headers=headers,
    )


def event(**changes: Any) -> bytes:
    fields = {"event_id": "e1", "user_id": USER, "item_id": "red", "event_time_ms": NOW_MS} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def decode(*records: Any, decoder: Decoder = DECODER) -> Decoded:
    tp = TP(records[0].topic, records[0].partition)
    return decoder.decode([RecordBatch(tp, list(records), received_ms=NOW_MS + 7)], PARTITIONS)


def test_an_event_becomes_a_row_of_arrays() -> None:
    found = decode(record(event(), "purchases", offset=9))
    assert found.events is not None
    batch = found.events
    assert (batch.user_ids, batch.item_ids, batch.event_ids) == ([USER], ["red"], ["e1"])
    assert (batch.items.tolist(), batch.id_hashes.tolist()) == ([id_hash("red")], [id_hash("e1")])
    assert batch.ids.tolist() == batch.record_ids.tolist() == [identity("e1", 2, "red")]
    assert batch.continues.tolist() == [False]
    assert (batch.types.tolist(), batch.times.tolist(), batch.written.tolist()) == ([2], [NOW_MS], [NOW_MS])
    assert batch.received.tolist() == [NOW_MS + 7]
    assert batch.sources == [LogId("purchases", "id-of-purchases", HOME)]
    assert (batch.source.tolist(), batch.offsets.tolist(), len(batch)) == ([0], [9], 1)
    assert (found.commands, found.refused, found.misplaced) == (None, [], [])


def order(items: list[Any], **changes: Any) -> bytes:
    return event(item_id=..., items=items, **changes)


def test_an_order_becomes_an_event_for_each_item_with_one_identity() -> None:
    lines = [{"item_id": "red", "quantity": 0.5}, {"item_id": "blue", "price": 2}, {"item_id": "red"}]
    click = record(event(event_id="before"))
    records = [record(order(lines, event_id="o1"), "purchases"), record(event(event_id="after"), "purchases", 6)]
    batches = [RecordBatch(TP(one[0].topic, HOME), one, received_ms=NOW_MS) for one in ([click], records)]
    found = DECODER.decode(batches, PARTITIONS)
    assert found.events is not None
    batch = found.events
    assert batch.item_ids == ["red", "red", "blue", "red"]
    assert batch.items.tolist() == [id_hash(item) for item in batch.item_ids]
    assert batch.event_ids == ["before", "o1", "o1", "after"]
    assert batch.continues.tolist() == [False, False, True, False]
    assert batch.ids.tolist() == [
        identity("before", 0, "red"),
        identity("o1", 2, "red"),
        identity("o1", 2, "blue"),
        identity("after", 2, "red"),
    ]
    assert batch.record_ids[1] == batch.record_ids[2] == identity("o1", 2, "red", "blue")
    assert batch.offsets.tolist() == [5, 5, 5, 6]
    assert found.event_records == [click, records[0], records[0], records[1]]
    assert found.event_batch.tolist() == [0, 1, 1, 1]
    assert batch.first_lines(np.array([0, 2, 3])).tolist() == [0, 1, 3]


def test_the_items_of_an_order_take_the_place_of_its_item_id() -> None:
    found = decode(record(event(items=[{"item_id": "blue"}]), "purchases"))
    assert found.events is not None
    assert found.events.item_ids == ["blue"]


def test_a_misplaced_order_is_rerouted_once() -> None:
    elsewhere = record(order([{"item_id": "red"}, {"item_id": "blue"}]), "purchases", partition=(HOME + 1) % PARTITIONS)
    found = decode(elsewhere)
    assert [misplaced.record for misplaced in found.misplaced] == [elsewhere]
    assert found.events is None


BAD_ORDERS = {
    "no line": ([], "out-of-range", "items"),
    "too many lines": ([{"item_id": "red"}] * 1_001, "out-of-range", "items"),
    "nothing": (..., "missing-field", "item_id"),
}


@pytest.mark.parametrize("case", BAD_ORDERS)
def test_an_order_without_lines_or_with_too_many_is_refused_as_a_whole(case: str) -> None:
    items, reason, field = BAD_ORDERS[case]
    found = decode(record(event(item_id=..., items=items), "purchases"))
    [refused] = found.refused
    assert (refused.letter.reason, refused.letter.field) == (reason, field)


@pytest.mark.parametrize(("topic", "code"), [("clicks", 0), ("browses", 1), ("purchases", 2)])
def test_the_topic_says_what_kind_of_event_it_is(topic: str, code: int) -> None:
    found = decode(record(event(), topic))
    assert found.events is not None
    assert found.events.types.tolist() == [code]


MEGABYTE = "x" * 1_000_000
BAD = {
    "null value": (None, "null-value", None),
    "no bytes": (b"", "malformed", None),
    "broken bytes": (b"\xff\x00\xfe", "malformed", None),
    "half of an object": (event()[:-5], "malformed", None),
    "broken UTF-8 in a string": (event(user_id="Z").replace(b"Z", b"\xc3\x28"), "malformed", None),
    "a list": (b"[]", "wrong-type", None),
    "nested too deep": (b'{"a":' * 100_000, "malformed", None),
    "no user": (event(user_id=...), "missing-field", "user_id"),
    "no time": (event(event_time_ms=...), "missing-field", "event_time_ms"),
    "true for an id": (event(item_id=True), "wrong-type", "item_id"),
    "a list for an id": (event(item_id=["red"]), "wrong-type", "item_id"),
    "null for an id": (event(item_id=None), "missing-field", "item_id"),
    "a text for a time": (event(event_time_ms="now"), "out-of-range", "event_time_ms"),
    "a fraction for a time": (event(event_time_ms=1.5), "out-of-range", "event_time_ms"),
    "NaN for a time": (event(event_time_ms=float("nan")), "out-of-range", "event_time_ms"),
    "a time of January 1970": (event(event_time_ms=NOW_MS // 1000 // 1000), "out-of-range", "event_time_ms"),
    "a negative time": (event(event_time_ms=-1), "out-of-range", "event_time_ms"),
    "a time beyond int64": (event(event_time_ms=2**70), "out-of-range", "event_time_ms"),
    "a time in the year 5000": (event(event_time_ms=95_617_584_000_000), "time-in-future", "event_time_ms"),
    "an empty id": (event(event_id=""), "out-of-range", "event_id"),
    "an id of 10 kB": (event(user_id="u" * 10_000), "out-of-range", "user_id"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_dead_letter_with_its_reason_and_costs_nobody_else(case: str) -> None:
    value, reason, field = BAD[case]
    bad = record(value, "purchases", offset=11)
    found = decode(record(event(event_id="before"), "purchases"), bad, record(event(event_id="after"), "purchases"))
    assert found.events is not None
    assert found.events.event_ids == ["before", "after"]
    assert [one.record for one in found.refused] == [bad]
    letter = found.refused[0].letter
    assert (letter.reason, letter.field) == (reason, field)
    assert (letter.source_topic, letter.source_partition, letter.source_offset) == ("purchases", HOME, 11)
    assert letter.source_timestamp_ms == NOW_MS
    assert 10 < len(letter.detail) <= 500
    assert DeadLetter.from_headers(letter.to_headers()) == letter


def test_a_megabyte_in_a_field_that_is_not_known_is_ignored() -> None:
    assert decode(record(event(extra=MEGABYTE))).events is not None


@pytest.mark.parametrize(("ahead_ms", "refused"), [(300_000, False), (300_001, True), (-(10**12), False)])
def test_the_future_is_judged_by_the_records_own_time(ahead_ms: int, refused: bool) -> None:
    found = decode(record(event(event_time_ms=NOW_MS + ahead_ms)))
    assert [one.letter.reason for one in found.refused] == (["time-in-future"] if refused else [])
    assert (found.events is None) == refused


@pytest.mark.parametrize("timestamp", [None, -1])
def test_a_record_without_a_time_is_taken_as_it_is(timestamp: int | None) -> None:
    """Regression: -1 became the time at which it was received, which the schema of recommendations refuses."""
    found = decode(record(event(event_time_ms=10**14), timestamp=timestamp))
    assert found.events is not None
    assert found.events.written.tolist() == [0]


def test_an_unknown_content_type_is_refused_and_json_is_read() -> None:
    avro = record(event(), headers=(("content-type", b"application/avro"),))
    plain = record(event(), headers=(("content-type", b"application/json; charset=utf-8"),))
    found = decode(avro, plain)
    assert [one.letter.reason for one in found.refused] == [DecodeReason.UNSUPPORTED_CONTENT_TYPE]
    assert found.events is not None
    assert len(found.events) == 1


def test_an_event_on_a_strange_partition_is_sent_on_with_the_place_it_was_read_at() -> None:
    wrong = (HOME + 1) % PARTITIONS
    found = decode(record(event(), partition=wrong, offset=42))
    assert found.events is None
    (one,) = found.misplaced
    assert (one.user_id, one.partition) == (USER, HOME)
    assert one.origin == Rerouted(
        topic="clicks", topic_id="id-of-clicks", partition=wrong, offset=42, timestamp_ms=NOW_MS, counts="4"
    )


def rerouted(origin: Rerouted, value: bytes | None = None, **changes: Any) -> Any:
    return record(value or event(), "rerouted", headers=tuple(origin.to_headers()), **changes)


def test_a_rerouted_event_keeps_its_source_and_its_kind() -> None:
    first = Rerouted(topic="purchases", topic_id="a", partition=0, offset=42)
    second = Rerouted(topic="clicks", topic_id="b", partition=1, offset=7)
    found = decode(rerouted(first), rerouted(second), rerouted(first))
    assert found.events is not None
    assert found.events.types.tolist() == [2, 0, 2]
    assert found.events.sources == [LogId("purchases", "a", 0), LogId("clicks", "b", 1)]
    assert found.events.source.tolist() == [0, 1, 0]
    assert found.events.offsets.tolist() == [42, 7, 42]


def test_an_event_that_is_rerouted_twice_gets_an_applied_offset_of_its_own() -> None:
    """Regression: a later record on the direct path moved the applied offset past this event, and it was lost."""
    wrong = (HOME + 1) % PARTITIONS
    for counts, then in (("2", "2>4"), ("", "4")):  # release 0.1.0 does not tell the counts
        origin = Rerouted(topic="clicks", topic_id="a", partition=0, offset=42, counts=counts)
        found = decode(rerouted(origin, partition=wrong))
        path = Rerouted(topic="clicks", topic_id=f"a>{wrong}", partition=0, offset=42, timestamp_ms=NOW_MS, counts=then)
        assert [(one.origin, one.partition) for one in found.misplaced] == [(path, HOME)]


def test_rerouted_events_of_two_partition_counts_are_logs_of_their_own() -> None:
    origins = [Rerouted(topic="clicks", topic_id="a", partition=0, offset=7, counts=counts) for counts in ("2", "4")]
    found = decode(*map(rerouted, origins))
    assert found.events is not None
    assert found.events.sources == [LogId("clicks", "a", 0, "2"), LogId("clicks", "a", 0, "4")]


LATER_MS = NOW_MS + 86_400_000
"""When a record was rerouted, a day after it was written."""


def rerouted_later(written_ms: int | None, partition: int = HOME, **changes: Any) -> Any:
    origin = Rerouted(topic="clicks", topic_id="a", partition=0, offset=42, timestamp_ms=written_ms)
    return rerouted(origin, event(**changes), partition=partition, timestamp=LATER_MS)


def test_a_rerouted_event_was_written_when_its_origin_was() -> None:
    """Regression: records kept their time on `rerouted`, so retention deleted them there before they were read."""
    plain = rerouted(Rerouted(topic="clicks", topic_id="a", partition=0, offset=43))  # of a former release
    found = decode(rerouted_later(NOW_MS), plain, rerouted_later(-1))
    assert found.events is not None
    assert found.events.written.tolist() == [NOW_MS, NOW_MS, 0]


@pytest.mark.parametrize(
    ("written_ms", "time_ms", "reason"),
    [
        (NOW_MS, NOW_MS + 300_001, "time-in-future"),  # though it is before the record's own time
        (NOW_MS, NOW_MS + 300_000, None),
        (NOW_MS, NOW_MS // 1000, None),
        (NOW_MS // 1000, NOW_MS, None),  # Kafka's time may be in seconds too
        (5, LATER_MS + 10**9, None),  # and one that is no time is none
        (-1, LATER_MS + 10**9, None),
        (None, LATER_MS + 300_001, "time-in-future"),
    ],
)
def test_the_time_of_a_rerouted_event_is_judged_by_its_first_record(
    written_ms: int | None, time_ms: int, reason: str | None
) -> None:
    found = decode(rerouted_later(written_ms, event_time_ms=time_ms))
    assert [one.letter.reason for one in found.refused] == ([] if reason is None else [reason])


@pytest.mark.parametrize(("written_ms", "sent_ms"), [(NOW_MS, NOW_MS), (-1, -1), (None, LATER_MS)])
def test_an_event_that_is_rerouted_again_keeps_the_time_of_its_first_record(
    written_ms: int | None, sent_ms: int
) -> None:
    found = decode(rerouted_later(written_ms, partition=(HOME + 1) % PARTITIONS))
    assert [one.origin.timestamp_ms for one in found.misplaced] == [sent_ms]


def test_a_rerouted_command_was_written_when_its_origin_was() -> None:
    value = json.dumps({"command": "forget", "user_id": USER, "requested_ms": 1}).encode()
    origin = Rerouted(topic="profile-commands", topic_id="a", partition=0, offset=8, timestamp_ms=NOW_MS)
    found = decode(rerouted(origin, value, timestamp=LATER_MS))
    assert found.commands is not None
    assert found.commands.written == [NOW_MS]


def test_times_of_origin_stay_with_their_events_where_others_are_refused() -> None:
    bad = rerouted_later(NOW_MS, event_time_ms=NOW_MS + 10**9)
    found = decode(bad, rerouted_later(NOW_MS + 1), bad, rerouted_later(NOW_MS + 2))
    assert found.events is not None
    assert found.events.written.tolist() == [NOW_MS + 1, NOW_MS + 2]


SMALL = Decoder(TopicNames(), lambda topic: f"id-of-{topic}", "murmur2", max_rerouted_bytes=4_096)
FILLED = event(title="x" * 2_900)
"""An event that just fits, without headers."""


@pytest.mark.parametrize(
    ("value", "more", "refused"),
    [
        (FILLED, (), False),
        (event(title="x" * 4_000), (), True),
        (FILLED, (("trace", b"t" * 500),), True),
    ],
    ids=["small", "its value is large", "its headers are large"],
)
def test_a_misplaced_event_that_is_too_large_to_reroute_is_a_dead_letter(
    value: bytes, more: tuple[Any, ...], refused: bool
) -> None:
    """Regression: the broker's answer decided, after later events of the user were taken: they made it be skipped."""
    large = record(value, partition=(HOME + 1) % PARTITIONS, headers=more)
    for _ in range(2):  # a replay gives the same verdict
        found = decode(large, decoder=SMALL)
        assert [one.letter.reason for one in found.refused] == ["too-large"] * refused
        assert len(found.misplaced) == (not refused)
    assert decode(record(value, headers=more), decoder=SMALL).events is not None  # in its place, any size will do


def test_a_record_that_was_rerouted_once_is_never_too_large_to_be_rerouted_again() -> None:
    wrong = (HOME + 1) % PARTITIONS
    (first,) = decode(record(FILLED, partition=wrong), decoder=SMALL).misplaced
    headers = first.origin.to_headers([("x", b"y")])
    again = record(FILLED, "rerouted", headers=tuple(headers), partition=wrong)
    assert len(decode(again, decoder=SMALL).misplaced) == 1


@pytest.mark.parametrize("header", ["topic", "topic-id", "partition", "offset"])
def test_a_rerouted_record_without_its_headers_is_a_dead_letter(header: str) -> None:
    origin = Rerouted(topic="clicks", topic_id="a", partition=0, offset=42)
    headers = tuple(pair for pair in origin.to_headers() if pair[0] != f"prefstream-origin-{header}")
    found = decode(record(event(), "rerouted", headers=headers))
    assert [(one.letter.reason, one.letter.field) for one in found.refused] == [
        ("malformed", f"prefstream-origin-{header}")
    ]


@pytest.mark.parametrize("topic", ["rerouted", "catalog", "payments"])
def test_a_rerouted_record_of_a_topic_that_holds_no_events_is_a_dead_letter(topic: str) -> None:
    origin = Rerouted(topic=topic, topic_id="a", partition=0, offset=42)
    found = decode(rerouted(origin))
    assert [one.letter.reason for one in found.refused] == ["malformed"]
    assert repr(topic) in found.refused[0].letter.detail


def test_commands_are_read_from_their_topic_and_from_rerouted() -> None:
    value = json.dumps({"command": "forget", "user_id": USER, "requested_ms": 1}).encode()
    found = decode(record(value, "profile-commands", offset=3))
    assert found.commands is not None
    assert (found.commands.user_ids, found.commands.commands, found.commands.offsets) == ([USER], ["forget"], [3])
    assert found.commands.sources == [LogId("profile-commands", "id-of-profile-commands", HOME)]
    origin = Rerouted(topic="profile-commands", topic_id="a", partition=0, offset=8)
    both = decode(rerouted(origin, value), rerouted(Rerouted(topic="clicks", topic_id="b", partition=1, offset=9)))
    assert both.commands is not None
    assert both.events is not None
    assert both.commands.sources == [LogId("profile-commands", "a", 0)]
    assert both.events.sources[both.events.source[0]] == LogId("clicks", "b", 1)


def test_a_command_beside_one_on_the_wrong_partition_is_carried_out() -> None:
    """Regression: the worker ended."""
    values = [
        json.dumps({"command": "forget", "user_id": user, "requested_ms": 1}).encode() for user in (USER, STRANGER)
    ]
    found = decode(*(record(value, "profile-commands", offset=n) for n, value in enumerate(values)))
    assert found.commands is not None
    assert found.commands.user_ids == [USER]
    assert [misplaced.user_id for misplaced in found.misplaced] == [STRANGER]


def test_an_unknown_command_is_refused_and_the_known_one_is_named() -> None:
    value = json.dumps({"command": "promote", "user_id": USER, "requested_ms": 1}).encode()
    found = decode(record(value, "profile-commands"))
    assert [one.letter.field for one in found.refused] == ["command"]
    assert "forget" in found.refused[0].letter.detail


def test_a_namespace_is_part_of_the_topics_names() -> None:
    decoder = Decoder(TopicNames("shop1"), lambda topic: "x", "murmur2")
    found = decode(record(event(), "shop1.browses"), decoder=decoder)
    assert found.events is not None
    assert found.events.types.tolist() == [1]


def test_the_partitioner_of_the_shops_producers_decides_what_is_misplaced() -> None:
    user = next(
        name
        for name in map(str, range(99))
        if partitions_of([name], 4, "crc32")[0] != partitions_of([name], 4, "murmur2")[0]
    )
    home = int(partitions_of([user], PARTITIONS, "crc32")[0])
    one = record(event(user_id=user), partition=home)
    assert len(decode(one).misplaced) == 1
    assert decode(one, decoder=Decoder(TopicNames(), str, "crc32")).events is not None


headers = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "prefstream-origin-topic", "prefstream-origin-offset", "x"]),
        st.none() | st.binary(max_size=8) | st.sampled_from([b"application/json", b"clicks", b"7"]),
    ),
    max_size=4,
).map(tuple)
any_record = st.builds(
    record,
    record_values,
    topic=st.just("clicks"),
    offset=st.integers(0, 100),
    headers=headers,
    timestamp=st.none() | st.just(NOW_MS) | st.integers(-1, 2**62),
)


def places(found: Decoded, records: list[Any]) -> list[tuple[int, str, str]]:
    """Where each record went, by its identity: index, place, and the verdict."""
    at = {id(one): number for number, one in enumerate(records)}
    seen = [(at[id(one.record)], "refused", f"{one.letter.reason} {one.letter.field}") for one in found.refused]
    seen += [(at[id(one.record)], "misplaced", str(one.partition)) for one in found.misplaced]
    return sorted(seen)


@settings(max_examples=200, deadline=None)
@given(st.lists(any_record, min_size=1, max_size=6), st.sampled_from([*EVENT_TOPICS, "rerouted", "profile-commands"]))
def test_any_record_ends_in_exactly_one_place_and_alone_in_the_same(records: list[Any], topic: str) -> None:
    for number, one in enumerate(records):
        one.topic, one.offset = topic, number
    found = decode(*records)
    elsewhere = places(found, records)
    events = int((~found.events.continues).sum()) if found.events else 0
    kept = events + (len(found.commands) if found.commands else 0)
    assert len({number for number, *_ in elsewhere}) == len(elsewhere) == len(records) - kept
    if topic not in ("rerouted", "profile-commands") and found.events is not None:
        rest = set(range(len(records))) - {number for number, *_ in elsewhere}
        assert set(found.events.offsets.tolist()) == rest
    alone = [(number, *place[1:]) for number, one in enumerate(records) for place in places(decode(one), [one])]
    assert alone == elsewhere


UNITS = [NOW_MS // 1000, NOW_MS * 1000, NOW_MS * 10**6, float(NOW_MS), f" {NOW_MS} ", "2023-11-14T23:13:20+01:00"]


@pytest.mark.parametrize("time", UNITS)
@pytest.mark.parametrize("timestamp", [None, -1, NOW_MS, NOW_MS // 1000])
def test_the_unit_of_a_time_is_recognised_by_its_value(time: Any, timestamp: int | None) -> None:
    found = decode(record(event(event_time_ms=time), timestamp=timestamp))
    assert found.events is not None
    assert found.events.times.tolist() == [NOW_MS]


ODD = {
    "infinity for a price": ({"price": float("inf")}, "price", "out-of-range"),
    "a field of a megabyte": ({"session_id": MEGABYTE}, "session_id", "out-of-range"),
    "a negative quantity": ({"quantity": -1}, "quantity", "out-of-range"),
    "a currency that is none": ({"currency": "euro"}, "currency", "out-of-range"),
    "an object for a price": ({"price": {"EUR": 5}}, "price", "wrong-type"),
    "a list for a session": ({"session_id": ["a"]}, "session_id", "wrong-type"),
}


@pytest.mark.parametrize("case", ODD)
def test_a_field_that_is_wrong_and_optional_costs_only_itself(case: str) -> None:
    fields, field, reason = ODD[case]
    odd = record(event(event_id="odd", **fields), "purchases")
    found = decode(record(event(), "purchases"), odd)
    assert found.refused == []
    assert found.events is not None
    assert found.events.event_ids == ["e1", "odd"]
    [fault] = found.faults
    assert (fault.record, fault.error.field, str(fault.error.reason)) == (odd, field, reason)


MENDED = [
    {"user_id": USER, "item_id": 7, "event_id": 12.0},
    {"price": "9.50", "quantity": "0.45", "currency": " usd"},
    {"quantity": 2.0, "session_id": 123, "recommendation_id": None, "price": None, "unknown": {"a": 1}},
]


@pytest.mark.parametrize("fields", MENDED)
def test_a_field_without_doubt_is_converted(fields: dict[str, Any]) -> None:
    found = decode(record(event(**fields), "purchases"))
    assert (found.refused, found.faults) == ([], [])
    assert found.events is not None
    assert found.events.item_ids == [str(fields.get("item_id", "red"))]


def test_a_line_of_an_order_that_is_wrong_costs_only_itself() -> None:
    lines = [{"item_id": "red", "quantity": "2"}, {"quantity": 1}, {"item_id": 5, "price": "x"}, None]
    found = decode(record(order(lines), "purchases"))
    assert found.events is not None
    assert sorted(found.events.item_ids) == ["5", "red"]
    assert [fault.error.field for fault in found.faults] == ["items[1].item_id", "items[2].price"]


def test_json_behind_a_schema_id_is_read_and_other_formats_are_named() -> None:
    framed = b"\x00\x00\x00\x00\x07"
    found = decode(record(framed + event()), record(framed + b"\x02u1"), record(event().decode().encode("utf-16")))
    assert found.events is not None
    assert found.events.event_ids == ["e1"]
    details = [one.letter.detail for one in found.refused]
    assert "Confluent's wire format (schema id 7" in details[0]
    assert "UTF-16" in details[1]


class OneByOne(Decoder):
    """Looks at each record alone, as the decoder does where one of them is at fault."""

    def _read_all(self, *_: Any) -> bool:
        return False


TYPED = (("content-type", b"application/json"),)
times = st.sampled_from([0, 5, 1.5, str(NOW_MS), NOW_MS // 1000, NOW_MS, NOW_MS + 299_000, NOW_MS + 301_000])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            times,
            st.sampled_from([None, -1, NOW_MS]),
            st.sampled_from([(), (("x", b"y"),), TYPED]),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_records_that_are_read_together_say_what_each_says_alone(drawn: list[Any]) -> None:
    records = [
        record(event(event_time_ms=ms, event_id=f"e{number}") if fine else b"{", timestamp=written, headers=headers)
        for number, (ms, written, headers, fine) in enumerate(drawn)
    ]
    for number, one in enumerate(records):
        one.offset = number
    together, alone = (
        decode(*records),
        decode(*records, decoder=OneByOne(TopicNames(), lambda topic: f"id-of-{topic}", "murmur2")),
    )
    assert places(together, records) == places(alone, records)
    assert (together.events is None) == (alone.events is None)
    if together.events is not None and alone.events is not None:
        for field in dataclasses.fields(together.events):
            ours, theirs = getattr(together.events, field.name), getattr(alone.events, field.name)
            assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs
    assert [id(one) for one in together.event_records] == [id(one) for one in alone.event_records]
