"""Before a new encoder version serves: who waits for it, and that it is tried out."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from encoders.graph import RankingGraph
from encoders.index import ItemIndex
from schemas.codec import encode
from schemas.encoder_state import EncoderState
from streams.encoder_swap import EncoderSwap, _try_out
from streams.encoder_versions import EncoderVersions
from streams.index_updates import IndexUpdates
from streams.metrics import Metrics
from streams.profiles import ProfileShape
from streams.settings import Settings
from streams.space import Space
from streams.update import SumsConfig
from tests.unit.streams.conftest import DIMENSION


class Fills:
    """Whether the catalog is encoded."""

    def __init__(self) -> None:
        self.filled = False

    async def covers(self, version: str, ends: list[int]) -> bool:
        return self.filled


@pytest.fixture
def swap() -> Any:
    """A worker that serves v1, while v2 is named."""
    versions = EncoderVersions()
    state = EncoderState(version="v2", name="trained", dimension=2, active_since_ms=5)
    versions.see([SimpleNamespace(key=lambda: b"v2", value=lambda: encode(state))])  # type: ignore[list-item]
    serving = SimpleNamespace(space=SimpleNamespace(version="v1"))
    unused: Any = None
    found: Any = EncoderSwap(
        Settings(),
        unused,
        versions,
        unused,
        serving,  # type: ignore[arg-type]
        unused,
        unused,
        unused,
        unused,
        unused,
        asyncio.Lock(),
        Metrics(),
        "id",
        unused,
    )
    found._fills = Fills()
    return found


async def _switch(swap: Any) -> None:
    swap._serving.space = SimpleNamespace(version="v2")
    async with swap._switched:
        swap._switched.notify_all()


def test_users_of_another_worker_wait_for_a_version_that_is_filled(swap: Any) -> None:
    async def story() -> None:
        swap._fills.filled = True
        waiting = asyncio.create_task(swap.settle())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        await _switch(swap)
        await asyncio.wait_for(waiting, 5)

    asyncio.run(story())


@pytest.mark.parametrize("why", ["not filled", "no folder", "serves already"])
def test_nobody_waits_for_what_will_not_come_soon(swap: Any, why: str) -> None:
    swap._fills.filled = why != "not filled"
    if why == "no folder":
        swap.problem = "there is no folder"
    if why == "serves already":
        swap._serving.space = SimpleNamespace(version="v2")
    asyncio.run(asyncio.wait_for(swap.settle(), 5))


def test_nobody_waits_for_ever(swap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.encoder_swap._SETTLE_S", 0.01)
    swap._fills.filled = True
    asyncio.run(asyncio.wait_for(swap.settle(), 5))


@pytest.mark.parametrize("items", [0, 3])
def test_a_version_is_tried_out_before_it_serves(graph: RankingGraph, items: int) -> None:
    index = ItemIndex(DIMENSION)
    index.put([f"i{n}" for n in range(items)], np.ones((items, DIMENSION), np.float32))
    sums = SumsConfig(np.array([60.0, 3_600.0]), np.ones((3, 2), np.float32))
    space = Space("v2", index, IndexUpdates(DIMENSION, "v2"), graph, sums)
    _try_out(space, ProfileShape(history=4, dimension=DIMENSION, half_lives=2))
    with pytest.raises(ValueError, match="sums has shape"):
        _try_out(space, ProfileShape(history=4, dimension=DIMENSION, half_lives=3))
