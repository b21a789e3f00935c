"""The state of a worker: the profiles, the trending counts, and the lock that guards both."""

import asyncio
from dataclasses import dataclass, field

from streams.state.profile_table import ProfileTable
from streams.state.trending import Trending


@dataclass(frozen=True)
class State:
    """The table, the counts and their lock. Hold the lock to change the table or the counts."""

    table: ProfileTable
    trending: Trending
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The state lock: a micro-batch holds it while it changes the state.

    So a checkpoint copies the state, and the active encoder is switched, between two micro-batches.
    """
