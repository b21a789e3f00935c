"""The item index: every item's vector and bias as growable arrays, and the row of each item id."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.arrays import BoolArray, Float32Array, Int8Array, Int64Array, UInt32Array, UInt64Array
from encoders.index.hashtable import HashTable
from schemas.ids import id_hash, id_hashes

WITHDRAWN = np.float32(-np.inf)  # the bias of an item that must not be recommended
LABELS = 5
"""Labels of an item that the index keeps."""
NO_OFFER, OFFERED = -1, 1
"""What `ItemIndex.offer` takes, beside 0 for an item that is not available: nothing is offered; it is available."""
_NO_SOURCE = np.uint64(0)
_versions = count(1)  # shared by all indexes of the process, so that equal versions mean equal contents


class CatalogPosition(NamedTuple):
    """Position of an update in the catalog topic; it orders the updates of an item."""

    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class IndexSnapshot:
    """The index at one moment: views of its arrays, not copies.

    ``version`` changes with every change of the index. A view stays valid when the index grows, because growth copies.
    A later update of a row changes the view too, so apply updates between rankings, never while a ranking runs in
    another thread.
    """

    items: Float32Array  # (N, d)
    bias: Float32Array  # (N,), -inf for an item that is withdrawn or removed
    version: int


class ItemIndex:
    """Vectors and biases of items by row; rows are never renumbered.

    The index finds an id by its 64-bit hash. Two ids with the same hash would share a row; at a million items the
    chance of any such pair is 3e-8. Not thread-safe: one thread changes it, between rankings (see ``IndexSnapshot``).
    """

    def __init__(self, dimension: int, capacity: int = 1024) -> None:
        self.dimension = dimension
        self.item_ids: list[str] = []  # id of each row
        self._table = HashTable(capacity)
        self._vectors: Float32Array = np.zeros((capacity, dimension), np.float32)
        self._bias: Float32Array = np.full(capacity, WITHDRAWN)
        self._own_bias: Float32Array = np.zeros(capacity, np.float32)  # bias of each row, also while it is withdrawn
        self._shown: BoolArray = np.zeros(capacity, np.bool_)  # whether the catalog says that it is available
        self._offered: Int8Array = np.full(capacity, NO_OFFER, np.int8)
        self._labels: UInt32Array = np.zeros((capacity, LABELS), np.uint32)  # codes of each row's labels, 0 = none
        self._early_offers: dict[int, int] = {}  # of items that are not known yet, by id hash
        self._removed: BoolArray = np.zeros(capacity, np.bool_)  # tombstones: the row is kept for its id's return
        self._hashes: UInt64Array = np.zeros(capacity, np.uint64)  # id hash of each row
        self._source: UInt64Array = np.zeros(capacity, np.uint64)  # hash of (topic id, partition) last seen
        self._source_offset: Int64Array = np.zeros(capacity, np.int64)
        self._changed_at: Int64Array = np.zeros(capacity, np.int64)  # version of the last change of each row
        self._tombstones = 0
        self._version = next(_versions)

    def __len__(self) -> int:
        """Number of items; withdrawn items count, removed items do not."""
        return len(self.item_ids) - self._tombstones

    @property
    def nbytes(self) -> int:
        """Bytes held by the arrays; the strings of the ids are not counted."""
        by_item = (self._vectors, self._labels, self._removed, self._hashes, self._changed_at)
        availability = (self._bias, self._own_bias, self._shown, self._offered)
        sources = (self._source, self._source_offset)
        return sum(array.nbytes for array in (*by_item, *availability, *sources)) + self._table.nbytes

    def put(
        self,
        item_ids: Sequence[str],
        vectors: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        available: npt.ArrayLike | None = None,
        sources: Sequence[CatalogPosition | None] | None = None,
        labels: Sequence[tuple[str, ...]] | None = None,
    ) -> BoolArray:
        """Add or replace items, in the order given.

        Parameters
        ----------
        item_ids : the ids, n of them; where an id comes twice, its later entry wins
        vectors : float32 array of shape (n, d)
        bias : float32 array of shape (n,), added to every score of the item; 0 by default
        available : bool array of shape (n,); False withdraws the item and keeps its vector
        sources : where each update comes from. An update is ignored if the item already has a newer update from the
            same topic id and partition. An update without a source (None, or no topic id) always counts.
        labels : up to `LABELS` labels of each item, such as its brand; more are ignored

        Returns
        -------
        bool array of shape (n,): whether each update was applied. False for an older update, for a vector with a NaN,
        an infinity or a squared length beyond float32, and for a bias that is NaN or +inf: such a row would spoil
        every user's scores. No items give shape (0,).

        Raises
        ------
        ValueError
            If the shapes disagree with ``item_ids`` and the dimension.
        """
        n = len(item_ids)
        rows_in = np.ascontiguousarray(vectors, np.float32)
        bias_in = np.zeros(n, np.float32) if bias is None else np.asarray(bias, np.float32)
        shown = np.ones(n, np.bool_) if available is None else np.asarray(available, np.bool_)
        if n and rows_in.shape != (n, self.dimension):
            raise ValueError(f"vectors of shape {rows_in.shape} for {n} items of dimension {self.dimension}")
        if bias_in.shape != (n,) or shown.shape != (n,) or (sources is not None and len(sources) != n):
            raise ValueError(f"bias, available and sources must hold one entry for each of the {n} items")
        if n == 0:
            return np.zeros(0, np.bool_)
        with np.errstate(over="ignore", invalid="ignore"):
            sound = np.isfinite(np.einsum("nd,nd->n", rows_in, rows_in)) & (bias_in < np.inf)
        hashes = id_hashes(item_ids)
        codes = _label_codes(labels, n)
        source, offset = _source_arrays(sources, n)
        applied = np.zeros(n, np.bool_)
        for turn in _turns(hashes, sound):
            rows = self._rows_for(hashes[turn], item_ids, turn)
            fresh = self._is_fresh(rows, source[turn], offset[turn])
            rows, turn = rows[fresh], turn[fresh]
            self._vectors[rows] = rows_in[turn]
            self._own_bias[rows], self._shown[rows] = bias_in[turn], shown[turn]
            self._labels[rows] = codes[turn]
            self._tombstones -= int(self._removed[rows].sum())
            self._removed[rows] = False
            self._judge(rows)
            applied[turn] = True
        return applied

    def withdraw(self, item_ids: Sequence[str]) -> int:
        """Keep items out of rankings; their vectors stay. Returns how many of them were known."""
        rows = self._known_rows(item_ids)
        self._shown[rows] = False
        self._judge(rows)
        return len(rows)

    def offer(self, item_ids: Sequence[str], offered: Sequence[int]) -> None:
        """Set whether items are available, whatever the catalog says of them; also of items that are not known yet.

        Parameters
        ----------
        item_ids : the ids, n of them; where an id comes twice, its later entry wins
        offered : n entries, each `OFFERED`, 0 (not available) or `NO_OFFER` (the catalog decides again)
        """
        hashes = id_hashes(item_ids)
        rows = self._table.lookup(hashes)
        states = np.asarray(offered, np.int8)
        known = rows >= 0
        changed = np.unique(rows[known])
        before = self._offered[changed]
        self._offered[rows[known]] = states[known]
        self._judge(changed[self._offered[changed] != before])
        for item, state in zip(hashes[~known].tolist(), states[~known].tolist(), strict=True):
            if state == NO_OFFER:
                self._early_offers.pop(item, None)
            else:
                self._early_offers[item] = state

    def known_vectors(self, item_ids: Sequence[str]) -> dict[str, tuple[Float32Array, float]]:
        """Return the vector (d,) and the bias of each id that is known, also of withdrawn items."""
        rows = self.rows(id_hashes(item_ids)).tolist()
        found = [(item, row) for item, row in zip(item_ids, rows, strict=True) if row >= 0]
        return {item: (self._vectors[row].copy(), float(self._own_bias[row])) for item, row in found}

    def rows_with(self, labels: UInt64Array) -> Int64Array:
        """Rows of the items that have any of these labels, given by their hashes: int64 array, ascending."""
        codes = self._labels[: len(self.item_ids)]
        return np.flatnonzero(np.isin(codes, _codes(labels)).any(axis=1))

    def remove(self, item_ids: Sequence[str]) -> int:
        """Forget items' vectors; each row is kept for its id's return. Returns how many of the items were known."""
        rows = self._known_rows(item_ids)
        self._vectors[rows] = 0.0
        self._removed[rows] = True
        self._tombstones += len(rows)
        self._judge(rows)
        return len(rows)

    def rows(self, hashes: UInt64Array) -> Int64Array:
        """Row of each id hash: int64 of the same shape, -1 for an id that is unknown or removed."""
        rows = self._table.lookup(hashes)
        if self._tombstones:
            rows[self._removed[rows] & (rows >= 0)] = -1
        return rows

    def row(self, item_id: str) -> int:
        """Row of one id, -1 if it is unknown or removed."""
        return int(self.rows(np.array([id_hash(item_id)], np.uint64))[0])

    def hashes(self, rows: Int64Array) -> UInt64Array:
        """Id hash of each row: uint64 of the same shape, 0 where the row is -1."""
        hashes = self._hashes.take(rows, mode="wrap")
        hashes[rows < 0] = 0
        return hashes

    def gather(self, rows: Int64Array) -> Float32Array:
        """Vectors of rows of any shape: float32 of shape (..., d), zeros where the row is -1."""
        vectors = self._vectors.take(rows, axis=0, mode="wrap")  # -1 wraps to the last row, then zeroed
        vectors[rows < 0] = 0.0
        return vectors

    def available(self, rows: Int64Array) -> BoolArray:
        """Whether rows may be recommended: bool of the same shape, False for -1 and for withdrawn or removed items."""
        return np.asarray((rows >= 0) & (self._bias.take(rows, mode="wrap") > WITHDRAWN), np.bool_)

    def snapshot(self) -> IndexSnapshot:
        """Views of the index as it is now; ``IndexSnapshot`` says which later changes they show."""
        n = len(self.item_ids)
        return IndexSnapshot(self._vectors[:n], self._bias[:n], self._version)

    def changed_since(self, version: int) -> Int64Array:
        """Rows that changed after ``version``, that of a snapshot: int64 array, ascending."""
        return np.flatnonzero(self._changed_at[: len(self.item_ids)] > version)

    def _judge(self, rows: Int64Array) -> None:
        """Set the bias of rows that changed by whether they may be recommended."""
        if len(rows):
            offered = self._offered[rows]
            shown = np.where(offered == NO_OFFER, self._shown[rows], offered == OFFERED) & ~self._removed[rows]
            self._bias[rows] = np.where(shown, self._own_bias[rows], WITHDRAWN)
            self._version = next(_versions)
            self._changed_at[rows] = self._version

    def _known_rows(self, item_ids: Sequence[str]) -> Int64Array:
        rows = np.unique(self.rows(id_hashes(item_ids)))
        return rows[rows >= 0]

    def _rows_for(self, hashes: UInt64Array, item_ids: Sequence[str], turn: Int64Array) -> Int64Array:
        """Rows of distinct hashes; new ones get the next rows."""
        rows = self._table.lookup(hashes)
        new = np.flatnonzero(rows < 0)
        if len(new):
            first = len(self.item_ids)
            rows[new] = np.arange(first, first + len(new))
            self._grow(first + len(new))
            self._table.insert(hashes[new], rows[new])
            self._hashes[rows[new]] = hashes[new]
            if self._early_offers:
                self._offered[rows[new]] = [self._early_offers.pop(item, NO_OFFER) for item in hashes[new].tolist()]
            self.item_ids.extend([item_ids[i] for i in turn[new].tolist()])
        return rows

    def _is_fresh(self, rows: Int64Array, source: UInt64Array, offset: Int64Array) -> BoolArray:
        has_source = source != _NO_SOURCE
        fresh = ~(has_source & (self._source[rows] == source) & (offset < self._source_offset[rows]))
        noted = fresh & has_source
        self._source[rows[noted]] = source[noted]
        self._source_offset[rows[noted]] = offset[noted]
        return np.asarray(fresh, np.bool_)

    def _grow(self, needed: int) -> None:
        capacity = len(self._bias)
        if needed <= capacity:
            return
        extra = max(needed, capacity + capacity // 2) - capacity
        # new arrays instead of resized ones, because a ranking may still read a snapshot of the old arrays
        self._vectors = np.concatenate([self._vectors, np.zeros((extra, self.dimension), np.float32)])
        self._bias = np.concatenate([self._bias, np.full(extra, WITHDRAWN)])
        self._own_bias = np.concatenate([self._own_bias, np.zeros(extra, np.float32)])
        self._shown = np.concatenate([self._shown, np.zeros(extra, np.bool_)])
        self._labels = np.concatenate([self._labels, np.zeros((extra, LABELS), np.uint32)])
        self._offered = np.concatenate([self._offered, np.full(extra, NO_OFFER, np.int8)])
        self._removed = np.concatenate([self._removed, np.zeros(extra, np.bool_)])
        self._hashes = np.concatenate([self._hashes, np.zeros(extra, np.uint64)])
        self._changed_at = np.concatenate([self._changed_at, np.zeros(extra, np.int64)])
        self._source = np.concatenate([self._source, np.zeros(extra, np.uint64)])
        self._source_offset = np.concatenate([self._source_offset, np.zeros(extra, np.int64)])


def _codes(hashes: UInt64Array) -> UInt32Array:
    """Shorten hashes of labels: two of 10,000 labels share a code with a chance of 1 %. 0 means no label."""
    return np.maximum((hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32), np.uint32(1))


@lru_cache(1 << 16)  # a shop has few brands and categories, and many items of each
def _codes_of_item(labels: tuple[str, ...]) -> tuple[int, ...]:
    codes = _codes(id_hashes(labels[:LABELS])).tolist()
    return (*codes, *[0] * (LABELS - len(codes)))


def _label_codes(labels: Sequence[tuple[str, ...]] | None, n: int) -> UInt32Array:
    if labels is None:
        return np.zeros((n, LABELS), np.uint32)
    return np.array([_codes_of_item(of_item) for of_item in labels], np.uint32).reshape(n, LABELS)


def _source_arrays(sources: Sequence[CatalogPosition | None] | None, n: int) -> tuple[UInt64Array, Int64Array]:
    keys = np.zeros(n, np.uint64)
    offsets = np.zeros(n, np.int64)
    known: dict[tuple[str, int], int] = {}
    for i, source in enumerate(sources or ()):
        if source is not None and source.topic_id:
            key = (source.topic_id, source.partition)
            if key not in known:
                known[key] = id_hash(f"{source.partition}@{source.topic_id}") or 1  # 0 means no source
            keys[i] = known[key]
            offsets[i] = source.offset
    return keys, offsets


def _turns(hashes: UInt64Array, sound: BoolArray) -> list[Int64Array]:
    """Positions of sound entries, split into turns: the first entry of each hash, then the second, and so on."""
    positions = np.flatnonzero(sound)
    order = np.argsort(hashes[positions], kind="stable")
    positions = positions[order]
    grouped = hashes[positions]
    starts = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]]) if len(grouped) else np.zeros(0, np.int64)
    if len(starts) == len(positions):  # no id comes twice
        return [np.sort(positions)] if len(positions) else []
    sizes = np.diff(np.r_[starts, len(positions)])
    occurrence = np.arange(len(positions)) - np.repeat(starts, sizes)
    by_turn = np.lexsort((positions, occurrence))
    return np.split(positions[by_turn], np.cumsum(np.bincount(occurrence))[:-1])
