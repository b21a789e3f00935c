"""Dead letters as an operator sees them, and the record that sends a dead letter back to its topic."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from schemas import rerouted
from schemas.actions import Action
from schemas.catalog import CatalogItem
from schemas.codec import decode_input
from schemas.command import ProfileCommand
from schemas.dead_letter import DeadLetter, original_headers
from schemas.errors import DecodeError
from schemas.events import EVENT_CLASSES, EVENT_TYPES, Event
from schemas.headers import CONTENT_TYPE, content_type
from schemas.rerouted import ORIGIN_TOPIC_HEADER, REROUTED_HEADERS
from streams.decode.event_times import wrong_times
from streams.display_text import safe_bytes
from streams.errors import PrefstreamError
from streams.kafka.topics import ACTIONS, CATALOG, COMMANDS, EVENT_TOPICS, REROUTED, TopicNames

Headers = list[tuple[str, bytes | None]]

UNREADABLE = "unreadable"
"""The reason that is shown for a record whose headers don't say why it was refused."""

MESSAGES: dict[str, type[Any]] = {
    **{topic: EVENT_CLASSES[EVENT_TYPES.index(kind)] for topic, kind in EVENT_TOPICS.items()},
    COMMANDS: ProfileCommand,
    ACTIONS: Action,
    CATALOG: CatalogItem,
}
"""Short name of a topic whose refused records become dead letters -> the class of its messages."""


@dataclass(frozen=True)
class Parked:
    """A record of the topic `dead-letters`."""

    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    letter: DeadLetter | None

    @property
    def position(self) -> str:
        """``PARTITION:OFFSET``, the record's name in commands."""
        return f"{self.partition}:{self.offset}"

    @property
    def reason(self) -> str:
        """Why the record was refused."""
        return UNREADABLE if self.letter is None else self.letter.reason

    @property
    def source(self) -> str:
        """Where the refused record was read: ``TOPIC:PARTITION:OFFSET``; empty if unknown."""
        letter = self.letter
        return "" if letter is None else f"{letter.source_topic}:{letter.source_partition}:{letter.source_offset}"

    @property
    def origin(self) -> rerouted.Rerouted | None:
        """Where the record was first written, if it was read from `rerouted` and its headers tell."""
        if self.letter is None:
            return None
        try:
            origin = rerouted.Rerouted.from_headers(original_headers(self.headers))
        except DecodeError:
            return None
        if origin.timestamp_ms is None:  # former releases copied the time
            return msgspec.structs.replace(origin, timestamp_ms=self.letter.source_timestamp_ms)
        return origin

    def summary(self) -> dict[str, Any]:
        """The fields that `dlq list --json` shows."""
        letter, origin = self.letter, self.origin
        return {
            "place": self.position,
            "time_ms": self.time_ms,
            "reason": self.reason,
            "field": letter.field if letter else None,
            "detail": letter.detail if letter else None,
            "source_topic": letter.source_topic if letter else None,
            "source_partition": letter.source_partition if letter else None,
            "source_offset": letter.source_offset if letter else None,
            "source_timestamp_ms": letter.source_timestamp_ms if letter else None,
            "origin_topic": origin.topic if origin else None,
            "origin_partition": origin.partition if origin else None,
            "origin_offset": origin.offset if origin else None,
            "origin_timestamp_ms": origin.timestamp_ms if origin else None,
        }

    def full(self) -> dict[str, Any]:
        """All fields; the value is there as text, to be read, and as base64, to be decoded."""
        return self.summary() | {
            "key": None if self.key is None else safe_bytes(self.key),
            "headers": [
                [name, None if value is None else safe_bytes(value)] for name, value in original_headers(self.headers)
            ],
            "value": None if self.value is None else safe_bytes(self.value),
            "value_base64": None if self.value is None else base64.b64encode(self.value).decode(),
        }


def parked(message: Any) -> Parked:
    """Make a dead letter of a Kafka message; it accepts any message."""
    headers: Headers = list(message.headers() or ())
    try:
        letter = DeadLetter.from_headers(headers)
    except DecodeError:
        letter = None
    _, time_ms = message.timestamp()
    return Parked(message.partition(), message.offset(), time_ms, message.key(), message.value(), headers, letter)


@dataclass(frozen=True)
class Resend:
    """The record that a replay produces."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class NotReplayable(PrefstreamError):
    """A dead letter that can't be sent back, or would be refused again; the message says why."""


def resend(
    record: Parked,
    names: TopicNames,
    *,
    now_ms: int,
    max_future_ms: int,
    value: bytes | None = None,
    force: bool = False,
) -> Resend:
    """Make the record that sends a dead letter back to the topic where it was first written.

    It is a new record with a new offset. The applied offset of its user may have passed the old offset, and an event
    below the applied offset is skipped. For the same reason a record that was refused after it went through `rerouted`
    goes to the topic where it was first written, without the headers of `rerouted`. A value that can be decoded gets
    the key of its user's (or its item's) records.

    Parameters
    ----------
    record : the dead letter
    names : the topics of the namespace; the record must come from one of its inputs
    now_ms : the Kafka timestamp that the new record will have
    max_future_ms : how far the event's time may lie after ``now_ms``
    value : a corrected value in JSON, sent instead of the record's own; the content type of the old value is removed
    force : also send a record that would be refused again; the workers may be of a newer release, which accepts it

    Raises
    ------
    NotReplayable
        The record is no dead letter of these topics, or it would be refused again.
    """
    if record.letter is None:
        raise NotReplayable("its headers don't say where it came from")
    topic = record.letter.source_topic
    headers = original_headers(record.headers)
    if names.short(topic) == REROUTED:
        topic = _origin(headers)
        headers = [(name, header) for name, header in headers if name not in REROUTED_HEADERS.values()]
    message_type = MESSAGES.get(names.short(topic)) if names.full(names.short(topic)) == topic else None
    if message_type is None:
        raise NotReplayable(f"it came from {topic!r}, which is no input of this namespace")
    payload = record.value if value is None else value
    if value is not None:
        headers = [(name, header) for name, header in headers if name != CONTENT_TYPE]
    key = record.key
    try:
        key = _checked_key(message_type, payload, headers, now_ms, max_future_ms)
    except DecodeError as error:
        if not force:
            raise NotReplayable(f"it would be refused again ({error}): send a corrected value with --value") from None
    return Resend(topic, key, payload, headers)


def _origin(headers: Sequence[tuple[str, bytes | None]]) -> str:
    try:
        return rerouted.Rerouted.from_headers(headers).topic
    except DecodeError:
        raise NotReplayable(
            f"it was re-routed, and its header {ORIGIN_TOPIC_HEADER!r} or another header of re-routing is broken"
        ) from None


def _checked_key(
    message_type: type[Any], value: bytes | None, headers: Headers, now_ms: int, max_future_ms: int
) -> bytes:
    message = decode_input(message_type, value, content_type(headers)).message
    if isinstance(message, CatalogItem):
        return message.item_id.encode()
    if isinstance(message, Event | Action):
        times, written = np.array([message.event_time_ms], np.int64), np.array([now_ms], np.int64)
        for error in wrong_times(times, written, max_future_ms).values():
            raise error
    return bytes(message.user_id.encode())
