"""Files of events as `train` and `evaluate` read them: whatever their name, and from a pipe too."""

import os
import threading
from pathlib import Path

import msgspec

from streams.offline.event_logs import read_log


def test_events_of_a_pipe_are_all_read(tmp_path: Path) -> None:
    """Regression: the look for a header line took what the pipe held, and the rest was read as if it were all."""
    pipe = tmp_path / "events"
    os.mkfifo(pipe)
    lines = [
        msgspec.json.encode({"type": "click", "event_id": f"e{n}", "user_id": "u", "item_id": "i", "event_time_ms": n})
        for n in range(3_000)
    ]
    writing = threading.Thread(target=pipe.write_bytes, args=(b"\n".join(lines),))
    writing.start()
    log = read_log(pipe)
    writing.join()
    assert ([len(history.items) for history in log.histories], log.skipped) == ([3_000], 0)


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
