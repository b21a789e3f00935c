"""What was produced, and whether Kafka has it."""

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.dead_letter import DeadLetter
from schemas.rerouted import Rerouted
from streams.decode.dead_letter import Refused
from streams.decode.decoder import Misplaced
from streams.emit.deliveries import Deliveries, DeliveryFailed, Receipt
from streams.emit.producer import Emitter
from streams.kafka.clients import make_producer
from streams.kafka.topics import TopicNames
from streams.settings import Compression, Kafka, Settings

MESSAGE = SimpleNamespace(topic=lambda: "dead-letters")
TOO_LARGE = SimpleNamespace(str=lambda: "message too large", code=lambda: KafkaError.MSG_SIZE_TOO_LARGE)


class FakeProducer:
    """Takes records as librdkafka's does, up to a full queue; the test confirms them."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.full = False
        self.full_calls = 0
        """For how many more calls the queue is full."""
        self.largest = 1 << 30
        self.answers = False
        """Whether a poll reports that Kafka has all records."""
        self.fatal: Exception | None = None
        """Raised by the next poll."""

    def produce(self, topic: str, value: Any = None, key: Any = None, on_delivery: Any = None, **more: Any) -> None:
        if self._is_full():
            raise BufferError
        self._take(topic, value, key, on_delivery, **more)

    def _is_full(self) -> bool:
        self.full_calls -= 1
        return self.full or self.full_calls >= 0

    def _take(self, topic: str, value: Any, key: Any, on_delivery: Any, **more: Any) -> None:
        if len(value or b"") > self.largest:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self.taken.append({"topic": topic, "value": value, "key": key, "report": on_delivery, **more})

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], on_delivery: Any) -> int:
        taken, is_full = 0, self._is_full()
        for message in messages:
            try:
                if is_full:
                    raise KafkaException(KafkaError(KafkaError._QUEUE_FULL))
                self._take(topic, message["value"], message["key"], on_delivery)
                taken += 1
            except KafkaException as error:
                message["_error"] = error.args[0]
        return taken

    def poll(self, timeout: float) -> int:
        if self.fatal is not None:
            error, self.fatal = self.fatal, None
            raise error
        if self.answers:
            for one in self.taken:
                report = one.pop("report", None)
                if report is not None:
                    report(None, MESSAGE)
        return 0

    def __len__(self) -> int:
        return 0

    def flush(self, timeout: float) -> int:
        return 0

    def confirm(self, error: Any = None, records: int | None = None) -> None:
        """As librdkafka does where only errors are reported: what was taken is let go of."""
        for one in list(self.taken)[:records]:
            report = one.pop("report")
            if error is not None:
                report(error, MESSAGE)


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
def emitter(producer: FakeProducer) -> Iterator[Emitter]:
    """An emitter whose reports are collected when the test says so."""
    made = Emitter(producer, TopicNames("shop1"), reports_every_s=3_600)
    yield made
    made.close()


def test_nothing_produced_is_confirmed_at_once(emitter: Emitter) -> None:
    done = emitter.swap()
    assert done.wait(0)
    assert done.confirmed


def test_deliveries_are_confirmed_once_every_record_is(emitter: Emitter, producer: FakeProducer) -> None:
    emitter.recommend("anna", b"list")
    emitter.recommend("ben", None)
    done = emitter.swap()
    assert (done.produced, done.wait(0), done.confirmed) == (2, False, False)
    producer.confirm()
    assert done.wait(0)
    assert done.confirmed


def test_what_comes_after_a_swap_does_not_hold_it_back(emitter: Emitter, producer: FakeProducer) -> None:
    emitter.recommend("anna", b"list")
    done = emitter.swap()
    producer.confirm()
    producer.taken.clear()
    emitter.recommend("anna", b"newer")
    assert done.wait(0)
    assert not emitter.swap().wait(0)


def test_lists_are_sent_together_and_wait_for_room(emitter: Emitter, producer: FakeProducer) -> None:
    producer.full_calls = 1
    emitter.recommend_all([])
    assert producer.full_calls == 1  # nothing was asked for
    emitter.recommend_all([("anna", b"list"), ("ben", b"[]")])
    assert producer.full_calls == -1  # two calls, and all lists in the second
    assert [(one["topic"], one["key"], one["value"]) for one in producer.taken] == [
        ("shop1.recommendations", "anna", b"list"),
        ("shop1.recommendations", "ben", b"[]"),
    ]
    done = emitter.swap()
    assert (done.produced, done.wait(0)) == (2, False)
    producer.confirm()
    assert done.confirmed


def test_a_list_that_kafka_refuses_is_an_error(emitter: Emitter, producer: FakeProducer) -> None:
    producer.largest = 3
    with pytest.raises(DeliveryFailed, match=r"shop1\.recommendations"):
        emitter.recommend_all([("anna", b"ok"), ("ben", b"too long")])


def test_a_dead_letter_too_large_for_its_topic_goes_without_its_value(emitter: Emitter, producer: FakeProducer) -> None:
    """Regression: one record stopped every worker that read it, for ever."""
    letter = DeadLetter(
        reason="malformed",
        detail="broken",
        source_topic="clicks",
        source_partition=1,
        source_offset=7,
        source_timestamp_ms=-1,
    )
    emitter.refuse([Refused(broken(), letter)])
    done = emitter.swap()
    producer.full = True
    producer.confirm(TOO_LARGE)
    # regression: a full queue ended the thread that collects reports, and all waited for ever
    emitter.collect_reports()
    assert len(producer.taken) == 1
    producer.full = False
    emitter.collect_reports()
    assert not done.wait(0)  # the shorter one is not confirmed yet
    _, short = producer.taken
    producer.taken[:] = [short]
    producer.confirm()
    assert done.wait(0)
    assert (short["topic"], short["key"], short["value"]) == ("shop1.dead-letters", b"\xff", None)
    found = DeadLetter.from_headers(short["headers"])
    assert found.detail == "the value of 2 bytes is left out: shop1.dead-letters takes no record of that size; broken"
    assert found.source_offset == 7


def test_a_record_that_kafka_refuses_is_an_error_that_says_what_to_do(emitter: Emitter, producer: FakeProducer) -> None:
    emitter.recommend("anna", b"list")
    done = emitter.swap()
    producer.confirm(TOO_LARGE)
    with pytest.raises(DeliveryFailed, match=r"dead-letters: message too large.*max\.message\.bytes"):
        done.wait(0)
    assert not done.confirmed


def test_a_report_that_comes_before_the_count_is_closed_counts() -> None:
    deliveries = Deliveries()
    assert deliveries.add()
    receipt = Receipt(deliveries)
    receipt.taken = True
    del receipt
    assert not deliveries.wait(0)
    deliveries.close()
    assert deliveries.wait(0)
    assert not deliveries.add()


def test_a_success_that_is_reported_is_none_before_it_is_let_go_of(emitter: Emitter, producer: FakeProducer) -> None:
    emitter.recommend("anna", b"list")
    done = emitter.swap()
    report = producer.taken[0].pop("report")
    report(None, MESSAGE)
    assert not done.wait(0)
    del report
    assert done.confirmed


THREE = [("anna", b"1"), ("ben", b"2"), ("cleo", b"3")]


def test_lists_sent_together_are_confirmed_when_the_last_one_is(emitter: Emitter, producer: FakeProducer) -> None:
    emitter.recommend_all(THREE)
    done = emitter.swap()
    producer.confirm(records=2)
    assert not done.wait(0)
    del producer.taken[:2]
    producer.confirm()
    assert done.wait(0)


def test_one_list_that_is_refused_after_others_were_taken_is_an_error(emitter: Emitter, producer: FakeProducer) -> None:
    emitter.recommend_all(THREE)
    done = emitter.swap()
    producer.confirm(records=2)
    del producer.taken[:2]
    producer.confirm(TOO_LARGE)
    with pytest.raises(DeliveryFailed, match="message too large"):
        done.wait(0)


def test_a_refusal_is_of_the_count_that_its_record_was_produced_under(emitter: Emitter, producer: FakeProducer) -> None:
    emitter.recommend_all(THREE)
    first = emitter.swap()
    (early, *_), producer.taken[:] = list(producer.taken), producer.taken[1:]
    emitter.recommend("anna", b"newer")
    second = emitter.swap()
    producer.confirm()
    assert second.confirmed
    assert not first.wait(0)
    producer.taken[:] = [early]
    producer.confirm(TOO_LARGE)
    with pytest.raises(DeliveryFailed):
        first.wait(0)
    assert not first.confirmed


@pytest.mark.parametrize("send", ["recommend_all", "recommend"])
def test_what_the_producer_did_not_take_is_never_confirmed(emitter: Emitter, producer: FakeProducer, send: str) -> None:
    producer.largest = 3
    lists: list[Any] = [[("anna", b"ok"), ("ben", b"too long")]] if send == "recommend_all" else ["ben", b"too long"]
    with pytest.raises(DeliveryFailed):
        getattr(emitter, send)(*lists)
    done = emitter.swap()
    producer.confirm()
    gc.collect()
    assert not done.wait(0)


KAFKA, SHOP = Kafka(bootstrap_servers="127.0.0.1:1"), TopicNames("shop1")


def test_a_real_producer_holds_what_is_under_way_until_it_has_failed() -> None:
    """Receipts rest on this: should confluent-kafka let go of a report function early, what is lost would be acked."""
    producer = make_producer(KAFKA, **{"delivery.report.only.error": True, "log_level": 0})
    emitter = Emitter(producer, SHOP)
    emitter.recommend_all(THREE)
    emitter.recommend("dora", None)
    done = emitter.swap()
    gc.collect()
    assert not done.wait(0.3)
    assert (done.produced, done.reported) == (4, 0)
    producer.purge()
    with pytest.raises(DeliveryFailed, match="Purged in queue"):
        done.wait(5)
    emitter.close()
    assert (done.reported, done.confirmed) == (4, False)


def test_a_real_producer_lets_go_of_what_a_broker_has() -> None:
    emitter = Emitter.connect(KAFKA, SHOP, **{"log_level": 0, "test.mock.num.brokers": 1})
    emitter.recommend_all(THREE * 500)
    emitter.trending({3: b"counts"})
    done = emitter.swap()
    assert done.wait(20)
    assert (done.produced, done.reported, done.confirmed) == (1_501, 1_501, True)
    emitter.close()


def test_records_go_to_the_topics_of_the_namespace(emitter: Emitter, producer: FakeProducer) -> None:
    emitter.recommend("anna", b"list")
    emitter.trending({3: b"counts"})
    emitter.item_vector("shop1.item-vectors-v1", "red", None)
    assert [(one["topic"], one["key"], one["value"]) for one in producer.taken] == [
        ("shop1.recommendations", "anna", b"list"),
        ("shop1.trending", "3", b"counts"),
        ("shop1.item-vectors-v1", "red", None),
    ]


def broken(**changes: Any) -> Any:
    fields = {"key": b"\xff", "value": b"{\x00", "headers": (("x", b"1"),), "timestamp": 1_234, "topic": "clicks"}
    return SimpleNamespace(**(fields | changes))


def test_a_dead_letter_is_its_record_byte_for_byte_with_its_reason(emitter: Emitter, producer: FakeProducer) -> None:
    letter = DeadLetter(
        reason="malformed",
        detail="not JSON",
        source_topic="clicks",
        source_partition=1,
        source_offset=7,
        source_timestamp_ms=1_234,
    )
    emitter.refuse([Refused(broken(), letter), Refused(broken(key=None, value=None, headers=None), letter)])
    first, second = producer.taken
    assert (first["topic"], first["key"], first["value"]) == ("shop1.dead-letters", b"\xff", b"{\x00")
    assert first["headers"][0] == ("x", b"1")
    assert DeadLetter.from_headers(first["headers"]) == letter
    assert (second["key"], second["value"]) == (None, None)
    assert DeadLetter.from_headers(second["headers"]) == letter


def test_a_rerouted_record_keeps_its_value_and_says_where_and_when_it_was_read(
    emitter: Emitter, producer: FakeProducer
) -> None:
    producer.answers = True
    origin = Rerouted(topic="clicks", topic_id="id", partition=1, offset=7, timestamp_ms=1_234)
    emitter.reroute([Misplaced(broken(), "anna", 2, origin)])
    (one,) = producer.taken
    assert (one["topic"], one["key"], one["partition"], one["value"]) == ("shop1.rerouted", "anna", 2, b"{\x00")
    assert "timestamp" not in one  # it gets that of its writing, and lives as long as others
    assert Rerouted.from_headers(one["headers"]) == origin
    assert one["headers"][0] == ("x", b"1")
    assert emitter.swap().wait(0)


def test_a_record_that_the_producer_itself_refuses_is_the_same_error(emitter: Emitter, producer: FakeProducer) -> None:
    """Regression: it was librdkafka's error, which said nothing of what to do."""
    producer.largest = 3
    with pytest.raises(DeliveryFailed, match=r"shop1\.recommendations: .*too large.*max\.message\.bytes"):
        emitter.recommend("anna", b"list")


