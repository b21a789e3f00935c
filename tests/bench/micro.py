"""Micro-benchmarks of the pure functions of the hot path, a batch a call, to find regressions.

make bench-micro
python -m pytest tests/bench/micro.py --benchmark-autosave       # keep the figures ...
python -m pytest tests/bench/micro.py --benchmark-compare        # ... and compare with them
"""

import statistics
import time
from typing import Any

import numpy as np
import pytest

from encoders.index.tile_search import TileSearch
from streams.checkpoint.profile_rows import encode_rows
from streams.checkpoint.snapshot import end_save, take_snapshot
from streams.emit.list_json import reason_codes
from tests.bench import workload
from tests.bench.hot_path import HotPath

ITEMS, USERS = 10_000, 1_000
ROUNDS: dict[str, Any] = {"rounds": 20, "warmup_rounds": 2}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> HotPath:
    return HotPath(tmp_path_factory.mktemp("micro"), ITEMS, USERS, past=20)


def test_decode_a_batch(benchmark: Any, shop: HotPath) -> None:
    events = benchmark.pedantic(shop.decode, setup=lambda: ((shop.records(workload.BATCH),), {}), **ROUNDS)
    assert len(events) == workload.BATCH


def test_decode_a_batch_with_1_percent_of_odd_records(benchmark: Any, shop: HotPath) -> None:
    """The ratio to a batch without odd records is that of the medians of alternating rounds."""
    seconds: dict[bool, list[float]] = {False: [], True: []}

    def round_of(odd: bool) -> None:
        records = shop.records(workload.BATCH)
        if odd:
            workload.make_odd(records, every=100)
        began = time.perf_counter()
        shop.decode(records)
        seconds[odd].append(time.perf_counter() - began)

    for _ in range(60):
        round_of(odd=False)
        round_of(odd=True)
    ratio = statistics.median(seconds[True]) / statistics.median(seconds[False])
    benchmark.extra_info["ratio"] = round(ratio, 2)
    benchmark.pedantic(round_of, (True,), rounds=5)
    print(f"\n1 % odd records: {ratio:.2f} times the cost of decoding")
    assert ratio < 1.3


def test_update_with_a_batch(benchmark: Any, shop: HotPath) -> None:
    fresh = lambda: ((shop.decode(shop.records(workload.BATCH)),), {})  # noqa: E731
    assert len(benchmark.pedantic(shop.update, setup=fresh, **ROUNDS).events) == workload.BATCH


def test_gather_what_the_head_reads(benchmark: Any, shop: HotPath) -> None:
    assert len(benchmark.pedantic(shop.inputs, (shop.slots,), **ROUNDS).recent_types) == USERS


def test_rank_users_against_10_000_items(benchmark: Any, shop: HotPath) -> None:
    assert benchmark.pedantic(shop.rank, (shop.slots,), **ROUNDS).rows.shape == (USERS, workload.K)


@pytest.mark.parametrize("build", [TileSearch.undivided, TileSearch.build])
def test_search_candidates_of_users(benchmark: Any, shop: HotPath, build: Any) -> None:
    snapshot = shop.space.index.snapshot()
    users = shop.space.ranker.vectors(shop.inputs(shop.slots))[0]
    found = benchmark.pedantic(build(snapshot, 1.0).search, (users, snapshot, 8, 40), **ROUNDS)
    assert (found.counts >= 40).all()


def test_write_lists_with_reasons(benchmark: Any, shop: HotPath) -> None:
    ranked = shop.rank(shop.slots)
    assert len(benchmark.pedantic(shop.encode, (shop.slots, ranked, reason_codes(ranked)), **ROUNDS)) == USERS


def test_encode_rows_to_save(benchmark: Any, shop: HotPath) -> None:
    def save() -> Any:
        snapshot = take_snapshot(shop.table, shop.slots, shop.space.version)
        rows = encode_rows(snapshot, 1, 3_600)
        end_save(shop.table, snapshot, True)
        return rows

    assert len(benchmark.pedantic(save, **ROUNDS)) == USERS


def test_look_items_up(benchmark: Any, shop: HotPath) -> None:
    hashes = shop.space.index.hashes(np.random.default_rng(1).integers(0, ITEMS, 100_000))
    assert (benchmark.pedantic(shop.space.index.rows, (hashes,), **ROUNDS) >= 0).all()
