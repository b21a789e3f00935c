"""Packs rows into requests, and keeps several requests in flight.

A request costs the client much, and a row in it little.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batches(
    items: Iterable[tuple[Hashable, int, Item]], max_items: int, max_bytes: int | None = None
) -> Iterator[list[Item]]:
    """Pack items of one key together, in their order.

    Parameters
    ----------
    items : iterable of (key, bytes, item)
        Items of different keys never share a batch.
    max_items : int
        Largest number of items in a batch; > 0.
    max_bytes : int, optional
        Largest size of a batch; a larger item gets a batch of its own.

    Yields
    ------
    list of items, never empty; full batches first, the rest at the end.

    >>> list(batches([("a", 4, 1), ("b", 4, 2), ("a", 4, 3), ("a", 9, 4)], max_items=20, max_bytes=8))
    [[1, 3], [4], [2]]
    """
    open_batches: dict[Hashable, tuple[list[Item], int]] = {}
    for key, size, item in items:
        batch, held = open_batches.get(key, ([], 0))
        if batch and (len(batch) == max_items or (max_bytes is not None and held + size > max_bytes)):
            yield batch
            batch, held = [], 0
        batch.append(item)
        open_batches[key] = (batch, held + size)
    for batch, _ in open_batches.values():
        yield batch


async def in_lanes(work: Callable[[Item], Awaitable[None]], items: Iterable[Item], lanes: int) -> None:
    """Do ``work`` for every item, at most ``lanes`` items at a time; the first error cancels the rest."""
    queue = iter(items)

    async def lane(first: Item) -> None:
        await work(first)
        for item in queue:
            await work(item)

    running = [asyncio.ensure_future(lane(first)) for first in islice(queue, lanes)]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
