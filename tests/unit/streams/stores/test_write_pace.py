"""Work is spread over its time, and over no more of it once somebody is in a hurry."""

import threading
import time

from streams.stores.write_pace import WritePace

SLACK_S = 0.005  # a timer may come a little early
LONG_S = 60.0  # nobody waits for so long


def test_parts_are_spread_evenly_and_what_took_longer_is_not_waited_for() -> None:
    pace = WritePace(0.2)
    start = time.monotonic()
    pace.begin(4)
    pace.done(1)
    assert time.monotonic() - start >= 0.05 - SLACK_S
    time.sleep(0.1)  # this part is late
    waited_s = pace.waited_s
    pace.done(1)
    assert pace.waited_s == waited_s
    pace.done(1)
    assert 0.15 - SLACK_S <= time.monotonic() - start < LONG_S
    assert 0.05 - SLACK_S <= waited_s <= pace.waited_s < 0.2


def test_nothing_waits_behind_the_last_part() -> None:
    pace = WritePace(LONG_S)
    pace.begin(3)
    pace.done(3)
    assert pace.waited_s == 0.0


def test_without_a_time_nothing_waits() -> None:
    pace = WritePace()
    assert pace.hurried
    pace.begin(1)
    pace.done(1)
    assert pace.waited_s == 0.0


def test_a_hurry_before_the_beginning_counts() -> None:
    pace = WritePace(LONG_S)
    assert not pace.hurried
    pace.hurry()
    pace.begin(2)
    pace.done(1)
    assert pace.waited_s < LONG_S / 2


def test_a_hurry_ends_a_wait_of_another_thread() -> None:
    pace = WritePace(LONG_S)
    pace.begin(2)
    waiting = threading.Thread(target=pace.done, args=(1,), daemon=True)
    waiting.start()
    pace.hurry()
    waiting.join(LONG_S / 2)
    assert not waiting.is_alive()


def test_work_that_is_late_by_all_of_its_time_hurries_itself() -> None:
    now_s = 0.0
    pace = WritePace(LONG_S, clock=lambda: now_s)
    pace.begin(100)
    now_s += 0.9 * LONG_S
    pace.done(1)
    assert not pace.hurried
    now_s += 0.9 * LONG_S
    pace.done(1)
    assert pace.hurried
