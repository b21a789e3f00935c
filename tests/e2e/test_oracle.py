"""The faults' oracle: it finds actions that were lost, counted twice or with the wrong sign."""

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.e2e.oracle import Oracle, Sent, hashed, identity

NOW_MS = 1_760_000_000_000
REFUND = Sent("r1", "ann", "tent", "refund", NOW_MS)
HIDE = Sent("h1", "ann", "boots", "hide", NOW_MS + 1)
WEIGHT = 2.0
ORACLE = Oracle(8, [3_600.0], {"click": [1.0], "browse": [0.5], "purchase": [WEIGHT]}, dimension=4)


def row(counted: float = -1.0, weight: float = WEIGHT, seen: tuple[Sent, ...] = (REFUND, HIDE), **of_state: Any) -> Any:
    """The row of a user whose refund was counted with ``counted`` times its vector, and who has hidden an item."""
    vector = counted * WEIGHT * ORACLE.vector("tent")
    nothing = dict.fromkeys(("items", "types", "times", "ids"), b"")
    sums = {"sums": vector.astype("<f4").tobytes(), "mass": np.float32([weight]).tobytes()}
    state = {
        "recents": nothing,
        "pending": nothing,
        "sums": [{"encoder": "e", "time_ms": NOW_MS, **sums}],
        "purchased_items": b"",
        "purchased_times": b"",
        "seen_ids": np.array([identity(one) for one in seen], "<u8").tobytes(),
        "counters": {"applied": [0, 0, 0], "duplicates": 0, "pending_dropped": 0},
        "actions": {
            "refunds": {hashed("tent"): [NOW_MS, NOW_MS + 5]},
            "hidden_items": {hashed("boots"): [NOW_MS + 1, NOW_MS + 5, 2**63 - 1]},
        },
    }
    return SimpleNamespace(state=msgspec.msgpack.encode(state | of_state))


def compare(stored: Any) -> tuple[int, int, int, bool]:
    report = ORACLE.compare([REFUND, HIDE], {"ann": stored}, duplicate_window=64)
    return report["lost"], report["double_counted"], report["actions_wrong"], report["max_state_error"] < 1e-4


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (row(), (0, 0, 0, True)),
        (row(counted=1.0), (0, 0, 0, False)),
        (row(counted=-2.0, weight=2 * WEIGHT), (0, 0, 0, False)),
        (row(seen=(REFUND,)), (1, 0, 0, True)),
        (row(actions={"refunds": {hashed("tent"): [NOW_MS, NOW_MS + 5]}}), (0, 0, 1, True)),
        (row(sums=[], actions=None, seen=()), (2, 0, 1, False)),
        (row(counters={"applied": [0, 0, 0], "duplicates": 1, "pending_dropped": 0}), (0, 1, 0, True)),
    ],
    ids=["right", "positive", "twice", "unseen", "not-hidden", "lost", "read-twice"],
)
def test_what_the_oracle_finds(stored: Any, found: tuple[int, int, int, bool]) -> None:
    assert compare(stored) == found
