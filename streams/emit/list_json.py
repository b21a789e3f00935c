"""Recommended items as JSON, a batch of users at a time.

The bytes are those of `schemas.recommendation.RecommendedItem`, with fields that have their default left out.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import LEAST_SCORE, Ranked
from streams.arrays import Int64Array
from streams.emit.envelope_json import Frames, no_frames
from streams.emit.list_json_kernel import (
    KIND_CODES,
    MAX_ITEM_BYTES,
    NAMED_RECENTS,
    REASONS,
    REASONS_AT,
    TYPES,
    TYPES_AT,
    note_reasons,
    write_lists,
)

_AT_ONCE = 128
"""Users whose lists are written into one buffer: it stays in the processor's cache."""


class ItemTexts:
    """The ids of an index's items as JSON strings, one behind the other."""

    def __init__(self, index: ItemIndex) -> None:
        self._index = index
        self._bytes = np.empty(0, np.uint8)
        self._at = np.zeros(1, np.int64)
        self._count = 0
        self.longest = 0
        """Bytes of the longest."""

    def update(self) -> tuple[NDArray[np.uint8], Int64Array]:
        """All texts, and where each row's starts; what is new in the index is added first."""
        new = self._index.item_ids[self._count :]
        if new:
            texts = [msgspec.json.encode(item) for item in new]
            lengths = np.array([len(text) for text in texts], np.int64)
            count, size = self._count + len(new), int(self._at[self._count])
            end = size + int(lengths.sum())
            if end > len(self._bytes) or count >= len(self._at):
                self._bytes = np.concatenate([self._bytes, np.empty(end, np.uint8)])
                self._at = np.concatenate([self._at, np.zeros(count, np.int64)])
            self._bytes[size:end] = np.frombuffer(b"".join(texts), np.uint8)
            self._at[self._count + 1 : count + 1] = size + lengths.cumsum()
            self._count = count
            self.longest = max(self.longest, int(lengths.max()))
        return self._bytes, self._at


class ListEncoder:
    """Writes the items of a recommendation with their scores and reasons."""

    def __init__(self, index: ItemIndex) -> None:
        self.index = index
        self._texts = ItemTexts(index)

    def encode(
        self,
        event_rows: Int64Array,
        event_types: NDArray[np.uint8],
        ranked: Ranked,
        reasons: NDArray[np.uint8],
        frames: Frames | None = None,
    ) -> list[bytes]:
        """A JSON array of items for each of B users, best first; what may not be recommended is cut.

        Parameters
        ----------
        event_rows : int64 array of shape (B, L), the items of the users' recents in the index, -1 where unknown
        event_types : uint8 array of shape (B, L), places in EVENT_TYPES
        ranked : of the same users
        reasons : uint8 array of shape (B, k), of ``reason_codes``
        frames : of B messages that the arrays stand in; none: they stand alone
        """
        texts, text_at = self._texts.update()
        if frames is None:
            frames = no_frames(len(event_rows))
        item_bytes = MAX_ITEM_BYTES + (1 + NAMED_RECENTS) * self._texts.longest
        size = min(len(event_rows), _AT_ONCE) * (2 + ranked.rows.shape[1] * item_bytes) + len(frames.text)
        buffer = np.empty(size, np.uint8)
        columns = (
            *(ranked.rows, ranked.scores, reasons),
            *(
                ranked.recent_attributions,
                ranked.older_attributions,
                ranked.adjustment_attributions,
                ranked.bias_attributions,
            ),
            *(event_rows, event_types),
        )
        written = buffer.data
        lists: list[bytes] = []
        for start in range(0, len(event_rows), _AT_ONCE):
            some = [np.ascontiguousarray(column[start : start + _AT_ONCE]) for column in columns]
            frames_at = frames.at[2 * start : 2 * (start + _AT_ONCE) + 1]
            ends = np.empty(len(some[0]), np.int64)
            arguments: list[Any] = [
                buffer,
                ends,
                *some,
                texts,
                text_at,
                REASONS,
                REASONS_AT,
                TYPES,
                TYPES_AT,
                frames.text,
                frames_at,
                ranked.exact,
            ]
            write_lists(*arguments)
            begin = 0
            for end in ends.tolist():
                lists.append(written[begin:end].tobytes())
                begin = end
        return lists


def reason_codes(ranked: Ranked) -> NDArray[np.uint8]:
    """The largest part of each score: uint8 array of shape (B, k), as stored; 0 where nothing may be recommended."""
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
