"""What lists wait for at a rate: the same with nothing saved, and then with all users in memory as well.

python -m tests.bench.latency_limit --rate 5000
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy.local.stack import Stack, running
from tests.bench import workload
from tests.bench.latency import Reader, at_rate
from tests.bench.shop import BenchShop

_ITEMS = 10_000
_UNSAVED = {
    "profiles": {"memory_mb": 1_000},  # for all of the workload's users
    "checkpoint": {"interval_s": 3_600.0, "max_dirty_users": 1_000_000},
}
_WAYS: dict[str, tuple[dict[str, Any], workload.Users, int]] = {  # settings, and the events that go before
    "as it is": ({}, "zipf", 100_000),  # as in the bench
    "nothing saved": (_UNSAVED, "zipf", 100_000),
    "nothing saved, all users in memory": (_UNSAVED, "uniform", 500_000),  # which leave out one user in 150
}


def latency_limit(stack: Stack, folder: Path, rate: float, seconds: float, rounds: int) -> dict[str, list[Any]]:
    """By setting, what `tests.bench.latency` says of a rate, some times."""
    found: dict[str, list[Any]] = {}
    for name, (sections, users, warm) in _WAYS.items():
        shop = BenchShop(stack, folder, _ITEMS, **sections)
        worker = shop.start_workers()[0]
        reader = Reader(shop)
        try:
            shop.send_all(workload.events(users, warm, _ITEMS, 5, int(time.time() * 1000)))
            reader.wait_quiet()
            reader.take({})
            found[name] = [at_rate(shop, worker, reader, rate, seconds, 100 + number) for number in range(rounds)]
            print(name, [row["worker"] for row in found[name]], file=sys.stderr, flush=True)
        finally:
            reader.close()
            worker.stop()
    return found


def main() -> int:
    """Measure and print one object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency_limit", description=__doc__)
    parser.add_argument("--rate", type=float, default=5_000.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefstream-bench-") as name:
        folder = Path(name)
        with running(folder / "stack", progress=lambda line: print(line, file=sys.stderr, flush=True)) as stack:
            print(json.dumps(latency_limit(stack, folder, given.rate, given.seconds, given.rounds), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
