"""How well an encoder predicts: recorded events through the update and the ranking that the worker runs."""

import time
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from encoders.graph import RankingGraph
from encoders.index import ItemIndex
from encoders.items import ItemEncoder
from encoders.manifest import Encoder
from encoders.ranked import LEAST_SCORE
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem
from schemas.events import EVENT_TYPES
from schemas.ids import id_hashes
from streams.batch import EventBatch
from streams.measures import Figure, accuracy, beyond, groups, place_of
from streams.preference import Int64Array, IntpArray
from streams.profiles import ProfileShape, ProfileTable, Source
from streams.ranking import Rules, adjustments, head_inputs, left_out
from streams.update import SumsConfig, apply_batch

_USERS = 1024  # users at a time
_LOG = Source("evaluation", "evaluation", 0)
_STEP_MS = 1_000  # between events without times: their position is the clock


@dataclass(frozen=True, slots=True)
class History:
    """The events of one user in order."""

    items: Sequence[str]
    types: Sequence[int] | None = None  # places in EVENT_TYPES; clicks, if not given
    times_ms: Sequence[int] | None = None  # position is the clock, if not given


@dataclass(slots=True)
class Cost:
    """What the stream spent, in seconds of one thread of this process."""

    update_s: float = 0.0
    rank_s: float = 0.0
    events: int = 0
    users: int = 0

    @property
    def update_us(self) -> float:
        """Microseconds an event."""
        return 1e6 * self.update_s / max(self.events, 1)

    @property
    def rank_us(self) -> float:
        """Microseconds a user."""
        return 1e6 * self.rank_s / max(self.users, 1)


@dataclass
class StreamModel:
    """An encoder with an index of items, asked as the worker asks it.

    Parameters
    ----------
    items : the catalog; an item whose vector is unknown is left out
    rules : what may not be recommended; by default all may, also what was just seen
    """

    encoder: Encoder
    runtime: Runtime
    items: Sequence[CatalogItem]
    rules: Rules = field(default_factory=lambda: Rules(exclude_purchased_days=0, exclude_seen_events=0))

    def __post_init__(self) -> None:
        manifest = self.encoder.manifest
        self.index = ItemIndex(manifest.dimension)
        vectors, known, bias = ItemEncoder(self.runtime, self.encoder).encode_with_bias(self.items)
        kept = np.flatnonzero(known)
        self.index.put([self.items[i].item_id for i in kept.tolist()], vectors[kept], bias[kept])
        self.cost = Cost()
        self._graph = RankingGraph(self.runtime, self.encoder)
        self._sums = SumsConfig(
            np.array(manifest.half_lives_s, np.float64),
            np.array([manifest.type_weights[kind] for kind in EVENT_TYPES], np.float32),
        )
        self._shape = ProfileShape(
            history=manifest.history, dimension=manifest.dimension, half_lives=len(manifest.half_lives_s)
        )

    def recommend(self, histories: Sequence[History], k: int) -> tuple[list[list[str]], NDArray[np.float32]]:
        """The k best items of each user after the events of its history, and their scores: (B, k)."""
        lists: list[list[str]] = []
        scores = []
        for start in range(0, len(histories), _USERS):
            found, best = self._recommend(histories[start : start + _USERS], k)
            lists += found
            scores.append(best)
        return lists, np.concatenate(scores) if scores else np.zeros((0, k), np.float32)

    def _recommend(self, histories: Sequence[History], k: int) -> tuple[list[list[str]], NDArray[np.float32]]:
        table = ProfileTable(len(histories), self._shape)
        slots = table.allocate([f"u{i}" for i in range(len(histories))], 0, 1)
        batch, owner = _batch(histories)
        began = time.perf_counter()
        apply_batch(table, batch, slots[owner], self.index, self._sums)
        self.cost.update_s += time.perf_counter() - began
        self.cost.events += len(batch)
        began = time.perf_counter()
        inputs = head_inputs(table, slots, self.index, self.encoder.manifest.history)
        barred = left_out(table, slots, self.index, self.rules)
        ranked = self._graph.rank(inputs, self.index.snapshot(), barred, adjustments(barred), k)
        self.cost.rank_s += time.perf_counter() - began
        self.cost.users += len(histories)
        ids = self.index.item_ids
        lists = [
            [ids[row] for row, score in zip(rows, scores, strict=True) if score > LEAST_SCORE]
            for rows, scores in zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True)
        ]
        return lists, ranked.scores


