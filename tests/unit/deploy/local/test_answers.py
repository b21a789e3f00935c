"""Whether a server answers: Cassandra's handshake against sockets that reply well, badly or not at all."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from deploy.local import ports
from deploy.local.cassandra import OPTIONS_FRAME, Cassandra
from deploy.local.kafka import Kafka

SUPPORTED = bytes((0x84, 0, 0, 0, 0x06, 0, 0, 0, 2, 0, 0))
ERROR = bytes((0x84, 0, 0, 0, 0x00, 0, 0, 0, 0))
OLDER_PROTOCOL = bytes((0x83, 0, 0, 0, 0x06, 0, 0, 0, 0))

Serve = Callable[[bytes], int]


@pytest.fixture
def asked() -> list[bytes]:
    return []


@pytest.fixture
def serve(asked: list[bytes]) -> Iterator[Serve]:
    """A server for one connection that reads a frame, sends a reply in two pieces and closes."""
    threads: list[threading.Thread] = []

    def start(reply: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            with listener, listener.accept()[0] as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                asked.append(connection.recv(len(OPTIONS_FRAME), socket.MSG_WAITALL))
                connection.sendall(reply[:4])
                connection.sendall(reply[4:])

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(10)


def test_a_node_that_tells_its_options_answers(serve: Serve, asked: list[bytes]) -> None:
    assert Cassandra().answers({"native": serve(SUPPORTED)})
    assert asked == [b"\x04\x00\x00\x00\x05\x00\x00\x00\x00"]


@pytest.mark.parametrize("reply", [ERROR, OLDER_PROTOCOL, SUPPORTED[:5], b"", b"HTTP/1.1 400 Bad Request\r\n"])
def test_any_other_reply_is_no_answer(serve: Serve, reply: bytes) -> None:
    assert not Cassandra().answers({"native": serve(reply)})


def test_a_closed_port_is_no_answer() -> None:
    port = ports.pick()
    assert not Cassandra().answers({"native": port})
    assert not Kafka().answers({"broker": port})


def test_kafka_that_takes_connections_and_says_nothing_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not Kafka().answers({"broker": listener.getsockname()[1]})
