"""Measures how well an encoder predicts recorded events, with the update and the ranking that a worker runs."""

import time
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from encoders.artifact.manifest import Encoder
from encoders.index.item_index import ItemIndex
from encoders.items.item_encoder import ItemEncoder
from encoders.ranking.ranking_io import LEAST_SCORE
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem
from schemas.ids import id_hashes
from streams.arrays import Int64Array, IntpArray
from streams.decode.event_batch import EventBatch
from streams.kafka.log_id import LogId
from streams.offline.questions import History, Questions
from streams.offline.ranking_metrics import Figure, accuracy, beyond, groups, rank_of
from streams.rank.exclusions import Exclusions, excluded_rows
from streams.rank.head_inputs import head_inputs
from streams.rank.loaded_encoder import LoadedEncoder
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import apply_batch

_USERS = 1024  # users that are processed together
_LOG = LogId("evaluation", "evaluation", 0)
_STEP_MS = 1_000  # time between two events of a user if the log has no times


@dataclass(slots=True)
class Cost:
    """The time that updates and rankings took: seconds of one thread of this process."""

    update_s: float = 0.0
    rank_s: float = 0.0
    events: int = 0
    users: int = 0

    @property
    def update_us(self) -> float:
        """Microseconds of the update per event."""
        return 1e6 * self.update_s / max(self.events, 1)

    @property
    def rank_us(self) -> float:
        """Microseconds of the ranking per user."""
        return 1e6 * self.rank_s / max(self.users, 1)


@dataclass
class StreamModel:
    """An encoder and an index of items, which recommends with the code that a worker runs.

    Parameters
    ----------
    items : the catalog; an item without a vector is skipped
    exclusions : items that may not be recommended; by default every item may, also items that the user has just seen
    """

    encoder: Encoder
    runtime: Runtime
    items: Sequence[CatalogItem]
    exclusions: Exclusions = field(default_factory=lambda: Exclusions(exclude_purchased_days=0, exclude_seen_events=0))

    def __post_init__(self) -> None:
        manifest = self.encoder.manifest
        self._loaded = LoadedEncoder.load(self.encoder, self.runtime)
        vectors, known, bias = ItemEncoder(self.runtime, self.encoder).encode_with_bias(self.items)
        kept = np.flatnonzero(known)
        self.index.put([self.items[i].item_id for i in kept.tolist()], vectors[kept], bias[kept])
        self.cost = Cost()
        self._shape = ProfileShape(
            history=manifest.history, dimension=manifest.dimension, half_lives=len(manifest.half_lives_s)
        )

    @property
    def index(self) -> ItemIndex:
        """The items that may be recommended, and their vectors."""
        return self._loaded.index

    def recommend(self, histories: Sequence[History], k: int) -> tuple[list[list[str]], NDArray[np.float32]]:
        """Recommend the k best items after each history: the lists, and their scores of shape (B, k)."""
        return self.answer(Questions.at_the_end(histories, [""] * len(histories)), k)

    def answer(self, asked: Questions, k: int) -> tuple[list[list[str]], NDArray[np.float32]]:
        """Recommend the k best items for each question: the lists, and their scores of shape (Q, k).

        An index of fewer than k items gives fewer columns. Every event of a user updates the profile once; the user is
        ranked before each event that a question asks for.
        """
        lists: list[list[str]] = [[]] * len(asked.users)
        scores = np.zeros((len(asked.users), min(k, len(self.index))), np.float32)
        order = np.lexsort((asked.seen, asked.users))
        users, starts, counts = np.unique(asked.users[order], return_index=True, return_counts=True)
        # users with a similar number of questions go together, so that few batches are small
        by_count = np.argsort(counts, kind="stable")
        for first in range(0, len(users), _USERS):
            group = by_count[first : first + _USERS]
            profiles = _Profiles(self._shape, [asked.log[user] for user in users[group].tolist()])
            for turn in range(int(counts[group].max())):
                members = np.flatnonzero(counts[group] > turn)  # users of the group with one more question
                questions = order[starts[group[members]] + turn]
                self._update(profiles, members, asked.seen[questions])
                ranked, scores[questions] = self._rank(profiles, members, k)
                for question, items in zip(questions.tolist(), ranked, strict=True):
                    lists[question] = items
        return lists, scores

    def _update(self, profiles: "_Profiles", members: IntpArray, seen: IntpArray) -> None:
        """Apply the next events of these users, until ``seen`` events of each history are applied."""
        batch, owner = profiles.next_events(members, seen)
        began = time.perf_counter()
        apply_batch(profiles.table, batch, profiles.slots[owner], self.index, self._loaded.sums)
        self.cost.update_s += time.perf_counter() - began
        self.cost.events += len(batch)

    def _rank(self, profiles: "_Profiles", members: IntpArray, k: int) -> tuple[list[list[str]], NDArray[np.float32]]:
        began = time.perf_counter()
        table, slots = profiles.table, profiles.slots[members]
        inputs = head_inputs(table, slots, self.index, self.encoder.manifest.history)
        ranked = self._loaded.rank(inputs, excluded_rows(table, slots, self.index, self.exclusions), k)
        self.cost.rank_s += time.perf_counter() - began
        self.cost.users += len(slots)
        ids = self.index.item_ids
        lists = [
            [ids[row] for row, score in zip(rows, scores, strict=True) if score > LEAST_SCORE]
            for rows, scores in zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True)
        ]
        return lists, ranked.scores


