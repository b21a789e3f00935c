"""Compiled loops that write recommended items as JSON bytes; `streams.emit.list_json` calls them."""

from typing import Any, NamedTuple

import numpy as np
from numba import types

from encoders.compiled import compiled, copy_bytes, tuple_types
from schemas.events import EVENT_TYPES
from schemas.recommendation import REASON_KINDS, ReasonKind
from streams.arrays import Float32Array, Int64Array, UInt8Array

DECIMALS = 6
"""Decimals of scores and attributions in a message: further ones are rounding errors of float32."""
NAMED_RECENTS = 3
"""Recent events that a reason names; the attributions of the others are added up."""

MAX_NUMBER_BYTES = 26
"""Minus, 12 digits, point, 6 decimals, and the exponent of a larger number."""
FULL, LARGEST, NONE = range(3)
"""How much of the reasons is written, as codes."""
MAX_ITEM_BYTES = 220 + NAMED_RECENTS * 60 + (5 + NAMED_RECENTS) * MAX_NUMBER_BYTES
"""Largest size of an item, without the ids in it (its own and those of the named events)."""

_ONE = 10**DECIMALS
_LEAST_ATTRIBUTION = 0.5 / _ONE
_LARGE = 1e12  # larger numbers get an exponent: their whole part must fit into an int64 in units of 1e-6


def _texts(*texts: str) -> tuple[UInt8Array, Int64Array]:
    """Return the ASCII texts as one array, and where each starts in it; the last entry is the end."""
    return np.frombuffer("".join(texts).encode(), np.uint8).copy(), np.cumsum([0, *map(len, texts)])


_KINDS: tuple[ReasonKind, ...] = ("recent", "older", "bonus", "bias")

# The loops get values of other modules as arguments. The compiled code on disk holds the constants of this module, and
# would not notice a change in another one.
KIND_CODES = np.array([REASON_KINDS.index(kind) + 1 for kind in _KINDS], np.uint8)
# by code (0 is never written): first the texts of reasons that do not add up to the score, then of those that do
REASONS, REASON_STARTS = _texts(
    *(
        f',"reason":{{"kind":"{kind}","exact":{exact},"recents":['
        for exact in ("false", "true")
        for kind in ("", *REASON_KINDS)
    )
)
_THOUSANDS, _ = _texts(*(f"{number:03d}" for number in range(1000)))
TYPES, TYPE_STARTS = _texts(*(f',"event_type":"{kind}","share":' for kind in EVENT_TYPES))
_OTHERS, _OLDER, _BONUS, _BIAS, _REST, _END_REASON, _SCORE, _ITEM, _NEXT_ITEM, _NULL = range(10)
_PARTS, _PART_STARTS = _texts(
    ',"other_recents":',
    ',"older":',
    ',"bonus":',
    ',"bias":',
    ',"rest":',
    "}",
    ',"score":',
    '{"item_id":',
    ',{"item_id":',
    "null",
)

_MINUS, _POINT, _ZERO, _E = (ord(sign) for sign in "-.0e")
_CLOSE, _OPEN_LIST, _CLOSE_LIST = (ord(sign) for sign in "}[]")


@compiled()
def put(out: UInt8Array, offset: int, text: UInt8Array, start: int, end: int) -> int:
    """Write ``text[start:end]`` at ``out[offset:]``; return the offset after it."""
    copy_bytes(out, offset, text, start, end - start)
    return offset + end - start


@compiled()
def _put_part(out: UInt8Array, offset: int, part: int) -> int:
    return put(out, offset, _PARTS, _PART_STARTS[part], _PART_STARTS[part + 1])


@compiled()
def _put_whole(out: UInt8Array, offset: int, whole: int) -> int:
    if whole < 10:
        out[offset] = _ZERO + whole
        return offset + 1
    digits = 1
    bound = 10
    while whole >= bound:
        bound *= 10
        digits += 1
    for position in range(offset + digits - 1, offset - 1, -1):
        out[position] = _ZERO + whole % 10
        whole //= 10
    return offset + digits


