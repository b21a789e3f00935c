"""A hash table from 64-bit hashes to rows; a lookup takes a whole array of hashes."""

import numpy as np

from encoders.arrays import Int64Array, UInt64Array
from encoders.compiled import compiled

_ONE = np.uint64(1)
# hashes read from stored bytes are read-only; numba passes writable arrays too
_READ_ONLY = "Array(uint64, 1, 'C', readonly=True)"


class HashTable:
    """Maps hashes to rows by open addressing with linear probing, in two numpy arrays; entries are never deleted.

    The table is never more than half full. The keys must be good hashes (xxh3), because their low bits choose the slot.
    """

    # a lookup is one compiled loop; a dict would cost a Python call for each hash

    def __init__(self, capacity: int = 1024) -> None:
        self._len = 0
        # one attribute, so that a thread that looks up during growth never sees keys of one size with rows of another
        self._table = _blank(capacity)

    def __len__(self) -> int:
        return self._len

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._table)

    def lookup(self, hashes: UInt64Array) -> Int64Array:
        """Row of each hash: int64 of the same shape, -1 for a hash that is not in the table."""
        keys = np.ascontiguousarray(hashes, np.uint64)
        rows = np.empty(keys.shape, np.int64)
        _find(*self._table, keys.reshape(-1), rows.reshape(-1))
        return rows

    def insert(self, hashes: UInt64Array, rows: Int64Array) -> None:
        """Add hashes (n,) with their rows (n,). They must be distinct and not in the table; one thread at a time."""
        table = self._table
        if 2 * (self._len + len(hashes)) > len(table[1]):
            used = table[1] >= 0
            grown = _blank(self._len + len(hashes))
            _insert(*grown, table[0][used], table[1][used])
            table = grown
        _insert(*table, np.ascontiguousarray(hashes, np.uint64), np.ascontiguousarray(rows, np.int64))
        self._table = table
        self._len += len(hashes)


def _blank(capacity: int) -> tuple[UInt64Array, Int64Array]:
    """Keys and rows of an empty table for ``capacity`` hashes."""
    size = 1 << max(4, (2 * capacity - 1).bit_length())
    # the row -1 marks an empty slot, because every key is possible, 0 too
    return np.zeros(size, np.uint64), np.full(size, -1, np.int64)


@compiled(f"void(uint64[::1], int64[::1], {_READ_ONLY}, int64[::1])")
def _find(table_keys: UInt64Array, table_rows: Int64Array, keys: UInt64Array, rows: Int64Array) -> None:
    """Fill ``rows`` (n,) with the rows of ``keys`` (n,), -1 for a key that is not in the table."""
    mask = np.uint64(len(table_keys) - 1)
    for number in range(len(keys)):
        slot = keys[number] & mask
        while table_rows[slot] >= 0 and table_keys[slot] != keys[number]:
            slot = (slot + _ONE) & mask
        rows[number] = table_rows[slot]


@compiled(f"void(uint64[::1], int64[::1], {_READ_ONLY}, int64[::1])")
def _insert(table_keys: UInt64Array, table_rows: Int64Array, keys: UInt64Array, rows: Int64Array) -> None:
    """Write ``keys`` (n,), which are not in the table, with their ``rows`` (n,)."""
    mask = np.uint64(len(table_keys) - 1)
    for number in range(len(keys)):
        slot = keys[number] & mask
        while table_rows[slot] >= 0:
            slot = (slot + _ONE) & mask
        table_keys[slot] = keys[number]
        table_rows[slot] = rows[number]
