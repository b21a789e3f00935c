"""Reads the public data sets' formats: what is trained on, what the catalog says, and what is asked."""

import ast
import csv
import json
from dataclasses import dataclass
from pathlib import Path

from schemas.catalog import CatalogItem
from streams.offline.questions import History

VALIDATION_SHARE = 0.05


class DatasetError(Exception):
    """A folder that does not hold what its format says."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Sequences of item ids to train on, the catalog, and held-out questions."""

    train: list[list[str]]
    catalog: list[CatalogItem]
    histories: list[History]
    targets: list[str]


def read_sessions(folder: Path) -> Dataset:
    """``train_sessions.txt``: a session a line, item ids in order; ``test_pairs.tsv``: prefix, tab, next item."""
    train = [_ids(line) for line in _lines(folder / "train_sessions.txt")]
    pairs = [line.split("\t") for line in _lines(folder / "test_pairs.tsv")]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise DatasetError(f"{folder / 'test_pairs.tsv'}: expected lines of a prefix, a tab and the next item.")
    return _of_sessions(train, [_ids(prefix) for prefix, _ in pairs], [target.strip() for _, target in pairs])


def read_sessions_to_validate(folder: Path) -> Dataset:
    """The last 5% of the training sessions as questions, of prefixes of two items or more; no test row is read."""
    sessions = [_ids(line) for line in _lines(folder / "train_sessions.txt")]
    kept = len(sessions) - max(1, round(VALIDATION_SHARE * len(sessions)))
    train, held_out = sessions[:kept], sessions[kept:]
    asked = [(session[:n], session[n]) for session in held_out for n in range(2, len(session))]
    if not asked:
        raise DatasetError(f"The last 5% of the sessions in {str(folder)!r} hold none of three items: nothing to ask.")
    return _of_sessions(train, [prefix for prefix, _ in asked], [target for _, target in asked])


def _of_sessions(train: list[list[str]], prefixes: list[list[str]], targets: list[str]) -> Dataset:
    known = dict.fromkeys(item for sequence in (*train, *prefixes, targets) for item in sequence)
    catalog = [CatalogItem(item_id=item, title="") for item in known]
    return Dataset(train, catalog, [History(items) for items in prefixes], targets)


def read_leave_one_out(folder: Path) -> Dataset:
    """``sequences.txt``: user, then item ids in order; ``items.tsv``: item id, tab, key words.

    Each user's last item is the question, after all before it; the one before is left out of training, as others do
    who validate on it.
    """
    return _leave_out(folder, 1)


def read_leave_one_out_to_validate(folder: Path) -> Dataset:
    """The same training data, asked for each user's item before the last; nobody's last item is looked at."""
    return _leave_out(folder, 2)


def _leave_out(folder: Path, place: int) -> Dataset:
    """Each user's item at this place from the end is the question."""
    sequences = [line.split()[1:] for line in _lines(folder / "sequences.txt")]
    words = {item: text for item, _, text in (line.partition("\t") for line in _lines(folder / "items.tsv"))}
    known = dict.fromkeys(item for sequence in sequences for item in sequence)
    asked = [sequence for sequence in sequences if len(sequence) > place]
    return Dataset(
        [sequence[:-2] for sequence in sequences if len(sequence) > 3],
        [CatalogItem(item_id=item, title=words.get(item, "")[:1024]) for item in known],
        [History(sequence[:-place]) for sequence in asked],
        [sequence[-place] for sequence in asked],
    )


def read_purchases(folder: Path) -> Dataset:
    """``items.json``: title, description, brand by item id; ``valid.csv`` and ``test.csv``: histories and next items.

    Trained on are the histories of the validation rows: those of the test rows hold the answers of others.
    """
    stated = json.loads((folder / "items.json").read_text("utf-8"))
    catalog = [
        CatalogItem(
            item_id=item_id,
            title=str(item.get("title", ""))[:1024],
            description=" ".join(_list(str(item.get("description", ""))))[:65_536],
            brand=str(item.get("brand", ""))[:256],
        )
        for item_id, item in stated.items()
    ]
    test = _rows(folder / "test.csv")
    return Dataset(
        [_list(row["history_item_id"]) for row in _rows(folder / "valid.csv")],
        catalog,
        [History(_list(row["history_item_id"])) for row in test],
        [row["item_id"].strip() for row in test],
    )


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise SystemExit(f"There is no file '{path}': give the folder of the data set.")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _list(text: str) -> list[str]:
    """A Python list as text, such as ``[3, 5]``; a text that is none stands for itself."""
    try:
        found = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return [text]
    return [str(each) for each in found] if isinstance(found, list) else [str(found)]


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise SystemExit(f"There is no file '{path}': give the folder of the data set.")
    return [line for line in path.read_text("utf-8").split("\n") if line.strip()]


def _ids(text: str) -> list[str]:
    return text.replace(",", " ").split()
