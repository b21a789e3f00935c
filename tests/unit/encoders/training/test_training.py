"""Training on tiny logs: what is learned, and how it stops and goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="training needs the extra `train`")
pytest.importorskip("optax", reason="training needs the extra `train`")

from encoders.artifact import manifest
from encoders.errors import EncoderError
from encoders.items import lookup
from encoders.items.dense_features import DenseInputs
from encoders.items.item_encoder import ItemEncoder
from encoders.runtime import Runtime
from encoders.training import export
from encoders.training.batches import Batches
from encoders.training.features import FeatureTable
from encoders.training.fit import Progress, fit
from encoders.training.options import TrainingOptions
from encoders.training.sequences import ExampleSource, Sequences, from_lists
from schemas.catalog import CatalogItem

TINY = TrainingOptions(
    dimension=8, history=4, epochs=2, batch=64, candidates=0, learning_rate=0.05, validation=0.2, patience=0
)


def walks(count: int, items: int = 12, seed: int = 0) -> Sequences:
    """Sessions that walk through the items in a fixed order, from anywhere: the next item is known."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, items, count).tolist()
    lengths = rng.integers(2, 6, count).tolist()
    return from_lists(
        [
            [f"i{(start + step) % items}" for step in range(length)]
            for start, length in zip(starts, lengths, strict=True)
        ]
    )


def test_examples_are_the_events_before_newest_first() -> None:
    source = ExampleSource(from_lists([["a", "b", "c", "b"], ["d"], ["a", "d"]], [[0, 1, 2, 0], [0], [2, 0]]), 2)
    examples = source.examples(source.all())
    assert examples.histories.tolist() == [[0, -1], [1, 0], [2, 1], [0, -1]]
    assert examples.types.tolist() == [[0, -1], [1, 0], [2, 1], [2, -1]]
    assert examples.targets.tolist() == [1, 2, 1, 3]
    assert examples.counts.tolist() == [1, 2, 2, 1]


