"""Before a new encoder version serves: who waits for it, and that it is tried out."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from encoders.artifact.registry import EncoderRegistry
from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from encoders.index.item_index import ItemIndex
from encoders.ranking.exact_ranker import ExactRanker
from schemas.catalog import ItemVector, pack_vector
from schemas.codec import encode
from schemas.encoder_state import EncoderState
from streams.catalog.catalog_progress import CatalogProgress
from streams.kafka.simulator import Simulator
from streams.monitoring.metrics import Metrics
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.settings import Settings
from streams.state.profile_shape import ProfileShape
from streams.state.profile_update import SumsConfig
from streams.versions.activations import Activations
from streams.versions.encoder_catalogue import EncoderCatalogue
from streams.versions.hot_swap import HotSwap, _try_out
from streams.versions.map_fitting import MapFitter
from tests.still_feed import StillFeed
from tests.unit.streams.conftest import DIMENSION


class Fills:
    """Whether the catalog is encoded."""

    def __init__(self) -> None:
        self.filled = False

    async def covers(self, version: str, ends: list[int]) -> bool:
        return self.filled


@pytest.fixture
def fills() -> Fills:
    return Fills()


@pytest.fixture
def swap(fills: Fills) -> Any:
    """A worker that serves v1, while v2 is named."""
    activations = Activations()
    state = EncoderState(version="v2", name="trained", dimension=2, active_since_ms=5)
    activations.see([SimpleNamespace(key=lambda: b"v2", value=lambda: encode(state))])  # type: ignore[list-item]
    unused: Any = None
    loaded: Any = SimpleNamespace(version="v1")
    progress: Any = fills
    return HotSwap(
        catalogue=EncoderCatalogue(unused, activations, progress),
        maps=unused,
        active=ActiveEncoder(loaded, StillFeed()),
        state=unused,
        preference_vectors=unused,
        candidates=unused,
        load=unused,
        make_feed=unused,
        shape=unused,
        metrics=Metrics(),
        fail=unused,
    )


async def _switch(swap: Any) -> None:
    swap._active.swap(SimpleNamespace(version="v2"), StillFeed())
    async with swap._switched:
        swap._switched.notify_all()


def test_users_of_another_worker_wait_for_a_version_that_is_filled(swap: Any, fills: Fills) -> None:
    async def story() -> None:
        fills.filled = True
        waiting = asyncio.create_task(swap.settle())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        await _switch(swap)
        await asyncio.wait_for(waiting, 5)

    asyncio.run(story())


@pytest.mark.parametrize("why", ["not filled", "no folder", "serves already"])
def test_nobody_waits_for_what_will_not_come_soon(swap: Any, fills: Fills, why: str) -> None:
    fills.filled = why != "not filled"
    if why == "no folder":
        swap.problem = "there is no folder"
    if why == "serves already":
        swap._active.swap(SimpleNamespace(version="v2"), StillFeed())
    asyncio.run(asyncio.wait_for(swap.settle(), 5))


def test_nobody_waits_for_ever(swap: Any, fills: Fills, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.versions.hot_swap._SETTLE_S", 0.01)
    fills.filled = True
    asyncio.run(asyncio.wait_for(swap.settle(), 5))


@pytest.mark.parametrize("items", [0, 3])
def test_a_version_is_tried_out_before_it_serves(graph: ExactRanker, items: int) -> None:
    index = ItemIndex(DIMENSION)
    index.put([f"i{n}" for n in range(items)], np.ones((items, DIMENSION), np.float32))
    sums = SumsConfig(np.array([60.0, 3_600.0]), np.ones((3, 2), np.float32))
    space = LoadedEncoder(version="v2", index=index, ranker=graph, sums=sums)
    _try_out(space, ProfileShape(history=4, dimension=DIMENSION, half_lives=2))
    with pytest.raises(ValueError, match="sums has shape"):
        _try_out(space, ProfileShape(history=4, dimension=DIMENSION, half_lives=3))


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
