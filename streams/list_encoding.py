"""Recommended items as JSON, a batch of users at a time: what is the same every time is made once and joined.

The bytes are those of `schemas.recommendation.RecommendedItem`, with fields that have their default left out.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from encoders.graph import LEAST_SCORE, Ranked
from encoders.index import ItemIndex
from schemas.events import EVENT_TYPES
from schemas.recommendation import REASON_KINDS, ReasonKind
from streams.number_text import DECIMALS, decimal_text
from streams.preference import Float32Array, Int64Array, IntpArray
from streams.profiles import ProfileTable

NAMED_RECENTS = 3
"""Recent events that a reason names; the others' shares are added up."""

Pieces = NDArray[np.object_]

_KINDS: tuple[ReasonKind, ...] = ("recent", "older", "bonus", "bias")
_CODES = np.array([REASON_KINDS.index(kind) + 1 for kind in _KINDS], np.uint8)
_LEAST_SHARE = 0.5 * 10.0**-DECIMALS


class ItemTexts:
    """The JSON of what names an item: by its row in the index, made when it is first needed."""

    def __init__(self, index: ItemIndex) -> None:
        self._index = index
        self._texts: Pieces = np.empty((0, 1 + len(EVENT_TYPES)), object)
        self._made: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def opening(self, rows: IntpArray) -> Pieces:
        """``,{"item_id":"...","reason":{`` of each row."""
        self._make(rows)
        return np.asarray(self._texts[rows, 0])

    def shares(self, rows: IntpArray, types: NDArray[np.uint8]) -> Pieces:
        """``{"item_id":"...","event_type":"...","share":`` of each event's row and type."""
        self._make(rows)
        return self._texts[rows, 1 + types]

    def _make(self, rows: IntpArray) -> None:
        if len(self._made) < len(self._index.item_ids):
            more = 2 * len(self._index.item_ids) - len(self._made)
            self._texts = np.concatenate([self._texts, np.empty((more, self._texts.shape[1]), object)])
            self._made = np.concatenate([self._made, np.zeros(more, np.bool_)])
        if self._made[rows].all():
            return
        for row in np.unique(rows[~self._made[rows]]).tolist():
            item = b'{"item_id":' + msgspec.json.encode(self._index.item_ids[row])
            events = [item + f',"event_type":"{kind}","share":'.encode() for kind in EVENT_TYPES]
            self._texts[row] = [b"," + item + b',"reason":{', *events]
            self._made[row] = True


class ListEncoder:
    """Writes the items of a recommendation with their scores and reasons."""

    def __init__(self, index: ItemIndex) -> None:
        self._texts = ItemTexts(index)

    def encode(self, table: ProfileTable, slots: IntpArray, ranked: Ranked, reasons: NDArray[np.uint8]) -> list[bytes]:
        """A JSON array of items for each of B users, best first; what may not be recommended is cut."""
        users, k = ranked.rows.shape
        usable = (ranked.scores > LEAST_SCORE).sum(axis=1)  # sorted: what may not be given stands last
        if users == 0 or not usable.any():
            return [b"[]"] * users
        given = np.arange(k) < usable[:, None]  # (B, k)
        rows = np.where(given, ranked.rows, ranked.rows[given][0])
        scores, recents, older, bonus, bias = (
            np.where(given, part, np.float32(0))
            for part in (
                ranked.scores,
                ranked.recent_shares.sum(axis=2),
                ranked.older_shares,
                ranked.adjust_shares,
                ranked.bias_shares,
            )
        )
        places, shares = largest(ranked.recent_shares, min(NAMED_RECENTS, table.shape.history))
        places = np.minimum(places, table.shape.history - 1)  # a head may take more recents than are kept: those are 0
        pieces: Pieces = np.empty((users, k, 3 + 2 * shares.shape[2]), object)
        pieces[:, :, 0] = self._texts.opening(rows)
        pieces[:, :, 1] = _kind_texts(ranked.exact)[reasons]
        events = (np.arange(users)[:, None, None], places)
        event_rows = table.rows[slots][events]
        named = given[:, :, None] & (event_rows >= 0) & (np.abs(shares) >= _LEAST_SHARE)
        self._write_shares(pieces[:, :, 2:-1], event_rows, table.types[slots][events], shares, named)
        rest = recents.astype(np.float64) - np.where(named, shares.astype(np.float64).round(DECIMALS), 0).sum(axis=2)
        pieces[:, :, -1] = _closings(scores, rest, older, bonus, bias)
        flat = pieces.reshape(users, -1)
        size = pieces.shape[2]
        return [
            b"[" + b"".join(row[: size * count].tolist())[1:] + b"]"
            for row, count in zip(flat, usable.tolist(), strict=True)
        ]

    def _write_shares(
        self,
        pieces: Pieces,
        rows: Int64Array,
        types: NDArray[np.uint8],
        shares: Float32Array,
        named: NDArray[np.bool_],
    ) -> None:
        """Each named event's name, its share, and a comma if another one follows."""
        number = decimal_text(np.where(named, shares, np.float32(0)))
        width = number.shape[-1]
        text = np.zeros((*number.shape[:-1], width + 2), np.uint8)
        text[..., :width] = number
        text[..., width] = ord("}")
        another = np.cumsum(named[..., ::-1], axis=2)[..., ::-1] - named > 0
        text[..., width + 1] = np.where(another, ord(","), 0)  # a trailing zero is no part of a numpy string
        names = self._texts.shares(np.where(named, rows, 0), types)
        if not named.all():
            text[~named] = 0
            names[~named] = b""
        pieces[..., 0::2] = names
        pieces[..., 1::2] = _strings(text)


