"""Reads the public data sets' formats: what was trained on, and what is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.evaluation import History


@dataclass(frozen=True, slots=True)
class Dataset:
    """Sequences of item ids to train on, and held-out questions."""

    train: list[list[str]]
    histories: list[History]
    targets: list[str]


def read_sessions(folder: Path) -> Dataset:
    """``train_sessions.txt``: a session a line, item ids in order; ``test_pairs.tsv``: prefix, tab, next item."""
    train = [_ids(line) for line in _lines(folder / "train_sessions.txt")]
    pairs = [line.split("\t") for line in _lines(folder / "test_pairs.tsv")]
    return Dataset(
        [session for session in train if session],
        [History(_ids(prefix)) for prefix, _ in pairs],
        [target.strip() for _, target in pairs],
    )


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise SystemExit(f"There is no file '{path}': give the folder of the data set.")
    return [line for line in path.read_text("utf-8").splitlines() if line.strip()]


def _ids(text: str) -> list[str]:
    return text.replace(",", " ").split()


def catalog_ids(train: Sequence[Sequence[str]], histories: Sequence[History], targets: Sequence[str]) -> list[str]:
    """Every item that is mentioned, in order of first mention."""
    found = dict.fromkeys(item for sequence in train for item in sequence)
    found |= dict.fromkeys(item for history in histories for item in history.items)
    return list(found | dict.fromkeys(targets))
