"""Files of events as `train` and `evaluate` read them: whatever their name, and from a pipe too."""

import os
import threading
from pathlib import Path

import msgspec
import pytest

from schemas.times import EXPECTED
from streams.offline.event_files import EventFileError, LineFile, read_events
from streams.offline.event_logs import read_log
from streams.offline.skipped_lines import SkippedLines


def test_events_of_a_pipe_are_all_read(tmp_path: Path) -> None:
    """Regression: the look for a header line took what the pipe held, and the rest was read as if it were all."""
    pipe = tmp_path / "events"
    os.mkfifo(pipe)
    lines = [json_line(n, 10**12 + n).encode() for n in range(3_000)]
    writing = threading.Thread(target=pipe.write_bytes, args=(b"".join(lines),))
    writing.start()
    log = read_log(pipe)
    writing.join()
    assert ([len(history.items) for history in log.histories], log.skipped.count) == ([3_000], 0)


def test_a_taobao_file_with_a_header_keeps_types_and_times(tmp_path: Path) -> None:
    """Regression: it was read as a table whose events are clicks without times."""
    path = tmp_path / "taobao.csv"
    path.write_text(
        "user_id,item_id,category_id,behavior_type,timestamp\n1,10,5,pv,1511544070\n1,11,5,buy,1511544080\n"
    )
    (history,) = read_log(path).histories
    assert history.types is not None
    assert len(set(history.types)) == 2
    assert history.times_ms == [1_511_544_070_000, 1_511_544_080_000]


def json_line(number: int, time_ms: int, kind: str = "click") -> str:
    fields = {"type": kind, "event_id": f"e{number}", "user_id": "u", "item_id": "i", "event_time_ms": time_ms}
    return msgspec.json.encode(fields).decode() + "\n"


@pytest.mark.parametrize("column", ["event_time_ms", "event_time", "timestamp", "time", "unix_time"])
def test_the_unit_of_a_time_is_recognised_in_every_format(tmp_path: Path, column: str) -> None:
    """Regression: seconds were taken as milliseconds, and a column `timestamp` was ignored."""
    (tmp_path / "log.jsonl").write_text(json_line(2, 1_764_000_060) + json_line(1, 1_764_000_000_000))
    (tmp_path / "log.csv").write_text(f"user_id,item_id,{column}\nu,i,1764000060\nu,i,2025-11-24T16:00:00Z\n")
    for name in ("log.jsonl", "log.csv"):
        log = read_log(tmp_path / name)
        assert [history.times_ms for history in log.histories] == [[1_764_000_000_000, 1_764_000_060_000]]
        assert log.skipped.count == 0


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000, 1.0])
def test_a_parquet_log_may_have_times_of_any_unit(tmp_path: Path, unit: float) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra `train`")
    from pyarrow import parquet

    times = [1_764_000_001 * unit, 1_764_000_000 * unit]
    columns = {"user_id": ["u", "u"], "item_id": ["i", "i"], "event_time": times}
    parquet.write_table(pyarrow.table(columns), tmp_path / "log.parquet")
    [history] = read_log(tmp_path / "log.parquet").histories
    assert history.times_ms == [1_764_000_000_000, 1_764_000_001_000]


def test_skipped_lines_are_told_by_reason(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,type,event_time\nu,i,click,2025-12-01\nu,i,cart,5\nu,,click,5\nu,i,click,x\nu,i,cart,5\n"
    )
    assert str(read_log(path).skipped) == (
        '4 lines skipped: 2 x `type` is "cart", expected click, browse or purchase (first: line 3); '
        "1 x `item_id` is empty (first: line 4); "
        f'1 x `event_time` is "x", expected {EXPECTED} (first: line 5)'
    )
    lines = tmp_path / "log.jsonl"
    lines.write_text(json_line(1, 10**9) + json_line(2, 10**9, "cart"))
    assert "1 x out-of-range: `type` of the Line: invalid enum value 'cart'" in str(read_log(lines).skipped)


def test_of_many_reasons_the_frequent_ones_are_told() -> None:
    skipped = SkippedLines()
    for number in range(1, 5_001):
        skipped.add(number, f"reason {number}")
        skipped.add(number, "the usual reason")
    told = str(skipped)
    assert told.startswith(
        "10,000 lines skipped: 5,000 x the usual reason (first: line 1); 1 x reason 1 (first: line 1)"
    )
    assert told.endswith("; 4,996 x another reason")


def test_a_csv_of_other_columns_says_which_are_expected_and_which_it_has(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("userId,movieId,rating\n1,2,3.5\n")
    with pytest.raises(
        EventFileError, match=r"has the columns userId, movieId, rating; expected were user_id \(or session_id"
    ):
        read_log(path)
    with (
        LineFile(path) as lines,
        pytest.raises(EventFileError, match=r"`prefstream train` and `evaluate` also take CSV"),
    ):
        list(read_events(lines))


def test_the_lines_of_an_order_are_events_of_a_log(tmp_path: Path) -> None:
    order = {
        "type": "purchase",
        "event_id": "o1",
        "user_id": "u",
        "event_time_ms": 1_764_000_001_000,
        "items": [{"item_id": "tea", "quantity": 0.5}, {"item_id": "pot"}, {"item_id": "tea"}],
    }
    path = tmp_path / "log.jsonl"
    path.write_text(json_line(1, 1_764_000_000_000) + msgspec.json.encode(order).decode())
    (history,) = read_log(path).histories
    assert (history.items, history.types) == (["i", "tea", "pot"], [0, 2, 2])
    assert history.times_ms == [1_764_000_000_000, 1_764_000_001_000, 1_764_000_001_000]
