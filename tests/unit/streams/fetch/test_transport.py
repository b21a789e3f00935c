"""How a batch goes through Faust: undecoded."""

import asyncio
from types import SimpleNamespace

from faust.types import TP

from streams.fetch.record_batch import RecordBatch
from streams.fetch.transport import BatchSchema
from tests.unit.streams.fetch.consumer_on_a_log import records


def test_the_schema_hands_a_batch_on_undecoded() -> None:
    batch = RecordBatch(TP("clicks", 0), records(1))
    app = SimpleNamespace(create_event=lambda *args: args)
    message = SimpleNamespace(value=batch, headers=())
    hand_on = BatchSchema(key_serializer="raw", value_serializer="raw").compile(app)
    assert asyncio.run(hand_on(message)) == (None, batch, (), message)
