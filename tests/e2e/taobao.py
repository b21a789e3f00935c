"""Real shop events through real Kafka and real Cassandra, and every user's stored state checked afterwards.

python -m tests.e2e.taobao PATH/UserBehavior.csv --json
python -m tests.e2e.taobao PATH/UserBehavior.csv --json --history 8 --shuffle-minutes 10 --duplicates 0.02 --kill
"""

import argparse
import csv
import json
import random
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cassandra.cluster import Cluster
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from deploy.local.stack import Stack, running, up
from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from encoders.ranking.user_head import LinearHead
from streams.kafka.topics import create_topics, wanted_topics
from streams.settings import load_settings
from streams.versions.builtin_encoder import load_encoder
from tests.e2e.oracle import Oracle, Sent
from tests.e2e.worker_process import INPUTS, WorkerProcess, backlog, read_topic, settings_on, wait_for, write_settings

DIMENSION = 64
HALF_LIVES_S = (1_800.0, 7_200.0)  # short, so that two hours of events tell a right decay from a wrong one
TYPE_WEIGHTS = {"click": [1.0, 1.0], "browse": [0.5, 0.25], "purchase": [2.0, 3.0]}
TAOBAO_TYPES = {"pv": "browse", "cart": "click", "fav": "click", "buy": "purchase"}
TOPIC_OF = {"click": "clicks", "browse": "browses", "purchase": "purchases"}


@dataclass(frozen=True)
class Options:
    """How hard the run is."""

    history: int = 20
    shuffle_minutes: float = 0.0
    duplicates: float = 0.0
    kill: bool = False
    workers: int = 2
    limit: int | None = None
    seed: int = 0


def read_events(path: Path, limit: int | None = None) -> list[Sent]:
    """Events of a Taobao file, in its order; an event's id is the file's name and the line."""
    with path.open(newline="", encoding="utf-8") as lines:
        rows = csv.reader(lines)
        return [
            Sent(f"{path.name}:{number}", user, item, TAOBAO_TYPES[behaviour], int(seconds) * 1000)
            for number, (user, item, _category, behaviour, seconds) in enumerate(rows, start=1)
            if limit is None or number <= limit
        ]


def make_hard(events: list[Sent], options: Options) -> list[Sent]:
    """Late events (each arrives up to so many minutes late) and producer duplicates (soon after the first)."""
    rng = random.Random(options.seed)
    if options.shuffle_minutes:
        late_ms = options.shuffle_minutes * 60_000
        events = sorted(events, key=lambda event: event.time_ms + rng.uniform(0, late_ms))
    if not options.duplicates:
        return events
    sent: list[Sent] = []
    due: list[tuple[int, Sent]] = []  # place at which a duplicate follows
    for place, event in enumerate(events):
        sent.append(event)
        if rng.random() < options.duplicates:
            due.append((place + rng.randrange(1, 20), event))
        sent += [one for when, one in due if when <= place]
        due = [(when, one) for when, one in due if when > place]
    return sent + [one for _, one in due]


