"""Starts, stops and shows the local stack. Each function takes its folder, which holds data, logs and record."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local import lifecycle, ports, processes, record
from deploy.local.errors import StackError
from deploy.local.lifecycle import SERVERS, Progress
from deploy.local.record import Record

__all__ = [
    "ServerStatus",
    "Stack",
    "StackError",
    "Status",
    "down",
    "running",
    "start_server",
    "status",
    "stop_server",
    "up",
]

TIMEOUT_S = 120.0
COLLECTED_S = 5.0


@dataclass(frozen=True)
class Stack:
    """A running stack: addresses for clients, and its processes."""

    bootstrap_servers: str
    cassandra_hosts: list[str]
    cassandra_port: int
    folder: Path
    kafka_pid: int
    cassandra_pid: int


@dataclass(frozen=True)
class ServerStatus:
    """State of a server: ``running`` tells whether its process runs, ``answers`` whether it answers clients."""

    name: str
    running: bool
    answers: bool
    pid: int | None
    address: str
    log: Path


@dataclass(frozen=True)
class Status:
    """State of the servers of a folder; no servers if no stack was ever up."""

    folder: Path
    servers: list[ServerStatus]

    @property
    def running(self) -> bool:
        """Whether there is a stack and all its servers answer."""
        return bool(self.servers) and all(server.answers for server in self.servers)


def _quiet(_: str) -> None:
    """Ignore progress."""


def up(
    folder: Path,
    *,
    kafka_port: int | None = None,
    cassandra_port: int | None = None,
    progress: Progress = _quiet,
    timeout_s: float = TIMEOUT_S,
) -> Stack:
    """Start the servers that don't run, and wait until both answer. A server that died keeps its ports and data.

    Raises
    ------
    StackError
        Java, Maven or the jars are missing, a port is taken, or a server ended or did not answer in time. The servers
        that this call started are ended again.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with record.locked(folder):
        known = lifecycle.assign_ports(record.read(folder), {"kafka": kafka_port, "cassandra": cassandra_port})
        return _stack(folder, lifecycle.start(folder, known, SERVERS, progress, timeout_s))


def down(folder: Path) -> bool:
    """End the servers of this folder and no other process; their data stay. Returns whether any ran.

    When it returns, `ps` does not show the servers any more.
    """
    ended = lifecycle.stop(folder.resolve(), SERVERS, kill=False)
    processes.wait_until_collected(ended, COLLECTED_S)
    return bool(ended)


@contextmanager
def running(folder: Path, *, progress: Progress = _quiet) -> Iterator[Stack]:
    """A stack for the length of a ``with`` block."""
    stack = up(folder, progress=progress)
    try:
        yield stack
    finally:
        down(folder)


def start_server(folder: Path, name: str, *, progress: Progress = _quiet, timeout_s: float = TIMEOUT_S) -> int:
    """Start "kafka" or "cassandra" again, on its ports and data, and wait until it answers; returns its pid."""
    folder = folder.resolve()
    _check_name(name)
    if not (folder / record.FILE).exists():
        raise StackError(
            f"There is no stack in {folder}, so its {SERVERS[name].title} can't be started: start the stack."
        )
    with record.locked(folder):
        known = lifecycle.start(folder, record.read(folder), (name,), progress, timeout_s)
    return _pid(known, name)


def stop_server(folder: Path, name: str, *, kill: bool = False) -> bool:
    """End "kafka" or "cassandra"; ``kill`` gives it no time to close its files. Returns whether it ran."""
    _check_name(name)
    return bool(lifecycle.stop(folder.resolve(), (name,), kill=kill))


def status(folder: Path) -> Status:
    """Show which servers run and answer now."""
    # a server that does not answer takes two seconds
    folder = folder.resolve()
    return Status(folder, [_status(folder, name, server) for name, server in record.read(folder).servers.items()])


def _status(folder: Path, name: str, server: record.ServerRecord) -> ServerStatus:
    alive = processes.is_alive(server.process)
    return ServerStatus(
        name=name,
        running=alive,
        answers=alive and SERVERS[name].answers(server.ports),
        pid=server.process.pid if server.process is not None and alive else None,
        address=lifecycle.address(name, server),
        log=lifecycle.log_of(folder, name),
    )


def _stack(folder: Path, known: Record) -> Stack:
    return Stack(
        bootstrap_servers=lifecycle.address("kafka", known.servers["kafka"]),
        cassandra_hosts=[ports.HOST],
        cassandra_port=lifecycle.client_port("cassandra", known.servers["cassandra"]),
        folder=folder,
        kafka_pid=_pid(known, "kafka"),
        cassandra_pid=_pid(known, "cassandra"),
    )


def _pid(known: Record, name: str) -> int:
    process = known.servers[name].process
    assert process is not None, "a server that was started has a process"
    return process.pid


def _check_name(name: str) -> None:
    if name not in SERVERS:
        raise ValueError(f"the stack's servers are {', '.join(sorted(SERVERS))}, not {name!r}")
