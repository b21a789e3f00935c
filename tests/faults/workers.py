"""Harm to workers: killed, stopped, held, added and taken away."""

from collections.abc import Callable
from typing import Any

from tests.e2e.worker_process import wait_for
from tests.faults.arena import PARTITIONS, STOP_LIMIT_S, Arena, Run
from tests.faults.proxy import Proxy

Scenario = Callable[[Run], dict[str, Any]]


def kill(run: Run) -> dict[str, Any]:
    """20 random kill -9, each followed by a replacement; every other one soon after the last, in mid-rebalance.

    Checkpoints follow one another closely, so that many of the kills strike between a save and its commit.
    """
    with Arena(run, "kill", sections={"checkpoint": {"interval_s": 0.1}}) as arena:
        arena.start_worker(ready=False)
        arena.start_worker()
        arena.load.start()
        kills = 6 if run.quick else 20
        for number in range(kills):
            if number % 2 == 0:
                arena.watch.wait_progress()
            arena.pause(arena.rng.uniform(0.0, 3.0))
            owners = [worker for worker in arena.workers if arena.assigned(worker)]
            victim = arena.rng.choice(arena.workers if number % 2 or not owners else owners)
            arena.kill(victim)
            arena.start_worker(ready=False)
            run.say(f"kill: {number + 1} of {kills}, {victim.name}")
        arena.measure_recovery()
        arena.figures["kills"] = kills
        return arena.finish()


def stop(run: Run) -> dict[str, Any]:
    """Rolling restarts by SIGTERM: the next owner has nothing to do again."""
    with Arena(run, "stop") as arena:
        arena.start_worker(ready=False)
        arena.start_worker()
        arena.load.start()
        arena.wait_assigned()
        longest_s = 0.0
        stops = 3 if run.quick else 8
        for number in range(stops):
            arena.watch.wait_progress()
            oldest = arena.workers[0]
            arena.start_worker()
            if number % 2:  # else in the midst of the newcomer's rebalance
                arena.watch.wait_progress()
                arena.pause(arena.rng.uniform(0.5, 3.0))
            took_s = arena.stop_worker(oldest)
            longest_s = max(longest_s, took_s)
            run.say(f"stop: {number + 1} of {stops}, {took_s:.1f} s")
        arena.measure_recovery()
        arena.figures |= {"stops": stops, "longest_stop_s": round(longest_s, 1)}
        if longest_s > STOP_LIMIT_S:
            arena.problems.append(f"a stop took {longest_s:.1f} s")
        result = arena.finish()
        if result["reprocessed"]:
            result["problems"].append("a clean stop left events to be processed again")
            result["passed"] = False
        return result


def rebalance(run: Run) -> dict[str, Any]:
    """From one worker to four and back, under load."""
    with Arena(run, "rebalance") as arena:
        first = arena.start_worker()
        arena.load.start()
        for _ in range(1 if run.quick else 2):
            arena.watch.wait_progress()
            while len(arena.workers) < PARTITIONS:
                arena.start_worker(ready=False)
                arena.pause(arena.rng.uniform(0.0, 3.0))
            wait_for(
                "each worker to own a partition",
                lambda: [arena.assigned(worker) for worker in arena.workers] == [1] * PARTITIONS,
                every_s=0.3,
            )
            run.say("rebalance: four workers")
            arena.watch.wait_progress()
            arena.pause(2.0)
            for worker in arena.workers[1:]:
                arena.stop_worker(worker)
                arena.pause(arena.rng.uniform(0.0, 2.0))
            wait_for("the first to own all", lambda: arena.assigned(first) == PARTITIONS, every_s=0.3)
            run.say("rebalance: one worker")
        arena.measure_recovery()
        return arena.finish()


_SAVE_BYTES = 4_000
"""What a worker sends for a checkpoint is more than this; what it sends to keep a connection is less."""


def zombie(run: Run) -> dict[str, Any]:
    """A worker is held beyond its session; another takes over and writes; then the first wakes up.

    Every other time it is held in the middle of a checkpoint: what it has sent of it reaches Cassandra only after the
    new owner's writes.
    """
    proxy = Proxy((run.stack.cassandra_hosts[0], run.stack.cassandra_port), run.seed)
    with Arena(run, "zombie", sections={"checkpoint": {"interval_s": 0.5}}) as arena:
        sleeper = arena.start_worker(ready=False, config=arena.config_through(proxy.port))
        other = arena.start_worker()
        arena.load.start()
        rounds = 2 if run.quick else 6
        for number in range(rounds):
            in_checkpoint = number % 2 == 0
            if in_checkpoint:
                arena.wait_assigned()  # a term is taken by the same connection
            wait_for("both workers to own a part", lambda: arena.assigned(sleeper) and arena.assigned(other))
            arena.watch.wait_progress()
            arena.pause(arena.rng.uniform(0.0, 1.0))
            if in_checkpoint:
                proxy.hold()
                wait_for("a checkpoint to be on its way", lambda: proxy.held_bytes > _SAVE_BYTES, every_s=0.005)
            arena.hold(sleeper)
            wait_for("the other to own all", lambda: arena.assigned(other) == PARTITIONS)
            for _ in range(2):
                arena.watch.wait_progress()
            proxy.release()
            arena.pause(0.5)
            arena.let_go(sleeper)
            run.say(f"zombie: {number + 1} of {rounds}" + (", held in a checkpoint" if in_checkpoint else ""))
        arena.measure_recovery()
        wait_for("the zombie to own a part again", lambda: arena.assigned(sleeper) > 0)
        arena.figures["held"] = rounds
        result = arena.finish()
    proxy.close()
    return result
