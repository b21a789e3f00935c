"""The consumer of a worker on real Kafka: transactions, what is committed, and logs that were cut or made again."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.catalog.catalog_progress import CatalogOffsets
from streams.fetch.batch_consumer import Consumer as BatchConsumer
from streams.fetch.faust_app import make_app
from streams.fetch.hooks import FetchHooks
from streams.fetch.record_batch import RecordBatch
from streams.kafka.clients import make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.topic_ids import TopicIds
from streams.kafka.topics import TopicNames
from streams.settings import Settings

DEADLINE_S = 40.0
SHORT_S = 1.5
"""Long enough for a record to be read that must not be read."""


class Group:
    """A namespace with inputs of one partition, and the batches that a consumer of its group gets."""

    def __init__(self, servers: str, folder: Path) -> None:
        self.namespace = f"f{uuid.uuid4().hex[:10]}"
        self.names = TopicNames(self.namespace)
        self.clicks = self.names.full("clicks")
        kafka = {"bootstrap_servers": servers, "session_timeout_s": 6.0, "heartbeat_interval_s": 2.0}
        self.settings = Settings.model_validate(
            {"namespace": self.namespace, "data_dir": str(folder), "kafka": kafka | {"metadata_max_age_s": 2.0}}
        )
        self.servers = servers
        self.admin = AdminClient({"bootstrap.servers": servers, "log_level": 2})
        self.create(*self.names.inputs)
        self.batches: list[RecordBatch] = []
        self.lost: list[Exception] = []
        self.assignments = 0
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 2})

    def create(self, *topics: str) -> None:
        for future in self.admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values():
            future.result(20)

    def put(self, *values: str) -> None:
        for value in values:
            self._producer.produce(self.clicks, value, partition=0)
        assert self._producer.flush(20) == 0

    def transaction(self) -> Producer:
        """A producer in a transaction; its records are in the log when `flush` returns."""
        producer = Producer(
            {"bootstrap.servers": self.servers, "transactional.id": uuid.uuid4().hex, "log_level": 2, "linger.ms": 0}
        )
        producer.init_transactions(20)
        producer.begin_transaction()
        return producer

    def put_in(self, producer: Producer, *values: str) -> None:
        for value in values:
            producer.produce(self.clicks, value, partition=0)
        assert producer.flush(20) == 0

    def values(self) -> list[str]:
        return [(record.value or b"").decode() for batch in self.batches for record in batch.records]

    def committed(self) -> int:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": self.settings.group, "log_level": 2})
        try:
            (part,) = consumer.committed([TopicPartition(self.clicks, 0)], timeout=20)
            return int(part.offset)
        finally:
            consumer.close()

    def commit(self, offset: int) -> None:
        """Commit an offset from outside: the group has no member."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": self.settings.group, "log_level": 2})
        try:
            consumer.commit(offsets=[TopicPartition(self.clicks, 0, offset)], asynchronous=False)
        finally:
            consumer.close()

    def end(self) -> int:
        """The end of the log, with markers and open transactions."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "ends",
                "isolation.level": "read_uncommitted",
                "log_level": 2,
            }
        )
        try:
            return int(consumer.get_watermark_offsets(TopicPartition(self.clicks, 0), timeout=20)[1])
        finally:
            consumer.close()

    @asynccontextmanager
    async def consuming(self) -> AsyncIterator[BatchConsumer]:
        async def put(batch: RecordBatch) -> None:
            if batch.epoch == hooks.epoch:
                self.batches.append(batch)

        async def assigned(_: Any) -> None:
            self.assignments += 1
            hooks.epoch += 1

        ids = TopicIds(self.admin, self.names)
        hooks = FetchHooks(after_assign=assigned, ask_topic_ids=ids.ask, lost=self.lost.append)
        app = make_app(self.settings, self.names, hooks, put)
        await app.start()
        try:
            yield app.consumer
        finally:
            await app.stop()


async def until(what: str, condition: Callable[[], Any], timeout_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        await asyncio.sleep(0.05)


async def ack_and_commit(group: Group, consumer: BatchConsumer) -> None:
    for batch in group.batches:
        batch.ack()
    await consumer.commit_now()


def lag(group: Group, consumer: BatchConsumer) -> int | None:
    return {tp.topic: records for tp, records in consumer.lags().items()}.get(group.clicks)


async def test_records_of_a_transaction_count_once_it_is_committed_and_no_sooner(
    kafka_address: str, tmp_path: Path
) -> None:
    """Regression: records of aborted and open transactions were read, and a marker at the end looked like a lag."""
    group = Group(kafka_address, tmp_path)
    aborted, committed = group.transaction(), group.transaction()
    group.put("a")
    group.put_in(aborted, "aborted-1", "aborted-2")
    group.put("b")
    group.put_in(committed, "c", "d")
    aborted.abort_transaction(20)
    committed.commit_transaction(20)
    async with group.consuming() as consumer:
        await until("the records that count", lambda: len(group.values()) >= 4)
        await asyncio.sleep(SHORT_S)
        assert group.values() == ["a", "b", "c", "d"]
        assert group.committed() < 0
        await until("a lag", lambda: lag(group, consumer) == group.end())
        await ack_and_commit(group, consumer)
        assert group.committed() == group.end()  # beyond the markers
        await until("no lag", lambda: lag(group, consumer) == 0)

        still_open = group.transaction()
        group.put_in(still_open, "e")
        group.put("f")
        await asyncio.sleep(SHORT_S)
        assert group.values() == ["a", "b", "c", "d"]  # "f" too has to wait: a log is read in order
        assert lag(group, consumer) == 0
        await ack_and_commit(group, consumer)
        assert group.committed() == group.end() - 2
        still_open.commit_transaction(20)
        await until("all records", lambda: len(group.values()) >= 6)
        assert group.values()[4:] == ["e", "f"]
        await consumer.commit_now()
        assert group.committed() == group.end() - 3  # two records that are not acked, and a marker
        await ack_and_commit(group, consumer)
        assert group.committed() == group.end()

        nothing = group.transaction()
        group.put_in(nothing, "g")
        nothing.abort_transaction(20)
        await until("the offset beyond a log's last marker", lambda: group.committed() == group.end())
        assert len(group.values()) == 6
    async with group.consuming() as consumer:
        group.put("h")
        await until("the next record", lambda: len(group.values()) >= 7)
        assert group.values()[6:] == ["h"]
        await ack_and_commit(group, consumer)
        assert group.committed() == group.end()


async def test_a_group_whose_records_were_deleted_unread_stops_with_a_sentence(
    kafka_address: str, tmp_path: Path
) -> None:
    """Regression: it went on at the first record that is left, without a word."""
    group = Group(kafka_address, tmp_path)
    group.put("a", "b")
    async with group.consuming() as consumer:
        await until("both records", lambda: len(group.values()) == 2)
        await ack_and_commit(group, consumer)
    group.put("c", "d", "e")
    for future in group.admin.delete_records([TopicPartition(group.clicks, 0, 4)]).values():
        future.result(20)
    async with group.consuming():
        await until("a sentence", lambda: group.lost)
    assert f"offset 2 of partition 0 of {group.clicks}, but the log holds offsets 4 to 4" in str(group.lost[0])
    assert group.values() == ["a", "b"]
    assert group.committed() == 2


async def test_a_group_beyond_the_end_of_its_log_stops_with_a_sentence(kafka_address: str, tmp_path: Path) -> None:
    group = Group(kafka_address, tmp_path)
    group.put("a", "b")
    group.commit(7)
    async with group.consuming():
        await until("a sentence", lambda: group.lost)
    assert f"offset 7 of partition 0 of {group.clicks}, but the log holds offsets 0 to 1" in str(group.lost[0])
    assert group.values() == []


async def test_a_group_that_never_committed_begins_at_the_first_record_there_is(
    kafka_address: str, tmp_path: Path
) -> None:
    group = Group(kafka_address, tmp_path)
    group.put("a", "b", "c")
    for future in group.admin.delete_records([TopicPartition(group.clicks, 0, 1)]).values():
        future.result(20)
    async with group.consuming():
        await until("two records", lambda: len(group.values()) == 2)
    assert group.values() == ["b", "c"]
    assert not group.lost


async def test_a_topic_that_was_created_again_is_read_from_its_beginning_even_after_a_late_commit(
    kafka_address: str, tmp_path: Path
) -> None:
    group = Group(kafka_address, tmp_path)
    group.put("a", "b", "c")
    async with group.consuming() as consumer:
        await until("all records", lambda: len(group.values()) == 3)
        for future in group.admin.delete_topics([group.clicks], operation_timeout=20).values():
            future.result(20)
        await until("no topic", lambda: group.clicks not in group.admin.list_topics(timeout=10).topics)
        group.create(group.clicks)
        await ack_and_commit(group, consumer)  # late: Kafka takes it for the new topic
        assert group.committed() == 3
        group.put("new")
        await until("the new record", lambda: "new" in group.values())
        assert group.assignments >= 2
    assert not group.lost
    # and so for a worker that has never seen the former topic
    group.put("newer")
    group.batches.clear()
    async with group.consuming():
        await until("both new records", lambda: len(group.values()) == 2)
    assert group.values() == ["new", "newer"]
    assert not group.lost


def test_a_reader_of_a_topic_has_caught_up_at_a_marker_and_at_an_open_transaction(
    kafka_address: str, tmp_path: Path
) -> None:
    group = Group(kafka_address, tmp_path)
    group.put("a")
    aborted, still_open = group.transaction(), group.transaction()
    group.put_in(aborted, "b")
    aborted.abort_transaction(20)
    group.put_in(still_open, "c")
    for last in (None, 1):
        seen: list[Any] = []
        reader = CompactedTopicReader(group.clicks, lambda: make_tail_consumer(group.settings.kafka), seen.extend, last)
        reader.start()
        try:
            assert reader.caught_up.wait(DEADLINE_S)
            time.sleep(SHORT_S)
            assert [message.value() for message in seen] == ([b"a"] if last is None else [])
            assert reader.lag == 0
        finally:
            reader.stop()
    offsets = CatalogOffsets(make_tail_consumer(group.settings.kafka), group.clicks)
    assert offsets.look() == ({0: -1}, {0: group.end() - 1})
    offsets.close()
    still_open.abort_transaction(20)
