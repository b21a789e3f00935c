"""The quality bench on data sets of a few lines: the same code, and exactly the keys that are promised."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="training needs the extra `train`")
pytest.importorskip("implicit", reason="a baseline needs the extra `train`")

from tests.bench import quality
from tests.bench.datasets import read_leave_one_out, read_leave_one_out_to_validate, read_sessions_to_validate

ITEMS = 12


def walk(start: int, length: int) -> list[str]:
    return [str(1 + (start + step) % ITEMS) for step in range(length)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "_as_json", True)
    for name, options in quality.OPTIONS.items():
        monkeypatch.setitem(quality.OPTIONS, name, replace(options, dimension=8, epochs=1, batch=64))
        monkeypatch.setitem(quality.MOST_PREDICTIONS, name, 1_000)


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {row["model"]: row for row in found}


def test_sessions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train_sessions.txt").write_text("\n".join(" ".join(walk(i, 2 + i % 4)) for i in range(60)) + "\n")
    (tmp_path / "test_pairs.tsv").write_text("1,2\t3\n5 6 7\t8\n")
    quality.sessions(tmp_path, tmp_path / "work")
    found = rows(capsys)
    assert {*found} == {"prefstream", "popularity", "item-to-item", "vsknn", "vstan", "matrix-factorisation"}
    assert all({*row} == {"model", "p_at_20", "mrr_at_20", "train_s", "update_us"} for row in found.values())
    assert found["prefstream"]["p_at_20"] == 100.0
    assert found["item-to-item"]["mrr_at_20"] == 100.0


def test_validation_asks_for_the_last_sessions_and_reads_no_test_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [" ".join(walk(i, 2 + i % 4)) for i in range(60)]
    (tmp_path / "train_sessions.txt").write_text("\n".join(lines) + "\n")  # and no test pairs
    data = read_sessions_to_validate(tmp_path)
    assert [" ".join(session) for session in data.train] == lines[:57]
    asked = [walk(start, length) for start, end in ((57, 3), (58, 4), (59, 5)) for length in range(2, end)]
    assert [history.items for history in data.histories] == asked
    assert data.targets == [walk(int(items[0]) - 1, len(items) + 1)[-1] for items in asked]
    monkeypatch.setattr(quality, "_validates", True)
    quality.sessions(tmp_path, tmp_path / "work")
    assert rows(capsys)["prefstream"]["p_at_20"] == 100.0


def test_each_users_last_item_is_asked_for_and_the_one_before_is_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("u1 a b c d e\nu2 a b c\nu3 a\n")
    (tmp_path / "items.tsv").write_text("a\tred boots\nb\n")
    data = read_leave_one_out(tmp_path)
    assert data.train == [["a", "b", "c"]]
    assert [history.items for history in data.histories] == [["a", "b", "c", "d"], ["a", "b"]]
    assert data.targets == ["e", "c"]
    validation = read_leave_one_out_to_validate(tmp_path)
    assert (validation.train, validation.targets) == (data.train, ["d", "b"])
    assert [history.items for history in validation.histories] == [["a", "b", "c"], ["a"]]
    assert {item.item_id: item.title for item in data.catalog} == {"a": "red boots"} | dict.fromkeys("bcde", "")


def test_cold_items(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = {str(i): {"title": f"thing {i}", "description": "['d']", "brand": "b"} for i in range(1, 31)}
    (tmp_path / "items.json").write_text(json.dumps(items))
    head = "user_id,history_item_id,item_id\n"
    lines = [f'u{i},"[{i}, {1 + i % 30}, {1 + (i + 1) % 30}]",{1 + (i + 2) % 30}\n' for i in range(1, 31)]
    for name in ("valid.csv", "test.csv"):
        (tmp_path / name).write_text(head + "".join(lines))
    quality.cold(tmp_path, tmp_path / "work")
    found = rows(capsys)
    assert all({*row} == {"model", "cold_hr_at_10", "hr_at_10", "ndcg_at_10"} for row in found.values())
    assert found["popularity"]["cold_hr_at_10"] == 0.0
