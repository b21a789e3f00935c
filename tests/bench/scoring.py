"""Scoring on one core: CPU a user and recall, by catalog size, on items spread as by a trained model."""

import asyncio
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.building import lookup
from encoders.index.item_index import IndexSnapshot, ItemIndex
from encoders.ranking.ranking_io import HeadInputs
from encoders.runtime import Runtime
from streams.monitoring.metrics import Metrics
from streams.rank.candidate_search import CandidateSearch
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.settings import Ranking
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.worker.process_tuning import one_blas_thread
from tests.bench import workload
from tests.bench.beside_faiss import faiss_beside
from tests.bench.peers.faiss_lists import recall_of
from tests.still_feed import StillFeed

_GRAPH_UP_TO = 100_000  # items; beyond, it takes seconds
_USERS = 1_024  # about those of a batch of 2,000 events
_CHECKED = 200
_INTERESTS = (12, 5, 3)  # how many of a user's 20 recent items belong to each of what the user is interested in
_NEAR = 200  # an interest: so many items about one, of ...
_AMONG = 100_000  # ... so many that are looked at: the catalog, or a sample of a larger one


def scoring(items: int, repeats: int = 5, environments: Path | None = None) -> dict[str, Any]:
    """Microseconds of CPU a user to rank ``items`` as the worker would: head, scores or candidates, top-k, shares.

    ``graph_us`` is the same by one ONNX graph over all items, by turns: where a machine's speed varies, compare.
    ``recall`` is against float64 arithmetic on all items, ``build_s`` the CPU of building the candidate search and of
    choosing its probes. ``faiss``, with the peers' ``environments`` and from inverted lists on, is what FAISS takes by
    turns for the same lists at the same recall: from the users' vectors on, and without shares.
    """
    one_blas_thread()  # as a worker does
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        runtime = Runtime("cpu", 1)
        space, inputs, rows = catalog(folder, runtime, items)
        table = ProfileTable(_USERS, ProfileShape(history=workload.HISTORY, dimension=workload.DIMENSION))
        slots = table.allocate([f"user-{number}" for number in range(_USERS)], 0, 1)
        table.preferences[slots, 2] = space.ranker.vectors(inputs)[0]
        start = time.process_time()
        search = CandidateSearch(Ranking(k=workload.K), runtime, table, ActiveEncoder(space, StillFeed()), Metrics())
        asyncio.run(search.prepare(space))
        build_s = time.process_time() - start
        found, costs, by_graph, by_faiss = space.candidates, [], [], []
        ranked, snapshot = space.rank(inputs, rows, workload.K), space.index.snapshot()
        best = _best(ranked.user, snapshot, rows)
        recall = recall_of(ranked.rows[: len(best)], best)
        faiss = None
        if environments and found and found.search.divided:
            same = (snapshot.items, ranked.user, rows, best, recall)
            faiss, rank_by_faiss = ending.enter_context(faiss_beside(environments, folder, *same))
        for _ in range(repeats + 1):
            start = time.process_time()
            space.rank(inputs, rows, workload.K)
            costs.append((time.process_time() - start) / _USERS * 1e6)
            if items <= _GRAPH_UP_TO:
                space.candidates, start = None, time.process_time()
                space.rank(inputs, rows, workload.K)
                by_graph.append((time.process_time() - start) / _USERS * 1e6)
                space.candidates = found
            if faiss:
                by_faiss.append(rank_by_faiss())
        score_us = median(costs[1:])
        if faiss:
            faiss_us = median(by_faiss[1:])
            faiss = {"score_us": round(faiss_us, 1), "ratio": round(faiss_us / score_us, 2), **faiss}
        return {
            "score_us": round(score_us, 1),
            **({"graph_us": round(median(by_graph[1:]), 1)} if by_graph else {}),
            "recall": round(recall, 4),
            "probes": found.nprobe if found else 0,
            "clusters": found.search.nlist if found else 0,
            "build_s": round(build_s, 2),
            "bytes_per_item": round((space.index.nbytes + (found.search.nbytes if found else 0)) / items),
            **({"faiss": faiss} if faiss else {}),
        }


def catalog(folder: Path, runtime: Runtime, items: int) -> tuple[LoadedEncoder, HeadInputs, NDArray[np.int64]]:
    """Items in the space of a new encoder, some users of them, and the users' recent items, to be left out."""
    few = workload.item_vectors(64)
    encoder = lookup.build(folder / "encoder", workload.item_ids(len(few)), few, "scoring")
    space = LoadedEncoder.load(encoder, runtime)
    space.index.put(workload.item_ids(items), workload.item_vectors(items))
    return space, *_users(space.index, items)


def _best(users: NDArray[np.float32], snapshot: IndexSnapshot, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The best items of some of the users, less ``rows``, by plain float64 arithmetic: (_CHECKED, K), in no order."""
    items, best = snapshot.items.astype(np.float64), []
    for user in range(_CHECKED):
        scores = items @ users[user] + snapshot.bias
        scores[rows[user]] = -np.inf
        best.append(np.argpartition(-scores, workload.K)[: workload.K])
    return np.array(best)


def _users(index: ItemIndex, items: int) -> tuple[HeadInputs, NDArray[np.int64]]:
    """Users as shops have them: a few interests each, and what one looks at of an interest lies close together."""
    rng = np.random.default_rng(9)
    among = rng.permutation(items)[:_AMONG]
    vectors = index.gather(among)
    parts = []
    for count in _INTERESTS:
        centres = vectors[rng.integers(0, len(among), _USERS)]
        near = np.concatenate(
            [np.argpartition(-(some @ vectors.T), _NEAR, axis=1)[:, :_NEAR] for some in np.array_split(centres, 16)]
        )
        parts.append(np.take_along_axis(near, rng.integers(0, _NEAR, (_USERS, count)), axis=1))
    rows = rng.permuted(among[np.concatenate(parts, axis=1)], axis=1)
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
