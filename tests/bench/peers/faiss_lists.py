"""What `faiss_job.py` does around FAISS: leaves items out, measures recall, finds how many lists are enough."""

from collections.abc import Callable

import numpy as np


def without_excluded(found, excluded, k):
    """The first ``k`` of each user's ``found`` (B, n) that are not ``excluded`` (B, A); -1 where there are fewer."""
    left_out = found < 0
    for column in excluded.T:  # in one expression it takes twice the time
        left_out |= found == column[:, None]
    first = np.argsort(left_out, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(left_out, first, axis=1), -1, np.take_along_axis(found, first, axis=1))


def recall_of(lists, best):
    """Share of the ``best`` items (B, k) of the users that their ``lists`` (B, k) hold."""
    return float((best[:, :, None] == lists[:, None, :]).any(axis=2).mean())


def smallest(is_enough: Callable[[int], bool], most: int) -> int:
    """The smallest number from 1 to ``most`` that is enough, if each larger one is too; ``most`` if none is."""
    tried, enough = 0, 1
    while enough < most and not is_enough(enough):
        tried, enough = enough, 2 * enough
    enough = min(enough, most)
    while enough - tried > 1:
        middle = (tried + enough) // 2
        if is_enough(middle):
            enough = middle
        else:
            tried = middle
    return enough
