"""A hash table from 64-bit hashes to rows that is asked a whole array at a time."""

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
HashArray = npt.NDArray[np.uint64]

_ONE = np.uint64(1)


class HashTable:
    """Open addressing with linear probing in two numpy arrays, never more than half full; nothing is ever deleted.

    A lookup of 40,000 hashes is a few array gathers, where a dict would cost as many Python calls. The keys are good
    hashes already (xxh3), so their low bits choose the slot.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._len = 0
        self._allocate(capacity)

    def __len__(self) -> int:
        return self._len

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes + self._rows.nbytes

    def lookup(self, hashes: HashArray) -> IntArray:
        """Row of each hash: int64 of the same shape, -1 where there is none."""
        hashes = np.asarray(hashes, np.uint64)
        keys = hashes.ravel()
        slots = keys & self._mask
        result: IntArray = self._rows[slots]
        pending = np.flatnonzero((result >= 0) & (self._keys[slots] != keys))  # another key sits there: few
        keys, slots = keys[pending], slots[pending]
        while len(pending):
            slots = (slots + _ONE) & self._mask
            result[pending] = rows = self._rows[slots]
            onward = (rows >= 0) & (self._keys[slots] != keys)
            pending, keys, slots = pending[onward], keys[onward], slots[onward]
        return result.reshape(hashes.shape)

    def insert(self, hashes: HashArray, rows: IntArray) -> None:
        """Add hashes that are distinct and not in the table yet."""
        if 2 * (self._len + len(hashes)) > len(self._rows):
            used = self._rows >= 0
            old_keys, old_rows = self._keys[used], self._rows[used]
            self._allocate(self._len + len(hashes))
            self._place(old_keys, old_rows)
        self._place(np.asarray(hashes, np.uint64), np.asarray(rows, np.int64))
        self._len += len(hashes)

    def _allocate(self, capacity: int) -> None:
        size = 1 << max(4, (2 * capacity - 1).bit_length())
        self._mask = np.uint64(size - 1)
        self._keys: HashArray = np.zeros(size, np.uint64)
        self._rows: IntArray = np.full(size, -1, np.int64)  # -1: empty (any key is possible, 0 too)

    def _place(self, hashes: HashArray, rows: IntArray) -> None:
        slots = hashes & self._mask
        while len(hashes):
            empty = self._rows[slots] < 0
            self._rows[slots[empty]] = rows[empty]  # several may want one slot: the last written has it
            placed = self._rows[slots] == rows
            self._keys[slots[placed]] = hashes[placed]
            left = ~placed
            hashes, rows, slots = hashes[left], rows[left], (slots[left] + _ONE) & self._mask
