"""What a trained encoder has to beat: popularity, item-to-item counts, nearest sessions, matrix factorisation.

Each learns from sequences of item ids and answers with the k best items after a history. None updates itself: they
stand beside the stream in an evaluation, not in a worker.
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
        """The k best items after a history, best first; fewer where it knows no more."""


class Popularity:
    """The same for all: what was seen most often."""

    def __init__(self, train: Sequence[Items]) -> None:
        counts = Counter(item for sequence in train for item in sequence)
        self._ranked = [item for item, _ in counts.most_common()]

    def recommend(self, history: Items, k: int) -> list[str]:
        return self._ranked[:k]


class ItemToItem:
    """What came next after the last item most often: first-order counts."""

    def __init__(self, train: Sequence[Items]) -> None:
        following: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for sequence in train:
            for item, following_item in pairwise(sequence):
                following[item][following_item] += 1
        self._following = following

    def recommend(self, history: Items, k: int) -> list[str]:
        found = self._following.get(history[-1]) if history else None
        return [] if found is None else [item for item, _ in found.most_common(k)]


@dataclass(frozen=True, slots=True)
class Vsknn:
    """Settings of VSKNN: Ludewig and Jannach, Evaluation of session-based recommendation algorithms (2018)."""

    neighbours: int = 100
    sample: int = 1_000  # latest sessions with an item of the history that are compared

    def position_weight(self, rank: int, length: int) -> float:
        """Of an item of the history, the newest being rank 0: linear in the position."""
        return 1.0 - rank / length

    def match_weight(self, distance: int) -> float:
        """Of an item of a neighbour, so many places after (or before) the newest common item."""
        return 1.0

    def similarity(self, weight: float, history: int, neighbour: int) -> float:
        """Of sessions of so many items each, whose common items weigh so much."""
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
    """Items of the sessions that share most with this one."""

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
            place = max(at for at, item in enumerate(session) if item in weights)
            factor = similarity * weights[session[place]]
            for at, item in enumerate(session):
                scores[item] += factor * settings.match_weight(abs(at - place))
        return [item for item, _ in sorted(scores.items(), key=lambda one: -one[1])[:k]]


class MatrixFactorisation:
    """Implicit ALS (Hu, Koren and Volinsky, ICDM 2008) by the library ``implicit``, the history folded in as a user."""

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
        with threadpool_limits(1, user_api="blas"):  # its own threads and those of BLAS would fight
            self._model = AlternatingLeastSquares(factors=factors, iterations=iterations, random_state=seed)
            self._model.fit(seen, show_progress=False)

    def recommend(self, history: Items, k: int) -> list[str]:
        known = [self._numbers[item] for item in history if item in self._numbers]
        if not known:
            return []
        row = self._matrix(
            (np.ones(len(known), np.float32), (np.zeros(len(known), np.int64), known)), (1, len(self._ids))
        )
        found, _ = self._model.recommend(0, row, N=k, filter_already_liked_items=False, recalculate_user=True)
        return [self._ids[number] for number in found.tolist()]


BASELINES: dict[str, Callable[[Sequence[Items]], Baseline]] = {
    "popularity": Popularity,
    "item-to-item": ItemToItem,
    "vsknn": lambda train: NearestSessions(train, Vsknn()),
    "vstan": lambda train: NearestSessions(train, Vstan()),
    "matrix-factorisation": MatrixFactorisation,
}
"""Name of each baseline, and how it is made from training sequences."""
