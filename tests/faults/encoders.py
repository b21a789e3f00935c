"""Harm to a move between encoder versions: workers killed in the midst of it, and one that lacks the folder.

The second version's vectors are the first's turned into more dimensions, so what every sum and every preference vector
must be in either space is known exactly.
"""

import json
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from cassandra.cluster import Cluster
from confluent_kafka import Consumer, TopicPartition

from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from encoders.ranking.user_head import LinearHead
from tests.e2e import taobao
from tests.e2e.oracle import TAKEN_BACK, TYPES, Sent, apart, latest_first
from tests.e2e.worker_process import wait_for
from tests.faults.arena import HISTORY, PARTITIONS, STATE_ERROR_LIMIT, Arena, Run
from tests.faults.command import prefstream
from tests.faults.content import ITEMS, WINDOW
from tests.faults.watch import WatchedWorker

FIRST, SECOND = "faults", "faults-turned"
DIMENSION = 80
GAP_LIMIT_S = 5.0
"""Between two lists while a move is under way and nobody is killed."""
KILL_GAP_LIMIT_S = 20.0
"""The same where a worker is killed: the group takes its session timeout to notice, and both have a rebalance."""

_RANK_DECAYS, _MIX = np.array([0.2, 0.5, 0.85, 0.99]), np.array([0.2, 0.24, 0.28, 0.28])
_RECENT_WEIGHTS = {"click": 1.0, "browse": 0.5, "purchase": 2.0}


class Sighting(NamedTuple):
    """A list on the topic."""

    user_id: str
    revision: tuple[int, int]
    version: str
    emitted_ms: int


class Lists:
    """A thread that follows `recommendations`."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.seen: list[Sighting] = []
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "lists", "enable.auto.commit": False})
        parts = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in parts])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="lists", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            for message in self._consumer.consume(1_000, timeout=0.1):
                if message.error() is None and message.value() is not None:
                    found = msgspec.json.decode(message.value())
                    self.seen.append(
                        Sighting(
                            found["user_id"],
                            (found["revision"]["term"], found["revision"]["sequence"]),
                            found["encoder_version"],
                            found["emitted_ms"],
                        )
                    )

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    def longest_gap_s(self, since_ms: int, until_ms: int) -> float:
        """Between two lists of anybody's, in a time."""
        times = sorted(one.emitted_ms for one in self.seen if since_ms <= one.emitted_ms <= until_ms)
        return max((b - a for a, b in pairwise([since_ms, *times, until_ms])), default=0) / 1000

    def went_back(self, to: str, since_ms: int, until_ms: int) -> list[Sighting]:
        """Lists of another version that a user got after one of ``to``, by their revisions."""
        of_user: dict[str, list[Sighting]] = defaultdict(list)
        for one in self.seen:
            if since_ms <= one.emitted_ms < until_ms:
                of_user[one.user_id].append(one)
        wrong = []
        for lists in of_user.values():
            reached = False
            for one in sorted(lists, key=lambda one: one.revision):
                if reached and one.version != to:
                    wrong.append(one)
                reached |= one.version == to
        return wrong


class Move(NamedTuple):
    """An activation, and when all workers had followed it."""

    to: str
    began_ms: int
    ended_ms: int
    killed: bool


