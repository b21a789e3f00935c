"""Harm by what producers send: records that nobody can read, and users who must be forgotten."""

import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cassandra.cluster import Cluster
from cassandra.query import ValueSequence

from streams.checkpoint.stored_profile import decode_state
from tests.e2e.oracle import Sent
from tests.e2e.shop import TopicReader
from tests.e2e.worker_process import wait_for
from tests.faults.arena import Arena, Run
from tests.faults.command import prefstream
from tests.faults.content import TYPE_OF, Mix, Record, event_record
from tests.faults.load import Delivered

_MENDED = 6
_FORGOTTEN = 30
_EVENTS = 12


def poison(run: Run) -> dict[str, Any]:
    """One record in ten is broken, and a worker is killed among them; then some are mended and sent back."""
    with Arena(run, "poison", Mix(broken=0.1)) as arena:
        arena.start_worker(ready=False)
        arena.start_worker()
        arena.load.start()
        arena.watch.wait_progress()
        arena.pause(5.0 if run.quick else 20.0)
        arena.kill(arena.rng.choice(arena.workers))
        arena.start_worker(ready=False)
        arena.watch.wait_progress()
        arena.pause(5.0 if run.quick else 20.0)
        arena.measure_recovery()  # while more comes: a recovery shows by a list that is new
        arena.load.stop()
        arena.load.flush()
        replayed = [_mend(arena, letter, number) for number, letter in enumerate(_letters(arena)[:_MENDED])]
        # a mended one that is sent back once more is a duplicate
        replayed.append(_send_back(arena, *replayed[0][:2], replayed[0][2]))
        arena.load.log += [one[3] for one in replayed]
        arena.figures["mended"] = len(replayed)
        return arena.finish()


def _letters(arena: Arena) -> list[dict[str, Any]]:
    answer = prefstream(arena.shop.config, "dlq", "list", "--reason", "malformed", "--limit", "20", "--json")
    letters: list[dict[str, Any]] = json.loads(answer)["records"]
    if len(letters) < _MENDED:
        raise AssertionError(f"only {len(letters)} malformed records are among the dead letters")
    return letters


def _mend(arena: Arena, letter: dict[str, Any], number: int) -> tuple[str, Path, Record, Delivered]:
    kind = (TYPE_OF | {"actions": "refund"})[letter["source_topic"].rpartition(".")[2]]
    record = event_record(Sent(f"mended-{number}", f"mended-{number}", "item-7", kind, int(time.time() * 1000)))
    path = arena.folder / f"mended-{number}.json"
    path.write_bytes(record.value or b"")
    return _send_back(arena, letter["place"], path, record)


def _send_back(arena: Arena, place: str, path: Path, record: Record) -> tuple[str, Path, Record, Delivered]:
    answer = json.loads(prefstream(arena.shop.config, "dlq", "replay", place, "--value", str(path), "--json"))
    [landed] = answer["replayed"]
    return place, path, record, Delivered(record, landed["topic"], landed["partition"], landed["offset"])


def forget(run: Run) -> dict[str, Any]:
    """Users are forgotten under load and workers killed: a replay brings nobody back and counts nothing twice.

    Every other time all workers are killed as soon as one has saved forgotten rows, before its commit. The new owners
    then load these rows, and read the same commands and events again. The other times a worker is killed at once. Some
    users come back by themselves after the command, with events of their own, which stay.
    """
    # small batches, so that a replay mixes the topics in another order than they were read first
    sections = {"checkpoint": {"interval_s": 2.0}, "kafka": {"max_batch_records": 5}}
    cassandra = (run.stack.cassandra_hosts, run.stack.cassandra_port)
    with Arena(run, "forget", sections=sections) as arena, Cluster(*cassandra) as store:
        arena.start_worker(ready=False)
        arena.start_worker()
        arena.load.start()
        arena.wait_assigned()
        arena.watch.wait_progress()
        reader = TopicReader(arena.shop, "recommendations")
        session = store.connect(arena.shop.settings.keyspace)
        rounds, read_again = 1 if run.quick else 4, 0
        for number in range(rounds):
            users = [f"private-{number}-{place}" for place in range(_FORGOTTEN)]
            _forget(arena, reader, users)
            # what these do next is written after the commands, so it stays, in whatever order a replay reads the topics
            for user in users[: _FORGOTTEN // 3]:
                arena.load.send_event(_click(user, "after"))
            after_save = number % 2 == 0
            if after_save:
                saved = partial(_saved_partitions, session, users)
                wait_for("a save of forgotten users", saved, 30.0, every_s=0.02)
            victims = arena.workers if after_save else [arena.rng.choice(arena.workers)]
            for worker in victims:
                arena.kill(worker)
            if after_save:
                read_again += _uncommitted_commands(arena, saved())
            for _ in victims:
                arena.start_worker(ready=False)
            arena.measure_recovery()
            run.say(f"forget: {number + 1} of {rounds}, killed {'after a save' if after_save else 'at once'}")
        reader.close()
        arena.figures |= {"forgotten": len(arena.forgotten), "commands_read_again": read_again}
        if not read_again:
            arena.problems.append("the kills did no harm: all commands of saved users were committed before")
        return arena.finish()


def _saved_partitions(session: Any, users: list[str]) -> set[int]:
    """Partitions of the users whose stored rows say that they were forgotten."""
    query = "SELECT user_id, partition, state FROM profiles WHERE user_id IN %s"
    rows = session.execute(query, [ValueSequence(users)], timeout=10.0)
    return {row.partition for row in rows if decode_state(row.state, row.user_id).forgotten_ms}


def _uncommitted_commands(arena: Arena, partitions: set[int]) -> int:
    """Number of commands in these partitions that the group has not committed: a new owner reads them again."""
    topic = arena.shop.topic("profile-commands")
    ends, committed = arena.log_ends([topic]), arena.offsets.read()
    return sum(ends[topic, partition] - committed.get((topic, partition), 0) for partition in partitions)


def _forget(arena: Arena, reader: TopicReader, users: list[str]) -> None:
    """Events of the users, seen by the workers; then the commands, until the lists are withdrawn."""
    for user in users:
        before = [_click(user, f"before-{place}") for place in range(_EVENTS)]
        arena.forgotten[user] = {event.event_id for event in before}
        for event in before:
            arena.load.send_event(event)
    # only what was seen to be counted came before the command: between topics there is no order
    last = {f"{user}:before-{_EVENTS - 1}" for user in users}
    _until_all(reader, "the recommendations after the last events", last, _cause)
    for user in users:
        command = {"command": "forget", "user_id": user, "requested_ms": int(time.time() * 1000)}
        arena.shop.producer.produce(arena.shop.topic("profile-commands"), json.dumps(command), user)
    arena.shop.producer.flush(30)
    _until_all(reader, "the tombstones", set(users), _withdrawn)


def _until_all(reader: TopicReader, what: str, wanted: set[str], found: Callable[[Any], str | None]) -> None:
    """Wait until ``found`` has given all that is wanted."""

    def seen(message: Any) -> bool:
        wanted.discard(found(message) or "")
        return not wanted

    reader.until(what, seen, 60.0)


def _click(user: str, name: str) -> Sent:
    return Sent(f"{user}:{name}", user, "item-3", "click", int(time.time() * 1000))


def _cause(message: Any) -> str | None:
    """The event of a recommendation: nothing else in it names one."""
    named = re.search(rb'"event_id":"([^"]*)"', message.value() or b"")
    return named[1].decode() if named else None


def _withdrawn(message: Any) -> str | None:
    return message.key().decode() if message.value() is None else None
