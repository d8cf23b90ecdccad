"""A Redis server of a test's own: on a private socket, with nothing on disk, that can be killed and started again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

PATIENCE = 30.0


class ServerMissing(Exception):
    """There is no program to start."""


class RedisServer:
    """Started by `start`, on the socket `folder`/r.sock; `url` is where clients find it."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            raise ServerMissing("no redis-server or valkey-server is installed")
        self._binary = binary
        self._folder = folder
        self._socket = folder / "r.sock"
        self.url = f"unix://{self._socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import redis

        self._socket.unlink(missing_ok=True)
        command = [self._binary, "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([*command, "--dir", str(self._folder)], stdout=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.exceptions.RedisError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.01)  # real time: this is a process that starts

    def kill(self) -> None:
        """SIGKILL: it has no time to write anything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def hang(self, *, on: bool = True) -> None:
        """Stop it in its tracks: connections stay, answers do not come."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.hang(on=False)
            self.kill()


def own_server(folder: Path) -> RedisServer:
    """A server for a test; where there is none to start, the test is skipped, and in CI it fails."""
    from tests.support.services import missing

    try:
        return RedisServer(folder)
    except ServerMissing as error:
        missing(str(error))