class EncoderArena(Arena):
    """An arena with a second encoder version on its shelf."""

    def __init__(self, run: Run) -> None:
        self.shelf = run.folder / "encoder-swap" / "shelf"
        super().__init__(run, "encoder-swap", sections={"encoder": {"folders": str(self.shelf)}})
        # rows are orthonormal: lengths and angles are kept, and what is turned back is what it was
        turned = np.linalg.qr(np.random.default_rng(run.seed).standard_normal((DIMENSION, DIMENSION)))[0]
        self.spaces = {FIRST: np.eye(taobao.DIMENSION), SECOND: turned[: taobao.DIMENSION]}
        vectors = np.stack([self.oracle.vector(item) for item in ITEMS]).astype(np.float64) @ self.spaces[SECOND]
        side = UserSide(
            head=LinearHead(),
            history=HISTORY,
            half_lives_s=taobao.HALF_LIVES_S,
            sum_weights=taobao.TYPE_WEIGHTS,
        )
        lookup.build(self.shelf / SECOND, ITEMS, vectors, SECOND, user=side)
        self.oracle.spaces = self.spaces
        self.moves: list[Move] = []
        self.lacking_ms = (0, 0)
        """When a worker without the second version's folder served."""
        self.lists = Lists(self.shop.bootstrap, self.shop.topic("recommendations"))

    def rows(self) -> dict[str, Any]:
        """What the store holds, with the preference vectors."""
        with Cluster(self.run.stack.cassandra_hosts, self.run.stack.cassandra_port) as cluster:
            session = cluster.connect(self.shop.settings.keyspace)
            session.default_timeout = 60
            found = session.execute("SELECT user_id, state, encoder, mixed FROM profiles")
            return {row.user_id: row for row in found}

    def serves(self, worker: WatchedWorker, version: str) -> bool:
        """Whether a worker serves this version, by its metrics."""
        worker.scrape()
        return worker.seen("prefstream_encoder_info", f'version="{version}"') == 1

    def wait_served(self, version: str) -> None:
        """Wait until all workers that are left serve this version."""

        def all_do() -> bool:
            self.check_alive()
            return bool(self.workers) and all(self.serves(worker, version) for worker in self.workers)

        wait_for(f"all workers to serve {version}", all_do, 90.0, every_s=0.1)

    def move(self, *words: str, kill: bool = False) -> None:
        """Activate a version by the command line; all workers follow, or one dies on the way."""
        began_ms = _now_ms()
        victim = self.rng.choice(self.workers)
        before = _moves_begun(victim)
        with ThreadPoolExecutor(1) as beside:
            command = beside.submit(prefstream, self.shop.config, "encoders", *words, "--json")
            if kill:
                wait_for("a worker to begin its move", lambda: _moves_begun(victim) > before, every_s=0.02)
                self.pause(self.rng.uniform(0.0, 1.5))  # about as long as it takes
                self.kill(victim)
                self.start_worker(ready=False)
            version = json.loads(command.result())["version"]
        self.wait_served(version)
        self.moves.append(Move(version, began_ms, _now_ms(), kill))
        self.run.say(
            f"encoder-swap: {' '.join(words)} after {(_now_ms() - began_ms) / 1000:.1f} s"
            + (", a worker killed" if kill else "")
        )

    def _judge_lists(self) -> None:
        """No gap, and none goes back but while a worker without the folder served."""
        self.lists.stop()
        low, high = self.lacking_ms
        ends = [move.began_ms for move in self.moves[1:]] + [_now_ms()]
        back = sum(
            not low <= one.emitted_ms <= high
            for move, end in zip(self.moves, ends, strict=True)
            for one in self.lists.went_back(move.to, move.began_ms, end)
        )
        calm = [self.lists.longest_gap_s(move.began_ms, move.ended_ms) for move in self.moves if not move.killed]
        harmed = [self.lists.longest_gap_s(move.began_ms, move.ended_ms) for move in self.moves if move.killed]
        unknown = {one.version for one in self.lists.seen} - {FIRST, SECOND}
        self.figures |= {
            "lists": len(self.lists.seen),
            "moves": len(self.moves),
            "longest_gap_s": round(max(calm, default=0.0), 2),
            "longest_gap_with_a_kill_s": round(max(harmed, default=0.0), 2),
            "went_back": back,
            "longest_move_s": round(max((move.ended_ms - move.began_ms) / 1000 for move in self.moves), 1),
        }
        if max(calm, default=0.0) > GAP_LIMIT_S or max(harmed, default=0.0) > KILL_GAP_LIMIT_S:
            self.problems.append("nobody got a list for too long")
        if back:
            self.problems.append(f"{back} lists were of the former version after one of the newer")
        if unknown:
            self.problems.append(f"lists of {unknown}")

    def verdict(self) -> dict[str, Any]:
        """The figures, with those of the lists and the preference vectors."""
        self._judge_lists()
        error = preference_error(self.load.events(), self.rows(), self)
        self.figures["max_preference_error"] = round(error, 9)
        if not error <= STATE_ERROR_LIMIT:
            self.problems.append(f"the largest error of a preference vector is {error}")
        return super().verdict()


def encoder_swap(run: Run) -> dict[str, Any]:
    """A version is activated, taken back and activated under load; workers are killed in the midst, and one that lacks
    the folder serves on beside the others until it gets it."""
    with EncoderArena(run) as arena:
        for worker in (arena.start_worker(ready=False), arena.start_worker()):
            wait_for("the worker to know the catalog", lambda w=worker: _items(w) == len(ITEMS))
        arena.load.start()
        arena.wait_assigned()
        arena.pause(5.0 if run.quick else 15.0)
        arena.move("activate", SECOND)
        arena.pause(4.0)
        arena.move("rollback", kill=True)
        for number in range(0 if run.quick else 4):
            arena.watch.wait_progress()
            arena.pause(arena.rng.uniform(0.0, 6.0))
            arena.move(*(("rollback",) if number % 2 else ("activate", SECOND)), kill=number != 2)
        arena.measure_recovery()
        arena.lacking_ms = _lack_the_folder(arena)
        arena.pause(3.0)
        arena.measure_recovery()
        return arena.finish()


