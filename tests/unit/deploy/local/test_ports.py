"""Ports: free ones, out of the way of outgoing connections, kept for a stack's life."""

import socket
from collections.abc import Iterator

import pytest

from deploy.local import ports
from deploy.local.errors import StackError
from deploy.local.lifecycle import assign_ports
from deploy.local.processes import Process
from deploy.local.record import Record, ServerRecord

NOBODY: dict[str, int | None] = {"kafka": None, "cassandra": None}


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_with_a_listener_is_not_free(listening: int) -> None:
    assert not ports.is_free(listening)
    assert ports.is_listening(listening)


def test_a_picked_port_is_free_and_below_the_outgoing_ones() -> None:
    port = ports.pick()
    assert ports.is_free(port)
    assert not ports.is_listening(port)
    assert 1024 < port < 32768


def test_pick_leaves_out_taken_and_used_ports(listening: int) -> None:
    free = ports.pick()
    other = ports.pick({free})
    assert ports.pick({free}, (listening, free, other)) == other


def test_no_free_port_is_said(listening: int) -> None:
    with pytest.raises(OSError, match=f"no port from {listening} to {listening} is free"):
        ports.pick(candidates=[listening])


def test_a_new_stack_gets_different_ports_and_the_wanted_ones() -> None:
    known = assign_ports(Record(), {"kafka": 21_092, "cassandra": None})
    assert known.servers["kafka"].ports["broker"] == 21_092
    assert set(known.servers["kafka"].ports) == {"broker", "controller"}
    assert set(known.servers["cassandra"].ports) == {"native", "storage"}
    assert len(known.all_ports()) == 4


def test_a_known_stack_keeps_its_ports() -> None:
    known = assign_ports(Record(), NOBODY)
    assert assign_ports(known, NOBODY) == known


def test_a_stopped_server_takes_a_wanted_port_and_keeps_the_others() -> None:
    known = assign_ports(Record(), NOBODY)
    moved = assign_ports(known, {"kafka": 21_092, "cassandra": None})
    assert moved.servers["kafka"].ports == {**known.servers["kafka"].ports, "broker": 21_092}
    assert moved.servers["cassandra"] == known.servers["cassandra"]


def test_a_running_server_does_not_move(own_process: Process) -> None:
    known = assign_ports(Record(), NOBODY)
    known = known.with_server("kafka", ServerRecord(known.servers["kafka"].ports, own_process))
    with pytest.raises(StackError, match="Kafka already runs on port"):
        assign_ports(known, {"kafka": 21_092, "cassandra": None})
