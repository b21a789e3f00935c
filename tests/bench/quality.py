"""Trains and evaluates from scratch on public data sets, beside baselines: one JSON object a line for each model.

    python -m tests.bench.quality sessions FOLDER --json
    python -m tests.bench.quality amazon FOLDER --json
    python -m tests.bench.quality cold FOLDER --json
    python -m tests.bench.quality sessions FOLDER --validate --set repeat_lift=0 --set dimension=64

Every figure of prefstream comes from an encoder folder that was loaded as a worker loads it, with the events pushed
through the product's own update and ranking. ``train_s`` and ``update_us`` (microseconds an event; null for a baseline,
which has no streaming update) are wall time of this process. Nothing looks at the test rows but the figures: settings
(fields of ``TrainingOptions``) are chosen by ``--validate``, which holds out a part of what is trained on instead (of
sessions the last 5%, of amazon nothing more: each user's item before the last is not trained on).
"""

import argparse
import ast
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from encoders.errors import EncoderError
from encoders.items.dense_features import DenseInputs
from encoders.runtime import Runtime
from encoders.training import export
from encoders.training.features import FeatureTable
from encoders.training.fit import Progress, fit
from encoders.training.options import TrainingOptions
from encoders.training.sequences import from_lists
from streams.offline.baselines import BASELINES, Baseline
from streams.offline.evaluation import StreamModel
from streams.offline.questions import History
from streams.offline.ranking_metrics import metrics_at, rank_of
from tests.bench.datasets import (
    Dataset,
    DatasetError,
    read_leave_one_out,
    read_leave_one_out_to_validate,
    read_purchases,
    read_sessions,
    read_sessions_to_validate,
)

_PURCHASES = TrainingOptions(
    dimension=128,
    learning_rate=2e-3,
    weight_decay=1e-2,
    spread=0.05,
    history_dropout=0.0,
    user_dropout=0.0,
    item_dropout=0.3,
    validation=0.0,
)
"""What data of few purchases a user and many words an item have in common."""

OPTIONS = {
    "sessions": TrainingOptions(
        dimension=160,
        epochs=10,
        history_dropout=0.25,
        user_dropout=0.25,
        popularity=True,
        repeat_prior=False,
        validation=0.0,
    ),
    "amazon": replace(_PURCHASES, epochs=8, batch=1536, candidates=4096, popularity=True),
    "cold": replace(
        _PURCHASES, epochs=20, batch=512, candidates=0, own_dropout=0.3, repeat_prior=False, repeat_lift=0.0
    ),
}
COLD_SHARE = 0.1
# events predicted in a whole training: of larger data fewer epochs, so that sessions take at most 90 CPU minutes of a
# core that does 2,048 of them in half a second, and the others 60
MOST_PREDICTIONS = {"sessions": 20_000_000, "amazon": 8_000_000, "cold": 8_000_000}

MOST_AT_ONCE = 4_096
"""Items that compete in a step: of more, so many are drawn."""

Row = dict[str, Any]


def sessions(folder: Path, work: Path) -> None:
    """Next click of a session: P@20 and MRR@20 in per cent."""
    data = (read_sessions_to_validate if _validates else read_sessions)(folder)

    def row(name: str, places: np.ndarray, train_s: float, update_us: float | None) -> Row:
        found = metrics_at(places, 20)
        return {
            "model": name,
            "p_at_20": round(100 * found["recall"].mean(), 3),
            "mrr_at_20": round(100 * found["mrr"].mean(), 3),
            "train_s": round(train_s, 1),
            "update_us": update_us and round(update_us, 2),
        }

    model, train_s = trained(data, "sessions", work / "sessions", with_text=False)
    lists, _ = model.recommend(data.histories, 20)
    say(row("prefstream", rank_of(lists, data.targets), train_s, model.cost.update_us))
    for name in BASELINES:
        baseline, train_s = made(name, data.train)
        say(row(name, rank_of(answers(baseline, data.histories, 20), data.targets), train_s, None))


def amazon(folder: Path, work: Path) -> None:
    """Last item of each user: recall and NDCG at 5 and 10, all items ranked."""
    data = (read_leave_one_out_to_validate if _validates else read_leave_one_out)(folder)

    def row(name: str, lists: Sequence[Sequence[str]]) -> Row:
        places = rank_of(lists, data.targets)
        found = {k: metrics_at(places, k) for k in (5, 10)}
        return {"model": name} | {
            f"{letter}_at_{k}": round(float(found[k][measure].mean()), 5)
            for k in (5, 10)
            for letter, measure in (("r", "recall"), ("n", "ndcg"))
        }

    model, _ = trained(data, "amazon", work / "amazon", with_text=True, title=1.6)
    say(row("prefstream", model.recommend(data.histories, 10)[0]))
    for name in BASELINES:
        baseline, _ = made(name, data.train)
        say(row(name, answers(baseline, data.histories, 10)))


