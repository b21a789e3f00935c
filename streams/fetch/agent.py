"""The Faust agent that receives the events and commands of the six inputs."""

from collections.abc import Awaitable, Callable
from typing import Any

import faust

from streams.fetch.record_batch import RecordBatch
from streams.fetch.transport import batch_topic
from streams.kafka.topics import TopicNames

Put = Callable[[RecordBatch], Awaitable[None]]


def add_agent(app: faust.App, names: TopicNames, put: Put) -> None:
    """Subscribe to the inputs; ``put`` is awaited with each batch, in order."""

    @app.agent(batch_topic(app, names.inputs), name="events")  # type: ignore[untyped-decorator]
    async def _events(stream: Any) -> None:
        # Faust must not ack: the checkpoint acks a batch once all its results are saved and delivered
        async for event in stream.noack().events():
            for batch in event.value:
                await put(batch)