class _Profiles:
    """The profiles of a group of users, and how many events of each history they hold."""

    def __init__(self, shape: ProfileShape, histories: Sequence[History]) -> None:
        self.table = ProfileTable(len(histories), shape)
        self.slots = self.table.allocate([f"u{i}" for i in range(len(histories))], 0, 1)
        self._histories = histories
        self._applied = np.zeros(len(histories), np.intp)
        self._events = 0

    def next_events(self, members: IntpArray, seen: IntpArray) -> tuple[EventBatch, IntpArray]:
        """Take the next events of these users, up to ``seen`` of each history, as one batch; and each event's user."""
        items: list[str] = []
        types: list[int] = []
        times: list[int] = []
        for user, start, end in zip(members.tolist(), self._applied[members].tolist(), seen.tolist(), strict=True):
            history = self._histories[user]
            items += history.items[start:end]
            types += [0] * (end - start) if history.types is None else history.types[start:end]
            clock = range(start * _STEP_MS, end * _STEP_MS, _STEP_MS)
            times += clock if history.times_ms is None else history.times_ms[start:end]
        owner = np.repeat(members, seen - self._applied[members])
        self._applied[members] = seen
        count, first = len(items), self._events
        self._events += count
        numbers = np.arange(first, first + count)
        ids = (1 + numbers).astype(np.uint64)
        batch = EventBatch(
            user_ids=[""] * count,
            item_ids=items,
            event_ids=[""] * count,
            items=id_hashes(items),
            # events of one time are ordered by id; these ids keep the order of the log
            id_hashes=ids,
            ids=ids,
            record_ids=ids,
            continues=np.zeros(count, np.bool_),
            types=np.array(types, np.uint8),
            times=np.array(times, np.int64),
            written=np.zeros(count, np.int64),
            received=np.zeros(count, np.int64),
            sources=[_LOG],
            source=np.zeros(count, np.intp),
            offsets=numbers.astype(np.int64),
            recommendations=np.zeros(count, np.uint64),
        )
        return batch, owner


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one model on one set of questions."""

    model: str
    ranks: Int64Array  # rank of each target in its list, from 0; -1: it is not in the list
    accuracy: dict[str, Figure]  # "recall@5" to "ndcg@20"
    beyond: dict[str, float]  # coverage, novelty, diversity at 20
    groups: dict[str, dict[str, Figure]]  # by history length, and for cold items
    counts: dict[str, int]  # number of predictions of each group
    cost: Cost | None = None

    @property
    def predictions(self) -> int:
        return len(self.ranks)


def evaluate_stream(model: StreamModel, asked: Questions, trained_on: Container[str], seed: int = 0) -> Report:
    """Let the model answer the questions, and measure its answers."""
    lists, _ = model.answer(asked, 20)
    return judge(model.encoder.manifest.version, lists, asked, trained_on, model.index, seed, model.cost)


def judge(
    name: str,
    lists: Sequence[Sequence[str]],
    asked: Questions,
    trained_on: Container[str],
    index: ItemIndex,
    seed: int = 0,
    cost: Cost | None = None,
) -> Report:
    """Measure lists, one for each question. For novelty an item's popularity is its events in the questions' log.

    Parameters
    ----------
    trained_on : ids of items that the model was trained on; a target that is not among them is cold
    index : items and vectors, for coverage and diversity
    """
    ranks = rank_of(lists, asked.targets)
    cold = np.array([target not in trained_on for target in asked.targets], np.bool_)
    chosen = {group: rows for group, rows in groups(asked.seen.astype(np.int64), cold).items() if rows.any()}
    popularity = Counter(item for history in asked.log for item in history.items)
    return Report(
        name,
        ranks,
        accuracy(ranks, seed),
        beyond(lists, popularity, index),
        {group: accuracy(ranks[rows], seed) for group, rows in chosen.items()},
        {group: int(rows.sum()) for group, rows in chosen.items()},
        cost,
    )
