"""Large catalogs: when a search is built, what recall it is given, and that it answers as exact ranking does."""

import asyncio
from typing import Any

import numpy as np
import pytest

from encoders.index.item_index import ItemIndex
from encoders.ranking.exact_ranker import ExactRanker
from encoders.runtime import Runtime
from streams.monitoring.metrics import Metrics
from streams.rank.candidate_search import CandidateSearch
from streams.rank.exclusions import adjustments
from streams.rank.head_inputs import head_inputs
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.settings import Ranking
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import SumsConfig
from tests.still_feed import StillFeed

ITEMS, USERS, K = 4_000, 80, 10


@pytest.fixture
def loaded(graph: ExactRanker) -> LoadedEncoder:
    manifest = graph.encoder.manifest
    rng = np.random.default_rng(3)
    index = ItemIndex(manifest.dimension)
    kinds = rng.standard_normal((40, manifest.dimension))
    vectors = kinds[rng.integers(0, 40, ITEMS)] + 0.7 * rng.standard_normal((ITEMS, manifest.dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index.put([f"i{n}" for n in range(ITEMS)], vectors.astype(np.float32))
    sums = SumsConfig(np.array(manifest.half_lives_s), np.ones((3, len(manifest.half_lives_s)), np.float32))
    return LoadedEncoder(version="v", index=index, ranker=graph, sums=sums)


def table_of(loaded: LoadedEncoder) -> ProfileTable:
    """Users who looked at a few items each, with the preference vectors that they have from it."""
    manifest = loaded.artifact.manifest
    shape = ProfileShape(history=4, dimension=manifest.dimension, half_lives=len(manifest.half_lives_s))
    table = ProfileTable(USERS, shape)
    slots = table.allocate([f"u{n}" for n in range(USERS)], 0, 1)
    rng = np.random.default_rng(4)
    table.times[slots] = np.arange(4, 0, -1)
    table.rows[slots] = rng.integers(0, ITEMS, (USERS, 4))
    table.items[slots] = loaded.index.hashes(table.rows[slots])
    user, short, long = loaded.ranker.vectors(head_inputs(table, slots, loaded.index, manifest.history))
    table.preferences[slots] = np.stack([short, long, user], axis=1)
    return table


def search_of(loaded: LoadedEncoder, table: ProfileTable, metrics: Metrics, **settings: float) -> CandidateSearch:
    ranking = Ranking.model_validate({"k": K, "candidates_from": 1_000, **settings})
    return CandidateSearch(ranking, Runtime("cpu", 1), table, ActiveEncoder(loaded, StillFeed()), metrics)


def sample(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"prefstream_{name}", {"namespace": ""})


@pytest.mark.parametrize("recall", [0.8, 0.99])
def test_the_recall_that_is_asked_for_is_held_and_shown(loaded: LoadedEncoder, recall: float) -> None:
    table, metrics = table_of(loaded), Metrics()
    assert (sample(metrics, "candidate_probes"), sample(metrics, "candidate_recall")) == (0, 1)
    asyncio.run(search_of(loaded, table, metrics, candidate_recall=recall).prepare(loaded))
    found = loaded.candidates
    assert found is not None
    assert recall <= found.recall <= 1
    assert (sample(metrics, "candidate_probes"), sample(metrics, "candidate_recall")) == (found.nprobe, found.recall)
    inputs = head_inputs(table, table.all_slots(), loaded.index, loaded.artifact.manifest.history)
    excluded = table.rows[table.all_slots()]
    near = loaded.rank(inputs, excluded, K)
    loaded.candidates = None
    exact = loaded.rank(inputs, excluded, K)
    same = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(near.rows, exact.rows, strict=True)])
    assert same >= recall - 0.05


def test_a_higher_recall_reads_more_ivf_lists(loaded: LoadedEncoder) -> None:
    table, nprobes = table_of(loaded), []
    for recall in (0.7, 0.95, 1.0):
        asyncio.run(search_of(loaded, table, Metrics(), candidate_recall=recall).prepare(loaded))
        assert loaded.candidates is not None
        nprobes.append(loaded.candidates.nprobe)
        loaded.candidates = None
    assert nprobes[0] < nprobes[1] < nprobes[2]


