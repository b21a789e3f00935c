"""The stream answers what the trained model would, and the figures of its answers are right."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from encoders.artifact.manifest import Encoder
from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from encoders.index.item_index import ItemIndex
from encoders.ranking.repeat_consumption import PATTERNS, RANKS, RepeatScores
from encoders.ranking.user_head import LinearHead
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem
from streams.offline.baselines import ItemToItem, MatrixFactorisation, NearestSessions, Popularity, Vsknn, Vstan
from streams.offline.evaluation import StreamModel, evaluate_stream
from streams.offline.event_logs import questions
from streams.offline.questions import History, Questions
from streams.offline.ranking_metrics import accuracy, beyond, metrics_at, rank_of
from streams.offline.report_page import page

ITEMS = 60


def random_log(users: int, longest: int) -> tuple[list[list[str]], list[list[int]]]:
    """Users of few items each, so that they repeat; some of one event, some with more than a profile's recents."""
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, longest + 1, users)
    firsts = rng.integers(0, ITEMS - 8, users)
    items = [[f"i{first + step}" for step in rng.integers(0, 8, n)] for first, n in zip(firsts, lengths, strict=True)]
    return items, [rng.integers(0, 3, n).tolist() for n in lengths]


@pytest.mark.parametrize(
    ("popularity", "history", "older"), [(False, 20, 0), (True, 20, 0), (False, 6, 40)], ids=["", "popularity", "times"]
)
def test_the_stream_scores_as_the_trainer_does(tmp_path: Path, popularity: bool, history: int, older: int) -> None:
    """With times also of what has left the recents, by learned half-lives."""
    jax = pytest.importorskip("jax", reason="training needs the extra `train`")
    from encoders.training import export, model
    from encoders.training.batches import Batches
    from encoders.training.fit import Figures, Trained
    from encoders.training.options import TrainingOptions
    from encoders.training.sequences import ExampleSource, from_lists

    items, types = random_log(80, 30)
    options = TrainingOptions(dimension=12, history=history, older=older, batch=80, candidates=0, popularity=popularity)
    rng = np.random.default_rng(6)
    times = None
    if older:
        # some at the same moment, some days apart
        times = [(np.cumsum(rng.choice([0, 90, 86_400], len(each))) * 1000 + 10**12).tolist() for each in items]
    # the last event of each is what is asked for: any will do
    sequences = from_lists(
        [[*each, "i0"] for each in items],
        [[*each, 0] for each in types],
        None if times is None else [[*each, each[-1]] for each in times],
    )
    source = ExampleSource(sequences, options.history, options.older)
    first_s = source.first_half_lives(options.half_lives) if older else None
    params = model.initial(len(sequences.item_ids), options, None, jax.random.key(0), first_s)
    params = {name: value + 0.7 * rng.standard_normal(value.shape).astype(np.float32) for name, value in params.items()}
    batch = next(Batches(source, len(sequences.item_ids), options).of_events(sequences.starts[1:] - 1, rng))
    expected = np.asarray(model.logits(params, batch, None, options, None))  # (B, N)

    trained = Trained(
        {name: np.asarray(value) for name, value in params.items()},
        [Figures(0, 0, 0)],
        1,
        np.ones(len(params["own"]), np.bool_),
    )
    encoder = export.write(tmp_path / "encoder", sequences.item_ids, trained, options, "v1")
    catalog = [CatalogItem(item_id=item, title="") for item in sequences.item_ids]
    stream = StreamModel(encoder, Runtime("cpu", threads=1), catalog)
    clock = times or [None] * len(items)
    histories = [History(*each) for each in zip(items, types, clock, strict=True)]
    lists, scores = stream.recommend(histories, len(catalog))
    number = {item: i for i, item in enumerate(sequences.item_ids)}
    rows = np.array([[number[item] for item in found] for found in lists])
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, axis=1), rtol=1e-4, atol=2e-4)
    assert source.older == (24 if older else 0)
    assert stream.cost.events == sum(map(len, items))
    assert stream.cost.update_us > 0


def made_encoder(folder: Path) -> Encoder:
    """Random vectors, under a head that reads recents, sums, types and repeats."""
    rng = np.random.default_rng(7)
    head = LinearHead(
        half_life_mix=(0.4, 0.8),
        complete=True,
        repeats=RepeatScores(
            rng.standard_normal(6).astype(np.float32), rng.standard_normal((PATTERNS, RANKS)).astype(np.float32)
        ),
    )
    user = UserSide(head, 6, (3_600.0, 86_400.0), score_scale=5.0)
    vectors = rng.standard_normal((ITEMS, 12))
    return lookup.build(folder, [f"i{n}" for n in range(ITEMS)], vectors, "v1", user=user)


@pytest.mark.parametrize("timed", [False, True])
def test_events_pushed_once_answer_as_replayed_ones_do(tmp_path: Path, timed: bool) -> None:
    items, types = random_log(60, 40)
    rng = np.random.default_rng(8)
    clock: list[list[int] | None] = [None] * len(items)
    if timed:
        # some at the same moment, some days apart
        clock = [(np.cumsum(rng.choice([0, 90, 86_400], len(each))) * 1000 + 10**12).tolist() for each in items]
    log = [History(*each) for each in zip(items, types, clock, strict=True)]
    every = questions(log, 10_000)
    shuffled = rng.permutation(len(every.users))[:500]  # not all, and in no order
    targets = [every.targets[place] for place in shuffled.tolist()]
    asked = Questions(log, every.users[shuffled], every.seen[shuffled], targets)
    prefixes = [
        History(
            history.items[:n], (history.types or [])[:n], None if history.times_ms is None else history.times_ms[:n]
        )
        for history, n in ((log[user], n) for user, n in zip(asked.users.tolist(), asked.seen.tolist(), strict=True))
    ]
    model = StreamModel(
        made_encoder(tmp_path / "e"),
        Runtime("cpu", threads=1),
        [CatalogItem(item_id=f"i{n}", title="") for n in range(ITEMS)],
    )
    lists, scores = model.answer(asked, 10)
    assert model.cost.events < sum(map(len, items))
    replayed, replayed_scores = model.recommend(prefixes, 10)
    np.testing.assert_allclose(scores, replayed_scores, rtol=1e-4, atol=1e-4)
    assert lists == replayed
    assert [list(seen) for seen in asked.items_before()] == [list(prefix.items) for prefix in prefixes]


