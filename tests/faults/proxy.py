"""A TCP proxy that makes a server slow, silent or rude: it delays, holds back and cuts."""

import contextlib
import random
import select
import socket
import threading
import time

_CHUNK = 1 << 16


class Proxy:
    """Listens on loopback and passes on to ``target``. Delays are drawn for each chunk, in both directions."""

    def __init__(self, target: tuple[str, int], seed: int = 0) -> None:
        self._target = target
        self._rng = random.Random(seed)
        self.delay_s = (0.0, 0.0)
        """Between which and which."""
        self.stall = 0.0
        """The share of chunks that wait for ``stall_s`` beside."""
        self.stall_s = 0.0
        self._passing = threading.Event()  # from the client to the server
        self._passing.set()
        self.held_bytes = 0
        """What clients have sent since ``hold``."""
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def hold(self) -> None:
        """Keep back what clients send from now on."""
        self.held_bytes = 0
        self._passing.clear()

    def release(self) -> None:
        """Pass on what was kept back, late."""
        self._passing.set()

    def cut(self, share: float = 1.0) -> int:
        """Close connections, each with a chance of ``share``; returns how many."""
        chosen = [pair for pair in list(self._pairs) if self._rng.random() < share]
        for pair in chosen:
            self._close(pair)
        return len(chosen)

    def close(self) -> None:
        """Close everything."""
        self.release()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()  # the server is away: so are we
                continue
            server.settimeout(None)
            pair = (client, server)
            self._pairs.append(pair)
            for source, sink, held in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, pair, held), daemon=True).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket], held: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                wait_s = self._rng.uniform(*self.delay_s) + (self.stall_s if self._rng.random() < self.stall else 0.0)
                if wait_s:
                    time.sleep(wait_s)
                sink.sendall(self._kept_back(source, chunk) if held else chunk)
        self._close(pair)

    def _kept_back(self, source: socket.socket, chunk: bytes) -> bytes:
        """The chunk, and while they are to be kept back all that come after it."""
        kept = b""
        while chunk:
            kept += chunk
            if self._passing.is_set():
                return kept
            self.held_bytes += len(chunk)
            while not self._passing.is_set() and not select.select([source], [], [], 0.05)[0]:
                pass
            if self._passing.is_set():
                return kept
            chunk = source.recv(_CHUNK)
        self._passing.wait()  # the client is gone, what it sent is still on its way
        return kept

    def _close(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(ValueError):
            self._pairs.remove(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
