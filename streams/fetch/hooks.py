"""The settings and callbacks by which a worker and the consumer of its Faust app work together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Partitions = set[tuple[str, int]]
"""Pairs of topic and partition."""

Hook = Callable[[Partitions], Awaitable[None]]


async def _nothing(_: Partitions) -> None:
    """Do nothing: the default of a hook."""


@dataclass(kw_only=True)
class FetchHooks:
    """Settings and callbacks that the consumer reads at each fetch, and when an assignment begins or ends."""

    before_revoke: Hook = _nothing
    """Awaited with the partitions that are taken away. It drains, checkpoints and acks, and its acks still count: the
    consumer commits the offsets afterwards, and only then lets Faust drop its state."""
    after_assign: Hook = _nothing
    """Awaited with the partitions that this worker owns now, before Faust fetches from them."""
    epoch: int = 0
    """Number of the assignment, stamped on each fetched batch."""
    max_batch_records: int = 2_000
    """Largest number of records in a batch."""
    fetch_max_wait_ms: int | None = None
    """How long the broker may hold back the answer to a fetch while it has no record; None: Faust's own value."""
    read_first: frozenset[str] = frozenset()
    """Topics to read first: their records at the time of an assignment are delivered before those of other topics."""
