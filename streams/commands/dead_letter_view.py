"""Dead letters as an operator sees them, and what it takes to send one back to where it came from."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas import rerouted
from schemas.catalog import CatalogItem
from schemas.codec import decode
from schemas.command import ProfileCommand
from schemas.dead_letter import DeadLetter, original_headers
from schemas.errors import DecodeError, DecodeReason
from schemas.events import EVENT_CLASSES, EVENT_TYPES, Event
from schemas.headers import CONTENT_TYPE, content_type
from schemas.rerouted import ORIGIN_TOPIC_HEADER, REROUTED_HEADERS
from streams.display_text import safe_bytes
from streams.errors import PrefstreamError
from streams.kafka.topics import CATALOG, COMMANDS, EVENT_TOPICS, REROUTED, TopicNames

Headers = list[tuple[str, bytes | None]]

UNREADABLE = "unreadable"
"""The reason that is shown for a record whose own headers don't say why it is here."""

_MESSAGES: dict[str, type[Any]] = {
    **{topic: EVENT_CLASSES[EVENT_TYPES.index(kind)] for topic, kind in EVENT_TOPICS.items()},
    COMMANDS: ProfileCommand,
    CATALOG: CatalogItem,
}


@dataclass(frozen=True)
class Parked:
    """A record of the dead letters."""

    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    letter: DeadLetter | None

    @property
    def place(self) -> str:
        """``PARTITION:OFFSET``, its name in commands."""
        return f"{self.partition}:{self.offset}"

    @property
    def reason(self) -> str:
        """Why it was refused."""
        return UNREADABLE if self.letter is None else self.letter.reason

    @property
    def source(self) -> str:
        """Where it was read, ``TOPIC:PARTITION:OFFSET``."""
        letter = self.letter
        return "" if letter is None else f"{letter.source_topic}:{letter.source_partition}:{letter.source_offset}"

    def summary(self) -> dict[str, Any]:
        """The fields of a list."""
        letter = self.letter
        return {
            "place": self.place,
            "time_ms": self.time_ms,
            "reason": self.reason,
            "field": letter.field if letter else None,
            "detail": letter.detail if letter else None,
            "source_topic": letter.source_topic if letter else None,
            "source_partition": letter.source_partition if letter else None,
            "source_offset": letter.source_offset if letter else None,
            "source_timestamp_ms": letter.source_timestamp_ms if letter else None,
        }

    def full(self) -> dict[str, Any]:
        """Everything; bytes as text to look at and as base64 to work with."""
        return self.summary() | {
            "key": None if self.key is None else safe_bytes(self.key),
            "headers": [
                [name, None if value is None else safe_bytes(value)] for name, value in original_headers(self.headers)
            ],
            "value": None if self.value is None else safe_bytes(self.value),
            "value_base64": None if self.value is None else base64.b64encode(self.value).decode(),
        }


def parked(message: Any) -> Parked:
    """A dead letter from a Kafka message, whatever it holds."""
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
    """Sending it back would come to nothing, and the message says why."""


def resend(
    record: Parked,
    names: TopicNames,
    *,
    now_ms: int,
    max_future_ms: int,
    value: bytes | None = None,
    force: bool = False,
) -> Resend:
    """What sends a dead letter back to the topic where it was first written.

    It goes there as a new record, with a new offset: its user's fences may be past the old one by now, and an event
    below its fence is skipped. So one that was refused on its way through `rerouted` goes to the topic of its origin,
    without the headers of that way. What can be decoded gets the key that its user's or item's records have.

    Parameters
    ----------
    record : the dead letter
    names : topics that it may go to
    now_ms : the time that the new record will have
    max_future_ms : how far beyond it an event may lie
    value : a mended value instead of its own, as JSON: the content type that the old one had goes
    force : send what would be refused again, because the workers may know more than this release

    Raises
    ------
    NotReplayable
        It is no dead letter of these topics, or it would be refused again.
    """
    if record.letter is None:
        raise NotReplayable("its headers don't say where it came from")
    topic = record.letter.source_topic
    headers = original_headers(record.headers)
    if names.short(topic) == REROUTED:
        topic = _origin(headers)
        headers = [(name, kept) for name, kept in headers if name not in REROUTED_HEADERS.values()]
    message_type = _MESSAGES.get(names.short(topic)) if names.full(names.short(topic)) == topic else None
    if message_type is None:
        raise NotReplayable(f"it came from {topic!r}, which is no input of this namespace")
    payload = record.value if value is None else value
    if value is not None:
        headers = [(name, kept) for name, kept in headers if name != CONTENT_TYPE]
    key = record.key
    try:
        key = _checked_key(message_type, payload, headers, now_ms + max_future_ms)
    except DecodeError as error:
        if not force:
            raise NotReplayable(f"it would be refused again ({error}): send a mended value with --value") from None
    return Resend(topic, key, payload, headers)


def _origin(headers: Sequence[tuple[str, bytes | None]]) -> str:
    try:
        return rerouted.Rerouted.from_headers(headers).topic
    except DecodeError:
        raise NotReplayable(
            f"it was re-routed, and its header {ORIGIN_TOPIC_HEADER!r} or one beside it is broken"
        ) from None


def _checked_key(message_type: type[Any], value: bytes | None, headers: Headers, latest_ms: int) -> bytes:
    message = decode(message_type, value, content_type(headers))
    if isinstance(message, CatalogItem):
        return message.item_id.encode()
    if isinstance(message, Event) and message.event_time_ms > latest_ms:
        detail = f"event_time_ms {message.event_time_ms} still lies in the future"
        raise DecodeError(DecodeReason.TIME_IN_FUTURE, "event_time_ms", detail)
    return bytes(message.user_id.encode())