def test_what_is_older_than_the_history_comes_with_its_age() -> None:
    items, times_ms = ["a", "b", "c", "d", "a"], [1_000, 5_000, 5_000, 9_000, 60_000]
    timed = from_lists([items, ["d"]], [[0, 1, 2, 0, 0], [0]], [times_ms, [7]])
    source = ExampleSource(timed, 1, older=100)
    examples = source.examples(source.all())
    assert source.older == 3
    assert examples.older.tolist() == [[-1, -1, -1], [0, -1, -1], [1, 0, -1], [2, 1, 0]]
    assert examples.older_types.tolist() == [[-1, -1, -1], [0, -1, -1], [1, 0, -1], [2, 1, 0]]
    assert examples.older_ages_s.tolist() == [[0, 0, 0], [0, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert ExampleSource(timed, 1, older=2).examples(source.all()).older.tolist()[-1] == [2, 1]
    assert ExampleSource(from_lists([items]), 1, older=100).older == 0  # position is the clock


def test_half_lives_are_learned_from_what_left_the_history(tmp_path: Path) -> None:
    """Three things of some kind, ten days later one of the kind that comes back after four that say nothing."""
    rng = np.random.default_rng(5)
    kinds = [[f"{kind}{i}" for i in range(2)] for kind in "abcdefgh"]
    lists, times_ms = [], []
    for _ in range(400):
        former, own = rng.choice(8, 2, replace=False)
        drawn = [*rng.choice(kinds[former], 3), rng.choice(kinds[own]), "w", "x", "y", "z", rng.choice(kinds[own])]
        lists.append([str(item) for item in drawn])
        times_ms.append([0, 1_000, 2_000, *(864_000_000 + 1_000 * step for step in range(6))])
    sequences = from_lists(lists, None, times_ms)
    options = replace(TINY, epochs=10, older=20)
    trained = fit(sequences, options)
    without = fit(sequences, replace(options, older=0))
    assert trained.history[-1].mrr_at_20 > without.history[-1].mrr_at_20 + 0.03  # one event of eight gains_at
    head = export.user_side(trained, options)
    assert max(head.half_lives_s) < 86_400  # one of them started at ten days
    assert min(head.head.half_life_mix) > 0
    assert export.user_side(without, options).head.half_life_mix == (0.0, 0.0)
    encoder = export.write(tmp_path / "e", sequences.item_ids, trained, options, "v1")
    assert encoder.manifest.half_lives_s == list(head.half_lives_s)


def test_an_epoch_goes_through_every_example_once() -> None:
    sequences = walks(50)
    source = ExampleSource(sequences, 4)
    places = source.shuffled(np.random.default_rng(1))
    assert sorted(places.tolist()) == source.all().tolist()


def test_where_nobody_comes_back_the_recents_are_ruled_out_from_the_start(sequences: Sequences) -> None:
    options = replace(TINY, epochs=1, learning_rate=1e-4)
    assert ExampleSource(sequences, 4).repeats() == 0
    assert fit(sequences, options).params["repeat_patterns"].max() < -6

    back = from_lists([["a", "b", "a", "c"], ["d", "d"]] * 50)  # two of four come back
    assert ExampleSource(back, 4).repeats() == 100
    np.testing.assert_allclose(fit(back, options).params["repeat_patterns"], np.log(0.5), atol=0.02)


def test_the_latest_sequences_are_held_out() -> None:
    kept, held_out = from_lists([["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]]).split(0.25)
    assert kept.items.tolist() == [0, 1, 2, 3, 4, 5]
    assert held_out.items.tolist() == [6, 7]


def test_a_batch_has_its_own_items_as_candidates_and_draws_that_stand_for_the_rest() -> None:
    sequences = walks(1000, items=3000)
    options = replace(TINY, candidates=1500)
    batch = next(Batches(ExampleSource(sequences, 4), len(sequences.item_ids), options).epoch(np.random.default_rng(0)))
    assert len(np.unique(batch.candidates)) == len(batch.candidates) == 1500
    own = np.unique(
        np.append(batch.candidates[batch.targets], batch.candidates[batch.histories[batch.histories < 1500]])
    )
    is_own = np.isin(batch.candidates, own)
    drawn = np.count_nonzero(~is_own)
    assert not batch.correction[is_own].any()
    np.testing.assert_allclose(
        batch.correction[~is_own], np.log((len(sequences.item_ids) - is_own.sum()) / drawn), rtol=1e-5
    )


@pytest.fixture(scope="module")
def sequences() -> Sequences:
    return walks(400)


def test_it_learns_what_comes_next(sequences: Sequences, tmp_path: Path) -> None:
    seen: list[Progress] = []
    trained = fit(sequences, replace(TINY, epochs=12, batch=32), report=seen.append)
    assert trained.history[-1].mrr_at_20 > 0.8
    assert [progress.epoch for progress in seen if progress.figures] == list(range(1, 13))
    encoder = export.write(tmp_path / "encoder", sequences.item_ids, trained, TINY, "v1")
    assert manifest.load(tmp_path / "encoder") == encoder
    assert encoder.manifest.head_inputs[-1] == "recent_rows"


def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(sequences: Sequences, tmp_path: Path) -> None:
    whole = fit(sequences, TINY)

    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.figures is not None:
            raise Stopped

    checkpoint = tmp_path / "training.npz"
    with pytest.raises(Stopped):
        fit(sequences, TINY, checkpoint=checkpoint, report=stop)
    resumed = fit(sequences, TINY, checkpoint=checkpoint)
    assert len(resumed.history) == 2
    for name, values in whole.params.items():
        np.testing.assert_array_equal(values, resumed.params[name])
    with pytest.raises(EncoderError, match="other options"):
        fit(sequences, replace(TINY, seed=1), checkpoint=checkpoint)
    with pytest.raises(EncoderError, match="other data"):
        fit(replace(sequences, items=sequences.items[::-1].copy()), TINY, checkpoint=checkpoint)
    checkpoint.write_bytes(b"")
    with pytest.raises(EncoderError, match="can't be read"):
        fit(sequences, TINY, checkpoint=checkpoint)


def test_it_stops_when_the_figures_no_longer_grow(sequences: Sequences) -> None:
    trained = fit(sequences, replace(TINY, epochs=40, patience=1, learning_rate=0.3))
    assert len(trained.history) < 40
    best = max(range(len(trained.history)), key=lambda epoch: trained.history[epoch].ndcg_at_20)
    assert trained.best_epoch == best + 1


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(EncoderError, match="nothing to train on"):
        fit(from_lists([["a"], ["b"]]), TINY)


SAID: dict[str, Callable[[bool], dict[str, Any]]] = {
    "title": lambda is_tea: {"title": "tea" if is_tea else "pot"},
    "image": lambda is_tea: {"title": "", "image_vector": [1.0, 0.1, 0.0] if is_tea else [0.0, 0.1, 2.0]},
    "price": lambda is_tea: {"title": "", "price": 4.0 if is_tea else 30.0, "currency": "EUR"},
    "sentence": lambda is_tea: {"title": "", "description": "tea" if is_tea else "pot"},
}


def test_what_the_catalog_says_stands_for_items_that_were_not_trained_on(tmp_path: Path) -> None:
    """Items of eight kinds, each followed by its own kind, which one field alone tells; a new one of a kind comes
    nearer to the others of it than to those whom the same field tells apart from it."""
    pytest.importorskip("tokenizers", reason="transformers need the extra `text`")
    from tests.unit.encoders import tiny_transformer

    folder = tiny_transformer.build(tmp_path / "model", ["[PAD]", "[UNK]", "tea", "pot"], np.eye(4))
    kinds = [(said, is_tea) for said in SAID for is_tea in (True, False)]
    rng = np.random.default_rng(3)
    sequences = from_lists([[f"{n % 8}-{i}" for i in rng.integers(0, 6, 4)] for n in range(600)])
    kind_of = [int(item[0]) for item in sequences.item_ids]
    catalog = [
        CatalogItem(item_id=item, **SAID[kinds[kind][0]](kinds[kind][1]))
        for item, kind in zip(sequences.item_ids, kind_of, strict=True)
    ]
    runtime = Runtime("cpu", threads=1)
    table = FeatureTable(catalog, {"title": 1.0}, dense=DenseInputs.of_catalog(catalog, runtime, folder))
    assert {*table.features.dense} == {"sentences", "images", "prices"}
    options = replace(TINY, dimension=16, epochs=6, own_dropout=0.3, popularity=True)
    trained = fit(sequences, options, table.features)
    export.write(tmp_path / "e", sequences.item_ids, trained, options, "v1", table)
    asked = [CatalogItem(item_id=f"new {said}", **SAID[said](True)) for said in SAID]
    vectors, known = ItemEncoder(runtime, manifest.load(tmp_path / "e")).encode([*asked, *catalog])
    assert known.all()
    for place, said in enumerate(SAID):
        cosines = vectors[len(asked) :] @ vectors[place]
        own, other = (cosines[np.equal(kind_of, kinds.index((said, is_tea)))].mean() for is_tea in (True, False))
        assert own > other + 0.3, said


@pytest.mark.parametrize("wrong", [{"dimension": 0}, {"half_lives": 0}, {"validation": 1.0}, {"temperature": 0.0}])
def test_options_that_make_no_sense_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(TINY, **wrong)


def test_items_that_only_the_held_out_have_seen_are_no_trained_items(tmp_path: Path) -> None:
    known = [[f"i{(start + step) % 6}" for step in range(4)] for start in range(30)]
    sequences = from_lists([*known, ["alone"], ["i0", "new", "i1"]])
    options = replace(TINY, validation=0.03)
    trained = fit(sequences, options)
    encoder = export.write(tmp_path / "encoder", sequences.item_ids, trained, options, "v1")
    assert set(lookup.read_rows(encoder)) == {f"i{number}" for number in range(6)}
