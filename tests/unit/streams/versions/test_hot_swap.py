"""Before a new encoder version serves: who waits for it, and that it is tried out."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from encoders.artifact.manifest import Encoder
from encoders.artifact.registry import EncoderRegistry
from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from encoders.errors import EncoderError
from encoders.index.item_index import ItemIndex
from encoders.ranking.exact_ranker import ExactRanker
from schemas.catalog import ItemVector, pack_vector
from schemas.codec import encode
from schemas.encoder_state import EncoderState
from streams.catalog.catalog_progress import CatalogProgress
from streams.clock import now_ms
from streams.kafka.simulator import Simulator
from streams.monitoring.metrics import Metrics
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.settings import Settings
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import SumsConfig
from streams.state.state import State
from streams.state.trending import Trending
from streams.versions.activations import Activations
from streams.versions.encoder_catalogue import EncoderCatalogue
from streams.versions.hot_swap import SETTLE_S, HotSwap, try_out
from streams.versions.map_fitting import MapFitter
from tests.still_feed import StillFeed
from tests.unit.streams.conftest import DIMENSION, HISTORY


class NamedVersion:
    """What a worker sees of v2, the version that the topic names: whether it is filled, and its folder."""

    def __init__(self, graph: ExactRanker) -> None:
        self.graph = graph
        self.filled = False
        self.has_folder = True

    async def covers(self, version: str, ends: list[int]) -> bool:
        return self.filled

    def take(self, version: str) -> Encoder:
        if not self.has_folder:
            raise EncoderError("There is no folder.")
        return self.graph.encoder


class EmptyFeed(StillFeed):
    """A feed of a catalog that is encoded already."""

    def start_encoding(self) -> None: ...

    async def read(self) -> None: ...


async def _nothing(*_: Any) -> None: ...


@pytest.fixture
def named(graph: ExactRanker) -> NamedVersion:
    return NamedVersion(graph)


@pytest.fixture
def active(graph: ExactRanker) -> ActiveEncoder:
    return ActiveEncoder(loaded("v1", graph), StillFeed())


def loaded(version: str, graph: ExactRanker, items: int = 3) -> LoadedEncoder:
    index = ItemIndex(DIMENSION)
    index.put([f"i{n}" for n in range(items)], np.ones((items, DIMENSION), np.float32))
    sums = SumsConfig(np.array([60.0, 3_600.0]), np.ones((3, 2), np.float32))
    return LoadedEncoder(version=version, index=index, ranker=graph, sums=sums)


def make_swap(named: NamedVersion, active: ActiveEncoder, settle_s: float = SETTLE_S) -> HotSwap:
    """The hot swap of a worker that serves v1 while the topic names v2."""
    activations = Activations()
    state = EncoderState(version="v2", name="trained", dimension=DIMENSION, active_since_ms=5)
    activations.see([SimpleNamespace(key=lambda: b"v2", value=lambda: encode(state))])  # type: ignore[list-item]
    shape = ProfileShape(history=HISTORY, dimension=DIMENSION, half_lives=2)
    versions: Any = named
    maps: Any = SimpleNamespace(from_loaded=_nothing, from_topic=_nothing)
    vectors: Any = SimpleNamespace(note=lambda slots: None)
    candidates: Any = SimpleNamespace(prepare=_nothing)

    def make_feed(_: LoadedEncoder, failed: Callable[[BaseException], None]) -> Any:
        return EmptyFeed()

    return HotSwap(
        catalogue=EncoderCatalogue(versions, activations, versions),
        maps=maps,
        active=active,
        state=State(ProfileTable(4, shape), Trending(3_600, [1.0, 1.0, 1.0], now_ms)),
        preference_vectors=vectors,
        candidates=candidates,
        load=lambda folder: loaded("v2", named.graph),
        make_feed=make_feed,
        shape=lambda encoder: shape,
        metrics=Metrics(),
        fail=lambda error: pytest.fail(f"ended the worker: {error!r}"),
        settle_s=settle_s,
    )


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_users_of_another_worker_wait_for_a_version_that_is_filled(
    named: NamedVersion, active: ActiveEncoder
) -> None:
    swap = make_swap(named, active)
    named.filled = True
    waiting = asyncio.create_task(swap.settle())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    running = asyncio.create_task(swap.run_forever())
    await asyncio.wait_for(waiting, 5)
    running.cancel()
    assert active.encoder.version == "v2"
    assert isinstance(active.feed, EmptyFeed)


async def test_nobody_waits_for_a_version_that_is_not_filled(named: NamedVersion, active: ActiveEncoder) -> None:
    await asyncio.wait_for(make_swap(named, active).settle(), 5)
    assert active.encoder.version == "v1"


async def test_nobody_waits_for_a_version_without_a_folder(named: NamedVersion, active: ActiveEncoder) -> None:
    swap = make_swap(named, active)
    named.filled, named.has_folder = True, False
    running = asyncio.create_task(swap.run_forever())
    await _until(lambda: swap.problem is not None)
    await asyncio.wait_for(swap.settle(), 5)
    running.cancel()
    assert active.encoder.version == "v1"


async def test_nobody_waits_for_a_version_that_serves_already(named: NamedVersion, active: ActiveEncoder) -> None:
    named.filled = True
    active.swap(loaded("v2", named.graph), StillFeed())
    await asyncio.wait_for(make_swap(named, active).settle(), 5)


async def test_nobody_waits_for_ever(named: NamedVersion, active: ActiveEncoder) -> None:
    named.filled = True
    await asyncio.wait_for(make_swap(named, active, settle_s=0.01).settle(), 5)


@pytest.mark.parametrize("items", [0, 3])
def test_a_version_is_tried_out_before_it_serves(graph: ExactRanker, items: int) -> None:
    space = loaded("v2", graph, items)
    try_out(space, ProfileShape(history=4, dimension=DIMENSION, half_lives=2))
    with pytest.raises(ValueError, match="sums has shape"):
        try_out(space, ProfileShape(history=4, dimension=DIMENSION, half_lives=3))


@pytest.mark.parametrize("known", ["by a folder", "by the topic", "not"])
def test_sums_of_a_version_that_was_never_activated_are_seen_where_its_folder_is_kept(
    tmp_path: Path, graph: ExactRanker, known: str
) -> None:
    """`encoder.folder` was changed, and so the topic `encoders` names no version."""
    former = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    user = UserSide(half_lives_s=(60.0, 7_200.0))
    first = lookup.build(tmp_path / "first", ["a"], np.ones((1, DIMENSION)), "v2")
    if known == "by a folder":
        lookup.build(tmp_path / "kept" / "former", ["i0"], np.ones((1, 3)), "v1", user=user)
    versions = Activations()
    if known == "by the topic":
        versions.states["v1"] = EncoderState(version="v1", name="n", dimension=3, half_lives_s=[60.0, 7_200.0])
    simulator = Simulator()
    simulator.create_topics(["item-vectors-v1"])
    producer = Producer({"bootstrap.servers": simulator.address, "log_level": 0})
    for n, vector in enumerate(former):
        value = encode(ItemVector(item_id=f"i{n}", vector=pack_vector(vector), encoder_version="v1"))
        producer.produce("item-vectors-v1", value, f"i{n}")
    assert producer.flush(10) == 0
    index = ItemIndex(DIMENSION)
    turn = np.random.default_rng(1).standard_normal((3, DIMENSION)).astype(np.float32)
    index.put([f"i{n}" for n in range(5)], former @ turn)
    sums = SumsConfig(np.array([7_000.0, 50.0]), np.ones((3, 2), np.float32))
    space = LoadedEncoder(version="v2", index=index, ranker=graph, sums=sums)
    settings = Settings(kafka={"bootstrap_servers": simulator.address})  # type: ignore[arg-type]
    fitter = MapFitter(
        settings,
        EncoderCatalogue(EncoderRegistry(first, tmp_path / "kept"), versions, CatalogProgress(settings)),
    )
    found = asyncio.run(asyncio.wait_for(fitter.from_topic("v1", space), 30))
    if known == "not":
        assert found is None
        return
    assert found is not None
    assert (found.common, found.half_life.tolist()) == (5, [1, 0])
    np.testing.assert_allclose(found.matrix, turn, atol=1e-3)
