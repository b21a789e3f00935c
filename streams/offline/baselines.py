"""Baselines that a trained encoder has to beat: popularity, item-to-item, nearest sessions, matrix factorisation.

A baseline learns from sequences of item ids, and recommends the k best items after a history. Baselines don't learn
from new events: they are for evaluations, not for workers.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

Items = Sequence[str]


class Baseline(Protocol):
    """A model of the next item."""

    def recommend(self, history: Items, k: int) -> list[str]:
        """Return the k best items after a history, best first; fewer if the baseline knows fewer."""


class Popularity:
    """Recommends the same items to all users: those with the most events."""

    def __init__(self, train: Sequence[Items]) -> None:
        counts = Counter(item for sequence in train for item in sequence)
        self._ranked = [item for item, _ in counts.most_common()]

    def recommend(self, history: Items, k: int) -> list[str]:
        return self._ranked[:k]


class ItemToItem:
    """Recommends the items that most often came directly after the last item (first-order counts)."""

    def __init__(self, train: Sequence[Items]) -> None:
        following: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for sequence in train:
            for item, following_item in pairwise(sequence):
                following[item][following_item] += 1
        self._following = following

    def recommend(self, history: Items, k: int) -> list[str]:
        counts = self._following.get(history[-1]) if history else None
        return [] if counts is None else [item for item, _ in counts.most_common(k)]


@dataclass(frozen=True, slots=True)
class Vsknn:
    """Settings of VSKNN: Ludewig and Jannach, Evaluation of session-based recommendation algorithms (2018)."""

    neighbours: int = 100
    sample: int = 1_000  # for each item of the history this many sessions with it, the latest, are compared

    def position_weight(self, rank: int, length: int) -> float:
        """Weight of an item of the history; the newest has rank 0. The weight falls linearly with the rank."""
        return 1.0 - rank / length

    def match_weight(self, distance: int) -> float:
        """Weight of a neighbour's item that is ``distance`` positions after (or before) the newest common item."""
        return 1.0

    def similarity(self, weight: float, history: int, neighbour: int) -> float:
        """Similarity of two sessions of ``history`` and ``neighbour`` items; ``weight``: of the items in common."""
        return weight


@dataclass(frozen=True, slots=True)
class Vstan(Vsknn):
    """Settings of STAN without times (Garg et al., SIGIR 2019): positions decay on both sides."""

    position_decay: float = 1.02
    match_decay: float = 2.05

    def position_weight(self, rank: int, length: int) -> float:
        return float(np.exp(-rank / self.position_decay))

    def match_weight(self, distance: int) -> float:
        return float(np.exp(-distance / self.match_decay))

    def similarity(self, weight: float, history: int, neighbour: int) -> float:
        return float(weight / np.sqrt(history * neighbour))


class NearestSessions:
    """Recommends the items of the sessions that have most in common with the history."""

    def __init__(self, train: Sequence[Items], settings: Vsknn) -> None:
        self._settings = settings
        self._sessions = train
        self._distinct = [len({*session}) for session in train]
        holders: defaultdict[str, list[int]] = defaultdict(list)
        for number, session in enumerate(train):
            for item in dict.fromkeys(session):
                holders[item].append(number)  # the latest sessions stand last
        self._holders = holders

    def recommend(self, history: Items, k: int) -> list[str]:
        settings = self._settings
        newest_first = list(dict.fromkeys(reversed(history)))
        weights = {item: settings.position_weight(rank, len(newest_first)) for rank, item in enumerate(newest_first)}
        common: defaultdict[int, float] = defaultdict(float)
        for item, weight in weights.items():
            for number in self._holders.get(item, ())[-settings.sample :]:
                common[number] += weight
        near = sorted(
            (
                (settings.similarity(weight, len(newest_first), self._distinct[number]), number)
                for number, weight in common.items()
            ),
            reverse=True,
        )[: settings.neighbours]
        scores: defaultdict[str, float] = defaultdict(float)
        for similarity, number in near:
            session = self._sessions[number]
            newest_common = max(index for index, item in enumerate(session) if item in weights)
            factor = similarity * weights[session[newest_common]]
            for index, item in enumerate(session):
                scores[item] += factor * settings.match_weight(abs(index - newest_common))
        return [item for item, _ in sorted(scores.items(), key=lambda item_score: -item_score[1])[:k]]


class MatrixFactorisation:
    """Implicit ALS (Hu, Koren and Volinsky, ICDM 2008) of the library ``implicit``.

    A history is folded in as a new user.
    """

    def __init__(self, train: Sequence[Items], factors: int = 64, iterations: int = 15, seed: int = 0) -> None:
        from implicit.cpu.als import AlternatingLeastSquares
        from scipy.sparse import csr_matrix
        from threadpoolctl import threadpool_limits

        self._ids = list(dict.fromkeys(item for sequence in train for item in sequence))
        self._numbers = {item: number for number, item in enumerate(self._ids)}
        self._matrix: Callable[..., object] = csr_matrix
        rows = np.repeat(np.arange(len(train)), [len(sequence) for sequence in train])
        columns = np.array([self._numbers[item] for sequence in train for item in sequence])
        seen = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(train), len(self._ids)))
        with threadpool_limits(
            1, user_api="blas"
        ):  # the threads of `implicit` and those of BLAS would slow each other down
            self._model = AlternatingLeastSquares(factors=factors, iterations=iterations, random_state=seed)
            self._model.fit(seen, show_progress=False)

    def recommend(self, history: Items, k: int) -> list[str]:
        known = [self._numbers[item] for item in history if item in self._numbers]
        if not known:
            return []
        row = self._matrix(
            (np.ones(len(known), np.float32), (np.zeros(len(known), np.int64), known)), (1, len(self._ids))
        )
        numbers, _ = self._model.recommend(0, row, N=k, filter_already_liked_items=False, recalculate_user=True)
        return [self._ids[number] for number in numbers.tolist()]


BASELINES: dict[str, Callable[[Sequence[Items]], Baseline]] = {
    "popularity": Popularity,
    "item-to-item": ItemToItem,
    "vsknn": lambda train: NearestSessions(train, Vsknn()),
    "vstan": lambda train: NearestSessions(train, Vstan()),
    "matrix-factorisation": MatrixFactorisation,
}
"""Each baseline by its name, as a function that makes it from training sequences."""
