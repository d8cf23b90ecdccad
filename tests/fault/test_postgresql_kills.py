"""The server of a `postgresql:` store is killed in the middle of a load, again and again, and started again.

SIGKILL for the server and every process of it: nothing is written that was not written, nobody is told anything. What a flush
has acknowledged is in the database when the server is back; in the end everything is there, once, in chains that verify.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.hotpath import verify_chain
from cra.storage.open import StorageSpec
from cra.storage.postgresql import AsyncPostgreSQLStorage, PostgreSQLStorage
from cra.trace.spooled_lane import SpooledLane
from tests.support.crashes import ATLAS, die
from tests.support.postgres import Server

KILLS = 4
SPOOL_BYTES = 4 * 2**20
WAIT_SECONDS = 60.0


class Load(threading.Thread):
    """Resolves and executes in a session of its own, and flushes. `said` are the resolutions that were returned,
    `acknowledged` those that a flush has answered for since."""

    def __init__(self, resolver: cra.Resolver, level: Any) -> None:
        super().__init__(daemon=True)
        self._resolver = resolver
        self._level = level
        self._end = threading.Event()
        self.session = resolver.create_session("bot", "work")
        self.said: list[str] = []
        self.acknowledged = 0
        self.refused = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._end.is_set():
                for _ in range(30):
                    resolution = self.session.resolve("a \\ lamp")
                    self.said.append(resolution.resolution_id)
                self.session.execute("a.do0", {}, resolution=resolution)
                said = len(self.said)
                try:
                    self._resolver.flush(self._level)
                    self.acknowledged = said
                except StorageError:
                    self.refused += 1
                    time.sleep(0.05)
                time.sleep(0.002)
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        self._end.set()
        self.join(WAIT_SECONDS)
        assert not self.is_alive()
        assert self.error is None


@pytest.mark.parametrize("level", ["stored", "durable"])
@pytest.mark.parametrize("kind", [PostgreSQLStorage, AsyncPostgreSQLStorage])
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(
    kind: Any, level: Any, postgres: Server, schema: str, seed: int
) -> None:
    """Nor is anything doubled, and the statistics add up. Every kill is seen to have made an attempt to append fail."""
    rng = random.Random(f"{seed} {kind.__name__} {level}")
    url = postgres.url(schema=schema)
    PostgreSQLStorage(url).close()
    storage: StorageSpec = kind(url)
    resolver = cra.Resolver(storage, overflow_timeout=WAIT_SECONDS)
    resolver.load_atlas(ATLAS)
    resolver.register("a.do0", dict, inline=True)
    outbox = resolver._runtime.recorder._outbox
    loads = [Load(resolver, level) for _ in range(2)]
    for load in loads:
        load.start()
    for number in range(KILLS):
        time.sleep(0.2 + rng.random() * 0.4)
        failures = outbox.failures
        before = [load.acknowledged for load in loads]
        assert postgres.kill() > 3
        _wait(lambda failures=failures: outbox.failures > failures, f"kill {number} made no attempt to append fail")
        time.sleep(rng.random() * 0.2)
        postgres.start()
        stored = _stored(postgres, schema)
        for load, acknowledged in zip(loads, before):
            assert acknowledged > 0
            missing = set(load.said[:acknowledged]) - set(stored)
            assert not missing, f"kill {number}: of {acknowledged} acknowledged resolutions {len(missing)} are missing"
    for load in loads:
        load.finish()
    while True:
        with suppress(StorageError):
            resolver.flush(level)
            break
    resolver.close()
    stats = resolver.stats().recorder
    (backend,) = stats.backends
    assert (stats.events_recorded, 0, 0) == (backend.stored, backend.waiting, backend.lost)
    assert [(backend.stored,)] == postgres.query(f"SELECT count(*) FROM {schema}.event")
    assert Counter(resolution for load in loads for resolution in load.said) == Counter(_stored(postgres, schema))
    assert sum(load.refused for load in loads) > 0
    with closing(PostgreSQLStorage(url)) as reading:
        assert 3 == len(reading.sessions())
        for session_id in reading.sessions():
            assert verify_chain(list(reading.events(session_id))).valid


def test_what_was_recorded_in_a_ring_while_the_server_was_gone_is_recovered(
    postgres: Server, schema: str, tmp_path: Path
) -> None:
    """Server and process die, in this order; the next resolver with the same ring stores what is missing, once."""
    url = postgres.url(schema=schema)
    resolver = cra.Resolver(url, ring=tmp_path / "ring")
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("bot", "work")
    said = [session.resolve("a lamp").resolution_id for _ in range(50)]
    resolver.flush("stored")
    postgres.kill()
    said += [session.resolve("a lamp").resolution_id for _ in range(50)]
    _wait(lambda: resolver._runtime.recorder._outbox.failures > 0, "no attempt to append failed")
    die(resolver)
    with pytest.raises(StorageError, match="check that the server runs"):
        cra.Resolver(url, ring=tmp_path / "ring")
    postgres.start()
    assert said[:50] == _stored(postgres, schema)
    with cra.Resolver(url, ring=tmp_path / "ring"):
        pass
    assert said == _stored(postgres, schema)
    with closing(PostgreSQLStorage(url)) as reading:
        for session_id in reading.sessions():
            assert verify_chain(list(reading.events(session_id))).valid


@pytest.mark.parametrize("kind", [PostgreSQLStorage, AsyncPostgreSQLStorage])
def test_what_is_recorded_while_the_server_is_gone_waits_in_its_spool(
    kind: Any, postgres: Server, schema: str, tmp_path: Path
) -> None:
    """Nobody waits for the server, even with its spool full; once it is back everything is there, in order, once."""
    url = postgres.url(schema=schema)
    PostgreSQLStorage(url).close()
    resolver = cra.Resolver(kind(url, spool_bytes=SPOOL_BYTES), ring=tmp_path / "ring", overflow_timeout=WAIT_SECONDS)
    resolver.load_atlas(ATLAS)
    resolver.register("a.do0", dict, inline=True)
    lane = resolver._runtime.recorder._outbox._lanes[0]
    assert isinstance(lane, SpooledLane)
    loads = [Load(resolver, "stored") for _ in range(2)]
    for load in loads:
        load.start()
    _wait(lambda: all(load.acknowledged for load in loads), "nothing was stored in the beginning")
    assert postgres.kill() > 3
    # What is expanded at once is at most half of that, and goes into the spool as long as there is room.
    _wait(lambda: lane.spool.size > SPOOL_BYTES // 2 < lane.backlog, "the spool never was full")
    assert SPOOL_BYTES // 2 < sum(file.stat().st_size for file in (tmp_path / "ring").glob("*.spool")) <= SPOOL_BYTES
    (health,) = resolver.health()
    assert not health.ok
    assert "events spooled" in health.details[0]
    before = [len(load.said) for load in loads]
    _wait(
        lambda: all(len(load.said) > said + 100 for load, said in zip(loads, before)), "producers wait for the server"
    )
    assert resolver.stats().recorder.backends[0].spooled > 0
    postgres.start()
    for load in loads:
        load.finish()
    resolver.flush("durable", timeout=WAIT_SECONDS)
    (backend,) = resolver.stats().recorder.backends
    assert (0, 0, 0, None) == (backend.waiting, backend.spooled, backend.lost, backend.state)
    assert resolver.health()[0].ok
    assert [] == list((tmp_path / "ring").glob("*.spool"))
    resolver.close()
    assert sum(load.refused for load in loads) > 0
    stored = _stored(postgres, schema)
    assert sum(len(load.said) for load in loads) == len(stored)
    for load in loads:
        mine = set(load.said)
        assert load.said == [resolution for resolution in stored if resolution in mine]
    with closing(PostgreSQLStorage(url)) as reading:
        for session_id in reading.sessions():
            assert verify_chain(list(reading.events(session_id))).valid


def _stored(postgres: Server, schema: str) -> list[str]:
    """The resolutions in the database, in the order of their sessions."""
    ids = "line::json #>> '{payload,resolution_id}'"
    rows = postgres.query(
        f"SELECT {ids} FROM {schema}.event WHERE event_type = 'carp.resolution.completed' ORDER BY session, sequence"
    )
    return [resolution for (resolution,) in rows]


def _wait(condition: Any, message: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.005)
