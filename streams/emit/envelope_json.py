"""What stands around the lists of a batch in their messages: ids, revision, cause and times, as JSON.

The bytes are those of `schemas.recommendation.Recommendation`. A struct for each user, and its encoding, would cost as
much as the list in it; here each field of all users is encoded at once, and a compiled loop takes them apart.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.compiled import compiled
from schemas.codec import encode
from schemas.events import EVENT_TYPES
from streams.arrays import Int64Array, IntpArray
from streams.decode.event_batch import EventBatch
from streams.emit.list_json_kernel import put

_QUOTE, _BACKSLASH, _COMMA, _END = (ord(sign) for sign in '"\\,]')
_BEFORE_LIST = 3
"""Columns that come before the list."""


@dataclass(frozen=True)
class Frames:
    """JSON of B messages but for their lists: of each what comes before its list, then what comes behind it."""

    text: NDArray[np.uint8]
    at: Int64Array
    """(2 B + 1,), where each part starts in ``text``; one entry more, the end."""

    def around(self, message: int, items: bytes) -> bytes:
        """The message with this list."""
        start, middle, end = self.at[2 * message : 2 * message + 3].tolist()
        return self.text[start:middle].tobytes() + items + self.text[middle:end].tobytes()


def no_frames(count: int) -> Frames:
    """For lists that stand alone."""
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
) -> Frames:
    """Frames of the messages of B users.

    Parameters
    ----------
    events : the batch that touched them
    causes : intp array of shape (B,), the place in ``events`` of the last event of each
    ids : B recommendation ids
    term, sequences : of the revisions
    newest_ms : int64 array of shape (B,), each user's largest event time
    version : the encoder version that ranked
    emitted_ms : when the batch is produced
    """
    places = causes.tolist()
    fields: tuple[tuple[bytes, list[Any]], ...] = (
        (b'{"recommendation_id":', ids),
        (b',"user_id":', [events.user_ids[place] for place in places]),
        (b',"revision":{"term":%d,"sequence":' % term, list(sequences)),
        (b',"cause":{"event_id":', [events.event_ids[place] for place in places]),
        (b',"event_type":', [EVENT_TYPES[kind] for kind in events.types[causes].tolist()]),
        (b',"item_id":', [events.item_ids[place] for place in places]),
        (b',"event_time_ms":', events.times[causes].tolist()),
        (b'},"encoder_version":%b,"event_time_ms":' % encode(version), newest_ms.tolist()),
        (b',"received_ms":', events.received[causes].tolist()),
    )
    names = [name for name, _ in fields]
    names[_BEFORE_LIST:_BEFORE_LIST] = [b'},"items":']
    parts, parts_at = _joined([*names, b',"emitted_ms":%d}' % emitted_ms])
    values, values_at = _joined([encode(column) for _, column in fields])
    text = np.empty(len(values) + len(parts) * len(ids), np.uint8)
    at = np.zeros(2 * len(ids) + 1, np.int64)
    arguments: list[Any] = [text, at, parts, parts_at, values, values_at[:-1] + 1]
    _interleave(*arguments)
    return Frames(text, at)


def _joined(texts: list[bytes]) -> tuple[NDArray[np.uint8], Int64Array]:
    """Texts one behind the other, and where each starts; one entry more, the end."""
    return np.frombuffer(b"".join(texts), np.uint8).copy(), np.array([0, *accumulate(map(len, texts))], np.int64)


@compiled()
def _value_end(text: NDArray[np.uint8], start: int) -> int:
    """Where the JSON string or number ends that starts there, in an array without spaces."""
    at = start
    if text[at] == _QUOTE:
        at += 1
        while text[at] != _QUOTE:
            at += 2 if text[at] == _BACKSLASH else 1
        return at + 1
    while text[at] != _COMMA and text[at] != _END:
        at += 1
    return at


@compiled("void(uint8[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], int64[::1])")
def _interleave(
    out: NDArray[np.uint8],
    bounds: Int64Array,
    parts: NDArray[np.uint8],
    parts_at: Int64Array,
    values: NDArray[np.uint8],
    value_at: Int64Array,
) -> None:
    """Write what is the same in all messages and each message's values by turns.

    Parameters
    ----------
    out, bounds : of `Frames`; the first bound is 0 already
    parts, parts_at : texts and where each starts: one before each value, one more before the list, one at the end
    values : JSON arrays of B values, one behind the other
    value_at : where the first value of each starts; is moved on
    """
    at = 0
    for message in range(len(bounds) // 2):
        part = 0
        for column in range(len(value_at)):
            at = put(out, at, parts, parts_at[part], parts_at[part + 1])
            part += 1
            start = value_at[column]
            end = _value_end(values, start)
            at = put(out, at, values, start, end)
            value_at[column] = end + 1
            if part == _BEFORE_LIST:
                at = put(out, at, parts, parts_at[part], parts_at[part + 1])
                part += 1
                bounds[2 * message + 1] = at
        at = put(out, at, parts, parts_at[part], parts_at[part + 1])
        bounds[2 * message + 2] = at
