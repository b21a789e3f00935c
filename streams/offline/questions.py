"""Recorded histories of users, and the events that are to be predicted from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from streams.arrays import IntpArray


@dataclass(frozen=True, slots=True)
class History:
    """The events of one user, in order of time."""

    items: Sequence[str]
    types: Sequence[int] | None = None  # indices into EVENT_TYPES; None: all are clicks
    times_ms: Sequence[int] | None = None  # None: the events have only an order


@dataclass(frozen=True, slots=True)
class Questions:
    """Q events to predict, each from the earlier events of its user."""

    log: Sequence[History]
    users: IntpArray  # (Q,) indices into the log
    seen: IntpArray  # (Q,) number of the user's events before the event to predict
    targets: Sequence[str]  # (Q,) item of the event to predict

    @classmethod
    def at_the_end(cls, log: Sequence[History], targets: Sequence[str]) -> "Questions":
        """Ask one question for each history: the item that comes after its last event."""
        return cls(log, np.arange(len(log)), np.array([len(history.items) for history in log], np.intp), targets)

    def items_before(self) -> Iterator[Sequence[str]]:
        """Yield for each question the items of the user's earlier events, oldest first."""
        for user, seen in zip(self.users.tolist(), self.seen.tolist(), strict=True):
            yield self.log[user].items[:seen]
