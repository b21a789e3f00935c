"""Starts and ends processes that outlive their starter; knows them by pid and start time."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.02

# $0 is the log file. The shell ends at once, so the server has no parent, and our caller has no zombie to collect.
# Linux: timers may be 0.2 ms late instead of 0.05, also in the server's threads. Idle threads of Cassandra look for
# work every 10 us, which took half as much CPU as the work itself (a load of one user: 7 -> 4 ms).
_DETACH = '{ echo 200000 >/proc/self/timerslack_ns; } 2>/dev/null; "$@" </dev/null >>"$0" 2>&1 & echo $!'


@dataclass(frozen=True)
class Process:
    """A process that we started; another process that gets its pid later has another ``mark``."""

    pid: int
    mark: str


def spawn(command: Sequence[str], *, folder: Path, log: Path) -> Process:
    """Start ``command`` in ``folder``, in a session of its own; its output is appended to ``log``."""
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
    # a process that has already ended has no mark; an empty mark matches no process
    return Process(pid, mark_of(pid) or "")


def mark_of(pid: int) -> str | None:
    """Mark of the process that has this pid now, unique among all that ever have it; None if it has ended."""
    try:
        # the name in brackets may hold spaces and brackets itself
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else mark_by_ps(pid)
    state, started_ticks = fields[0], fields[19]
    if state in "ZX" and not _has_threads(pid):  # a zombie: it ended, and its parent has not collected it
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{started_ticks}"


def _has_threads(pid: int) -> bool:
    """Whether other threads outlive the first one."""
    # a killed server holds its ports and files until its last thread has ended
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def mark_by_ps(pid: int) -> str | None:
    """Mark of a process on a system without /proc (macOS)."""
    answer = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def is_alive(process: Process | None) -> bool:
    """Whether this process still runs; a process held by SIGSTOP does."""
    return process is not None and mark_of(process.pid) == process.mark


def end(processes: Iterable[Process], *, kill: bool = False, grace_s: float = 20.0) -> list[Process]:
    """End the processes that still run: SIGTERM to all, then SIGKILL after ``grace_s`` seconds.

    Returns those that ran. A pid that another process has by now is left alone.
    """
    ran = [process for process in processes if is_alive(process)]
    if not kill:
        for process in ran:
            _send(process, signal.SIGTERM)
            _send(process, signal.SIGCONT)  # a process held by SIGSTOP gets SIGTERM only after this
        _wait(ran, grace_s)
    for process in ran:
        _send(process, signal.SIGKILL)
    _wait(ran, grace_s)
    return ran


def wait_until_collected(processes: Sequence[Process], timeout_s: float) -> None:
    """Wait until no pid of these ended processes exists: until init has collected them, which may take seconds.

    Where nothing collects them, as in a container without an init, it gives up after ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while any(_is_listed(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _is_listed(process: Process) -> bool:
    """Whether this ended process is still in the table of processes, as a zombie."""
    if mark_of(process.pid) is not None:
        return False  # another process has the pid
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # another user's process has the pid
    return True


def _send(process: Process, number: signal.Signals) -> None:
    if is_alive(process):
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return  # it ended after the check


def _wait(processes: Sequence[Process], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while any(is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL_S)
