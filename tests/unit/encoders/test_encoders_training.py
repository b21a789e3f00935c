"""Training on tiny logs: what is learned, and how it stops and goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="training needs the extra `train`")
pytest.importorskip("optax", reason="training needs the extra `train`")

from encoders import manifest
from encoders.errors import EncoderError
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


def test_an_epoch_goes_through_every_example_once() -> None:
    sequences = walks(50)
    source = ExampleSource(sequences, 4)
    places = source.shuffled(np.random.default_rng(1))
    assert sorted(places.tolist()) == source.all().tolist()


def test_where_nobody_comes_back_the_recents_are_ruled_out_from_the_start(sequences: Sequences) -> None:
    options = replace(TINY, epochs=1, learning_rate=1e-4, repeat_prior=True)
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


def test_it_stops_when_the_figures_no_longer_grow(sequences: Sequences) -> None:
    trained = fit(sequences, replace(TINY, epochs=40, patience=1, learning_rate=0.3))
    assert len(trained.history) < 40
    best = max(range(len(trained.history)), key=lambda epoch: trained.history[epoch].ndcg_at_20)
    assert trained.best_epoch == best + 1


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(EncoderError, match="nothing to train on"):
        fit(from_lists([["a"], ["b"]]), TINY)


def test_texts_stand_for_items_that_were_not_trained_on(tmp_path: Path) -> None:
    """Two kinds of items, each followed by its own kind; a new one of a kind comes near the others of it."""
    rng = np.random.default_rng(3)
    kinds = [[f"{kind}{i}" for i in range(8)] for kind in ("tea", "pot")]
    sequences = from_lists([rng.choice(kinds[number % 2], 4).tolist() for number in range(300)])
    catalog = [CatalogItem(item_id=item, title=item[:3]) for item in sequences.item_ids]
    table = FeatureTable(catalog, {"title": 1.0})
    options = replace(TINY, epochs=6, own_dropout=0.3, popularity=True)
    encoder = export.write(
        tmp_path / "e", sequences.item_ids, fit(sequences, options, table.features), options, "v1", table
    )
    from encoders.items import ItemEncoder
    from encoders.runtime import Runtime

    asked = [CatalogItem(item_id="new", title="tea"), *catalog]
    vectors, known = ItemEncoder(Runtime("cpu", threads=1), encoder).encode(asked)
    cosines = vectors[1:] @ vectors[0]
    is_tea = np.array([item.startswith("tea") for item in sequences.item_ids])
    assert known.all()
    assert cosines[is_tea].mean() > cosines[~is_tea].mean() + 0.3


@pytest.mark.parametrize("wrong", [{"dimension": 0}, {"validation": 1.0}, {"temperature": 0.0}])
def test_options_that_make_no_sense_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(TINY, **wrong)


def test_sentence_vectors_are_projected(tmp_path: Path) -> None:
    """Items whose sentences point one way follow each other; the projection has to find the way."""
    rng = np.random.default_rng(4)
    kinds = [[f"{kind}{i}" for i in range(8)] for kind in ("tea", "pot")]
    sequences = from_lists([rng.choice(kinds[number % 2], 4).tolist() for number in range(300)])
    table = FeatureTable([None] * len(sequences.item_ids), {})
    is_tea = np.array([item.startswith("tea") for item in sequences.item_ids])
    sentences = np.where(is_tea[:, None], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]).astype(np.float32)
    options = replace(TINY, epochs=6, own_dropout=0.5)
    params = fit(sequences, options, table.features._replace(sentences=sentences)).params
    projected = params["projection"] / np.linalg.norm(params["projection"], axis=1, keepdims=True)
    own = params["own"] + sentences @ params["projection"]
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    assert (own[is_tea] @ projected[0]).mean() > (own[~is_tea] @ projected[0]).mean() + 0.3
