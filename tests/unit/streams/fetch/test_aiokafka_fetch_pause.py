"""Fetches wait for more records before they are sent, and not while a backlog waits."""

import asyncio
import inspect
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import consumer, fetcher

from streams.fetch import aiokafka_fetch_pause
from streams.fetch.aiokafka_fetch_pause import pace_fetches

A = TopicPartition("clicks", 3)
SLACK_S = 0.005  # a timer may come a little early


class Broker:
    """What aiokafka's own fetcher would do: hand over what lies there, and send fetches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent_s: list[float] = []
        self.brought: dict[TopicPartition, list[Any]] = {}
        monkeypatch.setattr(fetcher.Fetcher, "fetched_records", self.fetched_records)
        monkeypatch.setattr(fetcher.Fetcher, "_proc_fetch_request", self.send)
        self.state: Any = SimpleNamespace(highwater=0)
        self.fetcher = consumer.Fetcher.__new__(consumer.Fetcher)
        self.fetcher._subscriptions = SimpleNamespace(
            subscription=SimpleNamespace(assignment=SimpleNamespace(state_value=lambda tp: self.state))
        )

    async def fetched_records(self, *_: Any) -> dict[TopicPartition, list[Any]]:
        return self.brought

    async def send(self, *_: Any) -> bool:
        self.sent_s.append(time.monotonic())
        return True

    def take_and_fetch(self, *offsets: int, end: int) -> tuple[float, float]:
        """Seconds that taking the records took, and until the next fetch was sent after that."""

        async def both() -> tuple[float, float]:
            start = time.monotonic()
            assert await self.fetcher.fetched_records([A]) is self.brought
            taken = time.monotonic()
            assert await self.fetcher._proc_fetch_request(None, 1, None) is True
            return taken - start, self.sent_s[-1] - taken

        self.brought = {A: [SimpleNamespace(offset=offset) for offset in offsets]} if offsets else {}
        if self.state is not None:
            self.state.highwater = end
        return asyncio.run(both())


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(consumer, "Fetcher", consumer.Fetcher)  # to be put back
    monkeypatch.setattr(aiokafka_fetch_pause, "_PAUSE_A_RECORD_S", 0.1)
    monkeypatch.setattr(aiokafka_fetch_pause, "_LONGEST_PAUSE_S", 0.2)
    pace_fetches()
    return Broker(monkeypatch)


@pytest.mark.parametrize(("offsets", "pause_s"), [((0,), 0.1), ((0, 1, 2), 0.2)])
def test_the_next_fetch_waits_and_the_records_do_not(broker: Broker, offsets: tuple[int, ...], pause_s: float) -> None:
    took_s, until_fetch_s = broker.take_and_fetch(*offsets, end=len(offsets))
    assert took_s < 0.1 - SLACK_S
    assert until_fetch_s >= pause_s - SLACK_S


def test_after_nothing_the_next_fetch_waits_at_the_broker(broker: Broker) -> None:
    assert broker.take_and_fetch(end=0)[1] < 0.1 - SLACK_S


def test_nothing_waits_while_there_is_a_backlog(broker: Broker) -> None:
    assert broker.take_and_fetch(0, 1, 2, end=4)[1] < 0.1 - SLACK_S


def test_a_partition_that_has_just_been_revoked_is_no_backlog(broker: Broker) -> None:
    broker.state = None
    assert broker.take_and_fetch(0, 1, end=9)[1] >= 0.2 - SLACK_S


def test_a_fetch_that_waits_ends_as_aiokafkas_own_with_its_assignment(broker: Broker) -> None:
    async def cancelled() -> Any:
        broker.brought = {A: [SimpleNamespace(offset=0)]}
        await broker.fetcher.fetched_records([A])
        waiting = asyncio.create_task(broker.fetcher._proc_fetch_request(None, 1, None))
        await asyncio.sleep(0)
        waiting.cancel()
        return await waiting

    assert asyncio.run(cancelled()) is False
    assert not broker.sent_s


def test_aiokafka_still_makes_its_fetcher_by_this_name_and_calls_these_two() -> None:
    """Were it not so, fetches would not be paced: as right, at several times the cost."""
    assert " = Fetcher(" in inspect.getsource(consumer.AIOKafkaConsumer.start)
    own = inspect.getsource(fetcher.Fetcher)
    assert "self._proc_fetch_request(assignment, node_id, request)" in own
    parameters = list(inspect.signature(fetcher.Fetcher.fetched_records).parameters)
    assert parameters == list(inspect.signature(aiokafka_fetch_pause._Fetcher.fetched_records).parameters)
