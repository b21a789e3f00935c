import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog

from encoders.building import hashed_text
from encoders.building.folder_writer import UserSide
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.user_head import LinearHead
from encoders.runtime import Runtime
from streams.retry import Backoff
from tests.unit.streams.in_memory.world import World


@pytest.fixture(autouse=True)
def _quiet_logs() -> Iterator[None]:
    """The product's warnings are expected here, some thousand of them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.reset_defaults()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Kafka's logs and the store, without workers yet; those that a test adds are ended after it."""
    made = World(asyncio.get_running_loop())
    yield made
    for worker in made.workers:
        worker.kill()


async def _inline(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    await asyncio.sleep(0)
    return function(*args, **kwargs)


async def _at_once(self: Backoff) -> None:
    await asyncio.sleep(0)


@pytest.fixture(scope="module")
def no_time() -> Iterator[None]:
    """Threads and waits become turns of the event loop: what happens next depends on the test alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "to_thread", _inline)
        patch.setattr(Backoff, "sleep", _at_once)
        yield


DIMENSION, HISTORY = 16, 6


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> ExactRanker:
    """The built-in encoder's ranking, small."""
    user = UserSide(history=HISTORY, score_scale=3.0, head=LinearHead(half_life_mix=(0.3, 0.7)))
    return ExactRanker(
        Runtime("cpu", threads=1), hashed_text.build(tmp_path_factory.mktemp("graph") / "encoder", DIMENSION, user=user)
    )
