"""Processes for the tests of the local stack."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import processes
from deploy.local.processes import Process


@pytest.fixture
def own_process() -> Process:
    """The test's own process: one that surely runs."""
    mark = processes.mark_of(os.getpid())
    assert mark
    return Process(os.getpid(), mark)


@pytest.fixture
def spawn_python(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """Start a detached Python that runs some code; it is killed after the test."""
    spawned: list[Process] = []

    def spawn(code: str) -> Process:
        command = [sys.executable, "-S", "-c", code]
        spawned.append(processes.spawn(command, folder=tmp_path, log=tmp_path / "spawned.log"))
        return spawned[-1]

    yield spawn
    processes.end(spawned, kill=True)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a shell script of some name on a PATH that holds nothing but such scripts and the plain system tools."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)

    def write(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write
