"""Where a scenario takes place: a namespace of its own on the shared stack, workers, a load, and the verdict."""

import math
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

from deploy.local.stack import Stack
from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from encoders.ranking.user_head import LinearHead
from streams.checkpoint.stored_profile import decode_state, hashes
from tests.e2e import taobao
from tests.e2e.oracle import Oracle, identity
from tests.e2e.shop import ShopOnStack
from tests.e2e.worker_process import INPUTS, Late, log_ends, read_topic, wait_for
from tests.faults.content import ITEMS, WINDOW, Content, Mix
from tests.faults.load import Load
from tests.faults.watch import AWAY, GroupOffsets, Watch, WatchedWorker

HISTORY = 8
STOP_LIMIT_S = 10.0
RECOVERY_LIMIT_S = 30.0
STATE_ERROR_LIMIT = 1e-4
PARTITIONS = 4
_SAID = 20
"""Of the events that are missing, those that are named."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """What the command line asks of a scenario."""

    seed: int
    quick: bool
    stack: Stack
    folder: Path
    say: Say
    beside: Path | None = None
    """Another checkout: every second worker is one of it."""


@dataclass
class Arena:
    """One scenario's world. ``sections`` are laid over the workers' settings."""

    run: Run
    name: str
    mix: Mix = field(default_factory=Mix)
    rate: float = 250.0
    sections: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.rng = random.Random(self.run.seed)
        self.folder = self.run.folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.oracle = Oracle(HISTORY, list(taobao.HALF_LIVES_S), taobao.TYPE_WEIGHTS, taobao.DIMENSION)
        settings: dict[str, Any] = {
            "checkpoint": {"interval_s": 1.0},
            "ranking": {"k": 5},
            # made once for all scenarios
            "encoder": {"folder": str(self._encoder())},
            "profiles": {"history": HISTORY},
        }
        for name, section in self.sections.items():
            settings[name] = {**settings.get(name, {}), **section}
        self.shop = ShopOnStack(self.run.stack, self.folder, **settings)
        self.group = self.shop.settings.group
        self.inputs = [self.shop.topic(name) for name in INPUTS]
        self.oracle.before_identities = self.run.beside is not None
        mix = self.mix if self.run.beside is None else self.mix.as_before_identities()
        content = Content(self.run.seed, mix, PARTITIONS)
        self.load = Load(self.shop.bootstrap, self.shop.namespace, content, self.rate)
        self.offsets = GroupOffsets(self.shop.bootstrap, self.group, self.inputs)
        self.watch = Watch(GroupOffsets(self.shop.bootstrap, self.group, self.inputs))
        self.problems: list[str] = []
        self.figures: dict[str, Any] = {}
        self.recoveries_s: list[float] = []
        self.forgotten: dict[str, set[str]] = {}
        self._former_admins: list[AdminClient] = []
        self._catalog = taobao.Shop(self.shop.bootstrap, self.shop.namespace)
        self._catalog.send_catalog(ITEMS)

    def __enter__(self) -> "Arena":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _encoder(self) -> Path:
        folder = self.run.folder / "encoder"
        if not folder.is_dir():
            vectors = [self.oracle.vector(item) for item in ITEMS]
            side = UserSide(
                head=LinearHead(),
                history=HISTORY,
                half_lives_s=taobao.HALF_LIVES_S,
                sum_weights=taobao.TYPE_WEIGHTS,
            )
            lookup.build(folder, ITEMS, vectors, "faults", user=side)
        return folder

    # workers

    @property
    def workers(self) -> list[WatchedWorker]:
        """Those that the scenario has not ended."""
        return [worker for worker in self.watch.workers if not worker.ended]

    def start_worker(
        self, *, ready: bool = True, config: Path | None = None, tree: Path | None = None
    ) -> WatchedWorker:
        """One worker more; ``tree`` is another checkout, whose worker it is."""
        number = len(self.watch.workers) + 1
        tree = tree or (self.run.beside if number % 2 == 0 else None)
        worker = WatchedWorker(config or self.shop.config, self.folder / f"worker-{number}.log", tree)
        self.watch.workers.append(worker)
        if ready:
            worker.wait_ready()
        return worker

    def config_through(self, cassandra_port: int) -> Path:
        """Settings of a worker that reaches Cassandra by another port."""
        path = self.folder / f"through-{cassandra_port}.toml"
        text = self.shop.config.read_text("utf-8")
        path.write_text(text.replace(f"port = {self.run.stack.cassandra_port}", f"port = {cassandra_port}"), "utf-8")
        return path

    def kill(self, worker: WatchedWorker) -> None:
        """kill -9."""
        self.check_alive()
        worker.ended = True
        worker.kill()

    def stop_worker(self, worker: WatchedWorker) -> float:
        """SIGTERM; returns the seconds that it took."""
        worker.scrape()
        worker.ended = True
        start = time.monotonic()
        code = worker.stop(30)
        took_s = time.monotonic() - start
        if code:
            self.problems.append(f"{worker.name} ended with {code}: {_last_lines(worker.log)}")
        return took_s

    def hold(self, worker: WatchedWorker) -> None:
        """SIGSTOP."""
        worker.held = True
        worker.process.send_signal(signal.SIGSTOP)

    def let_go(self, worker: WatchedWorker) -> None:
        """SIGCONT."""
        worker.process.send_signal(signal.SIGCONT)
        worker.held = False

    def check_alive(self) -> None:
        """A worker that ended by itself has failed."""
        for worker in self.workers:
            if worker.process.poll() is not None:
                worker.ended = True
                self.problems.append(f"{worker.name} ended by itself: {_last_lines(worker.log)}")

    def assigned(self, worker: WatchedWorker) -> int:
        """Partitions of each input that a worker owns."""
        worker.scrape()
        return int(worker.seen("prefstream_assigned_partitions"))

    def wait_assigned(self, total: int = PARTITIONS, timeout_s: float = 60.0) -> None:
        """Wait until the workers own ``total`` partitions together."""

        def settled() -> bool:
            self.check_alive()
            return sum(self.assigned(worker) for worker in self.workers if not worker.held) == total

        wait_for(f"the workers to own {total} partitions", settled, timeout_s, every_s=0.3)

    # time

    def pause(self, seconds: float) -> None:
        """Let the load run on for a while."""
        time.sleep(seconds)
        self.check_alive()

    def measure_recovery(self, timeout_s: float = 90.0) -> float:
        """From now, the end of a harm, until all that was produced by now is committed: saved and recommended."""
        start = time.monotonic()
        target, recommended = self.load.handed_over, self._recommended()
        wait_for("the load of the harm's time to be in the log", lambda: len(self.load.log) >= target, timeout_s)
        ends = self.log_ends(self.inputs)

        def recovered() -> bool:
            self.check_alive()
            try:
                committed = self.offsets.read()
            except AWAY:
                return False
            done = all(committed.get(part, 0) >= end for part, end in ends.items())
            return done and self._recommended() > recommended

        wait_for("all that was produced by the end of the harm to be committed", recovered, timeout_s, every_s=0.2)
        took_s = time.monotonic() - start
        self.recoveries_s.append(took_s)
        return took_s

    def _recommended(self) -> int:
        return sum(self.log_ends([self.shop.topic("recommendations")]).values())

    def log_ends(self, topics: list[str]) -> dict[tuple[str, int], int]:
        """Where logs end; a broker that has just come back is asked again."""

        def ask() -> Any:
            try:
                return log_ends(self.shop.admin, topics, 5.0)
            except AWAY:
                # its cache of leaders may be of the time before; freed with answers under way, it would take us down
                self._former_admins.append(self.shop.admin)
                self.shop.admin = AdminClient({"bootstrap.servers": self.shop.bootstrap, "log_level": 2})
                return None

        found: dict[tuple[str, int], int] = wait_for("the broker to tell where logs end", ask, 60.0, every_s=2.0)
        return found

    # the end

    def finish(self) -> dict[str, Any]:
        """End the load, wait until all of it is saved, stop the workers, and compare."""
        try:
            self.load.stop()
            self.load.flush()
            self.wait_drained()
            for worker in self.workers:
                took_s = self.stop_worker(worker)
                if took_s > STOP_LIMIT_S:
                    self.problems.append(f"{worker.name} took {took_s:.1f} s to stop")
        except (Late, AssertionError) as error:
            self.problems.append(str(error))
        finally:
            self.end()
        return self.verdict()

    def wait_drained(self) -> None:
        """Wait until all that is in the inputs is committed, and all that is in memory is saved."""

        def drained() -> bool:
            self.check_alive()
            if not self.workers:
                raise AssertionError("no worker is left")
            try:
                committed = self.offsets.read()  # first: what comes meanwhile counts as not committed
            except AWAY:
                return False
            return all(committed.get(part, 0) >= end for part, end in self.log_ends(self.inputs).items())

        wait_for("the group to commit everything", drained, 120.0, every_s=0.3)
        wait_for(
            "the workers to save everything",
            lambda: all(worker.scrape() and worker.seen("prefstream_dirty_users") == 0 for worker in self.workers),
            30.0,
            every_s=0.3,
        )

    def end(self) -> None:
        """Let go of everything, whatever happened."""
        self.load.stop()
        for worker in self.workers:
            worker.ended = True
            worker.process.kill()
            worker.process.wait(10)
        for worker in self.watch.workers:
            worker.log.with_suffix(".prom").write_text(worker.page, "utf-8")
        self.watch.stop()

    def rows(self) -> dict[str, Any]:
        """What the store holds."""
        return taobao.read_rows(self.run.stack, self.shop.settings.keyspace)

    def verdict(self) -> dict[str, Any]:
        """The figures of the scenario, and what was wrong with it."""
        report = self.oracle.compare(self.load.events(), self.rows(), duplicate_window=WINDOW, forgotten=self.forgotten)
        self._check_dead_letters()
        self.problems += [f"a committed offset went back: {one}" for one in self.watch.went_back]
        if report["lost"]:
            self.problems.append(f"not counted: {'; '.join(self._not_counted())}")
        wrong = (
            "users_missing",
            "users_unexpected",
            "recents_wrong",
            "counters_wrong",
            "purchases_wrong",
            "actions_wrong",
        )
        self.problems += [f"{name}: {report[name]}" for name in wrong if report[name]]
        recovery_s = max(self.recoveries_s, default=0.0)
        if recovery_s > RECOVERY_LIMIT_S:
            self.problems.append(f"recovery took {recovery_s:.1f} s")
        error = report["max_state_error"]
        if not error <= STATE_ERROR_LIMIT:
            self.problems.append(f"the largest error of a sum is {error}")
        figures = {
            "scenario": self.name,
            "seed": self.run.seed,
            "events": report["events"] + report["duplicates"],
            "duplicates": report["duplicates"],
            "lost": report["lost"],
            "double_counted": report["double_counted"],
            "reprocessed": int(self._outcomes("replayed")),
            "states_compared": report["users"],
            "max_state_error": round(error, 9) if math.isfinite(error) else None,
            "recovery_s": round(recovery_s, 1),
            "seconds": round(time.monotonic() - self.began, 1),
            **self.figures,
        }
        passed = not self.problems and report["lost"] == 0 and report["double_counted"] == 0
        if passed:
            self._remove_topics()
        return figures | {"passed": passed, "problems": [problem[:2_000] for problem in self.problems]}

    def _remove_topics(self) -> None:
        """A broker that is killed later has to recover every log that is still there."""
        topics = [
            name for name in self.shop.admin.list_topics(timeout=10.0).topics if name.startswith(self.shop.topic(""))
        ]
        for removed in self.shop.admin.delete_topics(topics, operation_timeout=30.0).values():
            removed.result(60.0)

    def _not_counted(self) -> list[str]:
        """Where in the log the events lie that their user's row has never seen; of busy users the last ones only."""
        rows = self.rows()
        seen = {user: set(hashes(decode_state(row.state, user).seen_ids).tolist()) for user, row in rows.items()}
        since: dict[str, int] = Counter()
        found = []
        for one in reversed(self.load.log):
            sent = one.record.sent
            if sent is None:
                continue
            since[sent.user_id] += 1
            if since[sent.user_id] <= WINDOW and identity(sent) not in seen.get(sent.user_id, ()):
                forced = "" if one.record.partition is None else ", on a partition it was forced to"
                found.append(f"{sent.event_id} of {sent.user_id} at {one.topic}:{one.partition}:{one.offset}{forced}")
        return found[:_SAID]

    def _outcomes(self, outcome: str) -> float:
        return sum(worker.seen("prefstream_events_total", f'outcome="{outcome}"') for worker in self.watch.workers)

    def _check_dead_letters(self) -> None:
        """Every broken record is among the dead letters, byte for byte, and nothing else is."""
        letters: dict[tuple[str, int, int], list[Any]] = {}
        for message in read_topic(self.shop.bootstrap, self.shop.topic("dead-letters")):
            headers = dict(message.headers() or [])
            place = tuple(headers[f"prefstream-source-{name}"].decode() for name in ("topic", "partition", "offset"))
            letters.setdefault((place[0], int(place[1]), int(place[2])), []).append(message)
        sent = {(one.topic, one.partition, one.offset): one.record for one in self.load.broken()}
        changed = sum(
            message.value() != sent[place].value
            or (message.key() or b"").decode() != sent[place].key
            or [one for one in message.headers() if not one[0].startswith("prefstream-")] != list(sent[place].headers)
            for place, copies in letters.items()
            if place in sent
            for message in copies
        )
        missing, unexpected = len(sent.keys() - letters.keys()), len(letters.keys() - sent.keys())
        self.figures["dead_letters"] = len(letters)
        for what, count in (("missing", missing), ("changed", changed), ("unexpected", unexpected)):
            if count:
                self.problems.append(f"dead letters {what}: {count} of {len(sent)}")


def _last_lines(log: Path) -> str:
    return " | ".join(line[:400] for line in log.read_text("utf-8", "replace").splitlines()[-3:])
