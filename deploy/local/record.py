"""Reads and writes the stack's record, ``stack.json`` in its folder: the ports and processes of its servers."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from deploy.local.errors import StackError
from deploy.local.processes import Process

FILE = "stack.json"


@dataclass(frozen=True)
class ServerRecord:
    """A server: its ports by name, and the process that was started last, unless it was ended."""

    ports: Mapping[str, int]
    process: Process | None = None


@dataclass(frozen=True)
class Record:
    """The servers of a folder, by name."""

    servers: Mapping[str, ServerRecord] = field(default_factory=dict)

    def with_server(self, name: str, server: ServerRecord) -> "Record":
        """Copy of the record with ``server`` under ``name``."""
        return replace(self, servers={**self.servers, name: server})

    def all_ports(self) -> set[int]:
        """Every port of every server."""
        return {port for server in self.servers.values() for port in server.ports.values()}


def read(folder: Path) -> Record:
    """Read the record of ``folder``; an empty record if there was no stack."""
    path = folder / FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Record({name: _server(server) for name, server in stored["servers"].items()})
    except FileNotFoundError:
        return Record()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StackError(
            f"{path} is not a stack's record ({type(error).__name__}: {error}): end the stack's processes by hand, "
            "then delete that folder."
        ) from error


def _server(stored: dict[str, Any]) -> ServerRecord:
    process = stored["process"]
    return ServerRecord(
        ports={str(name): int(port) for name, port in stored["ports"].items()},
        process=None if process is None else Process(int(process["pid"]), str(process["mark"])),
    )


def write(folder: Path, record: Record) -> None:
    """Replace the record in one step, so that a reader never sees half of it."""
    new = folder / f"{FILE}.new"
    new.write_text(json.dumps({"servers": {k: asdict(v) for k, v in record.servers.items()}}, indent=2) + "\n", "utf-8")
    new.replace(folder / FILE)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: another process that wants to change the stack waits."""
    with (folder / "stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
