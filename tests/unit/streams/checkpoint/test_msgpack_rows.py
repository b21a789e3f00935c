"""Rows written column by column have the bytes that msgspec gives each of them."""

import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.checkpoint.msgpack_rows import RowWriter, array_head, map_head

encode = msgspec.msgpack.encode
EDGES = [0, 1, 2**5, 2**7, 2**8, 2**15, 2**16, 2**31, 2**32, 2**63]
SIGNED = sorted({s * e + d for e in EDGES for d in (-1, 0, 1) for s in (-1, 1) if -(2**63) <= s * e + d < 2**63})


def written(values: list[Any], write: Any) -> list[bytes]:
    rows = RowWriter(len(values))
    write(rows)
    return rows.done()


def test_integers_are_as_short_as_they_can_be() -> None:
    assert written(SIGNED, lambda rows: rows.integers(np.array(SIGNED, np.int64))) == [encode(n) for n in SIGNED]
    large = [*(n for n in SIGNED if n >= 0), 2**63, 2**64 - 1]
    assert written(large, lambda rows: rows.integers(np.array(large, np.uint64))) == [encode(n) for n in large]
    small = [0, 255]
    assert written(small, lambda rows: rows.integers(np.array(small, np.uint8))) == [encode(n) for n in small]


@pytest.mark.parametrize("width", [1, 31, 32, 33, 8_191, 8_192])
def test_binary_takes_the_first_entries_of_each_row(width: int) -> None:
    data = np.random.default_rng(width).integers(0, 2**64, (3, width), np.uint64)
    counts = np.array([0, width // 2, width])
    expected = [encode(row[:count].tobytes()) for row, count in zip(data, counts, strict=True)]
    assert written([0] * 3, lambda rows: rows.binary(data, counts)) == expected
    assert written([0] * 3, lambda rows: rows.binary(data)) == [encode(row.tobytes()) for row in data]


def test_a_column_of_a_wider_array_is_read_as_it_is() -> None:
    data = np.arange(24, dtype=np.int64).reshape(4, 6)
    assert written([0] * 4, lambda rows: rows.integers(data[:, 3])) == [encode(n) for n in (3, 9, 15, 21)]
    part = data[:, 2:4]
    assert written([0] * 4, lambda rows: rows.binary(part)) == [encode(row.tobytes()) for row in part]


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.lists(st.text(max_size=40), max_size=20)),
        min_size=1,
        max_size=8,
    )
)
def test_rows_of_their_own_shapes(values: list[tuple[bool, int, list[str]]]) -> None:
    """Maps of a number, where there is one, and of a list."""
    rows = RowWriter(len(values))
    given_ = np.array([has for has, _, _ in values])
    rows.constant(map_head(2), where=given_)
    rows.constant(map_head(1), where=~given_)
    rows.constant(encode("number"), where=given_)
    rows.integers(np.array([number for _, number, _ in values], np.int64), where=given_)
    rows.constant(encode("list"))
    rows.array_heads(np.array([len(texts) for _, _, texts in values]))
    rows.ragged([b"".join(map(encode, texts)) for _, _, texts in values])
    expected = [encode(({"number": number} if has else {}) | {"list": texts}) for has, number, texts in values]
    assert rows.done() == expected


def test_heads_are_msgspecs() -> None:
    names = dict.fromkeys("abc", 1)
    assert map_head(3) + b"".join(encode(one) for pair in names.items() for one in pair) == encode(names)
    assert array_head(2) + encode(1) + encode(2) == encode([1, 2])


def test_one_heavy_row_costs_the_others_nothing() -> None:
    """Regression: every row of a save was given the room of the largest."""
    parts = [b"x" * 1_000_000, *(b"y" for _ in range(2_000))]
    rows = RowWriter(len(parts))
    rows.constant(b"<")
    rows.ragged(parts)
    tracemalloc.start()
    try:
        assert rows.done() == [b"<" + part for part in parts]
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
