"""Processes that outlive the one that started them, known by pid and start time."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.02

# $0 is the log file. The shell ends at once, so the server belongs to nobody: no zombie is left to whoever called us.
# Linux: timers may be 0.2 ms late, not 0.05, for the server's threads too. Those of Cassandra that have nothing to do
# look for work every 10 us, and took half as much CPU again for it as the work (a load of one user: 7 -> 4 ms).
_DETACH = '{ echo 200000 >/proc/self/timerslack_ns; } 2>/dev/null; "$@" </dev/null >>"$0" 2>&1 & echo $!'


@dataclass(frozen=True)
class Process:
    """A process as we started it: another one that got its pid later has another ``mark``."""

    pid: int
    mark: str


def spawn(command: Sequence[str], *, folder: Path, log: Path) -> Process:
    """Start ``command`` in ``folder``, in a session of its own, its output appended to ``log``."""
    shell = subprocess.run(
        ["/bin/sh", "-c", _DETACH, str(log), *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        start_new_session=True,
    )
    pid = int(shell.stdout)
    # one that has already ended has no mark, and an empty one matches none
    return Process(pid, mark_of(pid) or "")


def mark_of(pid: int) -> str | None:
    """What tells this process from any other that had or will have its pid; None if it has ended."""
    try:
        # the name in brackets may hold spaces and brackets itself
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _mark_by_ps(pid)
    state, started_ticks = fields[0], fields[19]
    if state in "ZX" and not _has_threads(pid):  # ended, and only waits for its parent to take note
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{started_ticks}"


def _has_threads(pid: int) -> bool:
    """Whether threads outlive the first one: a killed server holds its ports and files until the last has gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def _mark_by_ps(pid: int) -> str | None:
    """The same where there is no /proc (macOS)."""
    answer = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def is_alive(process: Process | None) -> bool:
    """Whether this very process still runs (a stopped one, SIGSTOP, does)."""
    return process is not None and mark_of(process.pid) == process.mark


def end(processes: Iterable[Process], *, kill: bool = False, grace_s: float = 20.0) -> list[Process]:
    """End those that still run: ask all at once (SIGTERM), kill those that run on after ``grace_s`` seconds.

    Returns the ones that ran. A pid that belongs to another process by now is left alone.
    """
    ran = [process for process in processes if is_alive(process)]
    if not kill:
        for process in ran:
            _send(process, signal.SIGTERM)
            _send(process, signal.SIGCONT)  # a process held by SIGSTOP hears the first only after this
        _wait(ran, grace_s)
    for process in ran:
        _send(process, signal.SIGKILL)
    _wait(ran, grace_s)
    return ran


def _send(process: Process, number: signal.Signals) -> None:
    if is_alive(process):
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return  # it ended between the two lines


def _wait(processes: Sequence[Process], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while any(is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL_S)
