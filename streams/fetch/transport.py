"""A Faust transport that delivers whole batches: one message is all that a fetch brought, a batch a partition.

Stock Faust spends some 75 us an event on tasks and queues; a fetch costs the same once for thousands. Acks are by
batch and in order: the committed offset never passes a record whose batch is not acked. That needs no list of gaps
(compaction and transaction markers leave some): every batch is in flight from the moment it is fetched, before Faust
can drop it (it does, while its flow is stopped), so what lies between two batches of a partition was never a record.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import Message

from streams.fetch.batch_consumer import Consumer


class BatchSchema(faust.Schema):  # type: ignore[misc]  # faust ships no usable types
    """Hands batches on undecoded: decoding is done on arrays, by `streams.decode.decoder`."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Any]]:
        """The function that makes a stream's event of a message."""
        create_event = app.create_event

        async def hand_on(message: Message, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, message.headers, message)

        return hand_on


class Transport(driver.Transport):  # type: ignore[misc]
    """``kafkabatch://host:port``: registered as a ``faust.transports`` entry point."""

    Consumer = Consumer


def batch_topic(app: faust.App, names: Iterable[str]) -> Any:
    """A Faust topic over several Kafka topics; the value of an event is a list of `RecordBatch`es."""
    schema = BatchSchema(key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    return app.topic(*names, schema=schema)
