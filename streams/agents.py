"""The two Faust agents: events and commands of the five inputs, and the catalog."""

from collections.abc import Awaitable, Callable
from typing import Any

import faust

from streams.topics import CATALOG, TopicNames
from streams.transport import batch_topic

Step = Callable[[Any], Awaitable[Any]]


def add_agents(
    app: faust.App, names: TopicNames, events: Step, catalog: Step, fail: Callable[[BaseException], None]
) -> None:
    """Subscribe the steps to their topics.

    ``noack``: a step acks its batch itself, once all that follows from it is safe; Faust would ack a batch whose agent
    raised. An error that a step lets out can't be mended here: the worker stops, and the batch is read again.
    """

    async def consume(stream: Any, step: Step) -> None:
        async for event in stream.noack().events():
            try:
                await step(event)
            except Exception as error:
                fail(error)
                return

    @app.agent(batch_topic(app, names.inputs), name="events")  # type: ignore[untyped-decorator]
    async def _events(stream: Any) -> None:
        await consume(stream, events)

    @app.agent(batch_topic(app, [names.full(CATALOG)]), name="catalog")  # type: ignore[untyped-decorator]
    async def _catalog(stream: Any) -> None:
        await consume(stream, catalog)
