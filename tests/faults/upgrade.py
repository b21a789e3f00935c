"""Two releases in one group: forward, back and forward again under load."""

import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from schemas.contract import IDENTITIES
from streams.kafka.topics import INPUTS
from tests.faults.arena import Arena, Run
from tests.faults.command import prefstream
from tests.faults.content import Mix

ROOT = Path(__file__).parents[2]
FORMER_RELEASE = "289c673dccb3acc08f3f6915c04852ad38b5c0b9"
"""The tag or commit that serves as the former release: 0.1.0."""
OF_OTHER_INPUTS = "b41b8b176afa602cf6cf18f2a9cb15ee8e41d247"
"""A commit before 0.1.0. Its workers read five inputs, and know an event by its id alone."""
_WORKERS = 2


def upgrade(run: Run) -> dict[str, Any]:
    """Workers of the former release are replaced by this one's, one by one; then back, and forward again.

    Of each two workers one is killed while its successor starts, and the other is stopped when its successor serves.
    The former release is `FORMER_RELEASE`, or the checkout that ``--beside`` names.
    """
    return _upgrade(run, "upgrade", FORMER_RELEASE)


def upgrade_of_group(run: Run) -> dict[str, Any]:
    """Workers that read other inputs are replaced all at once; then back, and forward again.

    Kafka can't share out the inputs in a group of both. So all workers end, one killed and one stopped, before their
    successors start. Inputs that the former workers do not know are created in between, by this release's command.
    """
    return _upgrade(run, "upgrade-of-group", OF_OTHER_INPUTS)


def _upgrade(run: Run, name: str, commit: str) -> dict[str, Any]:
    with former_tree(run, commit) as former, Arena(replace(run, beside=None), name, _mix(former)) as arena:
        arena.oracle.before_identities = _contract(former) < IDENTITIES.contract
        known = _inputs(former)
        _delete_topics(arena, [name for name in INPUTS if name not in known])
        for _ in range(_WORKERS):
            arena.start_worker(tree=former)  # the first one compiles its kernels for all
        arena.load.start()
        arena.wait_assigned()
        at_once = set(known) != set(INPUTS)
        for step, tree in (("forward", None), ("back", former), ("forward again", None)):
            (_replace_at_once if at_once else _replace_one_by_one)(arena, run, tree)
            arena.wait_assigned()
            arena.watch.wait_progress()
            run.say(f"{name}: {step}")
        arena.measure_recovery()
        arena.figures |= {
            "replaced": 3 * _WORKERS,
            "kills": 3 * _WORKERS // 2,
            "at_once": at_once,
            "former_release": str(run.beside or commit),
        }
        return arena.finish()


def _replace_one_by_one(arena: Arena, run: Run, tree: Path | None) -> None:
    for number, old in enumerate(arena.workers):
        arena.watch.wait_progress()
        arena.pause(arena.rng.uniform(0.0, 1.0 if run.quick else 4.0))
        newcomer = arena.start_worker(ready=False, tree=tree)
        if number % 2 == 0:
            arena.kill(old)
        else:
            newcomer.wait_ready()
            arena.pause(0.0 if run.quick else 2.0)
            arena.stop_worker(old)


def _replace_at_once(arena: Arena, run: Run, tree: Path | None) -> None:
    arena.watch.wait_progress()
    arena.pause(arena.rng.uniform(0.0, 1.0 if run.quick else 4.0))
    for number, old in enumerate(arena.workers):
        (arena.kill if number % 2 == 0 else arena.stop_worker)(old)
    prefstream(arena.shop.config, "topics", "create")
    for _ in range(_WORKERS):
        arena.start_worker(tree=tree)  # one after the other: the first one of a new tree compiles its kernels


def _delete_topics(arena: Arena, names: list[str]) -> None:
    topics = [arena.shop.topic(name) for name in names]
    if topics:
        for deleted in arena.shop.admin.delete_topics(topics, operation_timeout=30).values():
            deleted.result(30)


def _inputs(tree: Path) -> list[str]:
    """Return the short names of the inputs that workers of a tree subscribe."""
    module = "streams.topics" if (tree / "streams" / "topics.py").exists() else "streams.kafka.topics"
    return _asked(tree, f"from {module} import INPUTS; print(*INPUTS)").split()


def _contract(tree: Path) -> int:
    """Return the contract of a tree's workers; 0 if they do not tell any."""
    if not (tree / "schemas" / "contract.py").exists():
        return 0
    return int(_asked(tree, "from schemas.contract import CONTRACT_VERSION; print(CONTRACT_VERSION)"))


def _mix(tree: Path) -> Mix:
    """Return a load that the workers of a tree count as this release's do."""
    return Mix() if _contract(tree) >= IDENTITIES.contract else Mix().as_before_identities()


def _asked(tree: Path, code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=tree, capture_output=True, check=True, text=True).stdout


@contextmanager
def former_tree(run: Run, commit: str) -> Iterator[Path]:
    """Give a folder with the sources of a commit; its workers run with this environment's packages."""
    if run.beside is not None:
        yield run.beside
        return
    command = ["git", "archive", "--format=tar", commit]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        problem = done.stderr.decode("utf-8", "replace").strip() if done.returncode else ""
    except OSError as error:
        problem = str(error)
    if problem:
        raise AssertionError(
            f"the former release, {commit}, can't be taken from the history of {ROOT} ({problem}): fetch the "
            "whole history with `git fetch --unshallow`, or name a checkout of it with --beside"
        )
    with tempfile.TemporaryDirectory(prefix="prefstream-former-") as folder:
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
        _name_its_entry_points(Path(folder))
        yield Path(folder)


def _name_its_entry_points(tree: Path) -> None:
    """Describe a tree as an installed package: else Faust finds the transport where this release has it."""
    project = tomllib.loads((tree / "pyproject.toml").read_text("utf-8"))["project"]
    folder = tree / f"{project['name']}-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", "utf-8"
    )
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")
