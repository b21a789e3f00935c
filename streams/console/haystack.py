"""The words of many items as one text, in which a word is found at the speed of memory."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


class Haystack:
    """Made once of what each item is found by; a line break keeps them apart."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self._text = b"\n".join(words)
        self._ends = list(accumulate(len(one) + 1 for one in words))

    def find(self, word: bytes) -> list[int]:
        """Places, in order, of the items that hold ``word``, which has no line break in it.

        >>> Haystack([b"green tea", b"pot", b"teapot"]).find(b"tea")
        [0, 2]
        """
        found: list[int] = []
        place, at = 0, self._text.find(word)
        while at >= 0:
            place = bisect_right(self._ends, at, lo=place)
            found.append(place)
            at = self._text.find(word, self._ends[place])
        return found
