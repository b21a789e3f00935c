"""The loops that write recommended items as JSON bytes; see `streams.emit.list_json` for what calls them."""

import numpy as np

from encoders.compiled import compiled, copy_bytes
from schemas.events import EVENT_TYPES
from schemas.recommendation import REASON_KINDS, ReasonKind
from streams.arrays import Float32Array, Int64Array, UInt8Array

DECIMALS = 6
"""Of scores and shares as sent: what lies beyond is rounding of float32."""
NAMED_RECENTS = 3
"""Recent events that a reason names; the others' shares are added up."""

MAX_NUMBER_BYTES = 26
"""Minus, 12 digits, point, 6 decimals, and the exponent of what is larger."""
MAX_ITEM_BYTES = 220 + NAMED_RECENTS * 60 + (5 + NAMED_RECENTS) * MAX_NUMBER_BYTES
"""That an item takes at most, beside the ids in it (its own and those of the named events)."""

_ONE = 10**DECIMALS
_LEAST_SHARE = 0.5 / _ONE
_LARGE = 1e12  # beyond, numbers get an exponent: their whole part must fit an int64 in units of 1e-6


def _texts(*texts: str) -> tuple[UInt8Array, Int64Array]:
    """ASCII texts one behind the other, and where each starts; one entry more, the end."""
    return np.frombuffer("".join(texts).encode(), np.uint8).copy(), np.cumsum([0, *map(len, texts)])


_KINDS: tuple[ReasonKind, ...] = ("recent", "older", "bonus", "bias")

# What comes from other modules is handed to the loops as arguments: the compiled code that is kept on disk holds this
# module's constants, and would not see a change elsewhere.
KIND_CODES = np.array([REASON_KINDS.index(kind) + 1 for kind in _KINDS], np.uint8)
# by code, 0 is of what is cut; first those of reasons that do not add up, then those that do
REASONS, REASONS_AT = _texts(
    *(
        f',"reason":{{"kind":"{kind}","exact":{exact},"recents":['
        for exact in ("false", "true")
        for kind in ("", *REASON_KINDS)
    )
)
_THOUSANDS, _ = _texts(*(f"{number:03d}" for number in range(1000)))
TYPES, TYPES_AT = _texts(*(f',"event_type":"{kind}","share":' for kind in EVENT_TYPES))
_REST, _OLDER, _BONUS, _BIAS, _SCORE, _ITEM, _NEXT_ITEM, _NULL = range(8)
_PARTS, _PARTS_AT = _texts(
    ',"other_recents":', ',"older":', ',"bonus":', ',"bias":', '},"score":', '{"item_id":', ',{"item_id":', "null"
)

_MINUS, _POINT, _ZERO, _E = (ord(sign) for sign in "-.0e")
_CLOSE, _OPEN_LIST, _CLOSE_LIST = (ord(sign) for sign in "}[]")


@compiled()
def put(out: UInt8Array, at: int, text: UInt8Array, start: int, end: int) -> int:
    """Write ``text[start:end]``; returns where it ends."""
    copy_bytes(out, at, text, start, end - start)
    return at + end - start


@compiled()
def _put_part(out: UInt8Array, at: int, part: int) -> int:
    return put(out, at, _PARTS, _PARTS_AT[part], _PARTS_AT[part + 1])


@compiled()
def _put_whole(out: UInt8Array, at: int, whole: int) -> int:
    if whole < 10:
        out[at] = _ZERO + whole
        return at + 1
    digits = 1
    bound = 10
    while whole >= bound:
        bound *= 10
        digits += 1
    for place in range(at + digits - 1, at - 1, -1):
        out[place] = _ZERO + whole % 10
        whole //= 10
    return at + digits


