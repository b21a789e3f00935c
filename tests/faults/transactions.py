"""A fifth of all events in transactions, a fifth of these aborted, while producers and workers are killed."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Producer

from streams.checkpoint.stored_profile import decode_state, hashes
from tests.e2e.oracle import Sent, identity
from tests.faults.arena import Arena, Run
from tests.faults.content import ITEMS, event_record
from tests.faults.load import Delivered

_EVENTS = 12
"""Events of a transaction."""
_BUYERS = 400
_OTHERS = 4
"""Events of the load for each event in a transaction: so a fifth of all are in transactions."""
_ABORTED = 5
"""One transaction in so many is aborted."""


def transactions(run: Run) -> dict[str, Any]:
    """Producers are killed with an open transaction, and workers while one is open.

    Records of aborted transactions must not count, also if their producer died, and offsets are committed beyond the
    markers.
    """
    with Arena(run, "transactions") as arena:
        arena.start_worker(ready=False)
        arena.start_worker()
        arena.load.start()
        arena.wait_assigned()
        writer = _Writer(arena)
        rounds, kills = (8, 2) if run.quick else (40, 8)
        for number in range(rounds):
            arena.pause(arena.rng.uniform(0.2, 1.0))
            if number % (rounds // kills) == 1:
                writer.die_within_one()
            writer.begin()
            if number % (rounds // kills) == 2:
                arena.kill(arena.rng.choice(arena.workers))
                arena.start_worker(ready=False)
            writer.end(abort=number % _ABORTED == 0)
            writer.keep_up()
        run.say(f"transactions: {writer.count}, of which {writer.aborts} aborted and {kills} producers killed")
        arena.measure_recovery()
        arena.load.stop()
        writer.keep_up()
        writer.begin()
        writer.end(abort=True)  # so that markers are what the logs end with
        arena.load.flush()
        result = arena.finish()
        counted = _counted(arena, writer.aborted)
        if counted:
            result["problems"].append(f"events of aborted transactions count: {counted}")
        share = len(writer.committed) + len(writer.aborted)
        return result | {
            "transactions": writer.count,
            "in_transactions": round(share / (share + arena.load.handed_over), 3),
            "aborted_events": len(writer.aborted),
            "aborted_counted": counted,
            "producers_killed": kills,
            "passed": not result["problems"],
        }


def _counted(arena: Arena, aborted: Sequence[Sent]) -> int:
    """Aborted events that a profile remembers."""
    seen = {user: set(hashes(decode_state(row.state, user).seen_ids).tolist()) for user, row in arena.rows().items()}
    return sum(identity(sent) in seen.get(sent.user_id, ()) for sent in aborted)


class _Writer:
    """Writes events of many users in transactions; those that are committed belong to the arena's load."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.count = self.aborts = 0
        self.committed: list[Sent] = []
        self.aborted: list[Sent] = []
        self._written: list[Delivered] = []
        self._number = 0
        self._options: dict[str, Any] = {
            "bootstrap.servers": arena.shop.bootstrap,
            "transactional.id": f"{arena.shop.namespace}-writer",
            "partitioner": "murmur2_random",
            "log_level": 2,
        }
        self._producer = self._new_producer()

    def _new_producer(self) -> Producer:
        producer = Producer(self._options)
        producer.init_transactions(30)  # aborts what a producer of this id has left open
        return producer

    def keep_up(self) -> None:
        """Write transactions until a fifth of all events are in transactions."""
        while (len(self.committed) + len(self.aborted)) * _OTHERS < self._arena.load.handed_over:
            self.begin()
            self.end(abort=self.count % _ABORTED == 0)

    def begin(self) -> None:
        """Write events to all partitions; they are in the log, and not committed."""
        self.count += 1
        self._producer.begin_transaction()
        self._written = []
        for sent in self._events():
            record = event_record(sent)

            def written(error: Any, message: Any, record: Any = record) -> None:
                if error is None:
                    place = message.topic(), message.partition(), message.offset()
                    self._written.append(Delivered(record, *place))

            self._producer.produce(self._arena.shop.topic(record.topic), record.value, record.key, on_delivery=written)
        self._producer.flush(30)

    def end(self, *, abort: bool) -> None:
        """Commit or abort."""
        assert len(self._written) == _EVENTS
        sent = [delivered.record.sent for delivered in self._written if delivered.record.sent is not None]
        if abort:
            self._producer.abort_transaction(30)
            self.aborts += 1
            self.aborted += sent
            return
        self._producer.commit_transaction(30)
        self.committed += sent
        self._arena.load.log += self._written

    def die_within_one(self) -> None:
        """Kill -9 a producer within its transaction; the next producer of its id aborts what it left open."""
        events = list(self._events())
        records = [event_record(sent) for sent in events]
        lines = [[self._arena.shop.topic(one.topic), one.key, (one.value or b"").decode()] for one in records]
        command = [sys.executable, "-c", _OPENS_A_TRANSACTION, json.dumps(self._options), json.dumps(lines)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            process.kill()
        self.count += 1
        self.aborted += events
        self._producer = self._new_producer()

    def _events(self) -> list[Sent]:
        rng, found = self._arena.rng, []
        for _ in range(_EVENTS):
            self._number += 1
            user = f"buyer-{rng.randrange(_BUYERS)}"
            found.append(Sent(f"t{self._number}", user, rng.choice(ITEMS), "click", int(time.time() * 1000)))
        return found


_OPENS_A_TRANSACTION = """
import json, sys, time
from confluent_kafka import Producer
producer = Producer(json.loads(sys.argv[1]))
producer.init_transactions(30)
producer.begin_transaction()
for topic, key, value in json.loads(sys.argv[2]):
    producer.produce(topic, value, key)
assert producer.flush(30) == 0
print("open", flush=True)
time.sleep(600)
"""
