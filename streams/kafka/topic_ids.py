"""Kafka's ids of the input topics.

A topic that was deleted and created again has a new id, and therefore applied offsets of its own.
"""

import asyncio

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

from streams.errors import PrefstreamError
from streams.kafka.topics import ACTIONS, COMMANDS, EVENT_TOPICS, TopicNames

_TIMEOUT_S = 10.0


class BrokerSilent(PrefstreamError):
    """Raised when the broker does not answer; the same call may succeed later."""


class TopicIds:
    """Knows the ids of the topics that events, actions and commands are first written to."""

    def __init__(self, admin: AdminClient, names: TopicNames, fixed: str | None = None) -> None:
        """``fixed`` is the id of every topic of a broker that has no topic ids (the simulator)."""
        self._admin = admin
        self._topics = [names.full(name) for name in (*EVENT_TOPICS, COMMANDS, ACTIONS)]
        self._inputs = names.inputs
        self._fixed = fixed
        self._ids: dict[str, str] = {}

    @property
    def of_simulator(self) -> bool:
        """Whether the broker is the simulator, which knows neither ids nor settings of topics."""
        return self._fixed is not None

    def __call__(self, topic: str) -> str:
        """Return the id of a topic as of the last `refresh`.

        Empty for ``rerouted``: its records count under the topic and offset where they were first written.
        """
        return self._ids.get(topic, "")

    async def changed(self) -> bool:
        """Tell whether a topic was deleted and created again since the last `refresh`."""
        return self._fixed is None and self._ids != await asyncio.to_thread(self._describe, self._topics)

    async def ask(self) -> dict[str, str]:
        """Ask the broker for the present ids of all inputs."""
        if self._fixed is not None:
            return dict.fromkeys(self._inputs, self._fixed)
        return await asyncio.to_thread(self._describe, self._inputs)

    async def id_of(self, topic: str) -> str:
        """Ask the broker for the id of any topic."""
        if self._fixed is not None:
            return self._fixed
        return (await asyncio.to_thread(self._describe, [topic]))[topic]

    def columns(self) -> list[tuple[str, str]]:
        """Return (topic, id) of each topic that holds a user's records in the user's own partition."""
        return [(topic, self(topic)) for topic in self._topics]

    async def refresh(self) -> None:
        """Ask the broker for the ids of all input topics, or take ``fixed`` for each of them."""
        if self._fixed is not None:
            self._ids = dict.fromkeys(self._topics, self._fixed)
            return
        self._ids = await asyncio.to_thread(self._describe, self._topics)

    def _describe(self, topics: list[str]) -> dict[str, str]:
        try:
            futures = self._admin.describe_topics(TopicCollection(topics), request_timeout=_TIMEOUT_S)
            return {topic: str(future.result(_TIMEOUT_S).topic_id) for topic, future in futures.items()}
        except Exception as error:
            raise BrokerSilent(f"The broker did not describe the topics {', '.join(topics)}: {error}.") from error
