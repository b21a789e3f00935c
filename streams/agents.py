"""The Faust agent: events and commands of the five inputs."""

from collections.abc import Awaitable, Callable
from typing import Any

import faust

from streams.topics import TopicNames
from streams.transport import batch_topic

Step = Callable[[Any], Awaitable[Any]]


def add_agent(app: faust.App, names: TopicNames, step: Step, fail: Callable[[BaseException], None]) -> None:
    """Subscribe ``step`` to the inputs.

    ``noack``: it acks its batch itself, once all that follows from it is safe; Faust would ack a batch whose agent
    raised. An error that it lets out can't be mended here: the worker stops, and the batch is read again.
    """

    @app.agent(batch_topic(app, names.inputs), name="events")  # type: ignore[untyped-decorator]
    async def _events(stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                await step(event)
            except Exception as error:
                fail(error)
                return
