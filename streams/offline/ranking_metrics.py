"""Measures recommendation lists by the rank of the item that came next, with bootstrap intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from streams.arrays import Float64Array, Int64Array

AT = (5, 10, 20)
"""Lengths of lists that are measured."""
LENGTHS = ((1, 1), (2, 4), (5, 9), (10, 19), (20, None))
"""Groups of history lengths: the shortest and the longest of each; None: without limit."""
_RESAMPLES = 200


class Figure(NamedTuple):
    """A mean and its 95% bootstrap interval."""

    mean: float
    low: float
    high: float


def rank_of(lists: Sequence[Sequence[str]], targets: Sequence[str]) -> Int64Array:
    """Find the rank of each target in its list, from 0; -1 if the list does not hold it: int64 (B,).

    >>> rank_of([["a", "b"], ["a"]], ["b", "c"]).tolist()
    [1, -1]
    """
    ranks = [items.index(target) if target in items else -1 for items, target in zip(lists, targets, strict=True)]
    return np.array(ranks, np.int64)


def metrics_at(ranks: Int64Array, k: int) -> dict[str, Float64Array]:
    """Recall, reciprocal rank and NDCG of each list, cut at k: float64 (B,) by name.

    Each list has one target, so recall is the hit rate. The arguments are the results of ``rank_of``.

    >>> {name: each.tolist() for name, each in metrics_at(np.array([0, 2, -1]), 2).items()}
    {'recall': [1.0, 0.0, 0.0], 'mrr': [1.0, 0.0, 0.0], 'ndcg': [1.0, 0.0, 0.0]}
    """
    hit = (ranks >= 0) & (ranks < k)
    rank = np.where(hit, ranks, 0)
    return {
        "recall": hit.astype(np.float64),
        "mrr": np.where(hit, 1.0 / (rank + 1), 0.0),
        "ndcg": np.where(hit, 1.0 / np.log2(rank + 2.0), 0.0),
    }


def accuracy(ranks: Int64Array, seed: int = 0) -> dict[str, Figure]:
    """Mean recall, MRR and NDCG at 5, 10 and 20, with intervals; an empty dict if there are no lists."""
    return _figures({f"{name}@{k}": each for k in AT for name, each in metrics_at(ranks, k).items()}, seed)


def lost(before: Int64Array, after: Int64Array, seed: int = 0) -> dict[str, Figure]:
    """How much lower ``accuracy`` is for ``after`` than for ``before``, two sets of lists for the same questions.

    Each resample draws the same questions from both sets.

    >>> lost(np.array([0, 0, 7]), np.array([0, -1, 7]))["recall@5"].mean
    0.3333333333333333
    """
    return _figures(
        {f"{name}@{k}": each - metrics_at(after, k)[name] for k in AT for name, each in metrics_at(before, k).items()},
        seed,
    )


def _figures(columns: Mapping[str, Float64Array], seed: int) -> dict[str, Figure]:
    values = np.stack(list(columns.values()))  # (M, B)
    size = values.shape[1]
    if not size:
        return {}
    rng = np.random.default_rng(seed)
    # how often each resample draws each list; one matrix product gives the means of all resamples
    counts = rng.multinomial(size, np.full(size, 1 / size), _RESAMPLES)
    low, high = np.quantile(values @ counts.T / size, (0.025, 0.975), axis=1)
    return {
        name: Figure(float(mean), float(a), float(b))
        for name, mean, a, b in zip(columns, values.mean(axis=1), low, high, strict=True)
    }


def groups(lengths: Int64Array, cold: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Masks of the lists in each group: by length of the history, and lists whose target was not trained on."""
    named = {}
    for first, last in LENGTHS:
        name = f"{first}" if first == last else f"{first}+" if last is None else f"{first}-{last}"
        named[f"history {name}"] = (lengths >= first) & (lengths <= (last or np.inf))
    return named | {"cold items": cold}


def beyond(
    lists: Sequence[Sequence[str]], popularity: Mapping[str, int], index: ItemIndex, k: int = 20
) -> dict[str, float]:
    """Coverage, novelty and diversity of the first k items of each list.

    Coverage is the share of the index's items that at least one list shows. Novelty is the mean, over the items shown,
    of ``-log2`` of the item's share of all events; one event is added to each item, so that no value is infinite.
    Diversity is 1 minus the mean cosine of two items of a list.
    """
    shown = [list(items[:k]) for items in lists]
    distinct = {item for items in shown for item in items}
    total = sum(popularity.values()) + len(index)
    bits = {item: -np.log2((popularity.get(item, 0) + 1) / total) for item in distinct}
    novelty = [bits[item] for items in shown for item in items]
    rows = {item: index.row(item) for item in distinct}
    spread = []
    for items in shown:
        vectors = index.gather(np.array([rows[item] for item in items if rows[item] >= 0], np.int64))
        n = len(vectors)
        if n > 1:
            total_vector = vectors.sum(axis=0, dtype=np.float64)
            pairs = float(total_vector @ total_vector) - float((vectors.astype(np.float64) ** 2).sum())
            spread.append(1.0 - pairs / (n * (n - 1)))
    return {
        "coverage@20": len(distinct) / max(len(index), 1),
        "novelty@20": float(np.mean(novelty)) if novelty else 0.0,
        "diversity@20": float(np.mean(spread)) if spread else 0.0,
    }
