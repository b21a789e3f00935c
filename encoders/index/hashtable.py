"""A hash table from 64-bit hashes to rows that is asked a whole array at a time."""

import numpy as np

from encoders.arrays import Int64Array, UInt64Array
from encoders.compiled import compiled

_ONE = np.uint64(1)
_READ_ONLY = "Array(uint64, 1, 'C', readonly=True)"  # as of stored bytes; those that may be written are taken too


class HashTable:
    """Open addressing with linear probing in two numpy arrays, never more than half full; nothing is ever deleted.

    A lookup is one compiled loop, where a dict would cost a Python call a hash. The keys are good
    hashes already (xxh3), so their low bits choose the slot.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._len = 0
        # one attribute: threads that look up while this grows never see keys of one size with rows of another
        self._table = _blank(capacity)

    def __len__(self) -> int:
        return self._len

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._table)

    def lookup(self, hashes: UInt64Array) -> Int64Array:
        """Row of each hash: int64 of the same shape, -1 where there is none."""
        keys = np.ascontiguousarray(hashes, np.uint64)
        rows = np.empty(keys.shape, np.int64)
        _find(*self._table, keys.reshape(-1), rows.reshape(-1))
        return rows

    def insert(self, hashes: UInt64Array, rows: Int64Array) -> None:
        """Add hashes that are distinct and not in the table yet; one thread at a time."""
        table = self._table
        if 2 * (self._len + len(hashes)) > len(table[1]):
            used = table[1] >= 0
            grown = _blank(self._len + len(hashes))
            _place(*grown, table[0][used], table[1][used])
            table = grown
        _place(*table, np.ascontiguousarray(hashes, np.uint64), np.ascontiguousarray(rows, np.int64))
        self._table = table
        self._len += len(hashes)


def _blank(capacity: int) -> tuple[UInt64Array, Int64Array]:
    """Keys and rows of a table for so many."""
    size = 1 << max(4, (2 * capacity - 1).bit_length())
    return np.zeros(size, np.uint64), np.full(size, -1, np.int64)  # -1: empty (any key is possible, 0 too)


@compiled(f"void(uint64[::1], int64[::1], {_READ_ONLY}, int64[::1])")
def _find(table_keys: UInt64Array, table_rows: Int64Array, keys: UInt64Array, rows: Int64Array) -> None:
    """Fill ``rows`` (n,) with those of ``keys`` (n,), -1 where there is none."""
    mask = np.uint64(len(table_keys) - 1)
    for place in range(len(keys)):
        slot = keys[place] & mask
        while table_rows[slot] >= 0 and table_keys[slot] != keys[place]:
            slot = (slot + _ONE) & mask
        rows[place] = table_rows[slot]


@compiled(f"void(uint64[::1], int64[::1], {_READ_ONLY}, int64[::1])")
def _place(table_keys: UInt64Array, table_rows: Int64Array, keys: UInt64Array, rows: Int64Array) -> None:
    """Put ``keys`` (n,) that are not there with their ``rows`` into the table."""
    mask = np.uint64(len(table_keys) - 1)
    for place in range(len(keys)):
        slot = keys[place] & mask
        while table_rows[slot] >= 0:
            slot = (slot + _ONE) & mask
        table_keys[slot] = keys[place]
        table_rows[slot] = rows[place]
