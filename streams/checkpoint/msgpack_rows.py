"""Writes many rows as MessagePack, column by column. The bytes are those that msgspec would write row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.compiled import compiled, copy_bytes
from streams.arrays import BoolArray, Int64Array, UInt8Array, UInt64Array

_MAP, _MAP16, _ARRAY, _ARRAY16 = 0x80, 0xDE, 0x90, 0xDC
_MOST_ENTRIES = 15  # that a head of one byte can count
_BIN8, _BIN16, _BIN32 = 0xC4, 0xC5, 0xC6
_UINT8, _UINT16, _UINT32, _UINT64 = 0xCC, 0xCD, 0xCE, 0xCF
_INT8, _INT16, _INT32, _INT64 = 0xD0, 0xD1, 0xD2, 0xD3
_LONGEST_HEAD = 9  # bytes: an integer with its type code


class RowWriter:
    """Writes N rows as MessagePack. Each call appends a value to every row.

    With ``where`` (N,), a call appends only to the rows for which it is true.

    >>> rows = RowWriter(2)
    >>> rows.constant(map_head(1), b"\\xa3age")
    >>> rows.integers(np.array([7, 300]))
    >>> rows.done()
    [b'\\x81\\xa3age\\x07', b'\\x81\\xa3age\\xcd\\x01,']
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._everywhere: BoolArray = np.ones(rows, np.bool_)
        self._bound = 0  # most bytes that a row may need
        self._more: Int64Array = np.zeros(rows, np.int64)  # further bytes that each row needs
        self._constant = b""
        self._writes: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def constant(self, *parts: bytes, where: BoolArray | None = None) -> None:
        """Append bytes that are the same in all rows."""
        if where is None:
            self._constant += b"".join(parts)
        else:
            self._close_constant()
            self._put_constant(b"".join(parts), where)

    def integers(self, values: NDArray[Any], where: BoolArray | None = None) -> None:
        """Append an integer to each row: ``values`` (N,) are signed or unsigned, of at most 64 bits."""
        if values.dtype.kind == "u":  # large unsigned integers do not fit into int64
            self._write(_put_unsigned, _LONGEST_HEAD, values.astype(np.uint64), self._where(where))
        else:
            self._write(_put_signed, _LONGEST_HEAD, values.astype(np.int64), self._where(where))

    def binary(self, data: NDArray[Any], counts: Int64Array | None = None, where: BoolArray | None = None) -> None:
        """Append the bytes of the first ``counts`` (N,) entries of each row of an array (N, W); by default of all."""
        width = data.shape[1] * data.itemsize
        sizes = np.full(self._rows, width, np.int64) if counts is None else counts.astype(np.int64) * data.itemsize
        flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self._write(_put_binary, width + _LONGEST_HEAD, flat, width, sizes, self._where(where))

    def array_heads(self, counts: Int64Array) -> None:
        """Append the heads of arrays with ``counts`` (N,) entries. The caller appends the entries next."""
        self._write(_put_array_head, _LONGEST_HEAD, counts.astype(np.int64))

    def ragged(self, parts: list[bytes]) -> None:
        """Append bytes of its own to each row."""
        sizes = np.array([len(part) for part in parts], np.int64)
        self._more += sizes
        self._write(_put_ragged, 0, np.frombuffer(b"".join(parts), np.uint8), np.concatenate([[0], sizes.cumsum()]))

    def done(self) -> list[bytes]:
        """Return the rows."""
        self._close_constant()
        starts = np.concatenate([[0], (self._bound + self._more).cumsum()])
        out, ends = np.empty(starts[-1], np.uint8), starts[:-1].copy()
        for write, columns in self._writes:
            write(out, ends, *columns)
        view = out.data
        return [bytes(view[start:end]) for start, end in zip(starts[:-1].tolist(), ends.tolist(), strict=True)]

    def _where(self, where: BoolArray | None) -> BoolArray:
        return self._everywhere if where is None else where

    def _write(self, kernel: Callable[..., None], bound: int, *columns: Any) -> None:
        self._close_constant()
        self._bound += bound
        self._writes.append((kernel, columns))

    def _close_constant(self) -> None:
        if self._constant:
            constant, self._constant = self._constant, b""
            self._put_constant(constant, self._everywhere)

    def _put_constant(self, constant: bytes, where: BoolArray) -> None:
        self._bound += len(constant)
        self._writes.append((_put_constant, (np.frombuffer(constant, np.uint8), where)))


