"""Mutated records, judged by the product's readers: no error escapes, and neighbours change no verdict."""

from collections import Counter, defaultdict
from typing import Any

from streams.kafka.topics import TopicNames
from tests.fuzz.judge import PARTITIONS, Judge, record
from tests.fuzz.records import TOPICS, records

NOW_MS = 1_760_000_000_000


def test_a_verdict_depends_on_the_record_alone() -> None:
    names = TopicNames("shop1")
    judge = Judge(names)
    logs: defaultdict[tuple[str, int], list[Any]] = defaultdict(list)
    for number, made in enumerate(records(5, 4_000, NOW_MS, names)):
        topic, partition = names.full(made.topic), number % PARTITIONS
        logs[topic, partition].append(record(topic, partition, number, made, NOW_MS))
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (topic, _), log in logs.items():
        verdicts = judge.judge(log)
        assert verdicts == [judge.judge([one])[0] for one in log]
        assert verdicts == judge.judge(log[::-1])[::-1]
        kinds[names.short(topic)].update(verdict[0] for verdict in verdicts)
    # the run is worth something only if each topic sees each outcome
    for topic in TOPICS:
        assert kinds[topic]["dead"] > 20
        assert kinds[topic]["applied"] > 20
        assert kinds[topic]["mended"] > 0 or topic == "profile-commands"
