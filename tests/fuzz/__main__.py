"""``python -m tests.fuzz``: mutated records of every topic, to a worker on real Kafka and Cassandra.

The worker must live, account for each record, keep states that can be read, and give each record the verdict that
another process gives it: alone, and among other neighbours.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.local.stack import running
from schemas.codec import decode
from schemas.dead_letter import DeadLetter
from schemas.errors import DecodeError
from schemas.recommendation import Recommendation
from streams.checkpoint.stored_profile import decode_state
from streams.decode.partitioner import partitions_of
from streams.kafka.topics import INPUTS, TopicNames
from tests.e2e.shop import ShopOnStack
from tests.e2e.taobao import read_rows
from tests.e2e.worker_process import WorkerProcess, backlog, log_ends, read_topic, sum_of_samples, wait_for
from tests.fuzz.judge import PARTITIONS, Judge, Verdict, record
from tests.fuzz.records import TOPICS, Record, records

_DONE_S = 600.0


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 if the worker took every record as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    given = parser.parse_args(arguments)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", file=sys.stderr, flush=True)

    with (
        tempfile.TemporaryDirectory(prefix="prefstream-fuzz-") as folder,
        running(Path(folder) / "stack", progress=say) as stack,
    ):
        shop = ShopOnStack(stack, Path(folder), ranking={"k": 5})
        worker = shop.start_worker()
        try:
            result = fuzz(shop, worker, given.records, given.seed, say)
        finally:
            if worker.process.poll() is None:
                worker.kill()
        result |= states(read_rows(stack, shop.settings.keyspace))
    result["seconds"] = round(time.monotonic() - began, 1)
    result["passed"] = not any(result[name] for name in _ZEROS)
    if given.json:
        print(json.dumps(result), flush=True)
    else:
        print("\n".join(f"{name}: {value}" for name, value in result.items()))
    return 0 if result["passed"] else 1


_ZEROS = (
    "crashes",
    "unaccounted",
    "verdict_changed",
    "verdict_of_worker_differs",
    "unreadable_states",
    "unreadable_lists",
)


def fuzz(shop: ShopOnStack, worker: WorkerProcess, count: int, seed: int, say: Any) -> dict[str, Any]:
    """Send the records to a worker, and compare what becomes of them with the verdicts of this process."""
    log = send(shop, count, seed)
    say(f"{len(log):,} records are in Kafka")
    verdicts, changed = judge(shop, log)
    say(f"judged: {changed} verdicts depend on the neighbours")
    crashes = int(not _worked_through(shop, worker, say))
    dead = [
        DeadLetter.from_headers(letter.headers()) for letter in read_topic(shop.bootstrap, shop.topic("dead-letters"))
    ]
    refused = {(letter.source_topic, letter.source_partition, letter.source_offset): letter.reason for letter in dead}
    wanted = {place: verdict[1] for place, verdict in verdicts.items() if verdict[0] == "dead"}
    # every worker reads every offer: one that is refused is counted, and no dead letter
    of_offers = {place for place in wanted if place[0] == shop.topic("offers")}
    wanted = {place: reason for place, reason in wanted.items() if place not in of_offers}
    differing = sum(refused.get(place) != reason for place, reason in wanted.items()) + len(
        refused.keys() - wanted.keys()
    )
    page = "" if crashes else worker.get("/metrics")[1]
    unaccounted = _unaccounted(shop, page, len(of_offers)) if page else len(log)
    lists = _unreadable_lists(shop)
    if not crashes:
        crashes = int(worker.stop() != 0)
    by_topic: dict[str, Counter[str]] = {topic: Counter() for topic in TOPICS}
    for (topic, _, _), verdict in verdicts.items():
        by_topic[topic.removeprefix(f"{shop.namespace}.")][verdict[0]] += 1
    return {
        "records": len(log),
        "seed": seed,
        "topics": {topic: dict(sorted(counts.items())) for topic, counts in by_topic.items()},
        "crashes": crashes,
        "unaccounted": unaccounted,
        "verdict_changed": changed,
        "verdict_of_worker_differs": differing,
        "unreadable_lists": lists,
    }


Sent = tuple[str, int, int, Record, int]
"""Topic, partition, offset, the record, and its Kafka time."""


def send(shop: ShopOnStack, count: int, seed: int) -> list[Sent]:
    """Produce the records; most of them to their user's partition."""
    now_ms = int(time.time() * 1000)
    log: list[Sent] = []
    for number, made in enumerate(records(seed, count, now_ms, TopicNames(shop.namespace))):
        topic = shop.topic(made.topic)
        home = number % PARTITIONS
        if made.user and number % 10:
            [home] = partitions_of([made.user], PARTITIONS, "murmur2").tolist()
        elif made.topic in ("catalog", "offers"):
            [home] = partitions_of([(made.key or b"").decode("latin-1")], PARTITIONS, "murmur2").tolist()

        def delivered(error: Any, message: Any, made: Record = made) -> None:
            assert error is None, error
            log.append((message.topic(), message.partition(), message.offset(), made, now_ms))

        while True:
            try:
                shop.producer.produce(
                    topic,
                    made.value,
                    made.key,
                    home,
                    headers=list(made.headers),
                    timestamp=now_ms,
                    on_delivery=delivered,
                )
                break
            except BufferError:
                shop.producer.poll(1.0)
        shop.producer.poll(0)
    assert shop.producer.flush(120) == 0
    return log


