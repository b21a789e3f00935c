"""Harm to the topics: grown under load, deleted and made again, cut, with transactions, records deleted unread."""

import shutil
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from deploy.local.stack import start_server, stop_server
from streams.kafka.topics import create_topics, wanted_topics
from tests.e2e.oracle import Sent
from tests.e2e.worker_process import wait_for
from tests.faults.arena import PARTITIONS, Arena, Run
from tests.faults.command import prefstream
from tests.faults.content import Mix
from tests.faults.load import Load
from tests.faults.watch import WatchedWorker

_GROWN = 8


def repartition(run: Run) -> dict[str, Any]:
    """``prefstream topics grow 8`` on four partitions under load, with a worker killed in between.

    Most users move to another partition while producers go on with what they knew. No busy users: between the old and
    the new partition of a user there is no order, so repeats could lie farther apart than it seems.
    """
    with Arena(run, "repartition", Mix(busy_users=0)) as arena:
        arena.start_worker(ready=False)
        arena.start_worker()
        arena.load.start()
        arena.wait_assigned()
        arena.watch.wait_progress()
        prefstream(arena.shop.config, "topics", "grow", str(_GROWN))
        arena.pause(arena.rng.uniform(0.0, 4.0))
        arena.kill(arena.rng.choice(arena.workers))
        arena.start_worker(ready=False)
        arena.measure_recovery()
        arena.wait_assigned(_GROWN)
        arena.load.content.partitions = _GROWN  # producers have heard of them by now
        run.say("repartition: grown")
        arena.pause(5.0 if run.quick else 15.0)
        arena.kill(arena.rng.choice(arena.workers))
        arena.start_worker(ready=False)
        arena.measure_recovery()
        return arena.finish()


def recreate(run: Run) -> dict[str, Any]:
    """An input is deleted and made again under running workers: its new events count, though their offsets repeat.

    Then a log that really was cut (Kafka's data of an hour ago put back): the worker says so and stops.
    """
    with Arena(run, "recreate") as arena:
        arena.start_worker(ready=False)
        arena.start_worker()
        arena.load.start()
        arena.wait_assigned()
        for name in ("clicks",) if run.quick else ("clicks", "browses"):
            arena.watch.wait_progress()
            arena.pause(5.0)
            _recreate(arena, name)
            run.say(f"recreate: {name} is a new topic")
            arena.pause(10.0)
            arena.measure_recovery()
        result = arena.finish()
    if not run.quick:
        result["problems"] += _cut_log(run)
        result["passed"] = not result["problems"]
    return result


def deleted(run: Run) -> dict[str, Any]:
    """Records are deleted before they are read: the worker says so and stops, and goes on after Kafka's own reset."""
    with Arena(run, "deleted") as arena:
        worker = arena.start_worker()
        _click_and_save(arena, "before")
        worker.ended = True
        worker.stop()
        for number in range(5):
            arena.load.send_event(_click("cut", f"unread-{number}"))
        arena.load.flush()
        unread = [one for one in arena.load.log if (one.record.value or b"").find(b"cut:unread") >= 0]
        topic, partition, first = unread[0].topic, unread[0].partition, unread[0].offset
        cut = TopicPartition(topic, partition, unread[3].offset)
        for future in arena.shop.admin.delete_records([cut]).values():
            future.result(30)
        second, code = _worker_that_ends(arena)
        text = second.log.read_text("utf-8", "replace")
        said = f"offset {first} of partition {partition} of {topic}" in text and "were deleted before" in text
        if code != 1 or not said or "Traceback" in text:
            arena.problems.append(f"ended with {code}, and no sentence about deleted records: {text[-400:]}")
        _commit(arena, cut)
        run.say("deleted: the group's offset is moved")
        arena.load.log = [one for one in arena.load.log if one not in unread[:3]]
        arena.start_worker()
        return arena.finish()


def _commit(arena: Arena, part: TopicPartition) -> None:
    """As `kafka-consumer-groups.sh --reset-offsets` does, while no worker runs."""
    consumer = Consumer({"bootstrap.servers": arena.shop.bootstrap, "group.id": arena.group, "log_level": 2})
    try:
        consumer.commit(offsets=[part], asynchronous=False)
    finally:
        consumer.close()


def _recreate(arena: Arena, name: str) -> None:
    """What was in the topic is done with before it goes; the load then goes on with a new producer."""
    arena.load.stop()
    arena.load.flush()
    arena.wait_drained()
    topic = arena.shop.topic(name)
    for future in arena.shop.admin.delete_topics([topic], operation_timeout=30).values():
        future.result(30)
    arena.watch.forget_topic(topic)
    wait_for("the topic to be gone", lambda: topic not in arena.shop.admin.list_topics(timeout=10).topics)

    def made() -> bool:
        try:
            wanted = wanted_topics(arena.shop.settings, "faults")
            create_topics(arena.shop.admin, [one for one in wanted if one.topic == topic])
        except KafkaException:
            return False
        found = arena.shop.admin.list_topics(timeout=10).topics.get(topic)
        return found is not None and len(found.partitions) == PARTITIONS

    wait_for("the topic to be there again", made)
    _new_producer(arena)
    arena.load.start()


def _new_producer(arena: Arena) -> None:
    """One that knows nothing of the log as it was: an idempotent producer counts what it has written to it."""
    former = arena.load
    arena.load = Load(arena.shop.bootstrap, arena.shop.namespace, former.content, former.rate)
    arena.load.log = former.log
    arena.load.handed_over = former.handed_over


def _cut_log(run: Run) -> list[str]:
    """Put back an older copy of Kafka's data while the store keeps its own; returns what was wrong."""
    folder = run.stack.folder
    copy = run.folder / "kafka-data-before"
    with Arena(run, "cut-log") as arena:
        worker = arena.start_worker()
        _click_and_save(arena, "before")
        stop_server(folder, "kafka")
        shutil.copytree(folder / "kafka-data", copy)
        start_server(folder, "kafka")
        _click_and_save(arena, "after")
        worker.ended = True
        worker.stop()
        stop_server(folder, "kafka")
        shutil.rmtree(folder / "kafka-data")
        shutil.copytree(copy, folder / "kafka-data")
        start_server(folder, "kafka")
        run.say("recreate: Kafka has its older data again")
        _new_producer(arena)
        arena.load.send_event(_click("cut", "again"))
        arena.load.flush()
        second, code = _worker_that_ends(arena)
        return _complaints(second.log, code)


def _worker_that_ends(arena: Arena) -> tuple[WatchedWorker, int]:
    """Start a worker that has to end by itself; returns it and its exit code."""
    worker = arena.start_worker(ready=False)
    worker.ended = True  # as it should
    try:
        return worker, worker.process.wait(60)
    finally:
        worker.process.kill()


def _complaints(log: Path, code: int) -> list[str]:
    text = log.read_text("utf-8", "replace")
    problems = []
    if code != 1:
        problems.append(f"the worker ended with {code}, not 1, when a log ended below a fence")
    if "ends at" not in text or "Traceback" in text:
        problems.append(f"no sentence about a log that ends below a fence: {text[-400:]}")
    return problems


def _click_and_save(arena: Arena, name: str) -> None:
    for number in range(5):
        arena.load.send_event(_click("cut", f"{name}-{number}"))
    arena.load.flush()
    arena.wait_drained()


def _click(user: str, name: str) -> Sent:
    return Sent(f"{user}:{name}", user, "item-3", "click", int(time.time() * 1000))
