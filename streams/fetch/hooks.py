"""The settings and callbacks by which a worker and the consumer of its Faust app work together."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Partitions = set[tuple[str, int]]
"""Pairs of topic and partition."""

Hook = Callable[[Partitions], Awaitable[None]]


async def _nothing(_: Partitions) -> None:
    """Do nothing: the default of a hook."""


async def _no_ids() -> Mapping[str, str]:
    """Know no topic ids: the default of a hook."""
    return {}


def _raise(error: Exception) -> None:
    """Raise: the default of a hook."""
    raise error


@dataclass(kw_only=True)
class FetchHooks:
    """Settings and callbacks that the consumer reads at each fetch, and when an assignment begins or ends."""

    before_revoke: Hook = _nothing
    """Awaited with the partitions that are taken away. It drains, checkpoints and acks, and its acks still count: the
    consumer commits the offsets afterwards, and only then lets Faust drop its state."""
    after_assign: Hook = _nothing
    """Awaited with the partitions that this worker owns now, before Faust fetches from them."""
    ask_topic_ids: Callable[[], Awaitable[Mapping[str, str]]] = _no_ids
    """Asks the broker for the present ids of the topics. A committed offset of another topic id counts as none, because
    the topic was deleted and created again."""
    lost: Callable[[Exception], None] = _raise
    """Called with `EventsLost` when an input does not hold the records that have to be read next."""
    ask_again_s: float = 0.5
    """Seconds between two questions for the topic ids, before a position outside its log is taken for a loss."""
    epoch: int = 0
    """Number of the assignment, stamped on each fetched batch."""
    max_batch_records: int = 2_000
    """Largest number of records in a batch."""
    fetch_max_wait_ms: int | None = None
    """How long the broker may hold back the answer to a fetch while it has no record; None: Faust's own value."""
    read_first: frozenset[str] = frozenset()
    """Topics to read first: their records at the time of an assignment are delivered before those of other topics."""
