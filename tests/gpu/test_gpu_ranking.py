"""CUDA against CPU: the same vectors, scores and top-k within tolerance. Skipped where CUDA does not run."""

from pathlib import Path

import numpy as np
import pytest

from encoders.artifact.manifest import Encoder
from encoders.building import hashed_text
from encoders.building.folder_writer import UserSide
from encoders.items.item_encoder import ItemEncoder
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.ranking_io import EXCLUDED_SCORE, LEAST_SCORE
from encoders.runtime import CUDA, Runtime
from schemas.catalog import CatalogItem
from tests.unit.encoders import reference

pytestmark = pytest.mark.gpu

ITEMS, USERS, K = 40_001, 1_500, 20  # so many that TopK is of two stages


@pytest.fixture(scope="module")
def cuda() -> Runtime:
    runtime = Runtime("auto")
    if runtime.provider != CUDA:
        pytest.skip(f"no CUDA device: {runtime.reason}")
    return runtime


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return hashed_text.build(tmp_path_factory.mktemp("gpu") / "encoder", 64, user=UserSide(score_scale=10.0))


def compare(cuda: Runtime, encoder: Encoder) -> None:
    rng = np.random.default_rng(5)
    inputs = reference.make_users(rng, USERS, 2, 64, 20)
    index = reference.make_index(rng, ITEMS, 64)
    index.withdraw([f"item-{number}" for number in range(ITEMS - 600, ITEMS)])  # whole segments
    rows = rng.integers(-1, ITEMS, (USERS, 30))
    adjust = np.where(rng.random(rows.shape) < 0.5, EXCLUDED_SCORE, rng.standard_normal(rows.shape)).astype(np.float32)
    on_cpu, on_cuda = ExactRanker(Runtime("cpu"), encoder), ExactRanker(cuda, encoder)
    for changed in (False, True):
        if changed:  # the device's copy of the items must follow
            index.put([f"item-{i}" for i in range(100)], reference.random_unit(rng, 100, 64), np.full(100, 0.5))
        snapshot = index.snapshot()
        expected = on_cpu.rank(inputs, snapshot, rows, adjust, K)
        found = on_cuda.rank(inputs, snapshot, rows, adjust, K)
        for name in ("user", "short_term", "long_term"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5, err_msg=name)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-4)
        differ = found.rows != expected.rows  # only where scores are as good as equal
        assert differ.mean() < 0.01
        assert (np.abs(found.scores - expected.scores)[differ] < 1e-4).all()
        shares = (
            found.recent_attributions.sum(2)
            + found.older_attributions
            + found.bias_attributions
            + found.adjustment_attributions
        )
        good = found.scores > LEAST_SCORE
        assert good.all()
        np.testing.assert_allclose(shares[good], found.scores[good], rtol=1e-4, atol=1e-4)


def test_cuda_ranks_as_the_cpu_does(cuda: Runtime, encoder: Encoder) -> None:
    compare(cuda, encoder)


def test_cuda_ranks_as_the_cpu_does_with_a_head_that_is_not_linear(
    cuda: Runtime, encoder: Encoder, tmp_path: Path
) -> None:
    head = reference.attention_head(64, 20)
    compare(cuda, reference.replace_head(encoder, tmp_path / "e", head, ["recent_vectors", "recent_ages", "sums"]))


def test_cuda_encodes_items_as_the_cpu_does(cuda: Runtime, encoder: Encoder) -> None:
    items = [CatalogItem(item_id=str(i), title=f"word{i % 97} word{i % 13}", price=float(i)) for i in range(2_000)]
    expected, _ = ItemEncoder(Runtime("cpu"), encoder).encode(items)
    found, known = ItemEncoder(cuda, encoder).encode(items)
    assert known.all()
    np.testing.assert_allclose(found, expected, atol=1e-5)
