"""What stays of forgotten users: how long their rows live, and the tombstones of their lists, which are repeated."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from streams.fetch.record_batch import RecordBatch

LAST_EXPIRY_S = 2**31 - 1 - 86_400
"""Seconds since 1970 of the last expiry that every Cassandra takes (in January 2038), less a day for clocks."""
LONGEST_TTL_S = 20 * 365 * 86_400
"""The longest time to live that Cassandra accepts."""


def time_to_live_s(records_live_s: float | None, now_s: float) -> int:
    """Return the time to live of a forgotten user's row; 0 = for ever.

    Parameters
    ----------
    records_live_s : seconds for which a record of the inputs may still be read; None: for ever
    now_s : seconds since 1970

    >>> time_to_live_s(3600.5, 1.8e9), time_to_live_s(None, 1.8e9), time_to_live_s(15 * 365 * 86_400, 1.8e9)
    (3601, 0, 0)
    """
    if records_live_s is None:
        return 0
    seconds = max(1, -int(-records_live_s // 1))
    return seconds if seconds <= LONGEST_TTL_S and now_s + seconds <= LAST_EXPIRY_S else 0


@dataclass(frozen=True)
class _Withdrawn:
    """Users whose lists were withdrawn together, and the batches of the commands that asked for it."""

    due_s: float
    epoch: int
    users: set[str]
    batches: list[RecordBatch]


class Tombstones:
    """Remembers whose list was withdrawn a short while ago, until the tombstone has been sent a second time.

    A worker that hung past its session may still send a list of a forgotten user, behind the first tombstone.
    Compaction keeps the record with the larger offset, whatever its revision. So the tombstone is repeated once such a
    list must have arrived. The commands' batches are acked only then: if this worker dies before, its successor reads
    the commands again, and withdraws the lists again.
    """

    def __init__(self, after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``after_s``: seconds between the two tombstones of a user."""
        self._after_s, self._clock = after_s, clock
        self._waiting: list[_Withdrawn] = []
        self.users: set[str] = set()
        """Users whose tombstone is to be repeated."""

    def add(self, users: Sequence[str], epoch: int, batches: list[RecordBatch]) -> None:
        """Note users whose lists were withdrawn now; ``batches`` are acked after the second tombstones."""
        self.users.update(users)
        self._waiting.append(_Withdrawn(self._clock() + self._after_s, epoch, set(users), batches))

    def came_back(self, users: Iterable[str]) -> None:
        """Note users who have a new list: a second tombstone would delete it."""
        self.users.difference_update(users)

    def take_due(self, epoch: int) -> tuple[list[str], list[RecordBatch]]:
        """Return the users whose tombstones are to be sent again now, and the batches that can be acked after that.

        What was noted under another assignment is dropped: its commands are read again, by the present owner.
        """
        now_s = self._clock()
        due: list[_Withdrawn] = []
        kept: list[_Withdrawn] = []
        for entry in self._waiting:
            if entry.epoch != epoch:
                continue
            (due if entry.due_s <= now_s else kept).append(entry)
        self._waiting = kept
        later = {user for entry in kept for user in entry.users}
        users = {user for entry in due for user in entry.users if user in self.users} - later
        self.users &= later
        return sorted(users), [batch for entry in due for batch in entry.batches]
