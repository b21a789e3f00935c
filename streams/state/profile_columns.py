"""The columns of a profile. Each is declared once, with its size and when it is cleared, saved and forgotten.

A feature adds columns of its own (see `streams.features`). A column with a ``field`` is stored in the row by that name.
The core's columns have none: `streams.checkpoint.profile_rows` stores them in the fields of `ProfileState`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.state.applied_offsets import NO_SPAN
from streams.state.decayed_sums import NO_TIME
from streams.state.profile_shape import ProfileShape

_BYTES_BESIDE_COLUMNS = 321
"""Bytes of a user outside the columns: the id, its entry in the table's dictionary, applied offsets."""


def _scalar(_: ProfileShape) -> tuple[int, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class ProfileColumn:
    """An array with an entry for each slot of the table."""

    name: str
    dtype: Any
    shape: Callable[[ProfileShape], tuple[int, ...]] = _scalar
    """Returns the shape of a user's entry."""
    blank: int = 0
    """The value for a user without events."""
    saved: bool = True
    """Whether a snapshot copies the column. A column that is stored must be copied."""
    kept_when_forgotten: bool = False
    """Whether the column keeps its value when a user is forgotten."""
    of_encoder: bool = False
    """Whether the column holds vectors or sums of the active encoder: another encoder begins with a blank column."""
    marker: str | None = None
    """Name of another column. Where the marker is blank, this column is blank too and need not be cleared.

    Memory is allocated by the first write, so a column that is not cleared costs none.
    """
    field: str | None = None
    """The row's field that stores the column as little-endian bytes. None for the columns of the core."""
    ring_count: str | None = None
    """For a ring: name of the column that counts its entries. A ring is stored from the oldest entry to the newest."""
    largest: int | None = None
    """The largest value that this release knows; a larger one in a row counts as blank."""


def _column(
    name: str, dtype: Any, shape: Callable[[ProfileShape], tuple[int, ...]] = _scalar, **more: Any
) -> ProfileColumn:
    return ProfileColumn(name=name, dtype=dtype, shape=shape, **more)


def _history(shape: ProfileShape) -> tuple[int, ...]:
    return (shape.history,)


def _sums(shape: ProfileShape) -> tuple[int, ...]:
    return (shape.half_lives, shape.dimension)


def _half_lives(shape: ProfileShape) -> tuple[int, ...]:
    return (shape.half_lives,)


def _purchases(shape: ProfileShape) -> tuple[int, ...]:
    return (shape.purchases,)


def _recommended(shape: ProfileShape) -> tuple[int, ...]:
    return (shape.recommended,)


CORE_COLUMNS: tuple[ProfileColumn, ...] = (
    # recents, the newest first
    _column("items", np.uint64, _history),
    _column("rows", np.int64, _history, blank=-1, saved=False),
    _column("types", np.uint8, _history),
    _column("times", np.int64, _history, blank=NO_TIME),
    _column("ids", np.uint64, _history),
    _column("written", np.int64, _history),
    # float64, though stored as float32: a busy user's sums decay thousands of times, and roundings would add up
    _column("sums", np.float64, _sums, of_encoder=True),
    _column("total_weight", np.float64, _half_lives, of_encoder=True),
    _column("sums_time", np.int64, blank=NO_TIME, of_encoder=True),
    _column("mapped_sums", np.float32, _sums, saved=False, of_encoder=True, marker="mapped_time"),
    _column("mapped_total_weight", np.float32, _half_lives, saved=False, of_encoder=True, marker="mapped_time"),
    _column("mapped_time", np.int64, blank=NO_TIME, saved=False, of_encoder=True),
    _column("preferences", np.float32, lambda shape: (3, shape.dimension), of_encoder=True),
    _column("seen", np.uint64, lambda shape: (shape.duplicate_window,)),
    _column("seen_count", np.int64),
    _column("purchased_items", np.uint64, _purchases),
    _column("purchased_times", np.int64, _purchases, blank=NO_TIME),
    # the list that was recommended to the user last
    _column("recommended_items", np.uint64, _recommended),
    _column("recommended_reasons", np.uint8, _recommended),
    _column("recommendation_id_hash", np.uint64),
    _column("recommended_by", np.uint16),
    _column("applied", np.int64, lambda _: (3,), kept_when_forgotten=True),
    _column("duplicates", np.int64, kept_when_forgotten=True),
    _column("pending_dropped", np.int64, kept_when_forgotten=True),
    _column("applied_offsets", np.int64, lambda shape: (shape.logs,), kept_when_forgotten=True),
    _column("first_offsets", np.int64, lambda shape: (shape.logs,), blank=NO_SPAN, kept_when_forgotten=True),
    _column("partition", np.int32, kept_when_forgotten=True),
    _column("term", np.int64, kept_when_forgotten=True),
    _column("dirty", np.bool_, saved=False, kept_when_forgotten=True),
    _column("saving", np.bool_, saved=False, kept_when_forgotten=True),
    _column("forgotten", np.bool_, kept_when_forgotten=True),
    _column("forgotten_ms", np.int64, kept_when_forgotten=True),
)


def bytes_per_user(shape: ProfileShape, feature_columns: Iterable[ProfileColumn] = ()) -> int:
    """Compute the memory of a user in the table, in bytes.

    >>> bytes_per_user(ProfileShape(history=20, dimension=64, half_lives=2))
    5282
    """
    total = _BYTES_BESIDE_COLUMNS
    for column in (*CORE_COLUMNS, *feature_columns):
        total += math.prod(column.shape(shape)) * np.dtype(column.dtype).itemsize
    return total
