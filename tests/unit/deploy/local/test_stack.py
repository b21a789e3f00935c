"""The stack's life with small servers in place of Java: started, found, restarted, ended; failures leave nothing."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local import lifecycle, ports, processes, record, stack
from deploy.local.__main__ import main
from deploy.local.errors import StackError
from deploy.local.processes import Process
from deploy.local.record import ServerRecord

LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); print('up', flush=True); time.sleep(60)"
DIE = "print('first line'); raise SystemExit('the disk is full')"
SILENT = "import time; print('still thinking', flush=True); time.sleep(60)"


@dataclass
class Small:
    """A server that is a line of Python, and answers once its port takes connections."""

    name: str
    port_names: tuple[str, ...]
    code: str = LISTEN

    @property
    def title(self) -> str:
        return self.name.capitalize()

    def prepare(self, folder: Path, ports: Mapping[str, int], *, java: Path, jars: Path) -> None:
        (folder / f"{self.name}.port").write_text(str(ports[self.port_names[0]]))

    def command(self, folder: Path, *, java: Path, jars: Path) -> list[str]:
        port = (folder / f"{self.name}.port").read_text()
        return [sys.executable, "-S", "-c", self.code.format(port=port)]

    def answers(self, mine: Mapping[str, int]) -> bool:
        return ports.is_listening(mine[self.port_names[0]])


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Small:
    small = Small("kafka", ("broker",))
    monkeypatch.setitem(lifecycle.SERVERS, "kafka", small)
    return small


@pytest.fixture
def cassandra(monkeypatch: pytest.MonkeyPatch) -> Small:
    small = Small("cassandra", ("native",))
    monkeypatch.setitem(lifecycle.SERVERS, "cassandra", small)
    return small


@pytest.fixture
def folder(tmp_path: Path, kafka: Small, cassandra: Small, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lifecycle, "find_java", lambda: Path("java"))
    monkeypatch.setattr(lifecycle, "fetch", lambda progress: Path("jars"))
    yield tmp_path / "stack"
    stack.down(tmp_path / "stack")


def pids(folder: Path) -> dict[str, int | None]:
    return {server.name: server.pid for server in stack.status(folder).servers}


def test_up_starts_both_and_tells_where_they_are(folder: Path) -> None:
    told: list[str] = []
    got = stack.up(folder, kafka_port=(port := ports.pick()), progress=told.append)
    assert got.bootstrap_servers == f"127.0.0.1:{port}"
    assert got.cassandra_hosts == ["127.0.0.1"]
    assert ports.is_listening(got.cassandra_port)
    assert pids(folder) == {"kafka": got.kafka_pid, "cassandra": got.cassandra_pid}
    assert stack.status(folder).running
    assert told[0] == "Starting Cassandra and Kafka"
    assert sorted(line.split(" after")[0] for line in told[1:]) == [
        f"Cassandra answers on 127.0.0.1:{got.cassandra_port}",
        f"Kafka answers on 127.0.0.1:{port}",
    ]


def test_up_on_a_running_stack_returns_it(folder: Path) -> None:
    first = stack.up(folder)
    told: list[str] = []
    assert stack.up(folder, progress=told.append) == first
    assert told == []


def test_up_brings_back_what_died_on_the_same_port(folder: Path) -> None:
    first = stack.up(folder)
    assert stack.stop_server(folder, "kafka", kill=True)
    assert not stack.status(folder).running
    again = stack.up(folder)
    assert again.cassandra_pid == first.cassandra_pid
    assert again.kafka_pid != first.kafka_pid
    assert again.bootstrap_servers == first.bootstrap_servers


def test_one_server_stops_and_starts(folder: Path) -> None:
    first = stack.up(folder)
    assert stack.stop_server(folder, "cassandra")
    assert not stack.stop_server(folder, "cassandra")
    assert pids(folder) == {"kafka": first.kafka_pid, "cassandra": None}
    pid = stack.start_server(folder, "cassandra")
    assert pids(folder) == {"kafka": first.kafka_pid, "cassandra": pid}
    assert ports.is_listening(first.cassandra_port)


def test_down_ends_both_and_keeps_the_folder(folder: Path) -> None:
    got = stack.up(folder)
    assert stack.down(folder)
    assert not stack.down(folder)
    assert processes.mark_of(got.kafka_pid) is None
    assert processes.mark_of(got.cassandra_pid) is None
    assert stack.up(folder).bootstrap_servers == got.bootstrap_servers


def test_running_ends_the_stack_after_the_block_also_when_it_fails(folder: Path) -> None:
    def fail_in_the_block() -> None:
        with stack.running(folder) as got:
            seen.append(got)
            assert ports.is_listening(got.cassandra_port)
            raise LookupError("a test's own failure")

    seen: list[stack.Stack] = []
    with pytest.raises(LookupError, match="own failure"):
        fail_in_the_block()
    assert processes.mark_of(seen[0].cassandra_pid) is None


def test_a_server_that_ends_while_it_starts_shows_its_last_lines(folder: Path, kafka: Small) -> None:
    kafka.code = DIE
    with pytest.raises(StackError) as raised:
        stack.up(folder, timeout_s=20)
    assert str(raised.value).startswith("Kafka ended while it started. The last lines of ")
    assert str(raised.value).endswith("/kafka.log:\n  first line\n  the disk is full")
    assert pids(folder) == {"kafka": None, "cassandra": None}  # the other one is not left behind


def test_a_server_that_stays_silent_is_ended_at_the_deadline(folder: Path, cassandra: Small) -> None:
    cassandra.code = SILENT
    with pytest.raises(StackError, match=r"(?s)Cassandra did not answer on 127\.0\.0\.1:\d+ within 1 s\..*thinking"):
        stack.up(folder, timeout_s=1)
    assert pids(folder) == {"kafka": None, "cassandra": None}


def test_a_failed_up_leaves_alone_what_ran_before(folder: Path, cassandra: Small) -> None:
    first = stack.up(folder)
    stack.stop_server(folder, "cassandra")
    cassandra.code = DIE
    with pytest.raises(StackError, match="Cassandra ended while it started"):
        stack.up(folder, timeout_s=20)
    assert pids(folder) == {"kafka": first.kafka_pid, "cassandra": None}


def test_a_taken_port_is_named(folder: Path) -> None:
    port = int(stack.up(folder).bootstrap_servers.split(":")[1])
    other = folder.with_name("other")
    with pytest.raises(StackError, match=r"Kafka can't have port \d+ of 127\.0\.0\.1 \(broker\): another process list"):
        stack.up(other, kafka_port=port)
    assert pids(other)["cassandra"] is None


def test_down_leaves_a_process_alone_that_got_a_recycled_pid(folder: Path) -> None:
    got = stack.up(folder)
    known = record.read(folder)
    mine = known.servers["kafka"]
    wrong = ServerRecord(mine.ports, Process(got.kafka_pid, "0/0"))
    record.write(folder, known.with_server("kafka", wrong))
    assert not stack.stop_server(folder, "kafka", kill=True)
    assert stack.down(folder)  # only Cassandra
    assert ports.is_listening(mine.ports["broker"])
    record.write(folder, known)  # so that the fixture ends it


def test_without_a_stack_there_is_nothing_to_show_or_end(folder: Path) -> None:
    assert not stack.down(folder)
    assert not stack.stop_server(folder, "kafka")
    assert stack.status(folder).servers == []
    assert not stack.status(folder).running
    assert not folder.exists()
    with pytest.raises(StackError, match=r"There is no stack in .*, so its Kafka can't be started: start the stack"):
        stack.start_server(folder, "kafka")


def test_an_unknown_server_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="the stack's servers are cassandra, kafka, not 'zookeeper'"):
        stack.stop_server(folder, "zookeeper")


def test_the_command_line_does_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(folder)]) == 1
    assert main(["up", str(folder)]) == 0
    assert main(["status", str(folder)]) == 0
    assert '"bootstrap_servers": "127.0.0.1:' in capsys.readouterr().out
    assert main(["down", str(folder)]) == 0
    assert capsys.readouterr().out == '{\n  "stopped": true\n}\n'
