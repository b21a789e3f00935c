"""Harm to the servers: stopped, hung, slow."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from deploy.local.stack import start_server, stop_server, up
from tests.e2e.oracle import Sent
from tests.e2e.worker_process import wait_for
from tests.faults.arena import Arena, Run
from tests.faults.content import Mix
from tests.faults.proxy import Proxy


def kafka_down(run: Run) -> dict[str, Any]:
    """The broker is killed, and once more hung, each for a minute; work resumes by itself."""
    with Arena(run, "kafka-down") as arena:
        _begin(arena)
        for harm in (_stopped, _hung):
            harm(arena, "kafka", lambda: None)
            arena.check_alive()
            run.say(f"kafka-down:{harm.__name__.replace('_', ' ')}, recovered after {arena.measure_recovery():.1f} s")
            arena.pause(2.0)
        return arena.finish()


def cassandra_down(run: Run) -> dict[str, Any]:
    """The store is killed, and once more hung, each for a minute.

    Known users get recommendations from memory until the dirty budget is full; then fetching pauses.
    """
    users, budget = 3_000, 700  # two workers: half of the users is more than each may hold unsaved
    mix, sections = Mix(users=users), {"checkpoint": {"max_dirty_users": budget}}
    with Arena(run, "cassandra-down", mix, sections=sections) as arena:
        _begin(arena)
        # the users of the load must be in memory: who is not has to be loaded, and waits for the store
        for number in range(users):
            arena.load.send_event(Sent(f"warm-{number}", f"user-{number}", "item-1", "click", int(time.time() * 1000)))
        arena.measure_recovery()
        for harm in (_stopped, _hung):
            harm(arena, "cassandra", lambda: _expect_service_then_pause(arena))
            arena.check_alive()
            run.say(
                f"cassandra-down:{harm.__name__.replace('_', ' ')}, recovered after {arena.measure_recovery():.1f} s"
            )
            arena.pause(2.0)
        return arena.finish()


def _expect_service_then_pause(arena: Arena) -> None:
    """Recommendations go on for a while; then the workers say that they wait for the dirty budget."""
    topic = [arena.shop.topic("recommendations")]

    def recommended() -> int:
        return sum(arena.log_ends(topic).values())

    def waits() -> float:
        for worker in arena.workers:
            worker.scrape()
        return sum(worker.seen("prefstream_waits_total", 'reason="dirty-budget"') for worker in arena.workers)

    before, waited = recommended(), waits()
    wait_for("recommendations without the store", lambda: recommended() > before + 300, 15.0)
    wait_for("the dirty budget to be full", lambda: waits() > waited, 30.0)
    served = recommended() - before
    arena.figures["served_without_store"] = min(served, arena.figures.get("served_without_store", served))


def _begin(arena: Arena) -> None:
    arena.start_worker(ready=False)
    arena.start_worker()
    arena.load.start()
    arena.wait_assigned()
    arena.watch.wait_progress()


def _length_s(arena: Arena) -> float:
    return 15.0 if arena.run.quick else 60.0


def _stopped(arena: Arena, name: str, meanwhile: Callable[[], None]) -> None:
    """The server is killed and comes back."""
    folder = arena.run.stack.folder
    until = time.monotonic() + _length_s(arena)
    stop_server(folder, name, kill=True)
    try:
        meanwhile()
        arena.pause(max(0.0, until - time.monotonic()))
    finally:
        start_server(folder, name)


def _hung(arena: Arena, name: str, meanwhile: Callable[[], None]) -> None:
    """The server's process is held: connections stay, and nobody answers."""
    stack = up(arena.run.stack.folder)  # it runs: this reads its processes, which an earlier harm may have changed
    pid = stack.kafka_pid if name == "kafka" else stack.cassandra_pid
    until = time.monotonic() + _length_s(arena)
    os.kill(pid, signal.SIGSTOP)
    try:
        meanwhile()
        arena.pause(max(0.0, until - time.monotonic()))
    finally:
        os.kill(pid, signal.SIGCONT)


def cassandra_slow(run: Run) -> dict[str, Any]:
    """A proxy before Cassandra delays everything, stalls a part beyond the request timeout, and cuts connections."""
    proxy = Proxy((run.stack.cassandra_hosts[0], run.stack.cassandra_port), run.seed)
    cassandra = {"hosts": run.stack.cassandra_hosts, "port": proxy.port, "request_timeout_s": 2.0}
    with Arena(run, "cassandra-slow", sections={"store": {"kind": "cassandra", "cassandra": cassandra}}) as arena:
        _begin(arena)
        proxy.delay_s = (0.01, 0.15)
        proxy.stall, proxy.stall_s = 0.03, 3.0
        cut = 0
        for _ in range(5 if run.quick else 20):
            arena.pause(arena.rng.uniform(1.0, 3.0))
            cut += proxy.cut(0.3)
        proxy.delay_s, proxy.stall = (0.0, 0.0), 0.0
        arena.figures["connections_cut"] = cut
        arena.measure_recovery()
        arena.figures["store_errors"] = int(sum(one.seen("prefstream_store_errors_total") for one in arena.workers))
        if not arena.figures["store_errors"]:
            arena.problems.append("the proxy did no harm: no call of the store failed")
        result = arena.finish()
    proxy.close()
    return result
