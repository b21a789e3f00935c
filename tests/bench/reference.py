"""How fast the machine is at the moment: one piece of work that never changes, so that figures of two runs compare."""

import time
from statistics import median

import numpy as np

_RUNS = 9
_VALUES = np.random.default_rng(0).random(20_000, np.float32)


def reference_us() -> float:
    """CPU microseconds of some Python and some numpy; the median of a few runs, some 20 ms altogether."""
    taken = []
    for _ in range(_RUNS):
        start = time.thread_time()
        sum({str(number): number for number in range(4_000)}.values())
        np.sort(_VALUES)
        taken.append((time.thread_time() - start) * 1e6)
    return round(median(taken), 1)
