"""Records whose producer ends at the first one that Kafka refuses."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.emit.deliveries import Deliveries, DeliveryFailed
from streams.emit.gapless import KNOWN_S, GaplessProducer

TOPIC = "shop1.rerouted"
FATAL = KafkaException(KafkaError(KafkaError._GAPLESS_GUARANTEE, "unable to satisfy gap-less guarantee"))
REFUSED: Any = SimpleNamespace(str=lambda: "Message size too large", code=lambda: KafkaError.MSG_SIZE_TOO_LARGE)
MESSAGE = SimpleNamespace(topic=lambda: TOPIC)


class Broker:
    """Stands for librdkafka and a broker: each poll does what the test has put down for it."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.polls: list[Any] = []

    def produce(self, topic: str, value: Any, key: Any, on_delivery: Any = None, **more: Any) -> None:
        self.reports.append(on_delivery)

    def poll(self, timeout_s: float) -> int:
        if self.polls:
            answer = self.polls.pop(0)
            if isinstance(answer, Exception):
                raise answer
            for report in self.reports[:answer]:
                report(None, MESSAGE)
            del self.reports[:answer]
        return 0

    def flush(self, timeout_s: float) -> int:
        return len(self.reports)

    def __len__(self) -> int:
        return len(self.reports)


class Made:
    """A producer, its broker, and a count of records."""

    def __init__(self) -> None:
        self.broker, self.stopping, self.now_s = Broker(), threading.Event(), 100.0
        self.producer = GaplessProducer(TOPIC, lambda: self.broker, self.stopping, lambda: self.now_s)  # type: ignore[arg-type, return-value]
        self.count = Deliveries()

    def send(self, *also: Deliveries) -> None:
        for count in (self.count, *also):
            count.add()
        self.producer.send(1, "anna", b"value", [], (self.count, *also))

    def introduce(self) -> None:
        firsts = Deliveries()
        self.send(firsts)
        self.producer.introduce([1], firsts)


@pytest.fixture
def made() -> Made:
    return Made()


def test_a_partition_is_known_once_its_first_record_is_confirmed_and_for_a_while(made: Made) -> None:
    assert not made.producer.is_known(1)
    made.broker.polls = [0, 1]
    made.introduce()
    assert made.producer.is_known(1)
    assert not made.producer.is_known(2)
    made.now_s += KNOWN_S
    assert not made.producer.is_known(1)


@pytest.mark.parametrize("error", [FATAL, SystemError("a report was called with an error set")])
def test_a_fatal_error_fails_all_counts_though_records_under_way_are_never_reported(
    made: Made, error: Exception
) -> None:
    """Regression: the checkpoint waited for such records for ever."""
    made.broker.polls = [1, error]
    made.introduce()
    made.send()
    earlier, made.count = made.count, Deliveries()
    made.send()
    made.producer.poll()
    for count in (earlier, made.count):
        with pytest.raises(DeliveryFailed, match=TOPIC):
            count.wait(0)
    with pytest.raises(DeliveryFailed, match=TOPIC):
        made.send()
    assert made.producer.close(1.0) == 2


def test_a_confirmed_count_stays_confirmed_after_a_later_fatal_error(made: Made) -> None:
    made.broker.polls = [1]
    made.introduce()
    earlier, made.count = made.count, Deliveries()
    earlier.close()
    made.send()
    made.broker.polls = [FATAL]
    made.producer.poll()
    assert earlier.wait(0)


def test_a_refused_first_record_ends_the_wait_for_it(made: Made) -> None:
    firsts = Deliveries()
    made.send(firsts)
    made.broker.reports[0](REFUSED, MESSAGE)
    with pytest.raises(DeliveryFailed, match="too large"):
        made.producer.introduce([1], firsts)
    assert not made.producer.is_known(1)


def test_a_report_that_is_dropped_is_no_success(made: Made) -> None:
    """The client drops a report if it meets a fatal error in the same poll."""
    made.send()
    made.broker.reports.clear()
    made.count.close()
    assert not made.count.wait(0)


def test_nobody_waits_for_a_first_record_beyond_the_end(made: Made) -> None:
    firsts = Deliveries()
    made.send(firsts)
    made.stopping.set()
    with pytest.raises(DeliveryFailed, match="ended before Kafka took a record"):
        made.producer.introduce([1], firsts)


def test_a_producer_that_sends_nothing_is_never_made() -> None:
    def make() -> Any:
        raise AssertionError("it connected")

    producer = GaplessProducer(TOPIC, make, threading.Event())
    producer.poll()
    assert producer.close(1.0) == 0
