"""Produces records for a command, and makes sure that Kafka confirmed each of them."""

from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from streams.commands.broker import QUIET
from streams.commands.errors import CommandError
from streams.kafka.clients import make_producer
from streams.settings import Compression, Kafka

_POLL_EVERY = 500
_FULL_WAIT_S = 0.05
_FLUSH_S = 0.2  # Ctrl-C works between two flushes


class RecordTooLarge(CommandError):
    """A record is larger than the producer accepts."""


@dataclass(frozen=True)
class Landed:
    """The topic, partition and offset of a record that Kafka confirmed."""

    topic: str
    partition: int
    offset: int


class Sender:
    """An idempotent producer; only after ``finish`` is every record sure to be in Kafka."""

    def __init__(self, kafka: Kafka, compression: Compression = "none", **extra: Any) -> None:
        self._producer = make_producer(kafka, compression, **QUIET, **extra)
        self.sent = 0
        self.refused = 0
        self.confirmed = 0
        self._problem = ""
        self._last: Landed | None = None

    def send(self, topic: str, key: str | bytes | None, value: bytes | None, headers: Any = None) -> None:
        """Hand a record to the producer, waiting while its queue is full."""
        while True:
            try:
                self._producer.produce(topic, value, key, headers=headers or [], on_delivery=self._report)
                break
            except BufferError:
                self._producer.poll(_FULL_WAIT_S)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise RecordTooLarge(f"the record is too large for {topic}: {error.args[0].str()}") from None
                raise CommandError(f"Nothing can be produced to {topic}: {error.args[0].str()}.") from None
        self.sent += 1
        if self.sent % _POLL_EVERY == 0:
            self._producer.poll(0)

    def send_one(self, topic: str, key: str | bytes | None, value: bytes | None, headers: Any = None) -> Landed:
        """Send a record, wait until Kafka has it, and return its topic, partition and offset."""
        self.send(topic, key, value, headers)
        self.finish()
        assert self._last is not None, "a confirmed record has an offset"
        return self._last

    def wait(self, seconds: float) -> None:
        """Wait, and handle Kafka's delivery reports meanwhile."""
        self._producer.poll(seconds)

    def finish(self) -> None:
        """Wait until Kafka has answered for every record; raises `CommandError` if it refused one or more."""
        while self._producer.flush(_FLUSH_S):
            pass
        if self.refused:
            raise CommandError(
                f"Kafka refused {self.refused} of {self.sent} records; the first problem: {self._problem}."
            )

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.confirmed += 1
            self._last = Landed(str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
            return
        self.refused += 1
        if not self._problem:
            self._problem = f"{message.topic()}: {error.str()}"
