"""Detached processes: they are ended by pid and start time, never by pid alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import processes
from deploy.local.processes import Process

SLEEP = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"

Spawn = Callable[[str], Process]


def read_when_there(path: Path, wanted: str) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and wanted in (text := path.read_text()):
            return text
        time.sleep(0.01)
    pytest.fail(f"{path} never held {wanted!r}")


def test_a_spawned_process_runs_detached_in_its_folder(spawn_python: Spawn, tmp_path: Path) -> None:
    process = spawn_python(f"import os; print(os.getcwd(), os.getpid(), flush=True); {SLEEP}")
    assert read_when_there(tmp_path / "spawned.log", "\n") == f"{tmp_path} {process.pid}\n"
    assert processes.is_alive(process)
    assert os.getsid(process.pid) != os.getsid(0)
    with pytest.raises(ChildProcessError):  # not ours to wait for
        os.waitpid(process.pid, os.WNOHANG)


@pytest.mark.skipif(not Path("/proc/self/timerslack_ns").exists(), reason="timers have slack on Linux only")
def test_timers_of_a_spawned_process_may_be_late(spawn_python: Spawn, tmp_path: Path) -> None:
    spawn_python(f"print(open('/proc/self/timerslack_ns').read(), flush=True); {SLEEP}")
    assert read_when_there(tmp_path / "spawned.log", "\n").split() == ["200000"]


def test_end_asks_first(spawn_python: Spawn, tmp_path: Path) -> None:
    code = "import signal, sys, time\n"
    code += "signal.signal(signal.SIGTERM, lambda *_: (print('tidied up', flush=True), sys.exit()))\n"
    process = spawn_python(code + "print('ready', flush=True)\ntime.sleep(60)")
    read_when_there(tmp_path / "spawned.log", "ready")
    assert processes.end([process]) == [process]
    assert not processes.is_alive(process)
    assert "tidied up" in (tmp_path / "spawned.log").read_text()


def test_end_kills_what_does_not_listen(spawn_python: Spawn, tmp_path: Path) -> None:
    process = spawn_python(DEAF)
    read_when_there(tmp_path / "spawned.log", "deaf")
    assert processes.end([process], grace_s=0.1) == [process]
    assert not processes.is_alive(process)


def test_a_stopped_process_is_alive_and_can_be_ended(spawn_python: Spawn) -> None:
    process = spawn_python(SLEEP)
    os.kill(process.pid, signal.SIGSTOP)
    assert processes.is_alive(process)
    began = time.monotonic()
    processes.end([process], grace_s=15)
    assert not processes.is_alive(process)
    assert time.monotonic() - began < 10  # it was woken to hear the request


def test_another_process_with_a_recycled_pid_is_left_alone(spawn_python: Spawn) -> None:
    process = spawn_python(SLEEP)
    earlier = Process(process.pid, "the start time of one that had this pid before")
    assert not processes.is_alive(earlier)
    assert processes.end([earlier], kill=True) == []
    assert processes.end([earlier]) == []
    assert processes.is_alive(process)


def test_a_process_that_was_never_marked_is_not_alive(own_process: Process) -> None:
    assert processes.is_alive(own_process)
    assert not processes.is_alive(Process(own_process.pid, ""))
    assert not processes.is_alive(None)


def test_an_ended_process_that_waits_for_its_parent_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", SLEEP]) as child:
        mark = processes.mark_of(child.pid)
        assert mark is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it ended, and stays a zombie
        assert not processes.is_alive(Process(child.pid, mark))


def test_an_ended_process_is_waited_for_until_its_parent_has_collected_it() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", SLEEP]) as child:
        process = Process(child.pid, processes.mark_of(child.pid) or "")
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        began = time.monotonic()
        processes.wait_until_collected([process], 0.2)
        assert time.monotonic() - began >= 0.2  # it stays a zombie
    began = time.monotonic()
    processes.wait_until_collected([process], 60)
    assert time.monotonic() - began < 10


def test_a_process_whose_first_thread_ended_before_the_others_is_alive(spawn_python: Spawn) -> None:
    # what a killed Java server is for a moment: a start in that moment found its ports taken
    code = "import ctypes, threading, time\n"
    code += "threading.Thread(target=time.sleep, args=(60,)).start()\nctypes.CDLL(None).pthread_exit(None)"
    process = spawn_python(code)
    stat = Path(f"/proc/{process.pid}/stat")
    if not stat.exists():
        pytest.skip("needs /proc")
    deadline = time.monotonic() + 20
    while stat.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stat.read_text().rpartition(")")[2].split()[0] == "Z"
    assert processes.is_alive(process)
    assert processes.end([process], kill=True) == [process]
    assert not processes.is_alive(process)


def test_the_mark_is_stable_and_differs_from_process_to_process(spawn_python: Spawn) -> None:
    first = spawn_python(SLEEP)
    deadline = time.monotonic() + 5
    second = spawn_python(SLEEP)
    while second.mark == first.mark and time.monotonic() < deadline:  # started within one clock tick
        second = spawn_python(SLEEP)
    assert first.mark != second.mark
    assert processes.mark_of(first.pid) == first.mark


def test_without_proc_ps_tells_the_start(own_process: Process) -> None:
    mark = processes.mark_by_ps(own_process.pid)
    assert mark
    assert processes.mark_by_ps(own_process.pid) == mark
    assert processes.mark_by_ps(2**22 + 1) is None  # above the largest pid
