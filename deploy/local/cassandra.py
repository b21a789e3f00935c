"""Cassandra in the local stack: one node."""

import socket
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.java import QUICK_START
from deploy.local.ports import HOST
from deploy.local.server import CONFIG, Ports, render

YAML = "cassandra.yaml"
EMPTY_LOG_BYTES = 100

# packages of Java 17 that Cassandra's own start script opens (conf/jvm17-server.options)
_EXPORTED = (
    "java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch "
    "java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry java.rmi/sun.rmi.server "
    "java.rmi/sun.rmi.transport.tcp java.sql/java.sql jdk.unsupported/sun.misc"
)
_OPENED = (
    "java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref "
    "java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module "
    "java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal java.base/sun.nio.ch java.base/java.io "
    "java.base/java.nio java.base/java.util java.base/java.util.concurrent java.base/java.util.concurrent.atomic "
    "java.base/java.lang java.base/java.lang.reflect"
)

_OPTIONS = (
    "-Dcassandra.set_sep_thread_name=false",  # costs a system call for each task
    "-Djava.security.manager=allow",  # from Java 18 on it must be asked for
    "-Djava.io.tmpdir=cassandra-tmp",  # native libraries are unpacked here; a killed server leaves them behind
    "-Dcassandra.storagedir=cassandra-data",
    "-Dcassandra.logdir=.",
    "-Dcassandra-foreground=yes",  # else it closes its standard output, which is our log, after the start
    # no waiting for other nodes: this node is the whole ring
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.shutdown_announce_in_ms=0",
)

# native protocol 4: version, flags, stream (2 bytes), opcode, length (4 bytes)
OPTIONS_FRAME = bytes((0x04, 0, 0, 0, 0x05, 0, 0, 0, 0))
_RESPONSE_4, _SUPPORTED = 0x84, 0x06


class Cassandra:
    """One node that is its own seed; no JMX, no authentication (see ``server.Server``)."""

    name = "cassandra"
    title = "Cassandra"
    port_names = ("native", "storage")

    def prepare(self, folder: Path, ports: Ports, *, java: Path, jars: Path) -> None:
        (folder / YAML).write_text(render(YAML, ports), encoding="utf-8")
        (folder / "cassandra-tmp").mkdir(exist_ok=True)
        # Cassandra accepts a commit log that a kill cut short only if it is the last log. But it creates the next log
        # in advance, with a header of 84 bytes only. Such an empty log is deleted, or the node would not start again.
        for log in (folder / "cassandra-data" / "commitlog").glob("CommitLog-*.log"):
            if log.stat().st_size < EMPTY_LOG_BYTES:
                log.unlink()

    def command(self, folder: Path, *, java: Path, jars: Path) -> list[str]:
        opened = [f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTED.split()]
        opened += [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED.split()]
        agent = next((jars / "cassandra").glob("jamm-*.jar"), None)
        if agent is None:
            raise StackError(
                f"{jars / 'cassandra'} lacks jamm-*.jar: delete {jars}, and the next start will fetch it again."
            )
        config = f"-Dcassandra.config={(folder / YAML).as_uri()}"
        logging = f"-Dlogback.configurationFile={(CONFIG / 'logback.xml').as_uri()}"
        heap = ("-Xms512m", "-Xmx1g")
        main = ("-cp", f"{jars / 'cassandra'}/*", "org.apache.cassandra.service.CassandraDaemon")
        return [str(java), *QUICK_START, *heap, f"-javaagent:{agent}", *opened, *_OPTIONS, config, logging, *main]

    def answers(self, ports: Ports) -> bool:
        """Ask for the supported options: the node opens this port after it has joined the ring."""
        try:
            with socket.create_connection((HOST, ports["native"]), timeout=2) as connection:
                connection.sendall(OPTIONS_FRAME)
                with connection.makefile("rb") as reply:
                    header = reply.read(len(OPTIONS_FRAME))
        except OSError:
            return False
        return len(header) == len(OPTIONS_FRAME) and header[0] == _RESPONSE_4 and header[4] == _SUPPORTED
