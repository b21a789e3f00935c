"""What the bench does around FAISS: excluded items, recall, and how many inverted lists are read."""

import numpy as np
import pytest

from tests.bench.peers.faiss_lists import recall_of, smallest, without_excluded


def test_excluded_items_are_dropped_and_the_order_stays() -> None:
    found = np.array([[7, 3, 9, 1, 4], [5, 6, 2, 8, 0]])
    excluded = np.array([[3, 9], [11, -1]])
    assert without_excluded(found, excluded, 3).tolist() == [[7, 1, 4], [5, 6, 2]]


def test_places_that_nothing_was_found_for_stay_empty() -> None:
    found = np.array([[7, 3, -1, -1]])
    assert without_excluded(found, np.array([[7]]), 3).tolist() == [[3, -1, -1]]


def test_recall_is_the_share_of_the_best_that_was_found_in_any_order() -> None:
    best = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert recall_of(np.array([[4, 3, 2, 1], [5, 6, 9, -1]]), best) == 0.75


@pytest.mark.parametrize("least", [1, 2, 3, 7, 8, 9, 31, 32, 100])
def test_the_smallest_that_is_enough(least: int) -> None:
    assert smallest(lambda number: number >= least, 100) == least


def test_the_most_where_none_is_enough() -> None:
    assert smallest(lambda number: False, 100) == 100
