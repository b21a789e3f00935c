"""Protocol of the servers of a stack, and their configuration files."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Protocol

CONFIG = Path(__file__).with_name("config")

Ports = Mapping[str, int]


class Server(Protocol):
    """A kind of server. It has no state; the stack's record holds ports and processes."""

    @property
    def name(self) -> str:
        """Name in commands, in the record and in file names."""

    @property
    def title(self) -> str:
        """Name in messages."""

    @property
    def port_names(self) -> tuple[str, ...]:
        """Names of the ports that it listens on; clients use the first."""

    def prepare(self, folder: Path, ports: Ports, *, java: Path, jars: Path) -> None:
        """Write the configuration, and files that the first start needs, into ``folder``; existing data stay."""

    def command(self, folder: Path, *, java: Path, jars: Path) -> list[str]:
        """Command that runs the server, in ``folder``."""

    def answers(self, ports: Ports) -> bool:
        """Whether the server answers a client's request now; waits at most two seconds."""


def render(template: str, ports: Ports) -> str:
    """Text of the configuration file ``template`` with the ports filled in; KeyError if a port is missing."""
    return Template((CONFIG / template).read_text(encoding="utf-8")).substitute({k: str(v) for k, v in ports.items()})
