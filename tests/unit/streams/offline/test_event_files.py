import gzip
from pathlib import Path

import pytest

from schemas.errors import DecodeError, DecodeReason
from schemas.events import Browse, Click, Purchase
from streams.offline.event_files import LONGEST_LINE_BYTES, EventFileError, LineFile, read_events, read_items

CLICK = b'{"type": "click", "event_id": "e1", "user_id": "u1", "item_id": "i1", "event_time_ms": 1e9, "list": "home"}\n'
BUY = b'{"type": "purchase", "event_id": "e2", "user_id": "u1", "item_id": "i2", "event_time_ms": 1e9, "quantity": 2}\n'


def events_of(path: Path) -> list[tuple[int, object]]:
    with LineFile(path) as lines:
        return list(read_events(lines))


def test_json_lines_become_events_of_their_type(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(CLICK + b"\n  \r\n" + BUY.rstrip())
    (first, click), (second, bought) = events_of(path)
    assert (first, second) == (1, 4)  # line numbers, empty lines counted
    assert click == Click(event_id="e1", user_id="u1", item_id="i1", event_time_ms=10**12, list="home")
    assert bought == Purchase(event_id="e2", user_id="u1", item_id="i2", event_time_ms=10**12, quantity=2)


@pytest.mark.parametrize(
    ("data", "name"),
    [(CLICK.decode().encode("utf-16"), "UTF-16"), (b"PAR1...", "Parquet"), (b"Obj\x01..", "an Avro file")],
)
def test_a_file_that_is_no_text_in_utf8_is_named(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / "events.jsonl").write_bytes(data)
    with pytest.raises(EventFileError, match=f"is {name}, expected was text in UTF-8"):
        events_of(tmp_path / "events.jsonl")


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + CLICK)
    assert isinstance(events_of(path)[0][1], Click)


def test_broken_json_lines_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"garbage \xff\n" + CLICK + b'{"type": "view"}\n{"type": "click", "event_id": "e"}\n{"type": "cl')
    found = events_of(path)
    assert [number for number, _ in found] == [1, 2, 3, 4, 5]
    reasons = [error.reason for _, error in found if isinstance(error, DecodeError)]
    assert reasons == [
        DecodeReason.MALFORMED,
        DecodeReason.OUT_OF_RANGE,
        DecodeReason.MISSING_FIELD,
        DecodeReason.MALFORMED,
    ]


def test_a_line_of_megabytes_is_one_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(CLICK + b"x" * (3 * LONGEST_LINE_BYTES + 7) + b"\n" + BUY)
    (_, click), (number, error), (last, bought) = events_of(path)
    assert isinstance(click, Click)
    assert isinstance(bought, Purchase)
    assert (number, last) == (2, 3)
    assert isinstance(error, DecodeError)
    assert error.reason == DecodeReason.OUT_OF_RANGE


def test_taobao_behaviours_become_events(tmp_path: Path) -> None:
    path = tmp_path / "UserBehavior.csv"
    path.write_bytes(b"1,10,7,pv,1511544070\n1,11,7,cart,1511544071\r\n2,12,7,fav,1511544072\n2,13,7,buy,1511544073\n")
    events = [event for _, event in events_of(path)]
    assert [type(event) for event in events] == [Browse, Click, Click, Purchase]
    assert events[1] == Click(event_id="UserBehavior.csv:2", user_id="1", item_id="11", event_time_ms=1_511_544_071_000)


def test_gzip_gives_the_same_events_and_ids(tmp_path: Path) -> None:
    plain, packed = tmp_path / "UserBehavior.csv", tmp_path / "UserBehavior.csv.gz"
    data = b"".join(b"%d,10,7,pv,1511544070\n" % user for user in range(100))
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    assert events_of(plain) == events_of(packed)
    assert len(events_of(plain)) == 100


def test_a_gzip_file_that_was_cut_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    whole = gzip.compress(b"".join(CLICK.replace(b"e1", b"e%d" % number) for number in range(500)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EventFileError, match=r"events\.jsonl\.gz"):
        events_of(path)


def test_broken_taobao_lines_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "UserBehavior.csv"
    path.write_bytes(
        b"1,10,7,pv,1511544070\n1,10,7,pv\n1,10,7,look,1511544070\n1,10,7,pv,-5\n,10,7,pv,1511544070\n\xff,1,7,pv,1\n"
        b"1,10,7,pv,99999999999999999999\n"
    )
    found = events_of(path)
    faults = [(number, error.reason, error.field) for number, error in found if isinstance(error, DecodeError)]
    assert faults == [
        (2, DecodeReason.MALFORMED, None),
        (3, DecodeReason.OUT_OF_RANGE, "behaviour"),
        (4, DecodeReason.OUT_OF_RANGE, "time"),
        (5, DecodeReason.OUT_OF_RANGE, "user_id"),
        (6, DecodeReason.MALFORMED, None),
        (7, DecodeReason.OUT_OF_RANGE, "time"),
    ]


def test_a_header_that_somebody_added_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_bytes(b"user_id,item_id,category_id,behavior_type,timestamp\n1,10,7,pv,1511544070\n")
    [(number, event)] = events_of(path)
    assert number == 2
    assert isinstance(event, Browse)


def test_a_csv_of_other_columns_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_bytes(b"userId,movieId,rating\n1,2,3.5\n")
    with pytest.raises(EventFileError, match=r"ratings\.csv.*UserBehavior.*'userId,movieId,rating'"):
        events_of(path)


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n \n")
    assert events_of(path) == []


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(EventFileError, match="can't be read"):
        LineFile(tmp_path / name)


def test_items_are_read_and_broken_ones_told(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(b'{"item_id": "i1", "title": "Boots"}\n{"item_id": "i2"}\n')
    with LineFile(path) as lines:
        (_, item), (number, error) = list(read_items(lines))
    assert getattr(item, "title", None) == "Boots"
    assert isinstance(error, DecodeError)
    assert (number, error.field) == (2, "title")


def test_a_file_without_items_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(b"i1,Boots\n")
    with LineFile(path) as lines, pytest.raises(EventFileError, match="holds no catalog"):
        list(read_items(lines))
