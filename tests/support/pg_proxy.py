"""A proxy before a PostgreSQL server, on a Unix socket of its own, that cuts connections at the worst moment there is.

What it is told to do at a COMMIT it does once, and then says so in `fired`.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

Fault = Literal["before", "after", "unanswered"]
WAIT_SECONDS = 30.0
_COMMIT = b"COMMIT\0"  # as libpq writes it, and not READ COMMITTED


class Proxy:
    """Listens in `folder` for what is meant for the server's `socket`.

    `fault` is what happens at the next COMMIT: the connection is cut `before` the server has it, `after` the server has answered
    and nobody has heard it, or as soon as it is sent, `unanswered`. While it is `silent`, nothing passes and nothing is cut.
    """

    def __init__(self, server: Path, folder: Path) -> None:
        self._server = server
        self.folder = folder
        self.fault: Fault | None = None
        self.fired: list[Fault] = []
        self.silent = threading.Event()
        self.swallowed = 0
        self._deaf: list[socket.socket] = []  # those who hear no answer any more
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / server.name))
        self._listener.listen()
        self._sockets: list[socket.socket] = [self._listener]
        self._start(self._accept)

    def close(self) -> None:
        """Cut everything."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server))
                self._sockets += [client, server]
                answered = threading.Event()
                self._start(self._to_server, client, server, answered)
                self._start(self._to_client, client, server, answered)

    def _to_server(self, client: socket.socket, server: socket.socket, answered: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(2**16):
                if self.silent.is_set():
                    self.swallowed += len(data)
                    continue
                fault = self.fault if _COMMIT in data else None
                if fault is None:
                    server.sendall(data)
                    continue
                self.fault = None
                if fault != "before":
                    self._deaf.append(client)
                    server.sendall(data)
                    if fault == "after":
                        assert answered.wait(WAIT_SECONDS)
                self.fired.append(fault)
                break
        self._cut(client, server)

    def _to_client(self, client: socket.socket, server: socket.socket, answered: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(2**16):
                if client in self._deaf:
                    answered.set()
                else:
                    client.sendall(data)
        self._cut(client, server)

    def _cut(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _start(self, target: object, *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]
