"""When a worker that is given users waits for a new encoder version."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.codec import encode
from schemas.encoder_state import EncoderState
from streams.encoder_swap import EncoderSwap
from streams.encoder_versions import EncoderVersions
from streams.metrics import Metrics
from streams.settings import Settings


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
