"""Joins the words of many items into one text, in which a search for a word is fast.

The speed is that of reading the memory, no matter how many items hold the word.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SPACE = ord(" ")

Indices = NDArray[np.intp]


class Haystack:
    """The words by which each item is found, joined; line breaks separate the items. It does not change."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self._letters = np.frombuffer(b"\n".join(words), np.uint8)
        self._ends = np.cumsum([len(text) + 1 for text in words], dtype=np.intp)

    def find(self, word: bytes) -> tuple[Indices, Indices]:
        """Find the items that hold ``word``, and those in which it begins a word (stands after a space).

        Both results are indices of items, in order. ``word`` must not be empty and must not hold a line break.

        >>> Haystack([b" green tea", b" pot", b" steam"]).find(b"tea")
        (array([0, 2]), array([0]))
        """
        letters = self._letters
        starts = np.flatnonzero(letters == word[0])
        for offset, letter in enumerate(word[1:], start=1):
            starts = starts[: np.searchsorted(starts, len(letters) - offset)]
            starts = starts[letters[starts + offset] == letter]
        return self._items(starts), self._items(starts[letters[starts - 1] == _SPACE])

    def _items(self, starts: Indices) -> Indices:
        items = np.searchsorted(self._ends, starts, side="right")
        return items[np.diff(items, prepend=-1) > 0]
