"""Stored rows: what a release writes, every later one reads."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.arrays import floats
from streams.checkpoint.stored_profile import (
    FORMAT,
    AppliedOffset,
    Counters,
    EncoderSums,
    EventLog,
    NewerState,
    ProfileState,
    StateError,
    decode_state,
    encode_state,
    hashes,
    times,
    types,
)

ROWS = Path(__file__).parents[3] / "golden"
ROW_FILES = sorted(ROWS.glob("*/rows/*.msgpack"))


def log_of(count: int, start: int = 0) -> EventLog:
    return EventLog(
        items=np.arange(start, start + count, dtype="<u8").tobytes(),
        types=(np.arange(count) % 3).astype("u1").tobytes(),
        times=(1_700_000_000_000 - np.arange(count, dtype="<i8") * 1_000).tobytes(),
        ids=(np.arange(count, dtype="<u8") + (2**64 - 1 - count)).tobytes(),
    )


GOLDEN = {
    "empty": ProfileState(),
    "one-click": ProfileState(
        recents=log_of(1),
        seen_ids=np.array([2**64 - 2], "<u8").tobytes(),
        fences=[AppliedOffset("clicks", "topic-id", 3, 18)],
        counters=Counters(applied=[1, 0, 0]),
    ),
    "long-history": ProfileState(
        recents=log_of(20, 100),
        pending=log_of(3, 500),
        sums=[
            EncoderSums(
                encoder="hashed-text-1",
                sums=np.linspace(-1, 1, 8, dtype="<f4").tobytes(),
                mass=np.array([3.5, 0.25], "<f4").tobytes(),
                time_ms=1_699_999_000_000,
            ),
            EncoderSums(encoder="older-0", sums=b"\0" * 8, mass=b"\0" * 4, time_ms=5),
        ],
        purchased_items=np.array([7, 9], "<u8").tobytes(),
        purchased_times=np.array([1_700_000_000_000, 1_600_000_000_000], "<i8").tobytes(),
        seen_ids=np.arange(64, dtype="<u8").tobytes(),
        fences=[
            AppliedOffset("shop1.clicks", "Tm9uc2Vuc2U", 0, 2**40),
            AppliedOffset("shop1.clicks", "recreated", 0, 1),
            AppliedOffset("shop1.profile-commands", "Y29tbWFuZHM", 11, 4),
        ],
        counters=Counters(applied=[900, 80, 7], duplicates=12, pending_dropped=2),
    ),
    "forgotten": ProfileState(
        fences=[AppliedOffset("clicks", "topic-id", 3, 18), AppliedOffset("profile-commands", "topic-id", 3, 1)],
        counters=Counters(applied=[5, 0, 1], duplicates=1),
    ),
}
"""What the rows of v0.1.0 hold; written once, by ``python -m THIS_MODULE FOLDER``."""


@pytest.mark.parametrize("path", ROW_FILES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_rows_of_every_release_are_read(path: Path) -> None:
    state = decode_state(path.read_bytes(), "u")
    assert state.format <= FORMAT
    n = len(hashes(state.recents.items))
    assert n == len(types(state.recents.types)) == len(times(state.recents.times)) == len(hashes(state.recents.ids))


@pytest.mark.parametrize("name", GOLDEN)
def test_rows_of_the_first_release_hold_what_was_written(name: str) -> None:
    data = (ROWS / "v0.1.0" / "rows" / f"{name}.msgpack").read_bytes()
    assert decode_state(data, "u") == GOLDEN[name]


def test_every_field_of_a_row_is_there_under_its_name() -> None:
    data = (ROWS / "v0.1.0" / "rows" / "long-history.msgpack").read_bytes()
    stored = msgspec.msgpack.decode(data)
    assert set(stored) == {
        *("format", "recents", "pending", "sums", "purchased_items", "purchased_times", "seen_ids", "fences"),
        "counters",
    }
    assert set(stored["recents"]) == {"items", "types", "times", "ids"}
    assert stored["fences"][0] == ["shop1.clicks", "Tm9uc2Vuc2U", 0, 2**40]
    assert stored["counters"] == {"applied": [900, 80, 7], "duplicates": 12, "pending_dropped": 2}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_row_is_read_back_as_it_was_written(name: str) -> None:
    assert decode_state(encode_state(GOLDEN[name]), "u") == GOLDEN[name]


@given(st.sets(st.sampled_from(ProfileState.__struct_fields__)))
def test_a_row_that_lacks_fields_gets_their_defaults(missing: set[str]) -> None:
    stored = msgspec.msgpack.decode(encode_state(GOLDEN["long-history"]))
    state = decode_state(msgspec.msgpack.encode({k: v for k, v in stored.items() if k not in missing}), "u")
    for name in ProfileState.__struct_fields__:
        origin = ProfileState() if name in missing else GOLDEN["long-history"]
        assert getattr(state, name) == getattr(origin, name)


def test_fields_of_a_later_release_are_ignored() -> None:
    stored = msgspec.msgpack.decode(encode_state(GOLDEN["one-click"])) | {"segments": ["new"]}
    assert decode_state(msgspec.msgpack.encode(stored), "u") == GOLDEN["one-click"]


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    data = encode_state(ProfileState(format=FORMAT + 1))
    with pytest.raises(NewerState, match=r"'anna' has format 2, this prefstream knows up to 1: upgrade"):
        decode_state(data, "anna")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_profile_or_an_error_with_a_sentence(data: bytes) -> None:
    try:
        state = decode_state(data, "anna")
    except StateError as error:
        assert "'anna'" in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert isinstance(state, ProfileState)


@pytest.mark.parametrize(
    ("field", "log"),
    [
        ("recents", EventLog(items=b"\0" * 16, types=b"\0", times=b"\0" * 8, ids=b"\0" * 8)),
        ("pending", EventLog(items=b"\0" * 8, types=b"\0", times=b"\0" * 7, ids=b"\0" * 8)),
    ],
)
def test_arrays_of_unequal_lengths_are_a_broken_row(field: str, log: EventLog) -> None:
    """Regression: they ended in an error of numpy's that named no user."""
    with pytest.raises(StateError, match="'anna'"):
        decode_state(encode_state(ProfileState(**{field: log})), "anna")


def test_arrays_are_read_in_their_types() -> None:
    assert floats(np.array([1.5], "<f4").tobytes()).tolist() == [1.5]
    assert times(np.array([-1], "<i8").tobytes()).tolist() == [-1]
    assert hashes(np.array([2**64 - 1], "<u8").tobytes()).tolist() == [2**64 - 1]
    assert types(b"\x02").tolist() == [2]


if __name__ == "__main__":
    import sys

    for name, state in GOLDEN.items():
        path = Path(sys.argv[1]) / f"{name}.msgpack"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_state(state))
