"""How the cost of an event and the memory of a user grow: with the batch, and with the users in memory."""

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from streams.checkpoint.profile_rows import encode_rows
from streams.checkpoint.snapshot import end_save, take_snapshot
from streams.emit.list_json import reason_codes
from streams.state.profile_columns import bytes_per_user
from tests.bench import workload
from tests.bench.hot_path import HotPath

_ITEMS = 10_000
_REPEATS = 5


def by_batch(folder: Path, sizes: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """Microseconds of CPU an event, by records in a batch, of uniform users with a past."""
    path = HotPath(folder, _ITEMS, 10_000, past=40)
    return {size: _costs(path, size) for size in sizes}


def by_users(folder: Path, counts: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """The same for batches of 2,000, by users in memory; and the memory of one, measured as the process grows."""
    found = {}
    for count in counts:
        process = psutil.Process()
        before = process.memory_info().rss
        path = HotPath(folder, _ITEMS, count, past=5)
        grown = process.memory_info().rss - before
        shown = {"bytes_per_user": grown / count, "bytes_per_user_budget": float(bytes_per_user(path.table.shape))}
        found[count] = {**_costs(path, workload.BATCH), **shown}
    return found


def _costs(path: HotPath, size: int) -> dict[str, float]:
    samples: dict[str, list[float]] = {}

    def timed(stage: str, work: Any, *arguments: Any) -> Any:
        start = time.process_time()
        result = work(*arguments)
        samples.setdefault(stage, []).append((time.process_time() - start) / size * 1e6)
        return result

    for _ in range(_REPEATS):
        events = timed("decode", path.decode, path.records(size))
        timed("update", path.update, events)
        slots = np.unique(path.table.find(events.user_ids))
        ranked = timed("rank", path.rank, slots)
        timed("encode", lambda: path.encode(slots, ranked, reason_codes(ranked)))  # noqa: B023
        timed("rows", _rows, path, slots)
    costs = {stage: round(median(values), 2) for stage, values in samples.items()}
    return {**costs, "all": round(sum(costs.values()), 2)}


def _rows(path: HotPath, slots: Any) -> None:
    snapshot = take_snapshot(path.table, slots, path.space.version)
    encode_rows(snapshot, 1, 3_600)
    end_save(path.table, snapshot, True)
