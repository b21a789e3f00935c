"""Events on another partition than their user's: counted by cause, and told once."""

import pytest
import structlog
from structlog.testing import capture_logs

from tests.unit.streams.in_memory.world import World
from tests.unit.streams.pipeline.test_profile_loader import owner_of, work_through

pytestmark = pytest.mark.usefixtures("no_time")


async def test_misplaced_events_are_counted_by_cause_and_told_once(world: World) -> None:
    worker = await owner_of(world)
    structlog.reset_defaults()
    with capture_logs() as logs:
        for number in range(30):
            world.produce(f"user-{number}", 0, 1_000 + number, misplaced=True)
            await work_through(worker)
    told = [entry["event"] for entry in logs if "take a detour" in entry["event"]]
    assert len(told) == 1
    labels = {"namespace": "", "topic": "clicks"}
    count = worker.metrics.registry.get_sample_value
    assert count("prefstream_misplaced_total", labels | {"cause": "no-key"}) == 30
    assert count("prefstream_rerouted_total", labels) == 30
