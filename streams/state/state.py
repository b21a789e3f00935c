"""The state of a worker: what it remembers of users, what is trending, and the lock that guards both."""

import asyncio
from dataclasses import dataclass, field

from streams.state.profile_table import ProfileTable
from streams.state.trending import Trending


@dataclass(frozen=True)
class State:
    """Travels as one: who changes the table or the counts holds the lock."""

    table: ProfileTable
    trending: Trending
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a micro-batch changes the state: a checkpoint freezes, and an encoder is swapped, between two."""
