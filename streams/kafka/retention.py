"""How long Kafka may keep a record of the inputs: asked from the broker, because a topic's owner may change it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

from streams.kafka.topics import REROUTED, TopicNames

log = structlog.get_logger(__name__)

_TIMEOUT_S = 10.0
ASK_EVERY_S = 600.0
"""Seconds between two questions to the broker."""


@dataclass(frozen=True)
class TopicConfig:
    """The settings of an input that matter here."""

    keeps_s: float | None
    """Seconds for which the topic may keep a record; None: for ever."""
    max_message_bytes: int | None = None
    """The largest batch that the topic takes; None: unknown."""


def read_config(entries: Mapping[str, str | None]) -> TopicConfig:
    """Read the settings of a topic, as the broker describes them.

    Kafka deletes whole segments: a record may stay for the time of its segment (``segment.ms``) beyond its retention.
    """
    size = entries.get("max.message.bytes")
    retention_ms = int(entries.get("retention.ms") or -1)
    if retention_ms < 0 or "delete" not in (entries.get("cleanup.policy") or "delete"):
        keeps_s = None
    else:
        keeps_s = (retention_ms + int(entries.get("segment.ms") or 0)) / 1000
    return TopicConfig(keeps_s, int(size) if size else None)


def longest_s(configs: Mapping[str, TopicConfig], rerouted: str) -> float | None:
    """Return the seconds after which no record that was written before can be read any more; None: never.

    A record may be rerouted at the end of its life, and ``rerouted`` then keeps the copy for a life of its own.
    """
    of_copies = configs[rerouted].keeps_s
    lives = [config.keeps_s for config in configs.values()]
    if of_copies is None or None in lives:
        return None
    return max(life for life in lives if life is not None) + of_copies


class InputRetention:
    """Knows for how long a record of the inputs may still be read. Until the broker has told it, the setting counts."""

    def __init__(
        self,
        admin: AdminClient | None,
        names: TopicNames,
        *,
        retention_h: float,
        max_rerouted_bytes: int,
    ) -> None:
        """Create without an answer.

        Parameters
        ----------
        admin : asks the broker; None for the simulator, which knows no settings of topics
        retention_h : hours that the inputs keep records, if the broker does not tell
        max_rerouted_bytes : size of the largest record that workers send to ``rerouted``
        """
        self._admin, self._names = admin, names
        self._max_rerouted_bytes = max_rerouted_bytes
        assumed = TopicConfig(retention_h * 3600)
        self._longest_s = longest_s(dict.fromkeys(names.inputs, assumed), names.full(REROUTED))
        self._told: set[str] = set()

    @property
    def longest_s(self) -> float | None:
        """Seconds after which no record that was written before can be read any more; None: never."""
        return self._longest_s

    async def refresh(self) -> None:
        """Ask the broker. If it refuses or does not answer, the last answer stays."""
        if self._admin is None:
            return
        try:
            configs = await asyncio.to_thread(self._describe, self._admin)
        except (KafkaException, TimeoutError, KeyError, ValueError) as error:
            self._tell_once(
                "the broker does not tell how long the inputs keep records: rows of forgotten users expire by "
                "kafka.input_retention_h; let this user describe the configs of the topics",
                problem=str(error),
            )
            return
        rerouted = self._names.full(REROUTED)
        self._longest_s = longest_s(configs, rerouted)
        largest = configs[rerouted].max_message_bytes
        if largest is not None and largest < self._max_rerouted_bytes:
            self._tell_once(
                "a topic takes smaller records than this worker may send there, and such a record would stop the "
                "worker: raise max.message.bytes of the topic, or lower kafka.max_rerouted_bytes",
                topic=rerouted,
                max_message_bytes=largest,
                max_rerouted_bytes=self._max_rerouted_bytes,
            )

    async def watch(self) -> None:
        """Ask the broker again from time to time."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            await self.refresh()

    def _describe(self, admin: AdminClient) -> dict[str, TopicConfig]:
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in self._names.inputs]
        answers = admin.describe_configs(resources, request_timeout=_TIMEOUT_S)
        return {
            resource.name: read_config({name: entry.value for name, entry in future.result(_TIMEOUT_S).items()})
            for resource, future in answers.items()
        }

    def _tell_once(self, event: str, **fields: object) -> None:
        if event not in self._told:
            self._told.add(event)
            log.warning(event, **fields)
