"""Reads whole event logs into memory, for training and evaluation.

The formats are JSON lines, Taobao's CSV, CSV with a header, and Parquet.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import DecodeError
from schemas.events import EVENT_CLASSES, EVENT_TYPES, items_of
from schemas.times import EXPECTED, time_ms
from streams.offline.event_files import (
    EventFileError,
    LineFile,
    has_format,
    is_gzip,
    is_taobao_header,
    read_events,
)
from streams.offline.questions import History, Questions
from streams.offline.skipped_lines import SkippedLines

_USER = ("user_id", "session_id", "user", "session")
_ITEM = ("item_id", "item")
_TYPE = ("type", "event_type", "event")
_TIME = ("event_time_ms", "event_time", "timestamp", "time", "unix_time")
_CODES = {cls: code for code, cls in enumerate(EVENT_CLASSES)}
_TYPE_CODES: dict[str, int] = {kind: code for code, kind in enumerate(EVENT_TYPES)}


@dataclass(frozen=True, slots=True)
class EventLog:
    """Histories of users, each in order of time. The user whose last event is the earliest comes first."""

    histories: list[History]
    skipped: SkippedLines
    """The lines or rows that are no event."""


def read_log(path: Path) -> EventLog:
    """Read a file of events. Each line of an order is an event.

    A table (CSV with a header, or Parquet) has the columns ``user_id`` (or ``session_id``) and ``item_id``. It may have
    the column ``type`` (click, browse or purchase); without it every event is a click. It may have a time:
    ``event_time_ms``, ``event_time``, ``timestamp``, ``time`` or ``unix_time``, of any unit or in ISO 8601 (UTC, if it
    names no zone), or as a timestamp of Parquet. Without times the rows must be in the order of time. A file may be
    gzip, except for Parquet.

    Raises
    ------
    EventFileError
        The file can't be read, has none of these formats, or holds no event.
    """
    if path.suffix == ".parquet":
        rows = _parquet(path)
    elif _has_header(path):
        rows = _csv(path)
    else:
        rows = _lines(path)
    users: dict[str, list[tuple[int, str, int]]] = {}
    skipped = SkippedLines()
    timed = True
    for number, row in rows:
        if isinstance(row, str):
            skipped.add(number, row)
            continue
        user, item, kind, time_ms = row
        timed = timed and time_ms is not None
        users.setdefault(user, []).append((time_ms or 0, item, kind))
    if not users:
        raise EventFileError(
            f"{str(path)!r} holds no event ({skipped if skipped.count else 'it has no line'}): see `prefstream train "
            "--help`."
        )
    if not timed:
        return EventLog([_history(events, timed=False) for events in users.values()], skipped)
    for events in users.values():
        events.sort(key=lambda event: event[0])  # the sort is stable: events of one time keep the order of the file
    ordered = sorted(users.values(), key=lambda events: events[-1][0])
    return EventLog([_history(events, timed=True) for events in ordered], skipped)


Row = tuple[str, str, int, int | None]
Read = tuple[int, Row | str]
"""The number of a line, and its row or the reason why it is no event."""


def _history(events: Sequence[tuple[int, str, int]], *, timed: bool) -> History:
    items, types = [event[1] for event in events], [event[2] for event in events]
    return History(items, types, [event[0] for event in events] if timed else None)


def _lines(path: Path) -> Iterator[Read]:
    with LineFile(path) as lines:
        for number, event in read_events(lines):
            if isinstance(event, DecodeError):
                yield number, str(event)
            else:
                for item in items_of(event):
                    yield number, (event.user_id, item, _CODES[type(event)], event.event_time_ms)


def _has_header(path: Path) -> bool:
    if not path.is_file():  # a pipe can be read only once; a missing file is reported when it is read
        return False
    with LineFile(path) as lines:
        first = (lines.head[0][1] or b"") if lines.head else b""
        is_table = b"," in first and not first.lstrip().startswith((b"{", b"["))
        return is_table and not has_format(lines) and not is_taobao_header(first.strip())


def _csv(path: Path) -> Iterator[Read]:
    opened = gzip.open if is_gzip(path) else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = _columns(path, [name.strip() for name in reader.fieldnames or ()])
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            for values in reader:
                yield reader.line_num, _table_row(values, names)
    except (UnicodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise EventFileError(f"The file {str(path)!r} can't be read as CSV in UTF-8 ({error}): check it.") from None


def _parquet(path: Path) -> Iterator[Read]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise EventFileError(
            f"{str(path)!r} is Parquet, which needs pyarrow: in a checkout `make .venv/.dev`, elsewhere `pip install "
            "'prefstream[train]'`."
        ) from error
    try:
        file = parquet.ParquetFile(path)
        names = _columns(path, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(columns=[name for name in names.values() if name]):
            for values in _whole_ms(batch, names["time"]).to_pylist():
                number += 1
                yield number, _table_row(values, names)
    except (ArrowException, OSError) as error:
        raise EventFileError(f"The file {str(path)!r} can't be read as Parquet ({error}): check it.") from None


def _whole_ms(batch: Any, name: str | None) -> Any:
    """Convert timestamps of any unit to milliseconds."""
    import pyarrow

    if name is None or not pyarrow.types.is_timestamp(batch.schema.field(name).type):
        return batch
    whole = batch.column(name).cast(pyarrow.timestamp("ms"), safe=False).cast(pyarrow.int64())
    return batch.set_column(batch.schema.get_field_index(name), name, whole)


def _columns(path: Path, present: Sequence[str]) -> dict[str, str | None]:
    """Name of each column that is used, as the table has it."""
    names = {
        wanted: next((name for name in known if name in present), None)
        for wanted, known in (("user", _USER), ("item", _ITEM), ("type", _TYPE), ("time", _TIME))
    }
    if names["user"] is None or names["item"] is None:
        raise EventFileError(
            f"{str(path)!r} has the columns {', '.join(present)[:200]}; expected were user_id (or session_id) and "
            "item_id, and, if the log has them, type and event_time_ms (or event_time). Rename the columns (of "
            "CSV: in the first line)."
        )
    return names


def _table_row(values: dict[str, Any], names: dict[str, str | None]) -> Row | str:
    """The row of a table, or the reason why it is no event."""
    user, item = (values[names[name] or ""] for name in ("user", "item"))
    for name, value in (("user", user), ("item", item)):
        if value in (None, ""):
            return f"`{names[name]}` is empty"
    kind = _TYPE_CODES.get(str(values[names["type"]])) if names["type"] else 0
    if kind is None:
        return f"`{names['type']}` is {_quoted(values[names['type'] or ''])}, expected click, browse or purchase"
    if names["time"] is None:
        return str(user), str(item), kind, None
    time = values[names["time"]]
    try:
        return str(user), str(item), kind, time_ms(time)
    except (ValueError, OverflowError):
        return f"`{names['time']}` is {_quoted(time)}, expected {EXPECTED}"


def _quoted(value: Any) -> str:
    return "empty" if value in (None, "") else f'"{str(value)[:40]}"'


def questions(log: Sequence[History], limit: int, seed: int = 0) -> Questions:
    """Ask for every event except each user's first; if that is more than ``limit``, for a random sample of them."""
    counts = np.array([max(len(history.items) - 1, 0) for history in log], np.int64)
    users = np.repeat(np.arange(len(log)), counts)
    seen = 1 + np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    if len(users) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(users), limit, replace=False))
        users, seen = users[chosen], seen[chosen]
    targets = [log[user].items[index] for user, index in zip(users.tolist(), seen.tolist(), strict=True)]
    return Questions(log, users, seen, targets)
