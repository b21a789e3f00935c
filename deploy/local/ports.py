"""Free ports on the loopback address."""

import random
import socket
from collections.abc import Container, Sequence

HOST = "127.0.0.1"

# below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections, because a server that is
# stopped for a while must find its port free when it starts again
CANDIDATES = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Java's server sockets set it too, so that closed connections of a stopped server don't hold the port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def is_listening(port: int) -> bool:
    """Whether a process accepts connections on this port. Unlike ``is_free``, it never blocks another bind."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def pick(taken: Container[int] = (), candidates: Sequence[int] = CANDIDATES) -> int:
    """Choose one of the candidates that is free now and not in ``taken``.

    The choice is random, so that two stacks that start at once differ.
    """
    for port in random.sample(candidates, len(candidates)):
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no port from {min(candidates)} to {max(candidates)} is free on {HOST}: end a server there")