def cold(folder: Path, work: Path) -> None:
    """Items that were never trained on, recommended from their text; and all test rows with everything trained on."""
    data = read_purchases(folder)
    ids = sorted(item.item_id for item in data.catalog)
    taken_out = set(random.Random(0).sample(ids, round(COLD_SHARE * len(ids))))
    warm = [[item for item in sequence if item not in taken_out] for sequence in data.train]
    asked = [i for i, target in enumerate(data.targets) if target in taken_out]
    cold_histories, cold_targets = [data.histories[i] for i in asked], [data.targets[i] for i in asked]

    def row(name: str, cold_lists: Sequence[Sequence[str]], lists: Sequence[Sequence[str]]) -> Row:
        found = metrics_at(rank_of(lists, data.targets), 10)
        return {
            "model": name,
            "cold_hr_at_10": round(float(metrics_at(rank_of(cold_lists, cold_targets), 10)["recall"].mean()), 5),
            "hr_at_10": round(float(found["recall"].mean()), 5),
            "ndcg_at_10": round(float(found["ndcg"].mean()), 5),
        }

    without, _ = trained(Dataset(warm, data.catalog, [], []), "cold", work / "cold", with_text=True, reads=_text_model)
    model, _ = trained(data, "cold", work / "all", with_text=True, reads=_text_model)
    say(row("prefstream", without.recommend(cold_histories, 10)[0], model.recommend(data.histories, 10)[0]))
    chance = random.Random(1)
    say(row("random", *([chance.sample(ids, 10) for _ in each] for each in (cold_histories, data.histories))))
    for name in ("popularity", "item-to-item", "vstan"):
        cold_lists = answers(made(name, warm)[0], cold_histories, 10)
        say(row(name, cold_lists, answers(made(name, data.train)[0], data.histories, 10)))


def trained(
    data: Dataset,
    name: str,
    folder: Path,
    *,
    with_text: bool,
    reads: Path | None = None,
    title: float = 1.0,
) -> tuple[StreamModel, float]:
    """prefstream, trained anew (or gone on from where it was stopped) and loaded; and the seconds it took."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    sequences = from_lists([sequence for sequence in data.train if len(sequence) > 1])
    catalog = {item.item_id: item for item in data.catalog}
    known = [catalog.get(item) for item in sequences.item_ids]
    dense = DenseInputs.of_catalog(known, Runtime("cpu", threads=1), reads)
    table = FeatureTable(known, {"title": title, "brand": 0.5}, dense=dense)
    features = table.features if with_text else None
    predictions = len(sequences.items) - len(sequences)
    options, most = OPTIONS[name], MOST_PREDICTIONS[name]
    if options.candidates == 0 and len(sequences.item_ids) > MOST_AT_ONCE:
        options = replace(options, candidates=MOST_AT_ONCE)
    options = replace(options, epochs=max(1, min(options.epochs, most // max(predictions, 1))))
    model = fit(sequences, options, features, folder / "training.npz", tell)
    encoder = export.write(
        folder / "encoder", sequences.item_ids, model, options, "quality-1", table if with_text else None
    )
    train_s = time.monotonic() - began
    return StreamModel(encoder, Runtime("cpu", threads=1), data.catalog), train_s


def made(name: str, train: Sequence[Sequence[str]]) -> tuple[Baseline, float]:
    """A baseline, and the seconds that making it took."""
    began = time.monotonic()
    baseline = BASELINES[name]([sequence for sequence in train if sequence])
    return baseline, time.monotonic() - began


def answers(baseline: Baseline, histories: Sequence[History], k: int) -> list[list[str]]:
    return [baseline.recommend(history.items, k) for history in histories]


def tell(progress: Progress) -> None:
    if progress.figures is not None or progress.step % 100 == 0:
        text = f"epoch {progress.epoch} step {progress.step}/{progress.steps} loss {progress.loss:.3f}"
        print(f"{time.strftime('%H:%M:%S')} {text} ({time.process_time():.0f} CPU s)", file=sys.stderr, flush=True)


def say(row: Row) -> None:
    if _as_json:
        print(json.dumps(row), flush=True)
    else:
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


_as_json = False
_validates = False
_text_model: Path | None = None
_RUNS: dict[str, Callable[[Path, Path], None]] = {"sessions": sessions, "amazon": amazon, "cold": cold}


def main() -> None:
    global _as_json, _validates, _text_model
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=_RUNS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--text-model", type=Path, help="cold: a Hugging Face folder that reads the texts")
    parser.add_argument("--work", type=Path, help="keep the training and the encoder here; a stopped run goes on")
    parser.add_argument("--validate", action="store_true", help="sessions, amazon: without the test rows, to choose by")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="train with another option")
    chosen = parser.parse_args()
    if chosen.validate and chosen.data == "cold":
        parser.error("cold has nothing to validate on")
    try:
        changes = {name: ast.literal_eval(value) for name, _, value in (each.partition("=") for each in chosen.set)}
        OPTIONS[chosen.data] = replace(OPTIONS[chosen.data], **changes)
    except (ValueError, TypeError, SyntaxError) as error:
        parser.error(f"--set: {error}: expected a field of TrainingOptions and its value, as popularity=False")
    _as_json, _validates, _text_model = chosen.json, chosen.validate, chosen.text_model
    try:
        with TemporaryDirectory() as work:
            _RUNS[chosen.data](chosen.folder, chosen.work or Path(work))
    except (DatasetError, EncoderError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
