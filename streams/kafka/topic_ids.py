"""Kafka's id of each input topic: a topic that was deleted and made again has a new one, and its own fences."""

import asyncio

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

from streams.errors import PrefstreamError
from streams.kafka.topics import COMMANDS, EVENT_TOPICS, TopicNames

_TIMEOUT_S = 10.0


class BrokerSilent(PrefstreamError):
    """The broker did not answer: try again."""


class TopicIds:
    """Ids of the topics that events and commands are first written to."""

    def __init__(self, admin: AdminClient, names: TopicNames, fixed: str | None = None) -> None:
        self._admin = admin
        self._topics = [names.full(name) for name in (*EVENT_TOPICS, COMMANDS)]
        self._fixed = fixed
        self._ids: dict[str, str] = {}

    def __call__(self, topic: str) -> str:
        """The id of a topic; of one that isn't fenced by its own coordinates (rerouted), an empty one."""
        return self._ids.get(topic, "")

    async def changed(self) -> bool:
        """Whether a topic was deleted and made again since the last `refresh`."""
        return self._fixed is None and self._ids != await asyncio.to_thread(self._describe, self._topics)

    async def one(self, topic: str) -> str:
        """The id of any topic, asked for now."""
        if self._fixed is not None:
            return self._fixed
        return (await asyncio.to_thread(self._describe, [topic]))[topic]

    def columns(self) -> list[tuple[str, str]]:
        """(topic, id) of each log that a user's own partition reads."""
        return [(topic, self(topic)) for topic in self._topics]

    async def refresh(self) -> None:
        """Ask the broker; the simulator, which has no ids, gets one for its whole life (``fixed``)."""
        if self._fixed is not None:
            self._ids = dict.fromkeys(self._topics, self._fixed)
            return
        self._ids = await asyncio.to_thread(self._describe, self._topics)

    def _describe(self, topics: list[str]) -> dict[str, str]:
        try:
            found = self._admin.describe_topics(TopicCollection(topics), request_timeout=_TIMEOUT_S)
            return {topic: str(future.result(_TIMEOUT_S).topic_id) for topic, future in found.items()}
        except Exception as error:
            raise BrokerSilent(f"The broker did not describe the topics {', '.join(topics)}: {error}.") from error
