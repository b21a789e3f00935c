"""Waiting between tries: longer each time, up to a bound, with some noise so that workers don't try in step."""

import asyncio
import random


class Backoff:
    """Sleeps ``first_s``, then twice as long each time, at most ``longest_s``."""

    def __init__(self, first_s: float = 0.1, longest_s: float = 5.0) -> None:
        self._next_s = first_s
        self._longest_s = longest_s

    async def sleep(self) -> None:
        """Wait for the next try."""
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1.0))
        self._next_s = min(self._next_s * 2, self._longest_s)