def map_head(entries: int) -> bytes:
    """Return the head of a map of up to 65,535 entries. Its keys and values come next."""
    return bytes([_MAP | entries]) if entries <= _MOST_ENTRIES else bytes([_MAP16, *entries.to_bytes(2, "big")])


def array_head(entries: int) -> bytes:
    """Return the head of an array of up to 15 entries."""
    return bytes([_ARRAY | entries])


@compiled()
def _put_big_endian(out: UInt8Array, offset: int, code: int, value: np.uint64, size: int) -> int:
    out[offset] = code
    for byte in range(size):
        out[offset + size - byte] = (value >> np.uint64(8 * byte)) & np.uint64(0xFF)
    return offset + 1 + size


@compiled()
def _put_natural(out: UInt8Array, offset: int, value: np.uint64) -> int:
    if value < 0x80:
        out[offset] = value
        return offset + 1
    if value <= 0xFF:
        return _put_big_endian(out, offset, _UINT8, value, 1)
    if value <= 0xFFFF:
        return _put_big_endian(out, offset, _UINT16, value, 2)
    if value <= 0xFFFFFFFF:
        return _put_big_endian(out, offset, _UINT32, value, 4)
    return _put_big_endian(out, offset, _UINT64, value, 8)


@compiled("void(uint8[::1], int64[::1], uint64[::1], boolean[::1])")
def _put_unsigned(out: UInt8Array, ends: Int64Array, values: UInt64Array, where: BoolArray) -> None:
    for row in range(len(ends)):
        if where[row]:
            ends[row] = _put_natural(out, ends[row], values[row])


@compiled("void(uint8[::1], int64[::1], int64[::1], boolean[::1])")
def _put_signed(out: UInt8Array, ends: Int64Array, values: Int64Array, where: BoolArray) -> None:
    for row in range(len(ends)):
        if not where[row]:
            continue
        value, bits = values[row], np.uint64(values[row])
        if value >= 0:
            ends[row] = _put_natural(out, ends[row], bits)
        elif value >= -0x20:
            out[ends[row]] = bits & np.uint64(0xFF)
            ends[row] += 1
        elif value >= -0x80:
            ends[row] = _put_big_endian(out, ends[row], _INT8, bits, 1)
        elif value >= -0x8000:
            ends[row] = _put_big_endian(out, ends[row], _INT16, bits, 2)
        elif value >= -0x80000000:
            ends[row] = _put_big_endian(out, ends[row], _INT32, bits, 4)
        else:
            ends[row] = _put_big_endian(out, ends[row], _INT64, bits, 8)


@compiled("void(uint8[::1], int64[::1], uint8[::1], int64, int64[::1], boolean[::1])")
def _put_binary(
    out: UInt8Array, ends: Int64Array, data: UInt8Array, width: int, sizes: Int64Array, where: BoolArray
) -> None:
    for row in range(len(ends)):
        if not where[row]:
            continue
        size = np.uint64(sizes[row])
        if size <= 0xFF:
            start = _put_big_endian(out, ends[row], _BIN8, size, 1)
        elif size <= 0xFFFF:
            start = _put_big_endian(out, ends[row], _BIN16, size, 2)
        else:
            start = _put_big_endian(out, ends[row], _BIN32, size, 4)
        copy_bytes(out, start, data, row * width, sizes[row])
        ends[row] = start + sizes[row]


@compiled("void(uint8[::1], int64[::1], int64[::1])")
def _put_array_head(out: UInt8Array, ends: Int64Array, counts: Int64Array) -> None:
    for row in range(len(ends)):
        if counts[row] <= _MOST_ENTRIES:
            out[ends[row]] = _ARRAY | counts[row]
            ends[row] += 1
        else:
            ends[row] = _put_big_endian(out, ends[row], _ARRAY16, np.uint64(counts[row]), 2)


@compiled("void(uint8[::1], int64[::1], Array(uint8, 1, 'C', readonly=True), boolean[::1])")
def _put_constant(out: UInt8Array, ends: Int64Array, constant: UInt8Array, where: BoolArray) -> None:
    for row in range(len(ends)):
        if where[row]:
            copy_bytes(out, ends[row], constant, 0, len(constant))
            ends[row] += len(constant)


@compiled("void(uint8[::1], int64[::1], Array(uint8, 1, 'C', readonly=True), int64[::1])")
def _put_ragged(out: UInt8Array, ends: Int64Array, data: UInt8Array, starts: Int64Array) -> None:
    for row in range(len(ends)):
        size = starts[row + 1] - starts[row]
        copy_bytes(out, ends[row], data, starts[row], size)
        ends[row] += size
