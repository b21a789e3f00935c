"""The whole job, from event to saved profile and sent list: prefstream's worker, and the same on other frameworks."""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka.admin import NewTopic

from deploy.local.stack import Stack
from encoders.ranking.user_head import HALF_LIVES_S, LinearHead
from tests.bench import workload
from tests.bench.environments import PEERS, one_thread, python_of
from tests.bench.shop import BenchShop, BenchWorker
from tests.e2e.oracle import Sent
from tests.e2e.worker_process import read_topic, wait_for

_WARM_UP = 0.2
_SCORE_TOLERANCE = 1e-4


def measure(shop: BenchShop, workers: list[BenchWorker], sent: list[Sent]) -> dict[str, float]:
    """CPU and wall time of a backlog, after a warm-up, until all of it is saved."""
    events = len(sent)

    def applied() -> float:
        return sum(worker.counts()[0] for worker in workers)

    before = applied()
    shop.send_all(sent, workers)
    wait_for("the warm-up", lambda: applied() - before >= events * _WARM_UP, 300.0, every_s=0.05)
    cpu_s, wall_s, seen = sum(worker.cpu_s() for worker in workers), time.perf_counter(), applied()
    wait_for("all events", lambda: applied() - before >= events, 600.0, every_s=0.05)
    took_s = time.perf_counter() - wall_s
    wait_for("all saves", lambda: not any(worker.counts()[1] for worker in workers), 120.0, every_s=0.05)
    counted = before + events - seen
    used_s = sum(worker.cpu_s() for worker in workers) - cpu_s
    return {"events": counted, "cpu_us": used_s / counted * 1e6, "events_s": counted / took_s}


def prefstream(
    stack: Stack, folder: Path, items: int, users: workload.Users, events: int, workers: int = 1
) -> dict[str, Any]:
    """The worker on a backlog, twice: users unknown to its memory (and new to the store), then known to it."""
    shop = BenchShop(stack, folder, items)
    running = shop.start_workers(workers)
    try:
        found = {}
        for seed, cache in enumerate(("cold", "warm")):
            sent = workload.events(users, events, items, seed, int(time.time() * 1000))
            found[cache] = measure(shop, running, sent)
        return found
    finally:
        for worker in running:
            worker.stop()


def beside_peers(
    stack: Stack, folder: Path, environments: Path, items: int, events: int, own_events: int
) -> dict[str, Any]:
    """prefstream and its peers on the same topics; what share of the users' last lists are the same."""
    shop = BenchShop(stack, folder, items)
    sent = workload.events("zipf", events, items, 11, int(time.time() * 1000))
    rows: dict[str, Any] = {}
    # it knows all items before the first event comes, as the peers do
    running = shop.start_workers()
    try:
        shop.send_all(sent)
        wait_for("the peers' events", lambda: running[0].counts()[0] >= events, 120.0)
        # what is saved has been sent before
        wait_for("the saves of the peers' events", lambda: not running[0].counts()[1], 120.0)
        own = _last_lists(shop, "recommendations")
    finally:
        running[0].stop()
    for peer in ("faust", "quix"):
        rows[peer] = _run_peer(peer, shop, stack, environments, events)
    running = shop.start_workers()
    try:
        # the peers' share is too short a run for batches of 2,000
        sent = workload.events("zipf", own_events, items, 12, int(time.time() * 1000))
        rows["prefstream"] = measure(shop, running, sent)
    finally:
        running[0].stop()
    for peer in ("faust", "quix"):
        rows[peer]["same_lists"] = _same(own, _last_lists(shop, f"{peer}-lists"))
    return rows


def _run_peer(peer: str, shop: BenchShop, stack: Stack, environments: Path, events: int) -> dict[str, Any]:
    python = python_of(peer, environments)
    output = shop.topic(f"{peer}-lists")
    shop.admin.create_topics([NewTopic(output, 4, 1)])[output].result(30)
    head = LinearHead()
    vectors = shop.folder / "vectors.npy"
    if not vectors.exists():
        np.save(vectors, workload.item_vectors(shop.items))
    job = {
        "bootstrap": stack.bootstrap_servers,
        "cassandra_hosts": stack.cassandra_hosts,
        "cassandra_port": stack.cassandra_port,
        "keyspace": f"{shop.namespace}_{peer}",
        "group": f"{shop.namespace}-{peer}",
        "topics": [shop.topic(name) for name in ("clicks", "browses", "purchases")],
        "output": output,
        "events": events,
        "vectors": str(vectors),
        "k": workload.K,
        "history": workload.HISTORY,
        "half_lives_s": list(HALF_LIVES_S),
        "head": {
            "rank_decays": head.rank_decays,
            "mix": head.mix,
            "type_weights": head.type_weights,
            "half_life_mix": head.half_life_mix,
        },
    }
    path = shop.folder / f"{peer}.json"
    path.write_text(json.dumps(job), "utf-8")
    done = subprocess.run(
        [str(python), str(PEERS / f"{peer}_job.py"), str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=one_thread(),
        cwd=tempfile.gettempdir(),
    )
    if done.returncode:
        raise RuntimeError(f"the job on {peer} failed: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _last_lists(shop: BenchShop, topic: str) -> dict[str, list[tuple[str, float]]]:
    lists = {}
    for message in read_topic(shop.bootstrap, shop.topic(topic)):
        found = json.loads(message.value())
        lists[found["user_id"]] = [(item["item_id"], item["score"]) for item in found["items"]]
    return lists


def _same(own: dict[str, list[tuple[str, float]]], peer: dict[str, list[tuple[str, float]]]) -> float:
    """Share of the users whose lists have the same scores, place by place; items of one score may change places."""
    same = 0
    for user, items in own.items():
        theirs = peer.get(user, [])
        close = len(items) == len(theirs) and all(
            abs(one[1] - other[1]) <= _SCORE_TOLERANCE for one, other in zip(items, theirs, strict=True)
        )
        same += close and len({item for item, _ in items} & {item for item, _ in theirs}) >= len(items) - 1
    return round(same / max(len(own), 1), 4)
