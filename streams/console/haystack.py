"""The words of many items as one text, in which a word is found at the speed of memory, however many items hold it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SPACE = ord(" ")

Places = NDArray[np.intp]


class Haystack:
    """Made once of what each item is found by; a line break keeps them apart."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self._letters = np.frombuffer(b"\n".join(words), np.uint8)
        self._ends = np.cumsum([len(one) + 1 for one in words], dtype=np.intp)

    def find(self, word: bytes) -> tuple[Places, Places]:
        """Places, in order, of the items that hold ``word``, and of those in which it stands behind a space.

        ``word`` is not empty and has no line break in it.

        >>> Haystack([b" green tea", b" pot", b" steam"]).find(b"tea")
        (array([0, 2]), array([0]))
        """
        letters = self._letters
        at = np.flatnonzero(letters == word[0])
        for offset, letter in enumerate(word[1:], start=1):
            at = at[: np.searchsorted(at, len(letters) - offset)]
            at = at[letters[at + offset] == letter]
        return self._places(at), self._places(at[letters[at - 1] == _SPACE])

    def _places(self, at: Places) -> Places:
        places = np.searchsorted(self._ends, at, side="right")
        return places[np.diff(places, prepend=-1) > 0]
