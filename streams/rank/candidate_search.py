"""Ranking on the CPU: builds the search of a loaded encoder, and keeps the recall that is asked for."""

import asyncio
import time

import numpy as np
import structlog

from encoders.runtime import Runtime
from streams.arrays import Float32Array
from streams.monitoring.metrics import Metrics
from streams.rank.loaded_encoder import ActiveEncoder, Candidates, LoadedEncoder
from streams.settings import Ranking
from streams.state.profile_table import ProfileTable

log = structlog.get_logger(__name__)

_SEARCHED_FROM = 3_000
"""Items from which on the search is faster than a graph that scores them all, but for a user alone (at 10,000)."""
_LOOK_S = 2.0
_MEASURE_S = 300.0
_MEASURED_USERS = 200
_LEAST_USERS = 50
"""With fewer in memory, mixtures of items stand for users."""
_MIXED = (0.5, 0.3, 0.2)
_PROBES = sorted({round(2 * 1.3**step) for step in range(30)})


class CandidateSearch:
    """Watches over one worker's spaces. A build runs in a thread; until it is done, the graph ranks.

    Below ``ranking.candidates_from`` items the search finds the exact best. From there on a build takes a core seconds,
    and the recall is measured on the preference vectors of users in memory, against their exact top-k, at each build
    and every five minutes; the clusters that a user looks into are then as many as the recall needs.
    """

    def __init__(
        self, ranking: Ranking, runtime: Runtime, table: ProfileTable, active: ActiveEncoder, metrics: Metrics
    ) -> None:
        self._from, self._recall, self._k = ranking.candidates_from, ranking.candidate_recall, ranking.k
        self._left_out = ranking.recently_seen_events if ranking.recently_seen == "exclude" else 0
        self._runtime, self._table, self._active, self._metrics = runtime, table, active, metrics

    async def watch(self) -> None:
        """Build anew when the catalog has grown or changed a lot, and measure now and then."""
        measured = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_S)
            loaded = self._active.encoder
            await self.prepare(loaded)
            found = loaded.candidates
            if found is not None and found.search.divided and time.monotonic() - measured > _MEASURE_S:
                await asyncio.to_thread(self._measure, loaded, found)
                measured = time.monotonic()
            self._show()

    async def prepare(self, loaded: LoadedEncoder) -> None:
        """Build the search of a loaded encoder that needs one and has none, or one that is worn."""
        if self._runtime.is_cuda:
            return  # there, all items are scored faster than candidates are found here
        items, found = _available(loaded), loaded.candidates
        divided = items >= self._from
        if not divided and items < _SEARCHED_FROM:
            loaded.candidates = None
        elif found is None or found.search.worn or found.search.divided != divided:
            try:
                loaded.candidates = await asyncio.to_thread(self._build, loaded, divided)
            except Exception:
                # exact ranking is slower and goes on; the next look tries again
                log.exception("the candidate search can't be built", items=len(loaded.index))
        self._show()

    def _show(self) -> None:
        found = self._active.encoder.candidates
        self._metrics.candidates(*(found.nprobe, found.recall) if found else (0, 1.0))

    def _build(self, loaded: LoadedEncoder, divided: bool) -> Candidates:
        # compiled on a machine's first start, which takes seconds: small catalogs need not wait for it
        from encoders.index.tile_search import TileSearch
        from encoders.ranking.candidate_ranker import CandidateRanker

        start = time.perf_counter()
        encoder = loaded.artifact
        build = TileSearch.build if divided else TileSearch.undivided
        clusters = build(loaded.index.snapshot(), encoder.manifest.score_scale)
        ranking = loaded.candidates.ranking if loaded.candidates else CandidateRanker(self._runtime, encoder)
        found = Candidates(ranking, clusters)
        if not divided:
            return found
        self._measure(loaded, found)
        log.info(
            "users are ranked from candidates",
            items=len(loaded.index),
            clusters=clusters.nlist,
            probes=found.nprobe,
            recall=round(found.recall, 4),
            seconds=round(time.perf_counter() - start, 1),
        )
        return found

    def _measure(self, loaded: LoadedEncoder, candidates: Candidates) -> None:
        """Choose how many clusters to look into: the fewest that give the recall.

        The recall is of the exact top-k plus as many items as may be excluded from a list because they were just seen.
        """
        snapshot, scale = loaded.index.snapshot(), loaded.artifact.manifest.score_scale
        depth = min(self._k + self._left_out, _available(loaded))
        if depth == 0:
            return
        users = self._users(loaded) * np.float32(scale)
        best = np.concatenate(
            [
                np.argpartition(-(some @ snapshot.items.T + snapshot.bias), depth - 1, axis=1)[:, :depth]
                for some in np.array_split(users, max(1, len(users) * len(snapshot.bias) // 4_000_000))
            ]
        )
        for probes in _PROBES:
            found = candidates.search.search(users, snapshot, probes, depth)
            recall = float(np.mean([np.isin(*rows).mean() for rows in zip(best, found.rows, strict=True)]))
            if recall >= self._recall or probes >= candidates.search.nlist:
                break
        # users are ranked meanwhile: they never see a try
        candidates.nprobe, candidates.recall = probes, recall

    def _users(self, loaded: LoadedEncoder) -> Float32Array:
        """Unit vectors (n, d) of some users."""
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
