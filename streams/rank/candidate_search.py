"""The candidate search for ranking on the CPU: builds it, and tunes it to the recall of the settings."""

import asyncio
import time

import numpy as np
import structlog

from encoders.compiled import warm_up
from encoders.index.tile_search import TileSearch
from encoders.ranking.candidate_ranker import CandidateRanker
from encoders.runtime import Runtime
from streams.arrays import Float32Array
from streams.monitoring.metrics import Metrics
from streams.rank.loaded_encoder import ActiveEncoder, Candidates, LoadedEncoder
from streams.settings import Ranking
from streams.state.profile_table import ProfileTable

log = structlog.get_logger(__name__)

_SEARCHED_FROM = 3_000
"""Items from which the search is faster than the exact ranker. For a single user it is so from 10,000 items."""
_CHECK_S = 2.0
_MEASURE_S = 300.0
_MEASURED_USERS = 200
_LEAST_USERS = 50
"""With fewer users in memory, the recall is measured on mixtures of items."""
_MIXED = (0.5, 0.3, 0.2)
_NPROBES = sorted({round(2 * 1.3**step) for step in range(30)})


class CandidateSearch:
    """Keeps the candidate search of a worker's encoders up to date. Until a search is built, the exact ranker ranks.

    Below ``ranking.candidates_from`` items the search finds the exact best items. From there on the items are divided
    into IVF lists, and a search reads only ``nprobe`` of them. The recall is measured at each build and every five
    minutes, on the preference vectors of users in memory against their exact top-k. ``nprobe`` is then the smallest
    that gives the recall of the settings.
    """

    # a build runs in a thread: it takes a core seconds

    def __init__(
        self, ranking: Ranking, runtime: Runtime, table: ProfileTable, active: ActiveEncoder, metrics: Metrics
    ) -> None:
        self._from, self._recall, self._k = ranking.candidates_from, ranking.candidate_recall, ranking.k
        self._excluded = ranking.recently_seen_events if ranking.recently_seen == "exclude" else 0
        self._runtime, self._table, self._active, self._metrics = runtime, table, active, metrics

    async def watch(self) -> None:
        """Build the search anew when the catalog has changed a lot, and measure the recall every five minutes."""
        measured = time.monotonic()
        while True:
            await asyncio.sleep(_CHECK_S)
            loaded = self._active.encoder
            await self.prepare(loaded)
            candidates = loaded.candidates
            if candidates is not None and candidates.search.divided and time.monotonic() - measured > _MEASURE_S:
                await asyncio.to_thread(self.measure, loaded, candidates)
                measured = time.monotonic()
            self._show()

    async def prepare(self, loaded: LoadedEncoder) -> None:
        """Build the search of a loaded encoder if it lacks one that it needs, or if its search is worn."""
        if self._runtime.is_cuda:
            return  # a GPU scores all items faster than the CPU finds candidates
        items, candidates = _available(loaded), loaded.candidates
        divided = items >= self._from
        if not divided and items < _SEARCHED_FROM:
            loaded.candidates = None
        elif candidates is None or candidates.search.worn or candidates.search.divided != divided:
            try:
                loaded.candidates = await asyncio.to_thread(self._build, loaded, divided)
            except Exception:
                # the exact ranker, which is slower, continues; the next check tries again
                log.exception("the candidate search can't be built", items=len(loaded.index))
        self._show()

    def _show(self) -> None:
        candidates = self._active.encoder.candidates
        self._metrics.candidates(*(candidates.nprobe, candidates.recall) if candidates else (0, 1.0))

    def _build(self, loaded: LoadedEncoder, divided: bool) -> Candidates:
        # a machine's first start compiles for seconds, and small catalogs need no search: so it is here, in the thread
        warm_up("encoders.index.tile_search_kernels", "encoders.ranking.")
        start = time.perf_counter()
        encoder = loaded.artifact
        build = TileSearch.build if divided else TileSearch.undivided
        search = build(loaded.index.snapshot(), encoder.manifest.score_scale)
        ranking = loaded.candidates.ranking if loaded.candidates else CandidateRanker(self._runtime, encoder)
        candidates = Candidates(ranking, search)
        if not divided:
            return candidates
        self.measure(loaded, candidates)
        log.info(
            "users are ranked from candidates",
            items=len(loaded.index),
            nlist=search.nlist,
            nprobe=candidates.nprobe,
            recall=round(candidates.recall, 4),
            seconds=round(time.perf_counter() - start, 1),
        )
        return candidates

    def measure(self, loaded: LoadedEncoder, candidates: Candidates) -> None:
        """Set ``nprobe``: the smallest that gives the recall of the settings.

        The recall is measured on the exact top-k plus as many items as may be excluded because they were just seen.
        """
        snapshot, scale = loaded.index.snapshot(), loaded.artifact.manifest.score_scale
        depth = min(self._k + self._excluded, _available(loaded))
        if depth == 0:
            return
        users = self._users(loaded) * np.float32(scale)
        best = np.concatenate(
            [
                # a copy, because a view would keep the whole array: 1.6 GB for 200 users and a million items
                np.argpartition(-(chunk @ snapshot.items.T + snapshot.bias), depth - 1, axis=1)[:, :depth].copy()
                for chunk in np.array_split(users, max(1, len(users) * len(snapshot.bias) // 4_000_000))
            ]
        )
        for nprobe in _NPROBES:
            found = candidates.search.search(users, snapshot, nprobe, depth)
            recall = float(np.mean([np.isin(*rows).mean() for rows in zip(best, found.rows, strict=True)]))
            if recall >= self._recall or nprobe >= candidates.search.nlist:
                break
        # set only now, because users are ranked during the measurement
        candidates.nprobe, candidates.recall = nprobe, recall

    def _users(self, loaded: LoadedEncoder) -> Float32Array:
        """Return unit vectors (n, d) of users in memory, or of mixtures of items if there are too few users."""
        rng = np.random.default_rng(0)
        vectors = self._table.preferences[rng.permutation(self._table.all_slots())[:_MEASURED_USERS], 2]
        vectors = vectors[vectors.any(axis=1)]
        if len(vectors) < _LEAST_USERS or self._active.encoder is not loaded:
            rows = rng.permutation(len(loaded.index.item_ids))
            rows = np.resize(rows, (_MEASURED_USERS, len(_MIXED)))
            vectors = np.einsum("nmd,m->nd", loaded.index.gather(rows), np.array(_MIXED, np.float32))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _available(loaded: LoadedEncoder) -> int:
    return int((loaded.index.snapshot().bias > -np.inf).sum())
