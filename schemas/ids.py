"""Hashes of ids: an id is a string on the wire, and a 64-bit hash in arrays."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import xxhash

_hash = xxhash.xxh3_64_intdigest


def id_hash(text: str) -> int:
    """xxh3_64 of the UTF-8 bytes of an id: an int in [0, 2**64).

    >>> id_hash("item-1") == id_hash("item-1") != id_hash("item-2")
    True
    """
    return _hash(text.encode())


def id_hashes(texts: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Hash many ids.

    Parameters
    ----------
    texts : iterable of str
        Ids, in any number.

    Returns
    -------
    uint64 array of shape (N,)
        ``id_hash`` of each id, in order; shape (0,) for no ids.

    Raises
    ------
    UnicodeEncodeError
        An id holds a lone surrogate; decoded messages never do.

    Examples
    --------
    >>> id_hashes(["a", "b"]).tolist() == [id_hash("a"), id_hash("b")]
    True
    """
    return np.array([_hash(text.encode()) for text in texts], dtype=np.uint64)
