"""Dead letters and re-routed events carry where they came from in headers."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import headers
from schemas.dead_letter import DEAD_LETTER_HEADERS, DeadLetter, original_headers
from schemas.errors import DecodeError, DecodeReason
from schemas.fields import MAX_INT64
from schemas.rerouted import REROUTED_HEADERS, Rerouted

# a busy machine is no reason to fail
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

LETTER = DeadLetter(
    reason=DecodeReason.MISSING_FIELD,
    field="item_id",
    detail="the Click has no field `item_id`, which is required",
    source_topic="clicks",
    source_partition=3,
    source_offset=42,
    source_timestamp_ms=1767225600000,
)
REROUTED = Rerouted(
    topic="clicks", topic_id="q2Xc7XkzTOuKKM3WJpzBzg", partition=2, offset=0, timestamp_ms=1767225600000
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, MAX_INT64)
others = st.lists(st.tuples(text.filter(lambda name: not name.startswith(headers.PREFIX)), st.none() | st.binary()))


@patient
@given(
    st.builds(
        DeadLetter,
        reason=text,
        field=st.none() | text,
        detail=text,
        source_topic=text,
        source_partition=numbers,
        source_offset=numbers,
        source_timestamp_ms=st.integers(-1, MAX_INT64),
    ),
    others,
)
def test_a_dead_letter_is_read_back_and_keeps_the_record_s_own_headers(
    letter: DeadLetter, own: list[tuple[str, bytes | None]]
) -> None:
    written = letter.to_headers(own)
    assert DeadLetter.from_headers(written) == letter
    assert original_headers(written) == own


@patient
@given(st.builds(Rerouted, topic=text, topic_id=text, partition=numbers, offset=numbers), others)
def test_a_rerouted_event_is_read_back_and_keeps_its_own_headers(
    rerouted: Rerouted, own: list[tuple[str, bytes | None]]
) -> None:
    written = rerouted.to_headers(own)
    assert Rerouted.from_headers(written) == rerouted
    assert written[: len(own)] == own


def test_the_header_names_are_those_that_readers_know() -> None:
    assert DEAD_LETTER_HEADERS == {
        "reason": "prefstream-reason",
        "field": "prefstream-field",
        "detail": "prefstream-detail",
        "source_topic": "prefstream-source-topic",
        "source_partition": "prefstream-source-partition",
        "source_offset": "prefstream-source-offset",
        "source_timestamp_ms": "prefstream-source-timestamp",
    }
    assert REROUTED_HEADERS == {
        "topic": "prefstream-origin-topic",
        "topic_id": "prefstream-origin-topic-id",
        "partition": "prefstream-origin-partition",
        "offset": "prefstream-origin-offset",
        "timestamp_ms": "prefstream-origin-timestamp",
        "counts": "prefstream-origin-counts",
    }


def test_an_event_that_a_former_release_rerouted_does_not_tell_the_time_of_its_origin() -> None:
    former = Rerouted(topic="clicks", topic_id="x", partition=2, offset=0)
    assert not {"prefstream-origin-timestamp", "prefstream-origin-counts"} & dict(former.to_headers()).keys()
    assert Rerouted.from_headers(former.to_headers()).timestamp_ms is None


def test_a_dead_letter_that_fails_again_has_one_reason() -> None:
    first = LETTER.to_headers([("content-type", b"application/json")])
    second = DeadLetter(
        reason="malformed",
        detail="d",
        source_topic="browses",
        source_partition=0,
        source_offset=1,
        source_timestamp_ms=-1,
    )
    written = second.to_headers(first)
    assert DeadLetter.from_headers(written) == second
    assert len({name for name, _ in written}) == len(written)


def test_an_event_rerouted_twice_has_one_origin_and_a_dead_letter_keeps_it() -> None:
    again = Rerouted(topic="purchases", topic_id="x", partition=0, offset=9, timestamp_ms=-1, counts="4>8")
    written = again.to_headers(REROUTED.to_headers())
    assert [name for name, _ in written] == list(REROUTED_HEADERS.values())
    letter = LETTER.to_headers(written)
    assert Rerouted.from_headers(letter) == again
    assert Rerouted.from_headers(original_headers(letter)) == again


@pytest.mark.parametrize(
    ("read", "written", "optional"),
    [
        (DeadLetter.from_headers, LETTER.to_headers(), {"prefstream-field"}),
        (Rerouted.from_headers, REROUTED.to_headers(), {"prefstream-origin-timestamp", "prefstream-origin-counts"}),
    ],
    ids=["dead-letter", "rerouted"],
)
def test_a_missing_header_is_named(
    read: Callable[[Any], object], written: list[tuple[str, bytes | None]], optional: set[str]
) -> None:
    for name in {name for name, _ in written} - optional:
        for broken in ([pair for pair in written if pair[0] != name], [*written, (name, None)]):
            with pytest.raises(DecodeError) as caught:
                read(broken)
            assert (caught.value.reason, caught.value.field) == (DecodeReason.MALFORMED, name)
            assert name in caught.value.detail


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"-",
        b"-1",
        b"1.0",
        b"1_0",
        b" 1",
        b"+1",
        b"0x1",
        "٣".encode(),
        b"\xff",
        b"9" * 100_000,
        b"9223372036854775808",
    ],
    ids=range(12),
)
def test_a_broken_number_is_refused(broken: bytes) -> None:
    written = [pair for pair in REROUTED.to_headers() if pair[0] != "prefstream-origin-offset"]
    with pytest.raises(DecodeError) as caught:
        Rerouted.from_headers([*written, ("prefstream-origin-offset", broken)])
    assert (caught.value.reason, caught.value.field) == (DecodeReason.MALFORMED, "prefstream-origin-offset")


@patient
@given(st.lists(st.tuples(st.sampled_from([*REROUTED_HEADERS.values()]), st.none() | st.binary(max_size=8))))
def test_any_headers_are_read_or_refused(written: list[tuple[str, bytes | None]]) -> None:
    names = {name for name, _ in written}
    try:
        rerouted = Rerouted.from_headers(written)
    except DecodeError as error:
        refused = error
    else:
        assert names | {"prefstream-origin-timestamp", "prefstream-origin-counts"} == set(REROUTED_HEADERS.values())
        assert Rerouted.from_headers(rerouted.to_headers()) == rerouted
        return
    assert refused.reason is DecodeReason.MALFORMED
    assert refused.field in REROUTED_HEADERS.values()


def test_a_record_may_have_no_headers_at_all() -> None:
    assert headers.content_type(None) is None
    assert original_headers(None) == []
    assert LETTER.to_headers(None) == LETTER.to_headers([])
    assert REROUTED.to_headers(None) == REROUTED.to_headers([])
    for read in (DeadLetter.from_headers, Rerouted.from_headers):
        with pytest.raises(DecodeError, match="no header `prefstream-"):
            read(None)


def test_headers_may_be_read_from_an_iterator() -> None:
    assert DeadLetter.from_headers(iter(LETTER.to_headers())) == LETTER
    assert Rerouted.from_headers(iter(REROUTED.to_headers())) == REROUTED


def test_the_last_content_type_counts() -> None:
    assert headers.content_type([]) is None
    assert headers.content_type([("content-type", None)]) is None
    assert headers.content_type([("content-type", b"text/plain"), ("content-type", b"application/json")]) == (
        "application/json"
    )
    assert headers.content_type([("content-type", b"\xff")]) == "�"
