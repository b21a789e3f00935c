"""How long a record of the inputs may still be read."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.kafka import retention as retention_module
from streams.kafka.retention import InputRetention, TopicConfig, longest_s, read_config
from streams.kafka.topics import TopicNames

NAMES = TopicNames("shop1")
HOUR_MS = 3_600_000


class FakeAdmin:
    """Describes the inputs, or refuses to."""

    def __init__(self) -> None:
        self.configs = {name: self.config(hours=1) for name in NAMES.inputs}
        self.refuses = False

    @staticmethod
    def config(hours: float, segment_hours: float = 0, policy: str = "delete", size: int = 1 << 20) -> dict[str, str]:
        retention = -1 if hours < 0 else int(hours * HOUR_MS)
        return {
            "retention.ms": str(retention),
            "segment.ms": str(int(segment_hours * HOUR_MS)),
            "cleanup.policy": policy,
            "max.message.bytes": str(size),
        }

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, Any]:
        def result(name: str) -> dict[str, Any]:
            if self.refuses:
                raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
            return {key: SimpleNamespace(value=value) for key, value in self.configs[name].items()}

        return {one: SimpleNamespace(result=lambda _, name=one.name: result(name)) for one in resources}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The warnings, as they are logged."""
    lines: list[dict[str, Any]] = []
    log = SimpleNamespace(warning=lambda event, **fields: lines.append({"event": event, **fields}))
    monkeypatch.setattr(retention_module, "log", log)
    return lines


def retention(admin: Any, size: int = 1 << 20) -> InputRetention:
    return InputRetention(admin, NAMES, retention_h=10, max_rerouted_bytes=size)


@pytest.mark.parametrize(
    ("config", "keeps_s"),
    [
        (FakeAdmin.config(2), 7_200),
        (FakeAdmin.config(2, segment_hours=1), 10_800),  # whole segments are deleted
        (FakeAdmin.config(-1), None),
        (FakeAdmin.config(2, policy="compact"), None),
        (FakeAdmin.config(2, policy="compact,delete"), 7_200),
        ({}, None),
    ],
)
def test_a_topic_keeps_records_as_its_settings_say(config: dict[str, str | None], keeps_s: float | None) -> None:
    assert read_config(config).keeps_s == keeps_s


def test_a_copy_on_rerouted_begins_another_life() -> None:
    configs = {"clicks": TopicConfig(100.0), "browses": TopicConfig(10.0), "rerouted": TopicConfig(5.0)}
    assert longest_s(configs, "rerouted") == 105.0
    assert longest_s(configs | {"browses": TopicConfig(None)}, "rerouted") is None
    assert longest_s(configs | {"rerouted": TopicConfig(None)}, "rerouted") is None


async def test_the_longest_retention_is_asked_from_the_broker_again_and_again() -> None:
    """Regression: rows of forgotten users expired by a setting, while the topics' owner had longer retentions."""
    admin = FakeAdmin()
    found = retention(admin)
    assert found.longest_s == 20 * 3600  # the setting, for the event and for its copy
    await found.refresh()
    assert found.longest_s == 2 * 3600
    admin.configs["shop1.browses"] = admin.config(hours=100)
    await found.refresh()
    assert found.longest_s == 101 * 3600
    admin.configs["shop1.profile-commands"] = admin.config(hours=-1)
    await found.refresh()
    assert found.longest_s is None


async def test_a_broker_that_does_not_tell_is_named_once_and_the_last_answer_stays(told: list[dict[str, Any]]) -> None:
    admin = FakeAdmin()
    admin.refuses = True
    found = retention(admin)
    await found.refresh()
    await found.refresh()
    (line,) = told
    assert "kafka.input_retention_h" in line["event"]
    assert found.longest_s == 20 * 3600
    admin.refuses = False
    await found.refresh()
    admin.refuses = True
    await found.refresh()
    assert found.longest_s == 2 * 3600


async def test_a_topic_that_takes_smaller_records_than_workers_may_send_is_named_once(
    told: list[dict[str, Any]],
) -> None:
    found = retention(FakeAdmin(), size=2 << 20)
    await found.refresh()
    await found.refresh()
    assert [(line["topic"], line["max_message_bytes"]) for line in told] == [("shop1.rerouted", 1 << 20)]


async def test_the_simulator_is_not_asked() -> None:
    found = retention(None)
    await found.refresh()
    assert found.longest_s == 20 * 3600