def test_a_catalog_that_shrinks_is_ranked_exactly(loaded: LoadedEncoder) -> None:
    table, metrics = table_of(loaded), Metrics()
    search = search_of(loaded, table, metrics, candidates_from=ITEMS)
    asyncio.run(search.prepare(loaded))
    assert loaded.candidates is not None
    assert loaded.candidates.search.divided
    assert sample(metrics, "candidate_probes") != 0
    loaded.index.remove(["i7"])
    asyncio.run(search.prepare(loaded))
    assert loaded.candidates is not None
    assert not loaded.candidates.search.divided
    assert (sample(metrics, "candidate_probes"), sample(metrics, "candidate_recall")) == (0, 1)
    inputs = head_inputs(table, table.all_slots(), loaded.index, loaded.artifact.manifest.history)
    for _ in range(2):
        excluded = table.rows[table.all_slots()]
        found = loaded.rank(inputs, excluded, K)
        by_graph = loaded.ranker.rank(inputs, loaded.index.snapshot(), excluded, adjustments(excluded), K)
        np.testing.assert_allclose(found.scores, by_graph.scores, rtol=2e-5, atol=2e-6)
        assert (found.rows == by_graph.rows).mean() > 0.99
        loaded.index.withdraw(["i8", "i9"])  # and follows what changes
        loaded.index.put(["new"], loaded.ranker.vectors(inputs)[0][:1])
    loaded.index.remove(loaded.index.item_ids[:3_000])
    asyncio.run(search.prepare(loaded))
    assert loaded.candidates is None  # for few items the graph is as fast


def test_a_search_is_built_anew_when_it_is_worn_only(loaded: LoadedEncoder) -> None:
    search = search_of(loaded, table_of(loaded), Metrics())
    asyncio.run(search.prepare(loaded))
    first = loaded.candidates
    asyncio.run(search.prepare(loaded))
    assert loaded.candidates is first
    assert first is not None
    rng = np.random.default_rng(5)
    loaded.index.put([f"new{n}" for n in range(40_000)], rng.standard_normal((40_000, loaded.index.dimension)))
    first.search.refresh(loaded.index)
    asyncio.run(search.prepare(loaded))
    assert loaded.candidates is not first


def test_without_users_in_memory_items_stand_for_them(loaded: LoadedEncoder) -> None:
    empty = ProfileTable(4, table_of(loaded).shape)
    asyncio.run(search_of(loaded, empty, Metrics()).prepare(loaded))
    assert loaded.candidates is not None
    assert loaded.candidates.recall >= 0.98


def test_a_catalog_smaller_than_a_list(loaded: LoadedEncoder, graph: ExactRanker) -> None:
    small = ItemIndex(loaded.index.dimension)
    small.put(["a", "b", "c"], np.eye(loaded.index.dimension, dtype=np.float32)[:3])
    small.withdraw(["b"])
    few = LoadedEncoder(version="v", index=small, ranker=graph, sums=loaded.sums)
    metrics = Metrics()
    asyncio.run(search_of(few, ProfileTable(4, table_of(loaded).shape), metrics, candidates_from=1).prepare(few))
    assert few.candidates is not None
    assert few.candidates.recall == 1
    small.withdraw(["a", "c"])
    asyncio.run(search_of(few, ProfileTable(4, table_of(loaded).shape), metrics, candidates_from=1).prepare(few))
    assert few.candidates is None
    assert (sample(metrics, "candidate_probes"), sample(metrics, "candidate_recall")) == (0, 1)


def test_users_never_see_a_try_of_the_measurement(loaded: LoadedEncoder) -> None:
    search = search_of(loaded, table_of(loaded), Metrics(), candidate_recall=0.99)
    asyncio.run(search.prepare(loaded))
    found = loaded.candidates
    assert found is not None
    seen, tuned = [], found.nprobe
    searched = found.search.search

    def spy(*case: Any) -> Any:
        seen.append(found.nprobe)
        return searched(*case)

    found.search.search = spy  # type: ignore[method-assign]
    search.measure(loaded, found)
    assert set(seen) == {tuned}