def reason_codes(ranked: Ranked) -> NDArray[np.uint8]:
    """The largest part of each score: uint8 array of shape (B, k), as stored; 0 where nothing may be recommended."""
    shares = (ranked.recent_shares.sum(axis=2), ranked.older_shares, ranked.adjust_shares, ranked.bias_shares)
    codes = _CODES[np.stack(shares, axis=2).argmax(axis=2)]
    return np.where(ranked.scores > LEAST_SCORE, codes, 0).astype(np.uint8)


def largest(shares: Float32Array, count: int) -> tuple[IntpArray, Float32Array]:
    """Places and values of the ``count`` largest along the last axis, the largest first.

    Parameters
    ----------
    shares : float32 array of shape (B, k, h)

    Returns
    -------
    two arrays of shape (B, k, n), n the smaller of ``count`` and h
    """
    users, k, width = shares.shape
    count = min(count, width)
    left = shares.reshape(users * k, width).copy()
    found = np.empty((len(left), count), np.intp)
    every = np.arange(len(left))
    # a pass for each costs less than a partition of short rows
    for number in range(count):
        found[:, number] = left.argmax(axis=1)
        left[every, found[:, number]] = -np.inf
    places = found.reshape(users, k, count)
    return places, np.take_along_axis(shares, places, axis=2)


def _kind_texts(exact: bool) -> Pieces:
    """By code; 0 is of what is cut."""
    texts = [f'"kind":"{kind}","exact":{str(exact).lower()},"recents":['.encode() for kind in ("", *REASON_KINDS)]
    return np.array(texts, object)


def _closings(
    scores: Float32Array, rest: NDArray[np.float64], older: Float32Array, bonus: Float32Array, bias: Float32Array
) -> Pieces:
    """What follows the named events of each item; parts that nobody in the batch has are left out."""
    fields: list[tuple[bytes, NDArray[Any]]] = [(b'],"other_recents":', rest), (b',"older":', older)]
    fields += [(name, part) for name, part in ((b',"bonus":', bonus), (b',"bias":', bias)) if part.any()]
    fields.append((b'},"score":', scores))
    parts = [part for name, values in fields for part in (np.frombuffer(name, np.uint8), decimal_text(values))]
    shape = scores.shape
    columns = [np.broadcast_to(part, (*shape, part.shape[-1])) for part in parts]
    end = np.full((*shape, 1), ord("}"), np.uint8)
    return _strings(np.concatenate([*columns, end], axis=2))


def _strings(text: NDArray[np.uint8]) -> Pieces:
    """(..., W) bytes as an object array of shape (...) of byte strings without trailing zeros."""
    return np.ascontiguousarray(text).view(f"S{text.shape[-1]}")[..., 0].astype(object)
