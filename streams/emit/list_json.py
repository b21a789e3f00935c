"""Writes recommended items as JSON, for a batch of users at a time.

The bytes are those of an encoded `schemas.recommendation.RecommendedItem`: fields that have their default are left out.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import LEAST_SCORE, Ranked
from schemas.recommendation import ListReasons
from streams.arrays import Int64Array
from streams.emit.envelope_json import Frames, no_frames
from streams.emit.list_json_kernel import (
    FULL,
    KIND_CODES,
    LARGEST,
    MAX_ITEM_BYTES,
    NAMED_RECENTS,
    NONE,
    REASON_STARTS,
    REASONS,
    TYPE_STARTS,
    TYPES,
    Lists,
    Recents,
    Texts,
    note_reasons,
    write_lists,
)

_DETAIL: dict[ListReasons, int] = {"full": FULL, "largest": LARGEST, "none": NONE}
_USERS_AT_ONCE = 128
"""Users whose lists are written into one buffer, small enough for the processor's cache."""


class ItemTexts:
    """The ids of an index's items as JSON strings, one after another."""

    def __init__(self, index: ItemIndex) -> None:
        self._index = index
        self._bytes = np.empty(0, np.uint8)
        self._starts = np.zeros(1, np.int64)
        self._count = 0
        self.longest = 0
        """Bytes of the longest JSON string."""

    def update(self) -> tuple[NDArray[np.uint8], Int64Array]:
        """Add the new items of the index; return all texts, and where the text of each row starts."""
        new = self._index.item_ids[self._count :]
        if new:
            texts = [msgspec.json.encode(item) for item in new]
            lengths = np.array([len(text) for text in texts], np.int64)
            count, size = self._count + len(new), int(self._starts[self._count])
            end = size + int(lengths.sum())
            if end > len(self._bytes) or count >= len(self._starts):
                self._bytes = np.concatenate([self._bytes, np.empty(end, np.uint8)])
                self._starts = np.concatenate([self._starts, np.zeros(count, np.int64)])
            self._bytes[size:end] = np.frombuffer(b"".join(texts), np.uint8)
            self._starts[self._count + 1 : count + 1] = size + lengths.cumsum()
            self._count = count
            self.longest = max(self.longest, int(lengths.max()))
        return self._bytes, self._starts


class ListEncoder:
    """Writes the items of recommendations, with their scores and reasons."""

    def __init__(self, index: ItemIndex, reasons: ListReasons = "full") -> None:
        """``reasons``: which reasons are written."""
        self.index = index
        self._texts = ItemTexts(index)
        self._detail = _DETAIL[reasons]

    def encode(
        self,
        event_rows: Int64Array,
        event_types: NDArray[np.uint8],
        ranked: Ranked,
        reasons: NDArray[np.uint8],
        frames: Frames | None = None,
    ) -> list[bytes]:
        """Return a JSON array of items for each of B users, best first; items that may not be recommended are left out.

        Parameters
        ----------
        event_rows : int64 array of shape (B, L), the items of the users' recents in the index, -1 where unknown
        event_types : uint8 array of shape (B, L), indices in EVENT_TYPES
        ranked : the result of ranking the same users
        reasons : uint8 array of shape (B, k), the result of `reason_codes`
        frames : the B messages to write the arrays into; None: the arrays alone are returned
        """
        texts, text_starts = self._texts.update()
        if frames is None:
            frames = no_frames(len(event_rows))
        item_bytes = MAX_ITEM_BYTES + (1 + NAMED_RECENTS) * self._texts.longest
        size = min(len(event_rows), _USERS_AT_ONCE) * (2 + ranked.rows.shape[1] * item_bytes) + len(frames.text)
        buffer = np.empty(size, np.uint8)
        lists = Lists(
            rows=ranked.rows,
            scores=ranked.scores,
            reasons=reasons,
            recent=ranked.recent_attributions,
            older=ranked.older_attributions,
            adjustment=ranked.adjustment_attributions,
            bias=ranked.bias_attributions,
        )
        recents = Recents(rows=event_rows, types=event_types)
        written = buffer.data
        encoded: list[bytes] = []
        for start in range(0, len(event_rows), _USERS_AT_ONCE):
            users = slice(start, start + _USERS_AT_ONCE)
            ends = np.empty(len(event_rows[users]), np.int64)
            write_lists(
                buffer,
                ends,
                Lists._make(np.ascontiguousarray(column[users]) for column in lists),
                Recents._make(np.ascontiguousarray(column[users]) for column in recents),
                Texts(texts, text_starts),
                Texts(REASONS, REASON_STARTS),
                Texts(TYPES, TYPE_STARTS),
                Texts(frames.text, frames.starts[2 * start : 2 * (start + _USERS_AT_ONCE) + 1]),
                ranked.exact,
                self._detail,
            )
            begin = 0
            for end in ends.tolist():
                encoded.append(written[begin:end].tobytes())
                begin = end
        return encoded


def reason_codes(ranked: Ranked) -> NDArray[np.uint8]:
    """Return the code of the largest part of each score: uint8 array of shape (B, k).

    The code is 0 where no item may be recommended. Profiles are stored with these codes.
    """
    codes = np.empty(ranked.rows.shape, np.uint8)
    parts = (
        ranked.scores,
        ranked.recent_attributions,
        ranked.older_attributions,
        ranked.adjustment_attributions,
        ranked.bias_attributions,
    )
    arguments: list[Any] = [codes, *(np.ascontiguousarray(part) for part in parts), LEAST_SCORE, KIND_CODES]
    note_reasons(*arguments)
    return codes
