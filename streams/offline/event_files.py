"""Reads recorded events and items, one a line: JSON lines, or Taobao's UserBehavior.csv, plain or gzip."""

import gzip
import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from schemas.catalog import CatalogItem
from schemas.codec import decode_catalog_item, decode_line
from schemas.errors import DecodeError, DecodeReason
from schemas.events import Browse, Click, Event, Purchase
from schemas.explain import explain
from schemas.mending import Mended
from schemas.times import event_time_ms
from schemas.wire_formats import format_name
from streams.errors import PrefstreamError

LONGEST_LINE_BYTES = 1 << 20
_HEAD_LINES = 20  # lines that are read to recognise the format: the first ones may be broken
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"

# Taobao's columns: user, item, category, behaviour, unix seconds
_TAOBAO: dict[bytes, type[Event]] = {b"pv": Browse, b"cart": Click, b"fav": Click, b"buy": Purchase}
_TAOBAO_HEADER = (b"user", b"item", b"categ", b"behav", b"time")

ReadLine = Callable[[int, bytes], Mended]
Line = tuple[int, bytes | None]


class EventFileError(PrefstreamError):
    """A file can't be read, or has another format; the message says what was expected."""


class LineFile:
    """The lines of a file with their numbers, from 1; None stands for a line longer than ``LONGEST_LINE_BYTES``."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises `EventFileError` if that fails, or if it is a known format that is no text in UTF-8."""
        self.path = path
        self.name = path.name.removesuffix(".gz")
        try:
            self._file: BufferedReader = path.open("rb")
            self.size = path.stat().st_size
            packed = self._file.peek(2)[:2] == _GZIP
        except OSError as error:
            raise EventFileError(f"The file {str(path)!r} can't be read ({error.strerror}): check its path.") from None
        self._lines: Any = gzip.GzipFile(fileobj=self._file) if packed else self._file
        self._rest = self._read()
        self.head = list(itertools.islice(self._rest, _HEAD_LINES))
        """The first lines; iterating over the file gives them again."""
        self.faults: Counter[str] = Counter()
        """Number of lines read so far whose optional field is wrong, and was left out or cut, by ``field: reason``."""
        form = format_name((self.head[0][1] or b"") if self.head else b"")
        if form is not None:
            raise EventFileError(
                f"The file {str(path)!r} is {form}, expected was text in UTF-8, plain or gzip: convert it first."
            )

    def __enter__(self) -> "LineFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Line]:
        return itertools.chain(self.head, self._rest)

    @property
    def position(self) -> int:
        """Bytes of the file on disk (compressed, if it is gzip) that were read so far."""
        return self._file.tell()

    def _read(self) -> Iterator[Line]:
        readline = self._lines.readline
        try:
            for number in itertools.count(1):
                line: bytes = readline(LONGEST_LINE_BYTES + 1)
                if not line:
                    return
                if number == 1:
                    line = line.removeprefix(_BOM)
                if len(line) > LONGEST_LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = readline(LONGEST_LINE_BYTES)
                    yield number, None
                elif not line.isspace():
                    yield number, line
        except (OSError, EOFError, zlib.error) as error:  # EOFError, zlib.error: a gzip file that is cut off or damaged
            raise EventFileError(f"Reading {str(self.path)!r} failed after line {number - 1}: {error}.") from None


def is_gzip(path: Path) -> bool:
    """Tell by its content whether a file is gzip."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def read_events(lines: LineFile) -> Iterator[tuple[int, Event | DecodeError]]:
    """Yield each line's number, and its event or the reason why it is none; empty lines are skipped.

    Raises
    ------
    EventFileError
        The file has none of the known formats, or reading it failed.
    """
    read = _reader(lines)
    for number, line in lines:
        try:
            yield number, _noting(lines, read(number, _whole(line)))
        except DecodeError as error:
            yield number, error


def read_items(lines: LineFile) -> Iterator[tuple[int, CatalogItem | DecodeError]]:
    """Yield each line's number, and its catalog item or the reason why it is none; empty lines are skipped."""
    if lines.head and not any(_is_json(line) for _, line in lines.head):
        raise EventFileError(
            f"{str(lines.path)!r} holds no catalog: expected was one item a line, such as "
            f'{{"item_id": "i1", "title": "Blue boots"}}; the first line is {_shown(lines)}.'
        )
    for number, line in lines:
        try:
            yield number, _noting(lines, decode_catalog_item(_whole(line)))
        except DecodeError as error:
            yield number, error