def judge(shop: ShopOnStack, log: Sequence[Sent]) -> tuple[dict[tuple[str, int, int], Verdict], int]:
    """Judge each record among its neighbours in the log, and alone; return the verdicts, and how many differ."""
    judging = Judge(TopicNames(shop.namespace))
    logs: defaultdict[tuple[str, int], list[Any]] = defaultdict(list)
    for topic, partition, offset, made, time_ms in log:
        logs[topic, partition].append(record(topic, partition, offset, made, time_ms))
    verdicts, changed = {}, 0
    for (topic, partition), found in logs.items():
        found.sort(key=lambda one: one.offset)
        for start in range(0, len(found), 97):
            part = found[start : start + 97]
            for one, verdict in zip(part, judging.judge(part), strict=True):
                changed += verdict != judging.judge([one])[0]
                verdicts[topic, partition, one.offset] = verdict
    return verdicts, changed


def _worked_through(shop: ShopOnStack, worker: WorkerProcess, say: Any) -> bool:
    """Wait until the worker has read all topics; False if it ended."""
    inputs = [shop.topic(name) for name in INPUTS]
    try:
        wait_for(
            "the inputs to be read",
            lambda: _told(backlog(shop.admin, shop.settings.group, inputs), say) == 0,
            _DONE_S,
            2.0,
        )
        lags = ("prefstream_consumer_lag", "prefstream_index_lag_records")
        wait_for("the catalog to be read", lambda: sum(map(worker.metric, lags)) == 0, _DONE_S, 1.0)
    except AssertionError as error:
        say(f"the worker failed: {error}")
        return False
    return worker.get("/healthz")[0] == 200


def _told(left: int, say: Any) -> int:
    say(f"{left:,} records are not read yet")
    return left


def _unaccounted(shop: ShopOnStack, page: str, refused_offers: int) -> int:
    """Records that the worker's metrics do not account for."""
    missing = 0
    ends = log_ends(shop.admin, [shop.topic(name) for name in (*INPUTS, "catalog", "offers")])
    of_topic: Counter[str] = Counter()
    for (topic, _), end in ends.items():
        of_topic[topic] += end
    for name in INPUTS:
        topic = shop.topic(name)
        missing += abs(of_topic[topic] - _sum(page, "prefstream_events_total", f'topic="{topic}"'))
    offers = shop.topic("offers")
    read, refused = (
        int(sum_of_samples(page, "prefstream_offers_total", f'outcome="{o}"')) for o in ("read", "refused")
    )
    missing += abs(of_topic[offers] - read - refused) + abs(refused - refused_offers)
    catalog = shop.topic("catalog")
    outcomes = ("encoded", "no-vector", "removed")
    encoded = sum(_sum(page, "prefstream_items_encoded_total", f'outcome="{outcome}"') for outcome in outcomes)
    dead = _sum(page, "prefstream_dead_letters_total", f'topic="{catalog}"')
    return missing + abs(of_topic[catalog] - encoded - dead)


def _sum(page: str, metric: str, *labels: str) -> int:
    return int(sum_of_samples(page, metric, *labels))


def _unreadable_lists(shop: ShopOnStack) -> int:
    wrong = 0
    for message in read_topic(shop.bootstrap, shop.topic("recommendations")):
        if message.value() is not None:
            try:
                decode(Recommendation, message.value())
            except DecodeError as error:
                wrong += 1
                print(f"an unreadable list: {error}: {message.value()[:1_000]!r}", file=sys.stderr)
    return wrong


def states(rows: dict[str, Any]) -> dict[str, int]:
    """Read the state of each row."""
    wrong = 0
    for user, row in rows.items():
        try:
            state = decode_state(row.state, user)
            wrong += not all(np.isfinite(np.frombuffer(part.sums, "<f4")).all() for part in state.sums)
        except Exception:
            wrong += 1
    return {"states": len(rows), "unreadable_states": wrong}


if __name__ == "__main__":
    sys.exit(main())
