"""TopK in two stages against ONNX Runtime's own and a full stable sort."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from encoders.artifact.manifest import Encoder
from encoders.onnx_builder import FLOAT, INT64, GraphWriter
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.top_k import LEAST, write_top_k
from encoders.runtime import Runtime, Session
from tests.unit.encoders import reference

SEGMENT = 4
SCORES = st.sampled_from([LEAST, -1e30, -1.5, 0.0, 0.25, 3.0])  # few, so that there are ties


@pytest.fixture(scope="module")
def two_stages(runtime: Runtime) -> Session:
    g = GraphWriter()
    write_top_k(g, "scores", "k", "best", "rows", SEGMENT)
    ports = {"scores": (FLOAT, ("B", "N")), "k": (INT64, (1,))}
    found = {"best": (FLOAT, ("B", "places")), "rows": (INT64, ("B", "places"))}
    return runtime.session(g.model("top_k", ports, found).SerializeToString())


@given(
    scores=arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=SCORES), data=st.data()
)
def test_it_gives_what_a_stable_sort_gives(
    two_stages: Session, scores: npt.NDArray[np.float32], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, scores.shape[1]))
    best, rows = two_stages.run(("best", "rows"), {"scores": scores, "k": np.array([k])})
    np.testing.assert_array_equal(rows, np.argsort(-scores, axis=1, kind="stable")[:, :k])
    np.testing.assert_array_equal(best, np.take_along_axis(scores, rows, axis=1))


@pytest.mark.parametrize("gone", [range(0), range(5_900, 6_000), range(256, 5_888)], ids=["none", "last", "most"])
def test_a_ranking_in_two_stages_equals_one_in_one(
    runtime: Runtime, encoder: Encoder, rng: np.random.Generator, gone: range
) -> None:
    items = 6_000  # of 24 segments, k are looked into
    inputs = reference.make_users(rng, 40, 2, 16, 6)
    index = reference.make_index(rng, items, 16)
    index.withdraw([f"item-{number}" for number in gone])
    snapshot = index.snapshot()
    rows = rng.integers(-1, items, (40, 30))
    adjust = rng.standard_normal(rows.shape).astype(np.float32)
    one, two = (ExactRanker(runtime, encoder, two_stages_from=items_from) for items_from in (None, items))
    for k in (1, 20, items):
        expected, found = (graph.rank(inputs, snapshot, rows, adjust, k) for graph in (one, two))
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, np.maximum(expected.scores, LEAST))
        np.testing.assert_array_equal(found.recent_attributions, expected.recent_attributions)