def test_a_full_queue_is_waited_for_but_not_beyond_the_end(producer: FakeProducer, emitter: Emitter) -> None:
    """Regression: a thread that waited for room kept the process from ending while the broker was away."""
    producer.full = True
    emitter.close()
    with pytest.raises(DeliveryFailed, match="ended before Kafka took a record"):
        emitter.recommend("anna", b"list")


class Made:
    """Stands in for librdkafka's producer, and keeps what it was made with."""

    configs: list[dict[str, object]]

    def __init__(self, config: dict[str, object], **_: object) -> None:
        self.configs.append(config)

    def poll(self, _: float) -> int:
        return 0

    def flush(self, _: float) -> int:
        return 0

    def produce(self, *_: object, **__: object) -> None: ...


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    Made.configs = []
    monkeypatch.setattr("streams.kafka.clients.Producer", Made)
    return Made.configs


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_lists_and_dead_letters_have_the_compression_of_the_settings(
    configs: list[dict[str, object]], compression: Compression
) -> None:
    emitter = Emitter.connect(Kafka(bootstrap_servers="b:1"), TopicNames(), compression)
    emitter.close()
    assert [config["compression.type"] for config in configs] == [compression]
    assert configs[0]["compression.level"] == (1 if compression == "gzip" else -1)


def test_rerouted_events_are_read_by_workers_alone_and_keep_lz4(configs: list[dict[str, object]]) -> None:
    emitter = Emitter.connect(Kafka(bootstrap_servers="b:1"), TopicNames(), "gzip")
    record = SimpleNamespace(value=b"{}", headers=(), timestamp=1, key=b"k", topic="clicks")
    emitter._rerouted._known_until[0] = float("inf")
    emitter.reroute([Misplaced(record, "anna", 0, Rerouted(topic="clicks", topic_id="i", partition=0, offset=7))])
    emitter.close()
    assert [config["compression.type"] for config in configs] == ["gzip", "lz4"]


def test_what_every_client_reads_is_the_default() -> None:
    assert Settings().output.compression == "none"
