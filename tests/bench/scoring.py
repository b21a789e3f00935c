"""Scoring on one core: CPU a user and recall, by catalog size, on items spread as by a trained model."""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from encoders import lookup
from encoders.graph import RankingGraph
from encoders.index import ItemIndex, Snapshot
from encoders.ranked import HeadInputs, Ranked
from encoders.runtime import Runtime
from streams.ranking import adjustments
from tests.bench import workload

_USERS = 256
_CHECKED = 16


def scoring(items: int, repeats: int = 5) -> dict[str, Any]:
    """Microseconds of CPU a user to rank ``items`` exactly: head, scores, top-k, shares."""
    with tempfile.TemporaryDirectory() as folder:
        few = workload.item_vectors(64)
        encoder = lookup.build(Path(folder) / "encoder", workload.item_ids(len(few)), few, "scoring")
        graph = RankingGraph(Runtime("cpu", 1), encoder)
        index = ItemIndex(workload.DIMENSION, items)
        index.put(workload.item_ids(items), workload.item_vectors(items))
        inputs, rows = _users(index, items)
        snapshot, adjust = index.snapshot(), adjustments(rows)
        costs = []
        for _ in range(repeats + 1):
            start = time.process_time()
            ranked = graph.rank(inputs, snapshot, rows, adjust, workload.K)
            costs.append((time.process_time() - start) / _USERS * 1e6)
        return {
            "score_us": round(median(costs[1:]), 1),
            "recall": _recall(ranked, snapshot, rows),
            "index_bytes": index.nbytes,
        }


def _recall(ranked: Ranked, snapshot: Snapshot, rows: Any) -> float:
    """Share of the best items by plain float64 arithmetic that the ranking found, over some of the users."""
    found = 0
    for user in range(_CHECKED):
        scores = snapshot.items.astype(np.float64) @ ranked.user[user] + snapshot.bias
        scores[rows[user]] = -np.inf
        best = np.argpartition(-scores, workload.K)[: workload.K]
        found += len(np.intersect1d(best, ranked.rows[user]))
    return found / (_CHECKED * workload.K)


def _users(index: ItemIndex, items: int) -> tuple[HeadInputs, Any]:
    """Users as shops have them: what one looks at lies close together."""
    rng = np.random.default_rng(9)
    start = rng.integers(0, items, _USERS)
    step = rng.integers(0, max(2, items // 500), (_USERS, workload.HISTORY))
    rows = (start[:, None] + step) % items
    half_lives = 2
    return (
        HeadInputs(
            sums=index.gather(rows[:, :half_lives]) * 3,
            mass=np.full((_USERS, half_lives), 3, np.float32),
            recent_vectors=index.gather(rows),
            recent_types=rng.integers(0, 3, rows.shape),
            recent_ages=np.zeros(rows.shape, np.float32),
        ),
        rows,
    )
