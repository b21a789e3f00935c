"""Purchased items: of each item its latest purchase, the latest items first."""

import numpy as np

from streams.arrays import Int64Array, UInt64Array


def latest_purchases(items: UInt64Array, times: Int64Array, most: int) -> tuple[UInt64Array, Int64Array]:
    """Keep the latest purchase of each item, and the latest ``most`` of them, sorted by (time, item), largest first.

    Parameters
    ----------
    items : uint64 array of shape (n,), hashes of item ids
    times : int64 array of shape (n,), when they were purchased, UTC ms

    Returns
    -------
    items, times : arrays of shape (m,), m at most ``most``

    Examples
    --------
    >>> items, times = latest_purchases(np.uint64([7, 7, 9, 8]), np.array([30, 10, 30, 20]), 2)
    >>> items.tolist(), times.tolist()
    ([9, 7], [30, 30])
    """
    newest_first = np.lexsort((items, times))[::-1]
    _, first = np.unique(items[newest_first], return_index=True)
    kept = newest_first[np.sort(first)[:most]]
    return items[kept], times[kept]
