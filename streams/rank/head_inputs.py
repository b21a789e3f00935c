"""The inputs of the user head: recents' vectors and decayed sums, as arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import HeadInputs
from streams.arrays import Float64Array, IntpArray
from streams.state.decayed_sums import NO_TIME
from streams.state.profile_table import ProfileTable


def head_inputs(
    table: ProfileTable, slots: IntpArray, index: ItemIndex, history: int, half_life_s: Float64Array | None = None
) -> HeadInputs:
    """Gather the head's inputs of B users.

    Parameters
    ----------
    slots : intp array of shape (B,)
    history : number of recents that the head reads (h). Further recents are cut off, missing ones are padded.
    half_life_s : float64 array of shape (T,). With it, the mapped sums of other encoder versions are added.
        Without it, only the encoder's own sums are read.
    """
    refresh_rows(table, slots, index)
    sums, total_weight = table.sums[slots], table.total_weight[slots]
    if half_life_s is not None:
        sums, total_weight, _ = table.older(slots, half_life_s)
    times = _widen(table.times[slots], history, NO_TIME)  # (B, h)
    present = times != NO_TIME
    rows = _widen(table.rows[slots], history, -1)
    ages = np.where(present, times[:, :1] - times, 0) / 1000.0
    return HeadInputs(
        sums=sums.astype(np.float32),
        mass=total_weight.astype(np.float32),
        recent_vectors=index.gather(np.where(present, rows, -1)),
        recent_types=np.where(present, _widen(table.types[slots], history, 0).astype(np.int64), -1),
        recent_ages=ages.astype(np.float32),
        recent_rows=np.where(present, rows, -1),
    )


def refresh_rows(table: ProfileTable, slots: IntpArray, index: ItemIndex) -> None:
    """Look up again the recents whose item was not in the index when they arrived."""
    rows = table.rows[slots]
    unknown = (rows < 0) & (table.times[slots] != NO_TIME)
    if unknown.any():
        rows[unknown] = index.rows(table.items[slots][unknown])
        table.rows[slots] = rows


def _widen(values: NDArray[Any], width: int, blank: int) -> NDArray[Any]:
    short = width - values.shape[1]
    if short <= 0:
        return values[:, :width]
    return np.pad(values, ((0, 0), (0, short)), constant_values=blank)
