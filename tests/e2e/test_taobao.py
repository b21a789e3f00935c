"""Events like Taobao's through real Kafka and Cassandra with two workers; the state checked against the oracle."""

import csv
import random
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from tests.e2e.oracle import Sent
from tests.e2e.taobao import TAOBAO_TYPES, Options, passed, read_events, run

START_MS = 1_600_000_000_000


def write_shop(path: Path, events: int, users: int, items: int, seed: int = 1) -> Path:
    """A file of Taobao's format: two hours, most things looked at and few bought.

    No user has more events than the duplicate window: topics take turns in batches while a backlog is read, so a
    duplicate of a busier user may come later than it was sent.
    """
    rng = random.Random(seed)
    behaviours = rng.choices(list(TAOBAO_TYPES), weights=[85, 6, 4, 5], k=events)
    with path.open("w", newline="", encoding="utf-8") as lines:
        rows = csv.writer(lines)
        for place, behaviour in enumerate(behaviours):
            user = rng.randrange(users)
            second = 1_511_658_000 + place * 7_200 // events
            rows.writerow([user, rng.randrange(items), rng.randrange(40), behaviour, second])
    return path


@pytest.mark.timeout(240)
def test_nothing_is_lost_or_doubled_with_late_events_duplicates_and_a_kill(stack: Stack, tmp_path: Path) -> None:
    events = read_events(write_shop(tmp_path / "UserBehavior.csv", events=12_000, users=400, items=2_000))
    options = Options(history=8, shuffle_minutes=10, duplicates=0.02, kill=True)
    report = run(events, stack, tmp_path, options)
    assert passed(report), report
    assert report["events"] == 12_000
    assert report["duplicates"] > 150


@pytest.mark.timeout(240)
def test_one_user_with_5000_events(stack: Stack, tmp_path: Path) -> None:
    rng = random.Random(2)
    events = [
        Sent(
            f"busy:{n}",
            "busy" if n % 10 else f"other-{n % 70}",
            str(rng.randrange(300)),
            "browse",
            START_MS + n * 1_000,
        )
        for n in range(5_556)
    ]
    report = run(events, stack, tmp_path, Options(history=8, workers=1))
    assert passed(report), report
    assert report["applied"] == 5_556