def test_a_long_history_costs_each_event_once(tmp_path: Path) -> None:
    """6,000 events: the prefixes of the 500 that are asked for would be 1.5 million events."""
    rng = np.random.default_rng(9)
    log = [History([f"i{n}" for n in rng.integers(0, ITEMS, 6_000).tolist()])]
    encoder = lookup.build(tmp_path / "e", [f"i{n}" for n in range(ITEMS)], np.eye(ITEMS), "v1")
    model = StreamModel(
        encoder, Runtime("cpu", threads=1), [CatalogItem(item_id=f"i{n}", title="") for n in range(ITEMS)]
    )
    asked = questions(log, 500)
    lists, _ = model.answer(asked, 5)
    assert len(lists) == model.cost.users == 500
    assert model.cost.events == asked.seen.max() < 6_000


def test_times_decide_the_order_of_a_history(tmp_path: Path) -> None:
    encoder = lookup.build(tmp_path / "e", ["a", "b", "c"], np.eye(3), "v1")
    stream = StreamModel(encoder, Runtime("cpu", threads=1), [CatalogItem(item_id=i, title="") for i in "abc"])
    late_first = History(["b", "a"], times_ms=[2_000, 1_000])
    in_order = History(["a", "b"], times_ms=[1_000, 2_000])
    assert stream.recommend([late_first], 3)[0] == stream.recommend([in_order], 3)[0] == [["b", "a", "c"]]


def test_a_report_tells_cold_items_and_lengths_apart(tmp_path: Path) -> None:
    encoder = lookup.build(tmp_path / "e", ["a", "b", "c"], np.eye(3), "v1")
    stream = StreamModel(encoder, Runtime("cpu", threads=1), [CatalogItem(item_id=i, title="") for i in "abc"])
    histories = [History(["a"]), History(["a", "b"]), History(["c"] * 30)]
    asked = Questions.at_the_end(histories, ["a", "b", "new"])
    report = evaluate_stream(stream, asked, {"a", "b", "c"})
    assert report.counts == {"history 1": 1, "history 2-4": 1, "history 20+": 1, "cold items": 1}
    assert report.groups["cold items"]["recall@20"].mean == 0.0
    assert report.groups["history 1"]["mrr@5"].mean == 1.0
    assert report.accuracy["recall@5"].mean == pytest.approx(2 / 3)
    assert report.beyond["coverage@20"] == 1.0
    html = page("e", "<data>", [report, report])
    assert "<svg" in html
    assert "&lt;data&gt;" in html


def test_figures_follow_their_definitions() -> None:
    places = rank_of([["x", "y", "z"], ["x"], []], ["z", "x", "x"])
    assert places.tolist() == [2, 0, -1]
    found = metrics_at(places, 3)
    assert found["recall"].tolist() == [1, 1, 0]
    np.testing.assert_allclose(found["mrr"], [1 / 3, 1, 0])
    np.testing.assert_allclose(found["ndcg"], [1 / 2, 1, 0])
    figure = accuracy(np.array([0] * 50 + [-1] * 50))["recall@5"]
    assert figure.low < figure.mean == 0.5 < figure.high
    assert accuracy(np.empty(0, np.int64)) == {}


def test_diversity_is_the_mean_distance_within_a_list() -> None:
    index = ItemIndex(2)
    index.put(["a", "b", "c"], [[1, 0], [0, 1], [1, 0]])
    assert beyond([["a", "b"]], {}, index)["diversity@20"] == pytest.approx(1.0)
    assert beyond([["a", "c"]], {}, index)["diversity@20"] == pytest.approx(0.0)
    # six events and one more for each item: a has (5 + 1) / 9
    assert beyond([["a"]], {"a": 5, "b": 1}, index)["novelty@20"] == pytest.approx(-np.log2(6 / 9))


TRAIN: Sequence[Sequence[str]] = [["a", "b", "c"], ["a", "b", "d"], ["b", "c"], ["x", "y"], ["a", "b", "d"]]


def test_baselines_know_what_they_counted() -> None:
    assert Popularity(TRAIN).recommend([], 1) == ["b"]
    assert ItemToItem(TRAIN).recommend(["c", "b"], 2) == ["c", "d"]
    assert ItemToItem(TRAIN).recommend(["unknown"], 2) == ItemToItem(TRAIN).recommend([], 2) == []


@pytest.mark.parametrize("settings", [Vsknn(), Vstan()])
def test_nearest_sessions_share_items(settings: Vsknn) -> None:
    model = NearestSessions(TRAIN, settings)
    found = model.recommend(["a", "b"], 10)
    assert {*found} == {"a", "b", "c", "d"}
    assert found.index("d") < found.index("c")  # two of the sessions that share both items have it
    assert model.recommend(["unknown"], 10) == []


def test_a_factorisation_finds_the_items_of_a_cluster() -> None:
    pytest.importorskip("implicit", reason="matrix factorisation needs the extra `train`")
    train = [["a", "b", "c"]] * 20 + [["x", "y", "z"]] * 20
    assert {*MatrixFactorisation(train, factors=4).recommend(["a", "b"], 3)} == {"a", "b", "c"}