@compiled()
def _put_number(out: UInt8Array, offset: int, value: float) -> int:
    if not abs(value) < np.inf:
        return _put_part(out, offset, _NULL)
    exponent = 0
    size = abs(value)
    while size >= _LARGE:
        size /= 10
        exponent += 1
    units: int = np.int64(np.rint(size * _ONE))  # type: ignore[assignment]
    if value < 0 and units:
        out[offset] = _MINUS
        offset += 1
    whole = units // _ONE
    offset = _put_whole(out, offset, whole)
    units -= whole * _ONE
    out[offset] = _POINT
    copy_bytes(out, offset + 1, _THOUSANDS, 3 * (units // 1000), 3)
    copy_bytes(out, offset + 4, _THOUSANDS, 3 * (units % 1000), 3)
    end = offset + DECIMALS
    while end > offset + 1 and out[end] == _ZERO:
        end -= 1
    offset = end + 1
    if exponent:
        out[offset] = _E
        offset = _put_whole(out, offset + 1, exponent)
    return offset


@compiled("int64(uint8[::1], int64, float64)")
def put_number(out: UInt8Array, offset: int, value: float) -> int:
    """Write a number with up to six decimals at ``out[offset:]``; return the offset after it.

    NaN and infinities are written as null.
    """
    return _put_number(out, offset, value)


@compiled()
def _put_attribution(out: UInt8Array, offset: int, part: int, value: float) -> int:
    """Write an attribution as a field of a reason; leave it out if it is zero, its default."""
    if abs(value) < _LEAST_ATTRIBUTION:
        return offset
    return _put_number(out, _put_part(out, offset, part), np.float64(value))


@compiled()
def _largest(attributions: Float32Array, chosen: Int64Array) -> None:
    """Fill ``chosen``, of length NAMED_RECENTS, with the indices of the largest attributions, the largest first."""
    for event in range(len(attributions)):
        rank = min(event, NAMED_RECENTS)
        while rank > 0 and attributions[event] > attributions[chosen[rank - 1]]:
            if rank < NAMED_RECENTS:
                chosen[rank] = chosen[rank - 1]
            rank -= 1
        if rank < NAMED_RECENTS:
            chosen[rank] = event


class Lists(NamedTuple):
    """The lists of B users: k items each, with the attributions of their scores. See `ranking_io.Ranked`."""

    rows: Int64Array  # (B, k)
    scores: Float32Array  # (B, k)
    reasons: UInt8Array  # (B, k), codes; a list ends before its first 0
    recent: Float32Array  # (B, k, h), attributions to each recent
    older: Float32Array  # (B, k), attributions to older events
    adjustment: Float32Array  # (B, k)
    bias: Float32Array  # (B, k)


class Recents(NamedTuple):
    """The L recents of B users."""

    rows: Int64Array  # (B, L), of the items in the index, -1 = unknown
    types: UInt8Array  # (B, L)


class Texts(NamedTuple):
    """Texts one after another, and where each starts; one entry more, the end."""

    text: UInt8Array
    starts: Int64Array


@compiled()
def _largest_part(recent: np.float32, older: np.float32, adjustment: np.float32, bias: np.float32) -> int:
    """Return the index of the largest part of a score, in the order of the arguments."""
    best, largest = 0, np.float32(-np.inf)
    parts = (recent, older, adjustment, bias)
    for number in range(4):
        # a part that is zero is no reason, even if all other parts are negative
        if parts[number] > largest and abs(parts[number]) >= _LEAST_ATTRIBUTION:
            best, largest = number, parts[number]
    return best


@compiled()
def _sum(values: Float32Array) -> np.float32:
    total: np.float32 = np.float32(0.0)
    for index in range(len(values)):
        total += values[index]
    return total


@compiled()
def _put_share(
    out: UInt8Array, offset: int, row: int, kind: int, share: float, items: Texts, event_types: Texts
) -> int:
    """Write a recent event and its share, without the beginning of the object."""
    offset = put(out, offset, items.text, items.starts[row], items.starts[row + 1])
    offset = put(out, offset, event_types.text, event_types.starts[kind], event_types.starts[kind + 1])
    offset = _put_number(out, offset, np.float64(share))
    out[offset] = _CLOSE
    return offset + 1


@compiled()
def _put_largest(
    out: UInt8Array,
    offset: int,
    attributions: Float32Array,
    parts: tuple[np.float32, np.float32, np.float32, np.float32],
    rows: Int64Array,
    kinds: UInt8Array,
    chosen: Int64Array,
    items: Texts,
    event_types: Texts,
) -> int:
    """Write the largest part of a score, and the sum of the others as the rest; of recents, only the largest one.

    ``parts`` are the older, adjustment and bias attributions, and the score.
    """
    largest = _largest_part(_sum(attributions), parts[0], parts[1], parts[2])
    told = 0.0
    if largest == 0:
        _largest(attributions, chosen)
        for number in range(min(NAMED_RECENTS, len(attributions))):
            best = chosen[number]
            if best < len(rows) and rows[best] >= 0 and abs(attributions[best]) >= _LEAST_ATTRIBUTION:
                offset = _put_part(out, offset, _ITEM)
                offset = _put_share(out, offset, rows[best], kinds[best], attributions[best], items, event_types)
                told = np.float64(attributions[best])
                break
    out[offset] = _CLOSE_LIST
    offset += 1
    if largest > 0:
        told = np.float64(parts[largest - 1])
        offset = _put_attribution(out, offset, _OLDER + largest - 1, told)
    return _put_attribution(out, offset, _REST, np.float64(parts[3]) - np.rint(told * _ONE) / _ONE)


def _signature() -> Any:
    bytes_, ints = types.uint8[::1], types.int64[::1]
    int_rows, byte_rows, float_rows = types.int64[:, ::1], types.uint8[:, ::1], types.float32[:, ::1]
    lists = Lists(
        rows=int_rows,
        scores=float_rows,
        reasons=byte_rows,
        recent=types.float32[:, :, ::1],
        older=float_rows,
        adjustment=float_rows,
        bias=float_rows,
    )
    recents = Recents(rows=int_rows, types=byte_rows)
    texts = Texts(text=bytes_, starts=ints)
    named = tuple_types(lists, recents, texts, texts, texts, texts)
    return types.void(bytes_, ints, *named, types.boolean, types.int64)


@compiled(_signature)
def write_lists(
    out: UInt8Array,
    ends: Int64Array,
    lists: Lists,
    recents: Recents,
    items: Texts,
    reasons: Texts,
    event_types: Texts,
    frames: Texts,
    exact: bool,
    detail: int,
) -> None:
    """Write the lists of B users, each in its frame, one after another.

    Parameters
    ----------
    out : the buffer to write into; must be large enough (``MAX_ITEM_BYTES``)
    ends : (B,), is filled with the offset at which the frame of each list ends
    items : the JSON strings of the items' ids, by row of the index
    reasons, event_types : REASONS and TYPES
    frames : of `streams.emit.envelope_json.Frames`: the parts before and after each list, by turns
    exact : whether the parts of a reason add up to the score
    detail : FULL writes all parts of each score. LARGEST writes the largest one, and the sum of the others. NONE writes
        no reason.
    """
    users, history = recents.rows.shape
    width = lists.recent.shape[2]
    names = min(NAMED_RECENTS, width)
    chosen = np.empty(NAMED_RECENTS, np.int64)
    offset = 0
    for user in range(users):
        offset = put(out, offset, frames.text, frames.starts[2 * user], frames.starts[2 * user + 1])
        out[offset] = _OPEN_LIST
        offset += 1
        for item in range(lists.rows.shape[1]):
            if lists.reasons[user, item] == 0:
                break
            row = lists.rows[user, item]
            offset = _put_part(out, offset, _NEXT_ITEM if item else _ITEM)
            offset = put(out, offset, items.text, items.starts[row], items.starts[row + 1])
            if detail != NONE:
                reason = lists.reasons[user, item] + (len(reasons.starts) // 2 if exact else 0)
                offset = put(out, offset, reasons.text, reasons.starts[reason], reasons.starts[reason + 1])
                attributions = lists.recent[user, item]
                parts = (
                    lists.older[user, item], lists.adjustment[user, item], lists.bias[user, item],
                    lists.scores[user, item],
                )  # fmt: skip
                if detail == LARGEST:
                    offset = _put_largest(
                        out, offset, attributions, parts, recents.rows[user], recents.types[user], chosen, items,
                        event_types,
                    )  # fmt: skip
                else:
                    rest = 0.0
                    for event in range(width):
                        rest += attributions[event]
                    first = True
                    _largest(attributions, chosen)
                    for number in range(names):
                        best = chosen[number]
                        # a user head may take more recents than are kept: the others are zero
                        if (
                            best >= history
                            or recents.rows[user, best] < 0
                            or not abs(attributions[best]) >= _LEAST_ATTRIBUTION
                        ):
                            continue
                        offset = _put_part(out, offset, _ITEM if first else _NEXT_ITEM)
                        first = False
                        event_row, kind = recents.rows[user, best], recents.types[user, best]
                        offset = _put_share(out, offset, event_row, kind, attributions[best], items, event_types)
                        # the rest includes the rounding errors, so the numbers in a message add up
                        rest -= np.rint(np.float64(attributions[best]) * _ONE) / _ONE
                    out[offset] = _CLOSE_LIST
                    offset += 1
                    offset = _put_attribution(out, offset, _OTHERS, rest)
                    offset = _put_attribution(out, offset, _OLDER, parts[0])
                    offset = _put_attribution(out, offset, _BONUS, parts[1])
                    offset = _put_attribution(out, offset, _BIAS, parts[2])
                offset = _put_part(out, offset, _END_REASON)
            offset = _put_part(out, offset, _SCORE)
            offset = _put_number(out, offset, np.float64(lists.scores[user, item]))
            out[offset] = _CLOSE
            offset += 1
        out[offset] = _CLOSE_LIST
        offset = put(out, offset + 1, frames.text, frames.starts[2 * user + 1], frames.starts[2 * user + 2])
        ends[user] = offset


@compiled(
    "void(uint8[:, ::1], float32[:, ::1], float32[:, :, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1], "
    "float64, uint8[::1])"
)
def note_reasons(
    reasons: UInt8Array,
    scores: Float32Array,
    recent_attributions: Float32Array,
    older_attributions: Float32Array,
    adjustment_attributions: Float32Array,
    bias_attributions: Float32Array,
    least_score: float,
    kind_codes: UInt8Array,
) -> None:
    """Fill ``reasons`` (B, k) with the code of the largest part of each score, 0 if it is not above ``least_score``."""
    users, k = reasons.shape
    for user in range(users):
        for item in range(k):
            if not scores[user, item] > least_score:
                reasons[user, item] = 0
                continue
            best = _largest_part(
                _sum(recent_attributions[user, item]),
                older_attributions[user, item],
                adjustment_attributions[user, item],
                bias_attributions[user, item],
            )
            reasons[user, item] = kind_codes[best]
