"""Hashes of ids, and identities of events: an id is a string on the wire, and a 64-bit hash in arrays."""

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


def line_identities(
    event_ids: npt.NDArray[np.uint64], types: npt.NDArray[np.uint8], items: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Compute the identity of events of one item each, or of the lines of orders.

    An event is recognised by its id, its type and its set of items, so the lines of an order may share an event id.
    The identity is ``mix(event_id + (type + 1) * 0x9E3779B97F4A7C15) + item`` modulo 2**64, where ``mix`` is the
    finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).

    Parameters
    ----------
    event_ids : uint64 array of shape (N,), hashes of event ids
    types : uint8 array of shape (N,), codes of event types
    items : uint64 array of shape (N,), hashes of item ids

    Returns
    -------
    uint64 array of shape (N,)

    Examples
    --------
    >>> ids, types, items = id_hashes(["o1", "o1", "o1"]), np.uint8([2, 2, 0]), id_hashes(["tea", "pot", "tea"])
    >>> len(set(line_identities(ids, types, items).tolist()))
    3
    """
    # arrays of uint64 wrap around; the steps write to one array, which keeps the cost at 10 ns an event
    mixed = types.astype(np.uint64)
    mixed += np.uint64(1)
    mixed *= _GOLDEN_GAMMA
    mixed += event_ids
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    mixed += items
    return mixed


_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def record_identities(
    lines: npt.NDArray[np.uint64], items: npt.NDArray[np.uint64], starts: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint64]:
    """Compute the identity of records from those of their lines. The order of the lines does not matter.

    Where ``line_identities`` adds one item, the identity of a record adds all of its items. So a record of one line has
    the identity of its line.

    Parameters
    ----------
    lines : uint64 array of shape (N,), identities of lines; those of a record stand side by side
    items : uint64 array of shape (N,), hashes of their item ids, each once in a record
    starts : intp array of shape (R,), index of the first line of each record; the first is 0

    Returns
    -------
    uint64 array of shape (R,)

    Examples
    --------
    >>> ids, types, items = id_hashes(["o1"] * 3), np.uint8([2, 2, 2]), id_hashes(["tea", "pot", "tea"])
    >>> lines = line_identities(ids, types, items)
    >>> one, other = (record_identities(lines[cut], items[cut], np.array([0])) for cut in (slice(2), slice(1, 3)))
    >>> one.tolist() == other.tolist(), record_identities(lines, items, np.arange(3)).tolist() == lines.tolist()
    (True, True)
    """
    return lines[starts] - items[starts] + np.add.reduceat(items, starts)


def possible_records(lines: npt.NDArray[np.uint64], items: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Compute the identities of the records in which n lines may have come.

    Lines of one event id and type came as one record or as a record a line. So the result has the lines themselves, and
    for each event id of several lines the record of these lines.

    Parameters
    ----------
    lines : uint64 array of shape (n,), identities of lines
    items : uint64 array of shape (n,), hashes of their item ids

    Returns
    -------
    uint64 array of shape (m,), first the records of several lines, then the lines in their order, each once

    Examples
    --------
    >>> ids, types, items = id_hashes(["o1", "c1", "o1"]), np.uint8([2, 0, 2]), id_hashes(["tea", "pot", "cup"])
    >>> lines = line_identities(ids, types, items)
    >>> order = record_identities(lines[[0, 2]], items[[0, 2]], np.array([0]))
    >>> possible_records(lines, items).tolist() == [*order.tolist(), *lines.tolist()]
    True
    """
    _, distinct = np.unique(lines, return_index=True)
    distinct.sort()
    lines, items = lines[distinct], items[distinct]
    without_items, record, count = np.unique(lines - items, return_inverse=True, return_counts=True)
    np.add.at(without_items, record, items)
    return np.concatenate([without_items[count > 1], lines])