def _lack_the_folder(arena: EncoderArena) -> tuple[int, int]:
    """A worker without the second version's folder: it says so, isn't ready, serves; then the folder is brought.

    Returns when it began and ended, in UTC milliseconds.
    """
    began_ms = _now_ms()
    own = arena.folder / "own-shelf"
    config = arena.folder / "without-the-folder.toml"
    config.write_text(arena.shop.config.read_text("utf-8").replace(str(arena.shelf), str(own)), "utf-8")
    poor = arena.start_worker(config=config)
    first, second = [worker for worker in arena.workers if worker is not poor]
    arena.stop_worker(first)
    wait_for("the worker to own a part", lambda: arena.assigned(poor) > 0)
    move_ms = _now_ms()
    prefstream(arena.shop.config, "encoders", "activate", SECOND)
    wait_for("the other to serve it", lambda: arena.serves(second, SECOND), 60.0)

    def complains() -> bool:
        status, page = poor.get("/readyz")
        return status == 503 and SECOND in page and "no folder" in page

    wait_for("the worker without the folder to say so", complains, 30.0)
    before = poor.metric("prefstream_recommendations_total")
    wait_for("it to go on", lambda: poor.metric("prefstream_recommendations_total") > before, 30.0)
    # users come from workers of either version to such of the other
    arena.stop_worker(second)
    wait_for("the worker without the folder to own all", lambda: arena.assigned(poor) == PARTITIONS)
    arena.pause(3.0)
    third = arena.start_worker()
    wait_for("another to own a part", lambda: arena.assigned(third) > 0)
    arena.pause(3.0)
    partly = own / f"{SECOND}-partly"
    shutil.copytree(arena.shelf / SECOND, partly)
    _cut(partly / "items.onnx")
    arena.pause(6.0)
    if arena.serves(poor, SECOND) or poor.get("/readyz")[0] != 503:
        arena.problems.append("a folder that was only partly copied was taken")
    shutil.copy(arena.shelf / SECOND / "items.onnx", partly / "items.onnx")
    arena.wait_served(SECOND)
    poor.wait_ready(30.0)
    arena.moves.append(Move(SECOND, move_ms, _now_ms(), killed=True))  # a worker was stopped and one started
    arena.run.say("encoder-swap: the worker without the folder has it now")
    return began_ms, _now_ms()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1_000])


def _moves_begun(worker: WatchedWorker) -> int:
    return worker.log.read_text("utf-8", "replace").count("filling an encoder version")


def _items(worker: WatchedWorker) -> float:
    worker.scrape()
    return worker.seen("prefstream_index_items")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def preference_error(sent: list[Sent], rows: Mapping[str, Any], arena: EncoderArena) -> float:
    """Largest distance of a row's mixed preference vector from the linear head's formula, in its version's space.

    The formula is that of docs/explanation/ranking-and-reasons.md, on what the oracle says that the sums are.
    """
    worst = 0.0
    for user, counted in arena.oracle.counted(sent, WINDOW).items():
        if user not in rows:
            continue
        events, actions = apart(counted)
        ordered = sorted(events, key=latest_first, reverse=True)
        recents = ordered[:HISTORY]
        older = [*ordered[HISTORY:], *(action for action in actions if action.type in TAKEN_BACK)]
        if not (recents or older):
            continue  # hidden items and consents change no preference
        mean = np.zeros(taobao.DIMENSION)
        if older:
            sums, mass, _ = arena.oracle.sums(older)
            mean = (0.5 * sums / mass[:, None]).sum(axis=0)
        mixed = (_MIX * _RANK_DECAYS ** len(recents)).sum() * mean
        for rank, event in enumerate(recents):
            weight = (_MIX * (1 - _RANK_DECAYS) * _RANK_DECAYS**rank).sum() * _RECENT_WEIGHTS[event.type]
            mixed = mixed + weight * arena.oracle.vector(event.item_id)
        expected = mixed / np.linalg.norm(mixed) @ arena.spaces[rows[user].encoder]
        stored = np.frombuffer(rows[user].mixed, "<f4")
        worst = max(worst, float(np.linalg.norm(stored - expected)) if len(stored) == len(expected) else np.inf)
    return worst


assert set(_RECENT_WEIGHTS) == set(TYPES)
