"""``train`` and ``evaluate``, from files of events to an encoder folder and its figures."""

import csv
import gzip
import json
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.building import lookup
from schemas.errors import DecodeError
from streams.offline.event_files import EventFileError
from streams.offline.event_logs import questions, read_log


def write_events(path: Path, users: int, *, seed: int = 0) -> Path:
    """Users who walk through twelve items in order, from anywhere."""
    chance = random.Random(seed)
    lines = []
    for user in range(users):
        start = chance.randrange(12)
        for step in range(chance.randint(2, 6)):
            fields = {
                "type": chance.choice(["click", "browse", "purchase"]),
                "event_id": f"{user}-{step}",
                "user_id": f"u{user}",
                "item_id": f"i{(start + step) % 12}",
                "event_time_ms": 1_700_000_000_000 + user * 60_000 + step * 1_000,
            }
            lines.append(json.dumps(fields))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_encoder_is_trained_and_evaluated(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="training needs the extra `train`")
    pytest.importorskip("tokenizers", reason="transformers need the extra `text`")
    from tests.unit.encoders import tiny_transformer

    events, test = write_events(tmp_path / "train.jsonl", 150), write_events(tmp_path / "test.jsonl", 30, seed=1)
    items = tmp_path / "items.jsonl"
    items.write_text(
        "".join(
            json.dumps({"item_id": f"i{n}", "title": f"thing {n % 3}", "price": 1 + n, "image_vector": [n, 1]}) + "\n"
            for n in range(13)
        )
    )
    model = tiny_transformer.build(tmp_path / "model", ["[PAD]", "[UNK]", "thing"], np.eye(3))
    options = ("--dimension", 8, "--epochs", 2, "--no-repeat-prior", "--text-model", model)
    done = run("train", events, items, "-o", tmp_path / "v1", *options)
    assert done.exit_code == 0, done.stderr
    assert "learned from: title, sentences, images, prices" in done.stderr
    assert "held out" in done.stdout
    assert not (tmp_path / "v1" / "training.npz").exists()
    again = run("train", events, "-o", tmp_path / "v1")
    assert again.exit_code == 1
    assert "give another folder" in again.stderr

    done = run(
        "evaluate", tmp_path / "v1", test, "--catalog", items, "--html", tmp_path / "report.html", "--json"
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (figures,) = json.loads(done.stdout)
    assert figures["recall@20"]["mean"] == 1.0  # thirteen items, all in a list of twenty
    assert figures["recall@20"]["low"] <= figures["recall@20"]["mean"]
    assert figures["update_us"] > 0
    assert "<svg" in (tmp_path / "report.html").read_text()

    done = run("evaluate", tmp_path / "v1", test, "--train", events)
    assert done.exit_code == 0, done.stderr
    for name in ("popularity", "item-to-item", "vsknn", "vstan", "matrix-factorisation"):
        assert name in done.stdout


def test_too_few_users_to_hold_out_are_told_instead_of_figures(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="training needs the extra `train`")
    (tmp_path / "events.csv").write_text("user_id,item_id,type\nu1,a,click\nu1,b,click\nu1,a,cart\n")
    (tmp_path / "items.jsonl").write_text('{"item_id": "a", "title": "A", "category": ["C"], "price": 3}\n')
    done = run("train", "events.csv", "items.jsonl", "-o", "v1", "--dimension", 4, "--epochs", 1)
    assert done.exit_code == 0, done.stderr
    assert "nan" not in done.stderr + done.stdout
    assert "epoch 1 of 1, too few users to hold out any" in done.stdout
    assert "learned from: title, category, prices" in done.stderr
    assert '1 line skipped: 1 x `type` is "cart", expected click, browse or purchase (first: line 4)' in done.stderr


def test_a_missing_extra_names_the_checkouts_way_first(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "encoders.training.fit", None)
    done = run("train", "events.csv", "-o", "v1")
    assert done.exit_code == 1
    assert "in a checkout run `make .venv/.dev`, elsewhere `pip install" in done.stderr


def test_a_quantised_encoder_says_what_it_loses(run: Any, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((12, 16))
    lookup.build(tmp_path / "v1", [f"i{n}" for n in range(12)], vectors, "v1")
    test = write_events(tmp_path / "test.jsonl", 30)
    to = ("--to", "int8", "--data", test, "--html", tmp_path / "report.html")
    done = run("quantise", tmp_path / "v1", "-o", tmp_path / "v1-int8", *to, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["version"] == "v1-int8"
    assert told["size_after"] < told["size_before"]
    assert told["predictions"] == len(questions(read_log(test).histories, 20_000).targets)
    assert {*told["quality"]} >= {"recall@5", "mrr@20", "ndcg@20"}
    for figure in told["quality"].values():
        assert figure["lost"]["mean"] == pytest.approx(figure["before"] - figure["after"])
        assert figure["lost"]["low"] <= figure["lost"]["mean"] <= figure["lost"]["high"]
    # the ranks of twelve items hardly move
    assert abs(told["quality"]["mrr@20"]["lost"]["mean"]) < 0.1
    html = (tmp_path / "report.html").read_text()
    assert "v1-int8" in html
    assert "mrr@20 lost" in html
    done = run("quantise", tmp_path / "v1", "-o", tmp_path / "v1-fp16", "--data", test)
    assert done.exit_code == 0, done.stderr
    assert "recall@20: 100.00 -> 100.00, lost 0.00" in done.stdout
    done = run("quantise", tmp_path / "v1", "-o", tmp_path / "again", "--html", tmp_path / "r.html")
    assert done.exit_code == 1
    assert "--data" in done.stderr
    assert not (tmp_path / "again").exists()


def test_tables_with_and_without_times_are_logs(tmp_path: Path) -> None:
    timed = tmp_path / "timed.csv"
    timed.write_text(
        "user_id,item_id,type,event_time_ms\nu1,b,purchase,1000000002\nu1,a,click,1000000001\nu2,c,click,1000000000\nu2,,click,9\nu2,d,view,1\n"
    )
    log = read_log(timed)
    assert [(h.items, h.types, h.times_ms) for h in log.histories] == [
        (["c"], [0], [10**12]),
        (["a", "b"], [0, 2], [10**12 + 1_000, 10**12 + 2_000]),
    ]
    assert log.skipped.count == 2
    plain = tmp_path / "plain.csv"
    plain.write_text("session_id,item_id\ns1,b\ns2,x\ns1,a\n")
    assert [(h.items, h.times_ms) for h in read_log(plain).histories] == [(["b", "a"], None), (["x"], None)]


def as_tables(events: Path) -> tuple[Path, Path]:
    """The same events as a warehouse writes them: Parquet by groups of rows, unsorted, with numbers for ids, a category
    and timestamps; and gzipped CSV with ISO times, quotes and columns that nobody asked for."""
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra `train`")
    from pyarrow import parquet

    rows = [json.loads(line) for line in events.read_text().splitlines()]
    random.Random(2).shuffle(rows)
    clock = [datetime.fromtimestamp(row["event_time_ms"] / 1000, UTC) for row in rows]
    table = pyarrow.table(
        {
            "country": ["DE"] * len(rows),
            "user_id": [int(row["user_id"][1:]) for row in rows],
            "item_id": pyarrow.array([row["item_id"] for row in rows], pyarrow.large_string()),
            "type": pyarrow.array([row["type"] for row in rows]).dictionary_encode(),
            "event_time": pyarrow.array(clock, pyarrow.timestamp("ns", "Europe/Berlin")),
        }
    )
    parquet.write_table(table, events.with_suffix(".parquet"), row_group_size=100)
    with gzip.open(events.with_suffix(".csv.gz"), "wt", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["event_time", "note", "item_id", "user_id", "type"])
        for row, at in zip(rows, clock, strict=True):
            writer.writerow([at.isoformat(), "a, b\nc", row["item_id"], row["user_id"][1:], row["type"]])
    return events.with_suffix(".parquet"), events.with_suffix(".csv.gz")


def test_tables_are_the_log_that_lines_are(tmp_path: Path) -> None:
    events = write_events(tmp_path / "events.jsonl", 100)
    expected = read_log(events)
    for path in as_tables(events):
        assert read_log(path) == expected, path
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(EventFileError, match="can't be read as Parquet"):
        read_log(tmp_path / "broken.parquet")


def test_an_encoder_is_trained_on_parquet_and_evaluated_on_csv(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="training needs the extra `train`")
    parquet, _ = as_tables(write_events(tmp_path / "train.jsonl", 200))
    _, test = as_tables(write_events(tmp_path / "test.jsonl", 30, seed=1))
    done = run("train", parquet, "-o", tmp_path / "v1", "--dimension", 8, "--epochs", 3, "--older", 0)
    assert done.exit_code == 0, done.stderr
    assert "of 200 users, 12 items" in done.stderr
    done = run("evaluate", tmp_path / "v1", test, "--train", parquet, "--json")
    assert done.exit_code == 0, done.stderr
    figures = {one["model"]: one for one in json.loads(done.stdout)}
    asked = sum(len(history.items) - 1 for history in read_log(test).histories)
    assert {one["predictions"] for one in figures.values()} == {asked}
    assert {*figures} >= {"popularity", "item-to-item", "vsknn", "vstan", "matrix-factorisation"}
    ours = next(one for name, one in figures.items() if name.startswith("trained-"))
    assert ours["mrr@5"]["mean"] > figures["popularity"]["mrr@5"]["mean"]


def test_a_table_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    """A gzipped one that lost its suffix on the way, and one that is cut off."""
    text = "session_id,item_id\n" + "".join(f"s{n},a\ns{n},b\n" for n in range(500))
    expected = [(["a", "b"], None)] * 500
    for name in ("events.csv", "events.csv.gz", "events"):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        assert [(h.items, h.times_ms) for h in read_log(tmp_path / name).histories] == expected, name
    (tmp_path / "events.csv.gz").write_text(text)
    assert len(read_log(tmp_path / "events.csv.gz").histories) == 500
    (tmp_path / "cut.csv").write_bytes(gzip.compress(text.encode())[:-20])
    with pytest.raises(EventFileError, match=r"(can't be read|failed after line)"):
        read_log(tmp_path / "cut.csv")


def test_a_report_that_can_not_be_written_is_refused_at_once(run: Any, tmp_path: Path) -> None:
    lookup.build(tmp_path / "v1", ["a"], np.eye(1), "v1")
    test = write_events(tmp_path / "test.jsonl", 3)
    html = ("--html", tmp_path / "no" / "report.html")
    for done in (
        run("evaluate", tmp_path / "v1", test, *html),
        run("quantise", tmp_path / "v1", "-o", tmp_path / "v2", "--data", test, *html),
        run("evaluate", tmp_path / "v1", test, "--html", tmp_path),
    ):
        assert done.exit_code == 1
        assert "no folder" in done.stderr or "is a folder" in done.stderr
        assert "predictions" not in done.stderr
    assert not (tmp_path / "v2").exists()


def test_a_table_without_the_columns_says_what_it_has(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra `train`")
    from pyarrow import parquet

    path = tmp_path / "events.parquet"
    parquet.write_table(pyarrow.table({"who": [7]}), path)
    with pytest.raises(EventFileError, match="has the columns who; expected were user_id"):
        read_log(path)


def test_a_log_without_an_event_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"type": "view"}\n')
    with pytest.raises((EventFileError, DecodeError), match="holds no event"):
        read_log(path)


def test_every_event_but_the_first_is_a_question(tmp_path: Path) -> None:
    histories = read_log(write_events(tmp_path / "events.jsonl", 20)).histories
    asked = questions(histories, 10_000)
    assert len(asked.targets) == sum(len(history.items) - 1 for history in histories)
    for items, target, user in zip(asked.items_before(), asked.targets, asked.users.tolist(), strict=True):
        assert [*items, target] == list(histories[user].items[: len(items) + 1])
    assert len(questions(histories, 7).targets) == 7
