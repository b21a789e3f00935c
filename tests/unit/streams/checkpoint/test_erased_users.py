"""How long the rows of forgotten users live, and which tombstones are repeated."""

from datetime import UTC, datetime

import pytest

from streams.checkpoint.erased_users import Tombstones, time_to_live_s
from streams.fetch.record_batch import RecordBatch

NOW_S = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
YEAR_S = 365 * 86_400


@pytest.mark.parametrize(
    ("records_live_s", "seconds"),
    [(None, 0), (0.0, 1), (0.5, 1), (3_600.0, 3_600), (3_600.1, 3_601), (10.0 * YEAR_S, 10 * YEAR_S)],
)
def test_a_row_lives_as_long_as_the_records_do(records_live_s: float | None, seconds: int) -> None:
    assert time_to_live_s(records_live_s, NOW_S) == seconds


@pytest.mark.parametrize(("years", "now_s"), [(12, NOW_S), (21, NOW_S), (2, NOW_S + 10 * YEAR_S), (21, 0.0)])
def test_a_row_that_would_outlive_the_times_that_cassandra_knows_lives_for_ever(years: int, now_s: float) -> None:
    """Regression: Cassandra refuses an expiry after January 2038, and a refused save is tried again for ever."""
    assert time_to_live_s(float(years * YEAR_S), now_s) == 0


def test_users_who_are_withdrawn_twice_get_their_second_tombstone_after_the_later_command() -> None:
    now = [0.0]
    tombstones = Tombstones(20.0, lambda: now[0])
    first, second = RecordBatch(("c", 0), []), RecordBatch(("c", 0), [])
    tombstones.add(["anna", "ben"], 1, [first])
    now[0] = 10.0
    tombstones.add(["anna"], 1, [second])
    now[0] = 20.0
    assert tombstones.take_due(1) == (["ben"], [first])
    now[0] = 30.0
    assert tombstones.take_due(1) == (["anna"], [second])
    assert not tombstones.users


def test_what_was_withdrawn_under_another_assignment_is_dropped() -> None:
    tombstones = Tombstones(20.0, lambda: 0.0)
    tombstones.add(["anna"], 1, [RecordBatch(("c", 0), [])])
    assert tombstones.take_due(2) == ([], [])
    assert not tombstones.users