def _batch(histories: Sequence[History]) -> tuple[EventBatch, IntpArray]:
    """All events as one batch, in the order in which their users lived them, and whose each is."""
    items = [item for history in histories for item in history.items]
    lengths = np.array([len(history.items) for history in histories], np.intp)
    owner = np.repeat(np.arange(len(histories)), lengths)
    types = [kind for history in histories for kind in (history.types or [0] * len(history.items))]
    times = [
        time_ms
        for history in histories
        for time_ms in (history.times_ms or range(0, _STEP_MS * len(history.items), _STEP_MS))
    ]
    count = len(items)
    event_ids = [f"e{i:012d}" for i in range(count)]
    batch = EventBatch(
        user_ids=[""] * count,
        item_ids=items,
        event_ids=event_ids,
        items=id_hashes(items),
        # a tie of times goes by id: numbers keep the order of the log
        ids=np.arange(1, count + 1, dtype=np.uint64),
        types=np.array(types, np.uint8),
        times=np.array(times, np.int64),
        written=np.zeros(count, np.int64),
        received=np.zeros(count, np.int64),
        sources=[_LOG],
        source=np.zeros(count, np.intp),
        offsets=np.arange(count, dtype=np.int64),
        recommendations=np.zeros(count, np.uint64),
    )
    return batch, owner


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one model on one set of questions."""

    model: str
    places: Int64Array  # of each target in its list, from 0; -1 where it is not in it
    accuracy: dict[str, Figure]  # "recall@5" to "ndcg@20"
    beyond: dict[str, float]  # coverage, novelty, diversity at 20
    groups: dict[str, dict[str, Figure]]  # by history length, and for cold items
    counts: dict[str, int]  # predictions of each group
    cost: Cost | None = None

    @property
    def predictions(self) -> int:
        return len(self.places)


def evaluate_stream(
    model: StreamModel,
    histories: Sequence[History],
    targets: Sequence[str],
    trained_on: Container[str],
    events: Sequence[History],
    seed: int = 0,
) -> Report:
    """Ask the stream, and judge its answers."""
    lists, _ = model.recommend(histories, 20)
    name = model.encoder.manifest.version
    return judge(name, lists, histories, targets, trained_on, events, model.index, seed, model.cost)


def judge(
    name: str,
    lists: Sequence[Sequence[str]],
    histories: Sequence[History],
    targets: Sequence[str],
    trained_on: Container[str],
    events: Sequence[History],
    index: ItemIndex,
    seed: int = 0,
    cost: Cost | None = None,
) -> Report:
    """Figures of lists.

    Parameters
    ----------
    trained_on : ids of items that have a vector of their own; a target that is not among them is cold
    events : what the popularity of an item, for the novelty of a list, is counted from
    index : items and vectors, for coverage and diversity
    """
    places = place_of(lists, targets)
    lengths = np.array([len(history.items) for history in histories], np.int64)
    cold = np.array([target not in trained_on for target in targets], np.bool_)
    chosen = {group: rows for group, rows in groups(lengths, cold).items() if rows.any()}
    popularity = Counter(item for history in events for item in history.items)
    return Report(
        name,
        places,
        accuracy(places, seed),
        beyond(lists, popularity, index),
        {group: accuracy(places[rows], seed) for group, rows in chosen.items()},
        {group: int(rows.sum()) for group, rows in chosen.items()},
        cost,
    )
