"""What a worker tells the consumer of its Faust app, and is told by it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Partitions = set[tuple[str, int]]
"""Topics and partitions."""

Hook = Callable[[Partitions], Awaitable[None]]


async def _nothing(_: Partitions) -> None:
    """Where nobody wants to be told."""


@dataclass(kw_only=True)
class FetchHooks:
    """The consumer reads these at each fetch and at both ends of an assignment."""

    before_revoke: Hook = _nothing
    """Awaited with the partitions that are taken away, while acks still count: it drains, checkpoints and acks. The
    consumer commits the offsets after it, and only then lets Faust drop its state."""
    after_assign: Hook = _nothing
    """Awaited with the partitions that this worker has now, before Faust fetches them."""
    epoch: int = 0
    """The assignment that fetched batches are stamped with."""
    max_batch_records: int = 2_000
    """Records of a batch at most."""
    fetch_max_wait_ms: int | None = None
    """How long the broker may hold back a fetch that finds no record; None: as long as Faust says."""
    read_first: frozenset[str] = frozenset()
    """Topics whose records, as of an assignment, are delivered before those of all others."""
