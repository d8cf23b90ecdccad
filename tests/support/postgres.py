"""A PostgreSQL server of the tests' own: in a temporary folder, on a private Unix socket, killed whenever a test likes.

PostgreSQL does not run as root, so where the tests do, the server runs as the user `postgres` or `nobody`. `tests/conftest.py`
has the fixtures; `perf` starts one as well.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.services import missing

WAIT_SECONDS = 60.0
USER = "cra"
DATABASE = "postgres"
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_connections": "50",
    "max_prepared_transactions": "10",
    "logging_collector": "off",
}
# Who has a password has to say it.
ACCESS = "local all locked scram-sha-256\nlocal all all trust\n"


class ServerMissing(Exception):
    """This machine has no server to start; the message says what was looked for."""


class Server:
    """A cluster in a folder that is removed by `remove`; running from `start` until `kill` or `stop`."""

    def __init__(self, **settings: str) -> None:
        self._programs = _find_programs()
        self.folder = Path(tempfile.mkdtemp(prefix="cra-postgres-"))
        self._user = _server_user()
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = SETTINGS | settings
        version = subprocess.check_output([self._programs / "postgres", "--version"], text=True).split()[2]
        if sys.platform == "linux" and int(version.split(".")[0]) >= 14:
            # After a kill, else, every file is synced on its own, which takes seconds.
            self._settings.setdefault("recovery_init_sync_method", "syncfs")
        arguments = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        self._run("initdb", "--pgdata", self.data, *arguments)
        (self.data / "pg_hba.conf").write_text(ACCESS)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def url(self, database: str = DATABASE, *, user: str = USER, folder: Path | None = None, **options: object) -> str:
        """A URL of this server, or of a proxy's socket in another folder."""
        host = quote(str(folder or self.folder), safe="")
        text = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in options.items())
        return f"postgresql://{user}@{host}/{database}{'?' if text else ''}{text}"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / ".s.PGSQL.5432"

    def start(self) -> None:
        """Start it and wait until it takes connections; after a kill, that is when it has recovered."""
        settings = [part for key, value in self._settings.items() for part in ("-c", f"{key}={value}")]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, "-k", self.folder, *settings],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for pytest, which then stops it
                **self._identity(),
            )
        deadline = time.monotonic() + WAIT_SECONDS
        while subprocess.run([self._programs / "pg_isready", "-q", "-h", self.folder], check=False).returncode:
            assert self._process.poll() is None, f"the server ended by itself: {self.log()[-2000:]}"
            assert time.monotonic() < deadline, f"the server is not ready: {self.log()[-2000:]}"
            time.sleep(0.02)

    def kill(self) -> int:
        """SIGKILL for the server and for all of its processes, none of which can tell anybody. How many there were."""
        assert self._process is not None
        assert self._process.poll() is None
        os.kill(self._process.pid, signal.SIGSTOP)  # or it would start others meanwhile
        children = _children(self._process.pid)
        for process in (*children, self._process.pid):
            os.kill(process, signal.SIGKILL)
        assert -signal.SIGKILL == self._process.wait(WAIT_SECONDS)
        deadline = time.monotonic() + WAIT_SECONDS
        while any(map(_is_running, children)):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        self._process = None
        return 1 + len(children)

    def freeze(self) -> list[int]:
        """Stop all processes where they are, so that nothing is ever answered; `thaw` takes what this returns."""
        assert self._process is not None
        processes = [self._process.pid, *_children(self._process.pid)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        return processes

    def thaw(self, processes: list[int]) -> None:
        """Let them go on."""
        for process in processes:
            os.kill(process, signal.SIGCONT)

    def stop(self) -> None:
        """End it as an administrator does who is in a hurry."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(WAIT_SECONDS)
            self._process = None

    def remove(self) -> None:
        """End it, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder)

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def query(self, text: str, *values: object, database: str = DATABASE) -> list[tuple[Any, ...]]:
        """What anybody gets who asks in SQL."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(text.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self._identity(),
        )
        assert 0 == done.returncode, done.stderr

    def _identity(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _find_programs() -> Path:
    """The folder with `initdb` and `postgres`: of the newest version that Debian installs, or of `pg_config`."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
        reverse=True,
    )
    if (config := shutil.which("pg_config")) is not None:
        folders.append(Path(subprocess.check_output([config, "--bindir"], text=True).strip()))
    for folder in folders:
        if all((folder / program).exists() for program in ("initdb", "postgres", "pg_isready")):
            return folder
    raise ServerMissing("there is no PostgreSQL server on this machine; Debian and Ubuntu: apt install postgresql")


def _server_user() -> pwd.struct_passwd | None:
    """Whom the server runs as, where this process is root's."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerMissing("a PostgreSQL server does not run as root, and there is no user postgres or nobody")


def _processes() -> Iterator[tuple[int, int, str]]:
    """Every process of the machine: its id, its parent's, its state."""
    if not Path("/proc/self/stat").exists():
        for line in subprocess.check_output(["ps", "-A", "-o", "pid=,ppid=,stat="], text=True).splitlines():
            pid, parent, state = line.split()
            yield int(pid), int(parent), state[0]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may have ended meanwhile
            state, parent = path.read_text().rpartition(") ")[2].split()[:2]
            yield int(path.parent.name), int(parent), state


def _children(parent: int) -> list[int]:
    return [process for process, its_parent, _ in _processes() if its_parent == parent]


def _is_running(process: int) -> bool:
    return any(process == each and state != "Z" for each, _, state in _processes())


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Server]:
    """One server for all tests of a process; pytest-xdist gives every worker its own."""
    if find_spec("psycopg") is None:
        missing("psycopg is not installed")
    try:
        server = Server()
    except ServerMissing as error:
        missing(str(error))
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres(_postgres: Server) -> Iterator[Server]:
    """The server; a test that kills it need not start it again."""
    yield _postgres
    if _postgres._process is None:
        _postgres.start()


@pytest.fixture
def schema(request: pytest.FixtureRequest) -> str:
    """A schema that no other test has."""
    _schemas.append(request.node.name)
    return f"test_{len(_schemas)}"


_schemas: list[str] = []