@compiled()
def _put_number(out: UInt8Array, at: int, value: float) -> int:
    if not abs(value) < np.inf:
        return _put_part(out, at, _NULL)
    exponent = 0
    size = abs(value)
    while size >= _LARGE:
        size /= 10
        exponent += 1
    units: int = np.int64(np.rint(size * _ONE))  # type: ignore[assignment]
    if value < 0 and units:
        out[at] = _MINUS
        at += 1
    whole = units // _ONE
    at = _put_whole(out, at, whole)
    units -= whole * _ONE
    out[at] = _POINT
    copy_bytes(out, at + 1, _THOUSANDS, 3 * (units // 1000), 3)
    copy_bytes(out, at + 4, _THOUSANDS, 3 * (units % 1000), 3)
    end = at + DECIMALS
    while end > at + 1 and out[end] == _ZERO:
        end -= 1
    at = end + 1
    if exponent:
        out[at] = _E
        at = _put_whole(out, at + 1, exponent)
    return at


@compiled("int64(uint8[::1], int64, float64)")
def put_number(out: UInt8Array, at: int, value: float) -> int:
    """Write a number with up to six decimals at ``out[at:]``; returns where it ends. What is not finite is null."""
    return _put_number(out, at, value)


@compiled()
def _put_share(out: UInt8Array, at: int, part: int, value: float) -> int:
    """A field of a reason, left out where it is zero, its default."""
    if abs(value) < _LEAST_SHARE:
        return at
    return _put_number(out, _put_part(out, at, part), np.float64(value))


@compiled()
def _largest(shares: Float32Array, chosen: Int64Array) -> None:
    """Fill ``chosen``, of length NAMED_RECENTS, with the places of the largest, the largest first."""
    for place in range(len(shares)):
        at = min(place, NAMED_RECENTS)
        while at > 0 and shares[place] > shares[chosen[at - 1]]:
            if at < NAMED_RECENTS:
                chosen[at] = chosen[at - 1]
            at -= 1
        if at < NAMED_RECENTS:
            chosen[at] = place


@compiled(
    "void(uint8[::1], int64[::1], int64[:, ::1], float32[:, ::1], uint8[:, ::1], float32[:, :, ::1], "
    "float32[:, ::1], float32[:, ::1], float32[:, ::1], int64[:, ::1], uint8[:, ::1], uint8[::1], int64[::1], "
    "uint8[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], int64[::1], boolean)"
)
def write_lists(
    out: UInt8Array,
    ends: Int64Array,
    rows: Int64Array,
    scores: Float32Array,
    reasons: UInt8Array,
    recent_attributions: Float32Array,
    older_attributions: Float32Array,
    adjustment_attributions: Float32Array,
    bias_attributions: Float32Array,
    event_rows: Int64Array,
    event_types: UInt8Array,
    texts: UInt8Array,
    text_at: Int64Array,
    reason_texts: UInt8Array,
    reasons_at: Int64Array,
    type_texts: UInt8Array,
    types_at: Int64Array,
    frames: UInt8Array,
    frames_at: Int64Array,
    exact: bool,
) -> None:
    """Write the lists of B users, each in its frame, one behind the other.

    Parameters
    ----------
    out : where to; large enough (``MAX_ITEM_BYTES``)
    ends : (B,), is filled with where each list's frame ends
    rows, scores, older_attributions, adjustment_attributions, bias_attributions : (B, k), of `ranking_io.Ranked`
    reasons : (B, k), codes; the first 0 is where a list ends
    recent_attributions : (B, k, h)
    event_rows, event_types : (B, L), the items of the recents in the index (-1 unknown) and what was done with them
    texts, text_at : the JSON strings of the items' ids, and where each row's starts; one entry more, the end
    reason_texts, reasons_at, type_texts, types_at : REASONS, REASONS_AT, TYPES, TYPES_AT
    frames, frames_at : what comes before and behind each list, of `streams.emit.envelope_json.Frames`; (2 B + 1,)
    exact : whether the parts of a reason add up to the score
    """
    users, history = event_rows.shape
    width = recent_attributions.shape[2]
    names = min(NAMED_RECENTS, width)
    chosen = np.empty(NAMED_RECENTS, np.int64)
    at = 0
    for user in range(users):
        at = put(out, at, frames, frames_at[2 * user], frames_at[2 * user + 1])
        out[at] = _OPEN_LIST
        at += 1
        for place in range(rows.shape[1]):
            if reasons[user, place] == 0:
                break
            row = rows[user, place]
            at = _put_part(out, at, _NEXT_ITEM if place else _ITEM)
            at = put(out, at, texts, text_at[row], text_at[row + 1])
            reason = reasons[user, place] + (len(reasons_at) // 2 if exact else 0)
            at = put(out, at, reason_texts, reasons_at[reason], reasons_at[reason + 1])
            shares = recent_attributions[user, place]
            rest = 0.0
            for event in range(width):
                rest += shares[event]
            first = True
            _largest(shares, chosen)
            for number in range(names):
                best = chosen[number]
                # a head may take more recents than are kept: those are zero
                if best >= history or event_rows[user, best] < 0 or not abs(shares[best]) >= _LEAST_SHARE:
                    continue
                at = _put_part(out, at, _ITEM if first else _NEXT_ITEM)
                first = False
                event_row, kind = event_rows[user, best], event_types[user, best]
                at = put(out, at, texts, text_at[event_row], text_at[event_row + 1])
                at = put(out, at, type_texts, types_at[kind], types_at[kind + 1])
                at = _put_number(out, at, np.float64(shares[best]))
                out[at] = _CLOSE
                at += 1
                # what is sent adds up: the rest takes the rounding along
                rest -= np.rint(np.float64(shares[best]) * _ONE) / _ONE
            out[at] = _CLOSE_LIST
            at += 1
            at = _put_share(out, at, _REST, rest)
            at = _put_share(out, at, _OLDER, older_attributions[user, place])
            at = _put_share(out, at, _BONUS, adjustment_attributions[user, place])
            at = _put_share(out, at, _BIAS, bias_attributions[user, place])
            at = _put_part(out, at, _SCORE)
            at = _put_number(out, at, np.float64(scores[user, place]))
            out[at] = _CLOSE
            at += 1
        out[at] = _CLOSE_LIST
        at = put(out, at + 1, frames, frames_at[2 * user + 1], frames_at[2 * user + 2])
        ends[user] = at


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
    """Fill ``reasons`` (B, k) with the code of the largest part of each score, 0 where it is not above the least."""
    users, k = reasons.shape
    for user in range(users):
        for place in range(k):
            if not scores[user, place] > least_score:
                reasons[user, place] = 0
                continue
            recent = np.float32(0.0)
            for event in range(recent_attributions.shape[2]):
                recent += recent_attributions[user, place, event]
            best, most = 0, np.float32(-np.inf)
            parts = (
                recent,
                older_attributions[user, place],
                adjustment_attributions[user, place],
                bias_attributions[user, place],
            )
            for number in range(4):
                # what is not there at all is no reason, even where all that is there speaks against the item
                if parts[number] > most and abs(parts[number]) >= _LEAST_SHARE:
                    best, most = number, parts[number]
            reasons[user, place] = kind_codes[best]