def run(events: list[Sent], stack: Stack, folder: Path, options: Options) -> dict[str, Any]:
    """Produce the events, let workers work, and compare what the store holds with the oracle."""
    namespace = f"t{uuid.uuid4().hex[:10]}"
    oracle = Oracle(options.history, list(HALF_LIVES_S), TYPE_WEIGHTS, DIMENSION)
    items = sorted({event.item_id for event in events})
    user_side = UserSide(
        head=LinearHead(), history=options.history, half_lives_s=HALF_LIVES_S, sum_weights=TYPE_WEIGHTS
    )
    lookup.build(
        folder / "encoder", items, [oracle.vector(item) for item in items], f"random-{namespace}", user=user_side
    )
    config = write_settings(
        folder / "prefstream.toml",
        settings_on(stack, namespace, folder)
        | {
            "encoder": {"folder": str(folder / "encoder"), "threads": 1},
            "profiles": {"history": options.history},
            "ranking": {"k": 10},
        },
    )
    settings = load_settings(config)
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    create_topics(admin, wanted_topics(settings, load_encoder(settings).manifest.version))
    inputs = [f"{namespace}.{name}" for name in INPUTS]
    sent = make_hard(events, options)
    with ExitStack() as ending:
        start = time.monotonic()
        workers = [WorkerProcess(config, folder / f"worker-{number}.log") for number in range(options.workers)]
        ending.callback(lambda: [worker.process.kill() for worker in workers])
        shop = Shop(stack.bootstrap_servers, namespace)
        # in a hard run some items enter the catalog late: their events wait in the profiles for a vector
        late = random.Random(options.seed).sample(items, len(items) // 10 if options.shuffle_minutes else 0)
        shop.send_catalog(sorted(set(items) - set(late)))
        known = len(items) - len(late)
        for worker in workers:
            worker.wait_ready()
        wait_for(
            "the workers to know the catalog",
            lambda: all(worker.metric("prefstream_index_items") >= known for worker in workers),
            timeout_s=120,
        )
        shop.send_events(sent[: len(sent) // 2])
        shop.send_catalog(late)
        shop.send_events(sent[len(sent) // 2 :])
        if options.kill:
            _kill_one(workers, config, folder, admin, settings.group, inputs)
        wait_for(
            "the workers to commit every event",
            lambda: all(worker.get("/healthz") for worker in workers) and backlog(admin, settings.group, inputs) == 0,
            timeout_s=300,
            every_s=0.5,
        )
        seconds = time.monotonic() - start
        for worker in workers:  # a replacement may have come too late to find anything left to do
            worker.wait_ready()
        codes = [worker.stop() for worker in workers]
        if any(codes):
            raise AssertionError(f"workers ended with {codes}; see {folder}/worker-*.log")
    report = oracle.compare(sent, read_rows(stack, settings.keyspace))
    recommendations = {
        message.key(): message.value()
        for message in read_topic(stack.bootstrap_servers, f"{namespace}.recommendations")
    }
    lists = [json.loads(value)["items"] for value in recommendations.values() if value is not None]
    report["users_with_recommendation"] = sum(bool(items) for items in lists)
    report["dead_letters"] = len(read_topic(stack.bootstrap_servers, f"{namespace}.dead-letters"))
    report["seconds"] = round(seconds, 1)
    return report


def _kill_one(
    workers: list[WorkerProcess], config: Path, folder: Path, admin: AdminClient, group: str, inputs: list[str]
) -> None:
    """kill -9 in the middle of the stream, and a replacement."""
    whole = backlog(admin, group, inputs)
    wait_for(
        "a third of the events to be committed",
        lambda: backlog(admin, group, inputs) < whole * 2 / 3,
        timeout_s=120,
        every_s=0.02,
    )
    workers[0].kill()
    workers[0] = WorkerProcess(config, folder / "worker-replacement.log")


class Shop:
    """Produces the catalog and events, each keyed as a shop's producers would."""

    def __init__(self, bootstrap: str, namespace: str) -> None:
        self._namespace = namespace
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "enable.idempotence": True,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 2,
            }
        )

    def send_catalog(self, items: list[str]) -> None:
        """Items of no text: the encoder knows them by id."""
        for item in items:
            self._send("catalog", item, {"item_id": item, "title": ""})
        self._flush()

    def send_events(self, sent: list[Sent]) -> None:
        """Events, in order, as fast as it goes."""
        for event in sent:
            value = {
                "event_id": event.event_id,
                "user_id": event.user_id,
                "item_id": event.item_id,
                "event_time_ms": event.time_ms,
            }
            self._send(TOPIC_OF[event.type], event.user_id, value)
        self._flush()

    def _send(self, topic: str, key: str, value: dict[str, Any]) -> None:
        self._producer.produce(f"{self._namespace}.{topic}", json.dumps(value), key)
        self._producer.poll(0)

    def _flush(self) -> None:
        left = self._producer.flush(60)
        if left:
            raise AssertionError(f"{left} records were not delivered")


def read_rows(stack: Stack, keyspace: str) -> dict[str, Any]:
    """Every row of the store, by plain CQL."""
    with Cluster(stack.cassandra_hosts, stack.cassandra_port) as cluster:
        session = cluster.connect(keyspace)
        session.default_timeout = 60
        return {row.user_id: row for row in session.execute("SELECT user_id, state FROM profiles")}


def passed(report: dict[str, Any]) -> bool:
    """Whether nothing is lost, doubled or wrong."""
    zeros = ("recents_wrong", "counters_wrong", "purchases_wrong", "dead_letters", "users_missing", "users_unexpected")
    return (
        report["applied"] == report["events"]
        and not any(report[name] for name in zeros)
        and report["max_state_error"] <= 1e-4
        and report["users_with_recommendation"] == report["users"]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit code is 0 only if nothing is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.taobao", description=__doc__)
    parser.add_argument("path", type=Path, help="Taobao's UserBehavior.csv")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--history", type=int, default=20)
    parser.add_argument("--shuffle-minutes", type=float, default=0.0)
    parser.add_argument("--duplicates", type=float, default=0.0, help="share of events that are sent twice")
    parser.add_argument("--kill", action="store_true", help="kill -9 a worker in the middle of the stream")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stack", type=Path, help="a folder where `prefstream stack up` has a stack running")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this folder")
    given = parser.parse_args(arguments)
    if not given.path.is_file():
        parser.error(f"there is no file {given.path}")
    options = Options(
        given.history, given.shuffle_minutes, given.duplicates, given.kill, given.workers, given.limit, given.seed
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    with ExitStack() as ending:
        folder = given.keep or Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="prefstream-taobao-")))
        folder.mkdir(parents=True, exist_ok=True)
        if given.stack:
            stack = up(given.stack, progress=say)  # it runs: this just reads where
        else:
            stack = ending.enter_context(running(folder / "stack", progress=say))
        report = run(read_events(given.path, given.limit), stack, folder, options)
    if given.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name:26} {value}")
    return 0 if passed(report) else 1


if __name__ == "__main__":
    sys.exit(main())
