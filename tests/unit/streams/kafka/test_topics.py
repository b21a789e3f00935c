"""Names, counts and creation of topics, and the memory that the settings allow."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.kafka.topics import (
    INPUTS,
    TopicNames,
    TopicsError,
    check_inputs,
    create_topics,
    grow_topics,
    partition_counts,
    wanted_topics,
)
from streams.settings import Kafka, Profiles, Settings, SettingsError
from streams.state.profile_columns import bytes_per_user
from streams.state.profile_shape import ProfileShape
from streams.worker.sizing import table_capacity

NAMES = TopicNames("shop1")


def counts(**changes: int | None) -> dict[str, int]:
    found = dict.fromkeys(INPUTS, 4) | {name.replace("_", "-"): count for name, count in changes.items()}
    return {NAMES.full(name): count for name, count in found.items() if count is not None}


class FakeAdmin:
    """Knows topics by their counts; creating and growing fail where it is told."""

    def __init__(self, found: dict[str, int], failing: dict[str, int] | None = None) -> None:
        self.found, self.failing = found, failing or {}
        self.grown: dict[str, int] = {}

    def list_topics(self, *_: Any, **__: Any) -> Any:
        topics = {
            name: SimpleNamespace(error=None, partitions=dict.fromkeys(range(n))) for name, n in self.found.items()
        }
        return SimpleNamespace(topics=topics)

    def _futures(self, names: list[str]) -> dict[str, Future[None]]:
        futures = {}
        for name in names:
            futures[name] = Future()
            if name in self.failing:
                futures[name].set_exception(KafkaException(KafkaError(self.failing[name])))
            else:
                futures[name].set_result(None)
        return futures

    def create_topics(self, topics: list[Any], **_: Any) -> dict[str, Future[None]]:
        return self._futures([topic.topic for topic in topics])

    def create_partitions(self, requests: list[Any], **_: Any) -> dict[str, Future[None]]:
        self.grown = {request.topic: request.new_total_count for request in requests}
        return self._futures([request.topic for request in requests])


def test_names_carry_the_namespace_and_lose_it_again() -> None:
    assert TopicNames().full("clicks") == TopicNames().short("clicks") == "clicks"
    assert (NAMES.full("clicks"), NAMES.short("shop1.clicks")) == ("shop1.clicks", "clicks")
    assert NAMES.item_vectors("v1") == "shop1.item-vectors-v1"
    assert len(NAMES.inputs) == 6


def test_equal_counts_are_the_count() -> None:
    assert check_inputs(counts(), NAMES) == 4


def test_unequal_counts_are_named_with_the_command_that_mends_them() -> None:
    with pytest.raises(TopicsError, match=r"shop1\.clicks 4, shop1\.browses 6.*`prefstream topics grow 6`"):
        check_inputs(counts(browses=6), NAMES)


def test_missing_topics_are_named_with_the_command_that_makes_them() -> None:
    with pytest.raises(TopicsError, match=r"no topic 'shop1\.clicks', 'shop1\.rerouted'.*`prefstream topics create`"):
        check_inputs(counts(clicks=None, rerouted=None), NAMES)


def test_counts_are_those_of_topics_that_exist() -> None:
    assert partition_counts(FakeAdmin({"a": 3, "b": 1}), ["a", "x"]) == {"a": 3}  # type: ignore[arg-type]


def test_every_topic_is_wanted_once_and_the_inputs_alike() -> None:
    settings = Settings(namespace="shop1", kafka=Kafka(partitions=6, replication_factor=3, input_retention_h=2))
    topics = {topic.topic: topic for topic in wanted_topics(settings, "v1")}
    assert len(topics) == 6 + 5 + 2
    assert {topic.replication_factor for topic in topics.values()} == {3}
    for name in NAMES.inputs:
        limit = {"max.message.bytes": "1048576"} if name == "shop1.rerouted" else {}
        assert (topics[name].num_partitions, topics[name].config) == (6, {"retention.ms": "7200000"} | limit)
    for name in ("catalog", "offers", "recommendations", "trending", "encoders", "item-vectors-v1"):
        assert topics[NAMES.full(name)].config == {"cleanup.policy": "compact"}
    assert int(topics["shop1.dead-letters"].config["max.message.bytes"]) > 1 << 20


def test_rerouted_takes_the_largest_record_that_a_worker_may_send_there() -> None:
    wanted = wanted_topics(Settings(kafka=Kafka(max_rerouted_bytes=5_000_000)), "v1")
    (rerouted,) = [topic for topic in wanted if topic.topic == "rerouted"]
    assert rerouted.config["max.message.bytes"] == "5000000"


def test_topics_that_exist_are_left_alone_and_another_failure_is_a_sentence() -> None:
    topics = [SimpleNamespace(topic=name) for name in ("a", "b")]
    exists = FakeAdmin({}, {"a": KafkaError.TOPIC_ALREADY_EXISTS})
    assert create_topics(exists, topics) == ["b"]  # type: ignore[arg-type]
    with pytest.raises(TopicsError, match="'b' could not be created"):
        create_topics(FakeAdmin({}, {"b": KafkaError.POLICY_VIOLATION}), topics)  # type: ignore[arg-type]


def test_all_inputs_grow_in_one_request_and_a_half_done_growth_can_be_finished() -> None:
    admin = FakeAdmin(counts(clicks=8))
    grow_topics(admin, NAMES, 8)  # type: ignore[arg-type]
    assert admin.grown == {name: 8 for name in NAMES.inputs if name != "shop1.clicks"}


@pytest.mark.parametrize("wanted", [4, 3])
def test_inputs_cannot_shrink(wanted: int) -> None:
    with pytest.raises(TopicsError, match=r"4 partitions already.*above 4"):
        grow_topics(FakeAdmin(counts()), NAMES, wanted)  # type: ignore[arg-type]


def test_a_growth_that_fails_says_that_workers_wait() -> None:
    admin = FakeAdmin(counts(), {"shop1.clicks": KafkaError.INVALID_PARTITIONS})
    with pytest.raises(TopicsError, match=r"'shop1\.clicks' could not be grown.*run the command again"):
        grow_topics(admin, NAMES, 8)  # type: ignore[arg-type]


def test_the_table_holds_what_fits_into_its_memory() -> None:
    shape = ProfileShape()
    settings = Settings(profiles=Profiles(memory_mb=100))
    assert table_capacity(settings, shape) == 100_000_000 // bytes_per_user(shape)


def test_a_memory_too_small_for_a_few_batches_is_a_wrong_setting() -> None:
    settings = Settings(profiles=Profiles(memory_mb=16), kafka=Kafka(max_batch_records=10_000))
    with pytest.raises(SettingsError, match=r"profiles\.memory_mb is 16.*expected at least (\d+)") as caught:
        table_capacity(settings, ProfileShape())
    needed = int(str(caught.value).split("at least ")[1].split()[0])
    enough = Settings(profiles=Profiles(memory_mb=needed), kafka=Kafka(max_batch_records=10_000))
    assert table_capacity(enough, ProfileShape()) >= 40_000
