"""Users' pasts, and what is asked of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from streams.arrays import IntpArray


@dataclass(frozen=True, slots=True)
class History:
    """The events of one user in order."""

    items: Sequence[str]
    types: Sequence[int] | None = None  # places in EVENT_TYPES; clicks, if not given
    times_ms: Sequence[int] | None = None  # position is the clock, if not given


@dataclass(frozen=True, slots=True)
class Questions:
    """What came next: Q events to predict, each from its user's events before it."""

    log: Sequence[History]
    users: IntpArray  # (Q,) places in the log
    seen: IntpArray  # (Q,) how many of the user's events come before
    targets: Sequence[str]  # (Q,)

    @classmethod
    def at_the_end(cls, log: Sequence[History], targets: Sequence[str]) -> "Questions":
        """One a history: what came after all of it."""
        return cls(log, np.arange(len(log)), np.array([len(history.items) for history in log], np.intp), targets)

    def items_before(self) -> Iterator[Sequence[str]]:
        """The items that each question's user has seen, oldest first."""
        for user, seen in zip(self.users.tolist(), self.seen.tolist(), strict=True):
            yield self.log[user].items[:seen]