def _noting(lines: LineFile, mended: Mended) -> Any:
    """Return the message, and count its faults."""
    for fault in mended.faults:
        lines.faults[f"{fault.field}: {fault.reason.value}"] += 1
    return mended.message


def _whole(line: bytes | None) -> bytes:
    if line is None:
        detail = f"the line is longer than {LONGEST_LINE_BYTES} bytes"
        raise DecodeError(DecodeReason.OUT_OF_RANGE, None, detail)
    return line


def _reader(lines: LineFile) -> ReadLine:
    if not lines.head or any(_is_json(line) for _, line in lines.head):
        return _read_json
    if any(_is_taobao(line) for _, line in lines.head):
        return _taobao_reader(lines)
    raise EventFileError(
        f"{str(lines.path)!r} is no file of events: expected were JSON lines such as "
        '{"type": "click", "event_id": "e1", "user_id": "u1", "item_id": "i1", "event_time_ms": 1700000000000}, or '
        "Taobao's UserBehavior.csv with the five columns user, item, category, behaviour (pv, cart, fav or buy) and "
        f"unix seconds; the first line is {_shown(lines)}. `prefstream train` and `evaluate` also take CSV "
        "(with commas, and the names of the columns in the first line) and Parquet; `replay` does not."
    )


def _read_json(_: int, line: bytes) -> Mended:
    return decode_line(line)


def _shown(lines: LineFile) -> str:
    first = lines.head[0][1]
    return "too long" if first is None else repr(first[:100].decode("utf-8", "replace").strip())


def has_format(lines: LineFile) -> bool:
    """Tell whether ``read_events`` knows the format: JSON lines, or Taobao's UserBehavior.csv."""
    return any(_is_json(line) or _is_taobao(line) for _, line in lines.head)


def _is_json(line: bytes | None) -> bool:
    return line is not None and line.lstrip().startswith(b"{")


def _is_taobao(line: bytes | None) -> bool:
    columns = (line or b"").strip().split(b",")
    return len(columns) == 5 and columns[3] in _TAOBAO and columns[4].isdigit()


def is_taobao_header(line: bytes) -> bool:
    """Tell whether a line is the header of Taobao's UserBehavior.csv."""
    columns = line.lower().split(b",")
    return len(columns) == 5 and all(word in column for word, column in zip(_TAOBAO_HEADER, columns, strict=True))


def _taobao_reader(lines: LineFile) -> ReadLine:
    name = lines.name
    number, first = lines.head[0]
    if first is not None and is_taobao_header(first):
        lines.head.remove((number, first))

    def read(number: int, line: bytes) -> Mended:
        columns = line.strip().split(b",")
        if len(columns) != 5:
            detail = f"the line has {len(columns)} columns, expected 5: user, item, category, behaviour, unix seconds"
            raise DecodeError(DecodeReason.MALFORMED, None, detail)
        user, item, _, behaviour, time = columns
        kind = _TAOBAO.get(behaviour)
        if kind is None:
            detail = f"the behaviour is {_text(behaviour)!r}, expected pv, cart, fav or buy"
            raise DecodeError(DecodeReason.OUT_OF_RANGE, "behaviour", detail)
        fields = {
            "event_id": f"{name}:{number}",
            "user_id": _text(user),
            "item_id": _text(item),
            "event_time_ms": event_time_ms(_text(time), "time"),
        }
        try:
            return Mended(msgspec.convert(fields, kind), [])
        except msgspec.ValidationError as error:
            raise explain(kind, b"", error) from None

    return read


def _text(column: bytes) -> str:
    try:
        return column.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(DecodeReason.MALFORMED, None, f"the line is not UTF-8: {error}") from None
