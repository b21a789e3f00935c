"""Harm to the disk: the SQLite store's is full for a while."""

import contextlib
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tests.e2e.worker_process import wait_for
from tests.faults.arena import PARTITIONS, Arena, Run
from tests.faults.watch import WatchedWorker

_DISK_MB = 32


class SmallDisk(Protocol):
    """A place for a file that can be made full, and have room again."""

    folder: Path
    kind: str

    def fill(self, worker: WatchedWorker) -> None:
        """No byte more fits."""

    def make_room(self, worker: WatchedWorker) -> None:
        """There is room again."""


class Tmpfs:
    """A real small file system, where this user may mount one."""

    kind = "tmpfs"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, worker: WatchedWorker) -> None:
        """Write zeros until the disk says that it is full."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:
            for size in (1 << 16, 1 << 12):
                with contextlib.suppress(OSError):
                    while ballast.write(bytes(size)) == size:
                        pass

    def make_room(self, worker: WatchedWorker) -> None:
        """Delete what filled it."""
        self._ballast.unlink()


class FileSizeLimit:
    """Elsewhere: the worker's files may not grow beyond what they are."""

    kind = "RLIMIT_FSIZE"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, worker: WatchedWorker) -> None:
        """Limit the running worker; all that it may still write lies below the first byte."""
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def make_room(self, worker: WatchedWorker) -> None:
        """Lift the limit; it ends with the worker."""
        if not worker.ended:
            no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, no_limit)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """A small disk mounted at ``folder``, or what comes nearest to it."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "prefstream-faults", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield Tmpfs(folder) if mounted else FileSizeLimit(folder)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def disk(run: Run) -> dict[str, Any]:
    """The disk of the SQLite store is full for a while, and the worker is killed meanwhile once."""
    with small_disk(run.folder / "small-disk") as place:
        store = {"kind": "sqlite", "path": str(place.folder / "profiles.sqlite")}
        with SqliteArena(run, "disk", sections={"store": store}) as arena:
            arena.figures["full_by"] = place.kind
            worker = arena.start_worker()
            arena.load.start()
            wait_for("the worker to own all", lambda: arena.assigned(worker) == PARTITIONS)
            for kill in (False, True):
                arena.watch.wait_progress()
                before = _complaints(worker)
                place.fill(worker)
                _wait_refused(arena, worker, before)
                arena.pause(3.0 if run.quick else 10.0)
                if kill:
                    arena.kill(worker)
                place.make_room(worker)
                if kill:
                    worker = arena.start_worker(ready=False)
                run.say(f"disk: room again after {'a kill' if kill else 'a while'}")
                arena.measure_recovery()
            return arena.finish()


def _complaints(worker: WatchedWorker) -> int:
    text = worker.log.read_text("utf-8", "replace")
    return text.count("disk of the SQLite store") + text.count("The SQLite store")


def _wait_refused(arena: Arena, worker: WatchedWorker, before: int) -> None:
    """The worker says what is wrong, in a sentence, and stays."""

    def said() -> bool:
        arena.check_alive()
        return _complaints(worker) > before

    wait_for("the worker to say that the disk is full", said, 30.0)
    if "Traceback" in worker.log.read_text("utf-8", "replace"):
        arena.problems.append("a traceback instead of a sentence when the disk was full")


class SqliteArena(Arena):
    """An arena whose store is one file."""

    def rows(self) -> dict[str, Any]:
        """What the store holds, after a check of the file itself."""
        store = self.shop.settings.store.path
        path = store.with_name(f"{self.shop.namespace}-{store.name}")
        with contextlib.closing(sqlite3.connect(path)) as db:
            [check] = db.execute("PRAGMA integrity_check").fetchone()
            if check != "ok":
                self.problems.append(f"the SQLite file is broken: {check}")
            db.row_factory = sqlite3.Row
            rows = db.execute("SELECT user_id, state FROM profiles WHERE state IS NOT NULL").fetchall()
        return {row["user_id"]: _Row(row["state"]) for row in rows}


class _Row:
    """A row as the oracle takes it."""

    def __init__(self, state: bytes) -> None:
        self.state = state
