"""Writes the JSON before and after the list in each message of a batch: ids, revision, cause and times.

The bytes are those of an encoded `schemas.recommendation.Recommendation`. Each field is encoded for all users at once,
and a compiled loop takes the values apart.
"""

# a struct for each user, and its encoding, would cost as much as the list in it

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.compiled import compiled
from schemas.actions import CAUSE_TYPES
from schemas.codec import encode
from schemas.recommendation import ListReasons
from streams.arrays import Int64Array, IntpArray
from streams.decode.event_batch import EventBatch
from streams.emit.list_json_kernel import put

_QUOTE, _BACKSLASH, _COMMA, _END = (ord(sign) for sign in '"\\,]')
_BEFORE_LIST = 3
"""Columns that come before the list."""


@dataclass(frozen=True)
class Frames:
    """The JSON of B messages without their lists: for each message the part before its list, then the part after it."""

    text: NDArray[np.uint8]
    starts: Int64Array
    """(2 B + 1,): where each part starts in ``text``; the last entry is the end."""

    def around(self, message: int, items: bytes) -> bytes:
        """Return a message with ``items`` as its list."""
        start, middle, end = self.starts[2 * message : 2 * message + 3].tolist()
        return self.text[start:middle].tobytes() + items + self.text[middle:end].tobytes()


def no_frames(count: int) -> Frames:
    """Return empty frames, for ``count`` lists without a message."""
    return Frames(np.empty(0, np.uint8), np.zeros(2 * count + 1, np.int64))


def frames(
    events: EventBatch,
    causes: IntpArray,
    ids: list[str],
    term: int,
    sequences: range,
    newest_ms: Int64Array,
    version: str,
    emitted_ms: int,
    reasons: ListReasons = "full",
) -> Frames:
    """Return the frames of the messages of B users.

    Parameters
    ----------
    events : the batch with the users' events
    causes : intp array of shape (B,), the index in ``events`` of the last event of each user
    ids : B recommendation ids
    term, sequences : the term of all revisions, and the sequence of each
    newest_ms : int64 array of shape (B,), each user's largest event time
    version : the encoder version that ranked the lists
    emitted_ms : when the batch is produced, UTC ms
    reasons : which reasons the lists tell
    """
    indices = causes.tolist()
    fields: tuple[tuple[bytes, list[Any]], ...] = (
        (b'{"recommendation_id":', ids),
        (b',"user_id":', [events.user_ids[index] for index in indices]),
        (b',"revision":{"term":%d,"sequence":' % term, list(sequences)),
        (b',"cause":{"event_id":', [events.event_ids[index] for index in indices]),
        (b',"event_type":', [CAUSE_TYPES[kind] for kind in events.types[causes].tolist()]),
        (b',"item_id":', [events.item_ids[index] for index in indices]),
        (b',"event_time_ms":', events.times[causes].tolist()),
        (b'},"encoder_version":%b,"event_time_ms":' % encode(version), newest_ms.tolist()),
        (b',"received_ms":', events.received[causes].tolist()),
    )
    names = [name for name, _ in fields]
    names[_BEFORE_LIST:_BEFORE_LIST] = [b'},"items":']
    parts, part_starts = _joined([*names, b',"emitted_ms":%d,"reasons":%b}' % (emitted_ms, encode(reasons))])
    values, value_starts = _joined([encode(column) for _, column in fields])
    text = np.empty(len(values) + len(parts) * len(ids), np.uint8)
    starts = np.zeros(2 * len(ids) + 1, np.int64)
    arguments: list[Any] = [text, starts, parts, part_starts, values, value_starts[:-1] + 1]
    _interleave(*arguments)
    return Frames(text, starts)


def _joined(texts: list[bytes]) -> tuple[NDArray[np.uint8], Int64Array]:
    """Return the texts as one array, and where each starts in it; the last entry is the end."""
    return np.frombuffer(b"".join(texts), np.uint8).copy(), np.array([0, *accumulate(map(len, texts))], np.int64)


@compiled()
def _value_end(text: NDArray[np.uint8], start: int) -> int:
    """Return the end of the JSON string or number that begins at ``start``, in a JSON array without spaces."""
    offset = start
    if text[offset] == _QUOTE:
        offset += 1
        while text[offset] != _QUOTE:
            offset += 2 if text[offset] == _BACKSLASH else 1
        return offset + 1
    while text[offset] != _COMMA and text[offset] != _END:
        offset += 1
    return offset


@compiled("void(uint8[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], int64[::1])")
def _interleave(
    out: NDArray[np.uint8],
    bounds: Int64Array,
    parts: NDArray[np.uint8],
    part_starts: Int64Array,
    values: NDArray[np.uint8],
    value_starts: Int64Array,
) -> None:
    """Write for each message, by turns, the parts that all messages share and the values of this message.

    Parameters
    ----------
    out, bounds : ``text`` and ``starts`` of `Frames`; the first bound is 0 already
    parts, part_starts : shared parts and where each starts; a part before each value, before the list, and at the end
    values : JSON arrays of B values, one after another
    value_starts : where the next value of each array starts; begins at its first value, and ends behind its last
    """
    offset = 0
    for message in range(len(bounds) // 2):
        part = 0
        for column in range(len(value_starts)):
            offset = put(out, offset, parts, part_starts[part], part_starts[part + 1])
            part += 1
            start = value_starts[column]
            end = _value_end(values, start)
            offset = put(out, offset, values, start, end)
            value_starts[column] = end + 1
            if part == _BEFORE_LIST:
                offset = put(out, offset, parts, part_starts[part], part_starts[part + 1])
                part += 1
                bounds[2 * message + 1] = offset
        offset = put(out, offset, parts, part_starts[part], part_starts[part + 1])
        bounds[2 * message + 2] = offset
