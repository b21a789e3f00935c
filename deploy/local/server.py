"""What the stack needs to know of a server."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Protocol

CONFIG = Path(__file__).with_name("config")

Ports = Mapping[str, int]


class Server(Protocol):
    """One kind of server. It keeps no state: the stack's record holds ports and processes."""

    @property
    def name(self) -> str:
        """The name in commands, the record and file names."""

    @property
    def title(self) -> str:
        """The name in sentences."""

    @property
    def port_names(self) -> tuple[str, ...]:
        """The ports that it listens on; clients use the first."""

    def prepare(self, folder: Path, ports: Ports, *, java: Path, jars: Path) -> None:
        """Write its configuration into ``folder`` and whatever its first start needs; keeps data that are there."""

    def command(self, folder: Path, *, java: Path, jars: Path) -> list[str]:
        """The command that runs it, in ``folder``."""

    def answers(self, ports: Ports) -> bool:
        """Whether it answers a client's request now (waits two seconds at most)."""


def render(template: str, ports: Ports) -> str:
    """The configuration file ``template`` with its ``$port`` places filled; one without a port is a KeyError."""
    return Template((CONFIG / template).read_text(encoding="utf-8")).substitute({k: str(v) for k, v in ports.items()})
