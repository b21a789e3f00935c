"""Gives servers their ports, starts them, waits for them and ends them; keeps the stack's record up to date."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from deploy.local import ports, processes, record
from deploy.local.cassandra import Cassandra
from deploy.local.errors import StackError
from deploy.local.jars import fetch
from deploy.local.java import find_java
from deploy.local.kafka import Kafka
from deploy.local.processes import Process
from deploy.local.record import Record, ServerRecord
from deploy.local.server import Server

# in the order of starting: the slower server first
SERVERS: Mapping[str, Server] = {server.name: server for server in (Cassandra(), Kafka())}
POLL_S = 0.05
TAIL_LINES = 20

Progress = Callable[[str], None]


def client_port(name: str, server: ServerRecord) -> int:
    """Port of a server that clients connect to."""
    return server.ports[SERVERS[name].port_names[0]]


def assign_ports(known: Record, wanted: Mapping[str, int | None]) -> Record:
    """Record in which every server has ports: its former ports, else free ones; for clients the wanted port, if any."""
    taken = known.all_ports() | {port for port in wanted.values() if port is not None}
    for name, server in SERVERS.items():
        have = known.servers.get(name)
        wanted_port = wanted.get(name)
        if have is not None and wanted_port in (None, client_port(name, have)):
            continue
        if have is not None and processes.is_alive(have.process):
            raise StackError(
                f"{server.title} already runs on port {client_port(name, have)}, but port {wanted_port} is wanted: "
                "stop the stack first."
            )
        chosen = dict(have.ports) if have is not None else {}
        if wanted_port is not None:
            chosen[server.port_names[0]] = wanted_port
        for port_name in server.port_names:
            if port_name not in chosen:
                chosen[port_name] = ports.pick(taken)
                taken.add(chosen[port_name])
        known = known.with_server(name, ServerRecord(chosen))
    return known


def start(folder: Path, known: Record, names: Iterable[str], progress: Progress, timeout_s: float) -> Record:
    """Start the servers that don't run and wait until all answer; on a failure, end those that this call started."""
    names = tuple(names)
    missing = [name for name in names if not processes.is_alive(known.servers[name].process)]
    started: list[Process] = []
    try:
        if missing:
            java = find_java()
            jars = fetch(progress)
            progress(f"Starting {' and '.join(SERVERS[name].title for name in missing)}")
        for name in missing:
            server, mine = SERVERS[name], known.servers[name].ports
            _check_free(server, mine)
            server.prepare(folder, mine, java=java, jars=jars)
            command = server.command(folder, java=java, jars=jars)
            started.append(processes.spawn(command, folder=folder, log=log_of(folder, name)))
            known = known.with_server(name, ServerRecord(mine, started[-1]))
            record.write(folder, known)
        _wait(folder, known, names, progress if missing else lambda _: None, timeout_s)
    except BaseException:  # also after Ctrl-C, so that no server stays without an owner
        processes.end(started, kill=True)
        raise
    return known


def stop(folder: Path, names: Iterable[str], *, kill: bool) -> list[Process]:
    """End those of ``names`` that run; returns the processes that ran."""
    if not (folder / record.FILE).exists():
        return []
    with record.locked(folder):
        known = record.read(folder)
        servers = {name: known.servers[name] for name in names if name in known.servers}
        ended = processes.end((server.process for server in servers.values() if server.process), kill=kill)
        for name, server in servers.items():
            known = known.with_server(name, ServerRecord(server.ports))
        record.write(folder, known)
    return ended


def log_of(folder: Path, name: str) -> Path:
    """Log file of a server's output."""
    return folder / f"{name}.log"


def _check_free(server: Server, mine: Mapping[str, int]) -> None:
    for port_name, port in mine.items():
        if not ports.is_free(port):
            raise StackError(
                f"{server.title} can't have port {port} of {ports.HOST} ({port_name}): another process listens there; "
                "end that process or ask for another port."
            )


def _wait(folder: Path, known: Record, names: Iterable[str], progress: Progress, timeout_s: float) -> None:
    began = time.monotonic()
    silent = list(names)
    while True:
        for name in list(silent):
            server = SERVERS[name]
            # read before the question, because a server may end while it is asked; the next round then finds it
            alive = processes.is_alive(known.servers[name].process)
            if server.answers(known.servers[name].ports):
                silent.remove(name)
                seconds = time.monotonic() - began
                progress(f"{server.title} answers on {address(name, known.servers[name])} after {seconds:.1f} s")
            elif not alive:
                raise StackError(f"{server.title} ended while it started. {_tail(log_of(folder, name))}")
        if not silent:
            return
        if time.monotonic() - began > timeout_s:
            server = SERVERS[silent[0]]
            raise StackError(
                f"{server.title} did not answer on {address(server.name, known.servers[server.name])} within "
                f"{timeout_s:g} s. {_tail(log_of(folder, server.name))}"
            )
        time.sleep(POLL_S)


def address(name: str, server: ServerRecord) -> str:
    """Host and port for clients."""
    return f"{ports.HOST}:{client_port(name, server)}"


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    shown = "\n".join(f"  {line[:300]}" for line in lines[-TAIL_LINES:])
    return f"The last lines of {log}:\n{shown}" if shown else f"{log} is empty."
