"""The PostgreSQL backends: what SQL sees, what is refused, batches that come again, servers that go away or say nothing."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

import cra
from cra.errors import InvalidTraceEvent, StorageError, StorageLocked
from cra.hotpath import verify_chain
from cra.storage.jsonl import JsonlStorage
from cra.storage.open import open_storage
from cra.storage.postgresql import AsyncPostgreSQLStorage, PostgreSQLStorage, operations, patience
from cra.storage.postgresql.schema import read_migrations
from cra.testing import SeededIds, VirtualClock
from cra.testing.storage_contract import _batch
from cra.trace.jsonl import dump_line
from tests.support.crashes import ATLAS
from tests.support.pg_proxy import Proxy
from tests.support.postgres import Server

RICH = {"text": 'ä"\n\t\\ \\N \\. \u2028😀\x00\x7f\x1f', "path": "C:\\new\\table", "n": 2**53 - 1, "zero": -0.0}


@pytest.fixture(params=["waiting", "async"])
def store(request: pytest.FixtureRequest, postgres: Server, schema: str) -> Iterator[Callable[..., Any]]:
    """Opens the storage of this test, of either kind, as a Resolver does; again and again if wanted."""
    opened: list[Any] = []

    def open_it(url: str | None = None) -> Any:
        kind = {"waiting": PostgreSQLStorage, "async": AsyncPostgreSQLStorage}[request.param]
        (backend,) = open_storage(kind(url or postgres.url(schema=schema)))
        opened.append(backend)
        return backend

    yield open_it
    for backend in opened:
        backend.close()


@pytest.fixture
def proxy(postgres: Server) -> Iterator[Proxy]:
    """A proxy before the server."""
    with tempfile.TemporaryDirectory() as folder:
        proxy = Proxy(postgres.socket, Path(folder))
        yield proxy
        proxy.close()


# --- what is in the database ---


def test_any_tool_can_read_the_events(store: Any, postgres: Server, schema: str, sessions: Any) -> None:
    """The view `trace` has a row per event, with its line as `dump_line` writes it; JSON operators work on it."""
    storage, events = store(), sessions.events(0, 2, action_id="ticket.get", text="ä")
    storage.append(events)
    expected = [
        (e.session_id, e.sequence, e.timestamp, e.event_type, e.event_hash, dump_line(e).decode().rstrip("\n"))
        for e in events
    ]
    columns = "session_id::text, sequence, timestamp, event_type, event_hash, line"
    assert expected == postgres.query(f"SELECT {columns} FROM {schema}.trace ORDER BY session_id, sequence")
    found = postgres.query(
        f"SELECT line::json #>> '{{payload,action_id}}', timestamp::timestamptz < now() + interval '100 years'"
        f" FROM {schema}.trace WHERE event_type = 'action.requested' AND timestamp >= '2000-01-01'"
    )
    assert [("ticket.get", True)] * 2 == found


def test_the_queries_of_the_format_page_work(postgres: Server) -> None:
    """As they are written there, in the schema that a store has by default."""
    page = (Path(__file__).parents[3] / "docs/formats/postgresql.md").read_text()
    (shown,) = re.findall(r'psql audit -c "(.*)"\n', page)
    (block,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    (index,) = re.findall(r"`(CREATE INDEX .*)`", page)
    with cra.Resolver(postgres.url()) as resolver:
        resolver.load_atlas(ATLAS)
        resolver.register("a.do0", dict)
        session = resolver.create_session("bot", "work")
        session.execute("a.do0", {}, resolution=session.resolve("a lamp"))
        with pytest.raises(cra.ActionDenied):
            session.execute("a.do2", {}, resolution=session.resolve("a lamp"))
        session.end()
        recorded = resolver.trace(session.session_id)
    try:
        rows = postgres.query(shown)
        assert {("action.requested", "a.do0"), ("action.executed", "a.do0")} < {row[1:] for row in rows}
        refused, events = (postgres.query(query.replace("019b…", session.session_id)) for query in block.split(";")[:2])
        assert [("a.do2", 1)] == refused
        assert [*range(len(recorded))] == [row[0] for row in events]
        postgres.query(index)
    finally:
        postgres.query("DROP SCHEMA cra CASCADE")


@pytest.mark.parametrize("form", [list, _batch], ids=["list", "batch"])
def test_a_line_is_kept_to_the_byte(store: Any, postgres: Server, schema: str, sessions: Any, form: Any) -> None:
    """Whatever COPY or the server might make of a backslash, a tab, a NUL or a character beyond the first plane."""
    storage, events = store(), sessions.events(0, 3, **RICH)
    storage.append(form(events))
    lines = [dump_line(event).rstrip(b"\n") for event in events]
    assert lines == [line.encode() for (line,) in postgres.query(f"SELECT line FROM {schema}.trace ORDER BY sequence")]
    storage.append(form(events + sessions.events(0, 1, **RICH)))  # the other way in: a part of it was there
    assert 4 == storage.count()
    assert lines == [dump_line(event).rstrip(b"\n") for event in storage.last(sessions.id(0), 4)[:3]]


def test_the_same_run_is_the_same_bytes_as_in_jsonl(postgres: Server, schema: str, tmp_path: Path) -> None:
    """With clock and ids that repeat, one run into both stores."""
    with cra.Resolver(
        [f"jsonl:///{tmp_path}", postgres.url(schema=schema)], clock=VirtualClock(), ids=SeededIds(3)
    ) as resolver:
        resolver.load_atlas(ATLAS)
        resolver.register("a.do0", dict)
        for number in range(5):
            with resolver.create_session("bot", f"work {number}") as session:
                session.execute("a.do0", {}, resolution=session.resolve("a \\ lamp\t"))
    jsonl, database = JsonlStorage(tmp_path), PostgreSQLStorage(postgres.url(schema=schema))
    assert set(jsonl.sessions()) == set(database.sessions())
    for session_id in jsonl.sessions():
        stored = b"".join(map(dump_line, database.events(session_id)))
        assert (tmp_path / f"{session_id}.trace.jsonl").read_bytes() == stored
    assert 6 == len(jsonl.sessions())
    jsonl.close()
    database.close()


@pytest.mark.parametrize("session_id", ["x", "", "0" * 36, "\ud800", "01890000-0000-7000-8000-00000000000\n"])
def test_only_uuids_name_sessions(session_id: str, store: Any, sessions: Any) -> None:
    """As in every store on disk."""
    storage = store()
    (event,) = sessions.events(0)
    for call in (
        lambda: storage.append([replace(event, session_id=session_id)]),
        lambda: list(storage.events(session_id)),
        lambda: storage.last(session_id, 1),
        lambda: storage.count(session_id),
        lambda: storage.delete_session(session_id),
    ):
        with pytest.raises((StorageError, InvalidTraceEvent)):
            call()
    assert [] == storage.sessions()


def test_what_is_no_event_is_refused(store: Any, sessions: Any) -> None:
    """Nothing gets into a column that nobody could search by; nothing of the batch is stored."""
    storage, events = store(), sessions.events(0, 2)
    for fields in ({"event_type": 'a"b'}, {"event_type": "a\x00b"}, {"timestamp": ""}, {"sequence": -1}):
        with pytest.raises(InvalidTraceEvent, match="has no sequence, timestamp or type as events have them"):
            storage.append([events[0], replace(events[1], **fields)])
    with pytest.raises(StorageError, match="out of range"):
        storage.append([events[0], replace(events[1], sequence=2**63)])
    assert 0 == storage.count()
    storage.append(events)


def test_numbers_and_types_may_be_absurd(store: Any, sessions: Any) -> None:
    """What nobody stored is not found, and no error."""
    storage, events = store(), sessions.events(0, 3)
    storage.append(events)
    session_id = sessions.id(0)
    assert [] == list(storage.events(session_id, after=10**30))
    assert events == list(storage.events(session_id, after=-(2**63)))
    assert events == storage.last(session_id, 10**30)
    assert events == list(storage.events(session_id, types=["action.requested", *map(str, range(100_000))]))
    assert [] == list(storage.events(session_id, types=["\ud800", "' OR 1=1", "\x00", "%s"]))


def test_long_sessions_are_read_in_pages(store: Any, sessions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event is left out where one page ends, whether by its number of events or by their size."""
    monkeypatch.setattr(operations, "PAGE_EVENTS", 10)
    monkeypatch.setattr(operations, "PAGE_BYTES", 9_000)
    storage = store()
    events = [*sessions.events(0, 21), *sessions.events(0, 1, text="x" * 20_000), *sessions.events(0, 9)]
    storage.append(events)
    for after in (-1, 0, 9, 10, 19, 20, 21, 29):
        assert events[after + 1 :] == list(storage.events(sessions.id(0), after=after))


def test_a_page_is_read_by_the_key_alone(postgres: Server, schema: str, sessions: Any) -> None:
    """A table that was just filled has no statistics; the whole of a session must not be sorted for each page."""
    storage = PostgreSQLStorage(postgres.url(schema=schema))
    storage.append(sessions.events(0, 2))
    postgres.query(
        f"""
        ALTER TABLE {schema}.event SET (autovacuum_enabled = off);
        INSERT INTO {schema}.event SELECT 1, number, '', '', '', repeat('x', 300) FROM generate_series(2, 200000) AS number"""
    )
    assert [(0,)] == postgres.query(f"SELECT count(*) FROM pg_stats WHERE schemaname = '{schema}'")
    connection = storage._idle.take()
    assert connection is not None
    place = connection.run(storage._operations.find(sessions.id(0)))
    values = {**place._asdict(), "after": 5, "types": None}
    plan = connection.execute(("EXPLAIN " + storage._operations._page).encode(), values).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "Index Scan using event_pkey" in text, text
    assert "Bitmap" not in text, text
    assert "Sort" not in text.split("Index Scan")[0].split("Limit")[1], text
    connection.close()
    storage.close()


def test_a_line_that_is_no_event_is_named(store: Any, postgres: Server, schema: str, sessions: Any) -> None:
    """Somebody who changes a line is found out at the latest when it is read."""
    storage, events = store(), sessions.events(0, 3)
    storage.append(events)
    postgres.query(f"UPDATE {schema}.event SET line = '{{}}' WHERE sequence = 1")
    with pytest.raises(StorageError, match=rf"event 1 of session {sessions.id(0)}: "):
        list(storage.events(sessions.id(0)))
    assert events[2:] == storage.last(sessions.id(0), 1)


# --- again ---


def test_the_same_batch_again_is_stored_once(store: Any, sessions: Any) -> None:
    """Nobody knows whether a commit that was not answered was one: the caller comes again, perhaps with more."""
    storage, events = store(), sessions.events(0, 4) + sessions.events(1, 2)
    storage.append(events[:3])
    storage.append(_batch(events))
    storage.append(events)
    storage.append([*events[:1], *events[:1]])
    assert (events[:4], events[4:]) == (list(storage.events(sessions.id(0))), list(storage.events(sessions.id(1))))


def test_another_event_in_the_same_place_is_refused(store: Any, sessions: Any, new_sessions: Any) -> None:
    """A chain has one event of a number; nothing of the batch is stored."""
    storage, events = store(), sessions.events(0, 3)
    storage.append(events[:2])
    other = new_sessions().events(0, 3, text="another")
    with pytest.raises(StorageError, match=rf"has another event 0 of session {sessions.id(0)}; two processes have"):
        storage.append(other)
    assert 2 == storage.count()
    storage.append(events[2:])
    assert events == list(storage.events(sessions.id(0)))


@pytest.mark.parametrize("fault", ["before", "after", "unanswered"])
def test_a_connection_cut_at_a_commit_neither_loses_nor_doubles(
    fault: Any, store: Any, proxy: Proxy, postgres: Server, schema: str, sessions: Any
) -> None:
    """The append fails, whether or not the server has done it; the same batch again is there once."""
    storage, events = store(postgres.url(schema=schema, folder=proxy.folder)), sessions.events(0, 60)
    storage.append(events[:20])
    proxy.fault = fault
    with pytest.raises(StorageError, match="cannot be written"):
        storage.append(_batch(events[20:40]))
    assert [fault] == proxy.fired
    if fault != "unanswered":
        assert [(40 if fault == "after" else 20,)] == postgres.query(f"SELECT count(*) FROM {schema}.event")
    storage.append(_batch(events[20:]))
    assert events == list(storage.events(sessions.id(0)))
    assert [(60,)] == postgres.query(f"SELECT count(*) FROM {schema}.event")


@pytest.mark.parametrize("fault", ["before", "after", "unanswered"])
def test_a_run_over_a_connection_that_is_cut_adds_up(fault: Any, proxy: Proxy, postgres: Server, schema: str) -> None:
    """The runtime keeps the batch and comes again by itself; recorded is stored, once, and the chains verify."""
    resolver = cra.Resolver(postgres.url(schema=schema, folder=proxy.folder))
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("bot", "work")
    for _ in range(3):
        proxy.fault = fault
        for _ in range(200):
            session.resolve("a lamp")
        with suppress(StorageError):  # unless the worker has met it before
            resolver.flush()
        resolver.flush()
    session.end()
    resolver.close()
    stats = resolver.stats().recorder
    assert [fault] * 3 == proxy.fired
    assert (stats.events_recorded, 0, 0) == (
        stats.backends[0].stored,
        stats.backends[0].waiting,
        stats.backends[0].lost,
    )
    assert [(stats.events_recorded,)] == postgres.query(f"SELECT count(*) FROM {schema}.event")
    storage = PostgreSQLStorage(postgres.url(schema=schema))
    for session_id in storage.sessions():
        assert verify_chain(list(storage.events(session_id))).valid
    storage.close()


# --- others ---


def _write_from(number: int, url: str, start: Any) -> None:
    with cra.Resolver(url) as resolver:
        resolver.load_atlas(ATLAS)
        start.wait(60)
        for _ in range(5):
            with resolver.create_session(f"bot {number}", "work") as session:
                for _ in range(50):
                    session.resolve("a lamp")


def test_processes_open_an_empty_database_and_write_at_once(postgres: Server, schema: str) -> None:
    """One of them makes the tables, all go on; each writes sessions of its own."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    processes = [
        context.Process(target=_write_from, args=(number, postgres.url(schema=schema), start)) for number in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [0, 0, 0] == [process.exitcode for process in processes]
    storage = PostgreSQLStorage(postgres.url(schema=schema))
    found = storage.sessions()
    assert 3 * 6 == len(found)
    for session_id in found:
        assert verify_chain(list(storage.events(session_id))).valid
    assert [(1,)] == postgres.query(f"SELECT count(*) FROM {schema}.migration")
    storage.close()


def test_many_may_open_an_empty_database_at_once(postgres: Server, schema: str) -> None:
    """The lock is what counts, not luck: none sees half of a schema."""
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(PostgreSQLStorage, [postgres.url(schema=schema)] * 8))
    assert [0] * 8 == [storage.count() for storage in stores]
    for storage in stores:
        storage.close()


def test_who_waits_for_a_lock_too_long_is_told(
    store: Any, postgres: Server, schema: str, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes the same session and does not come to an end."""
    monkeypatch.setattr(operations, "LOCK_SECONDS", 1)
    storage, events = store(), sessions.events(0, 2)
    storage.append(events[:1])
    with psycopg.connect(postgres.url()) as other:
        other.execute(f"SELECT * FROM {schema}.session FOR UPDATE".encode())
        with pytest.raises(StorageLocked, match="another process is in the way: try again"):
            storage.append(events[1:])
    storage.append(events[1:])
    assert events == list(storage.events(sessions.id(0)))


def test_a_deleted_session_can_begin_again_while_it_is_deleted(postgres: Server, schema: str, sessions: Any) -> None:
    """Whoever appends meanwhile waits, and what is appended then is there: no event is without its session."""
    storage, events = PostgreSQLStorage(postgres.url(schema=schema)), sessions.events(0, 4)
    storage.append(events[:2])
    with psycopg.connect(postgres.url()) as other:
        other.execute(f"SELECT * FROM {schema}.session FOR UPDATE".encode())
        other.execute(f"DELETE FROM {schema}.event".encode())
        other.execute(f"DELETE FROM {schema}.session".encode())
        writer = threading.Thread(target=storage.append, args=(events[2:],))
        writer.start()
        time.sleep(0.3)
        assert writer.is_alive()
    writer.join(60)
    assert events[2:] == list(storage.events(sessions.id(0)))
    storage.close()


def test_a_child_leaves_the_connections_of_its_parent_alone(postgres: Server, schema: str, sessions: Any) -> None:
    """After a fork, each goes on with connections of its own."""
    storage, events = PostgreSQLStorage(postgres.url(schema=schema)), sessions.events(0, 3)
    storage.append(events[:1])
    connection = storage._idle.take()
    assert connection is not None
    assert storage._idle.keep(connection)
    child = os.fork()
    if child == 0:
        try:
            storage.append(events[1:2])
            storage.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    storage.append(events[2:])
    assert connection is storage._idle.take()
    connection.close()
    assert events == list(storage.events(sessions.id(0)))
    storage.close()


# --- the server goes away ---


def test_a_killed_server_is_an_error_until_it_is_back(store: Any, postgres: Server, sessions: Any) -> None:
    """An append and a durable flush raise, health says so, and the next ones find the server by themselves."""
    storage, events = store(), sessions.events(0, 3)
    storage.append(events[:1])
    assert postgres.kill() > 3
    for call in (
        lambda: storage.append(events[1:]),
        lambda: storage.flush(True),
        lambda: storage.last(sessions.id(0), 1),
    ):
        with pytest.raises(StorageError, match=r"; (check that the server runs|the server is starting)"):
            call()
    assert not storage.health().ok
    postgres.start()
    storage.append(events[1:])
    storage.flush(durable=True)
    assert events == list(storage.events(sessions.id(0)))
    assert storage.health().ok


def test_a_reader_does_not_notice_that_the_server_was_started_again(
    store: Any, postgres: Server, sessions: Any
) -> None:
    """A connection that was idle and turns out lost is replaced; so is one in the middle of a reading."""
    storage, events = store(), sessions.events(0, 1500)
    storage.append(events)
    reading = storage.events(sessions.id(0))
    begun = [next(reading) for _ in range(10)]
    postgres.kill()
    postgres.start()
    assert events == begun + list(reading)
    postgres.kill()
    postgres.start()
    assert 1500 == storage.count()


def test_a_connection_ended_by_an_administrator_is_replaced(
    store: Any, postgres: Server, schema: str, sessions: Any
) -> None:
    """`pg_terminate_backend`: one error, and it goes on."""
    storage, events = store(postgres.url(schema=schema, application_name=schema)), sessions.events(0, 2)
    storage.append(events[:1])
    ended = postgres.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", schema)
    assert [(True,)] == ended
    with pytest.raises(StorageError, match="cannot be written: terminating connection due to administrator command"):
        storage.append(events[1:])
    storage.append(events[1:])
    assert events == list(storage.events(sessions.id(0)))


def test_close_does_not_wait_for_a_server_that_is_gone(store: Any, postgres: Server, sessions: Any) -> None:
    """There is nothing left to be said to it."""
    storage = store()
    storage.append(sessions.events(0))
    postgres.kill()
    started = time.monotonic()
    storage.close()
    assert time.monotonic() - started < 5


def test_a_resolver_closed_while_the_server_is_gone_counts_what_is_lost(postgres: Server, schema: str) -> None:
    """It does not hang, raises, and recorded is stored plus lost."""
    resolver = cra.Resolver(postgres.url(schema=schema))
    resolver.load_atlas(ATLAS)
    session = resolver.create_session("bot", "work")
    resolver.flush()
    postgres.kill()
    for _ in range(10):
        session.resolve("a lamp")
    with pytest.raises(StorageError):
        resolver.close()
    stats = resolver.stats().recorder
    (backend,) = stats.backends
    assert backend.lost > 0
    assert stats.events_recorded == backend.stored + backend.lost
    postgres.start()
    assert [(backend.stored,)] == postgres.query(f"SELECT count(*) FROM {schema}.event")


def test_a_server_that_says_nothing_is_given_up(
    store: Any, postgres: Server, schema: str, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes are stopped, so that its socket takes everything and nothing is answered; afterwards it goes on."""
    monkeypatch.setattr(patience, "GRACE_SECONDS", 0)
    for kind in ("connection", "asynchronous"):
        monkeypatch.setattr(f"cra.storage.postgresql.{kind}.GRACE_SECONDS", 0)
    storage, events = store(postgres.url(schema=schema, timeout=1, connect_timeout=2)), sessions.events(0, 3)
    storage.append(events[:1])
    frozen = postgres.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(StorageError, match="cannot be written: the server has said nothing for 1 s"):
            storage.append(events[1:2])
        with pytest.raises(StorageError, match="cannot be written: connection timeout expired"):
            storage.append(events[1:2])
        assert not storage.health().ok
        assert 1 < time.monotonic() - started < 20
    finally:
        postgres.thaw(frozen)
    storage.append(events[1:])
    assert events == list(storage.events(sessions.id(0)))


def test_a_statement_that_takes_too_long_is_ended(store: Any, postgres: Server, schema: str, sessions: Any) -> None:
    """By the server, with the option that raises the limit."""
    storage = store(postgres.url(schema=schema, timeout=1))
    storage.append(sessions.events(0))
    postgres.query(
        f"""
        CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(20); END $$;
        CREATE TRIGGER slow BEFORE INSERT ON {schema}.event EXECUTE FUNCTION {schema}.slow()"""
    )
    with pytest.raises(
        StorageError, match=r"statement timeout; the server was too slow; raise the limit with .timeout="
    ):
        storage.append(sessions.events(0))


def test_a_cancelled_append_is_taken_back(postgres: Server, schema: str, sessions: Any) -> None:
    """A task that is cancelled in the middle of a batch leaves none of it, and the storage goes on."""

    async def work() -> list[Any]:
        storage, events = AsyncPostgreSQLStorage(postgres.url(schema=schema)), sessions.events(0, 2)
        await storage.append(events[:1])
        with psycopg.connect(postgres.url()) as other:
            other.execute(f"LOCK TABLE {schema}.event IN ACCESS EXCLUSIVE MODE".encode())
            task = asyncio.create_task(storage.append(events[1:]))
            await asyncio.sleep(0.3)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert 1 == await storage.count()
        await storage.append(events[1:])
        found = [event async for event in storage.events(sessions.id(0))]
        assert events == found
        await storage.close()
        return found

    assert 2 == len(asyncio.run(work()))


def test_an_interrupted_append_is_taken_back(
    postgres: Server, schema: str, sessions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a batch leaves none of it."""
    storage, events = PostgreSQLStorage(postgres.url(schema=schema)), sessions.events(0, 300)
    copy_data = operations.rows.copy_data

    def interrupt(*arguments: Any) -> Iterator[bytes]:
        yield next(copy_data(*arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(operations.rows, "copy_data", interrupt)
        with pytest.raises(KeyboardInterrupt):
            storage.append(events)
    assert 0 == storage.count()
    storage.append(events)
    assert 300 == storage.count()
    storage.close()


# --- durable ---


def test_a_commit_waits_for_the_disk_whatever_the_server_says(postgres: Server, schema: str) -> None:
    """`synchronous_commit=off` of a user is set to on for the store's connections; what is stronger is left."""
    for user, setting, wanted in (("hasty", "off", "on"), ("strict", "remote_apply", "remote_apply")):
        postgres.query(f"DROP ROLE IF EXISTS {user}; CREATE ROLE {user} LOGIN SUPERUSER")
        postgres.query(f"ALTER ROLE {user} SET synchronous_commit = '{setting}'")
        with closing(PostgreSQLStorage(postgres.url(schema=schema, user=user))) as storage:
            connection = storage._idle.take()
            assert connection is not None
            assert (wanted,) == connection.execute("SHOW synchronous_commit").fetchone()
            connection.close()


@pytest.mark.usefixtures("postgres")
def test_a_server_without_fsync_makes_nothing_durable(sessions: Any) -> None:
    """It says so when it is opened, at every durable flush, and in `health`."""
    server = Server(fsync="off")
    try:
        server.start()
        storage = PostgreSQLStorage(server.url())
        assert not storage.durable
        storage.append(sessions.events(0))
        storage.flush(durable=False)
        with pytest.raises(StorageError, match="cannot be made durable: the server runs with fsync=off; set it to on"):
            storage.flush(durable=True)
        health = storage.health()
        assert (False, True) == (health.ok, "fsync=off" in health.details[1])
        storage.close()
        with pytest.raises(StorageError, match="cannot make anything durable"):
            cra.Resolver(server.url(), durability="durable")
        (behind,) = open_storage(AsyncPostgreSQLStorage(server.url()))
        with pytest.raises(StorageError, match="fsync=off"):
            behind.flush(durable=True)
        behind.close()
    finally:
        server.remove()


# --- opening ---


def test_migrations_that_were_published_never_change() -> None:
    """A database that has one keeps what it was then: what is new comes in a file of its own."""
    digests = {each.file: hashlib.sha256(each.text.encode()).hexdigest() for each in read_migrations()}
    assert {"0001_events.sql": DIGEST} == digests
    assert [*range(1, 1 + len(digests))] == [each.version for each in read_migrations()]


DIGEST = "dc6b414a3d96173c113459b2d87a3bd3ccb5b8c79098fe3bbfba2d006a94655f"


def test_a_later_schema_is_refused_and_left_alone(store: Any, postgres: Server, schema: str) -> None:
    """By every call of either backend."""
    store().count()
    postgres.query(f"INSERT INTO {schema}.migration VALUES (99, '0099_later.sql')")
    with pytest.raises(StorageError, match="has schema version 99, and this version of cra knows 1; upgrade cra"):
        store().count()


def test_a_schema_of_something_else_is_refused(store: Any, postgres: Server, schema: str) -> None:
    """Nothing of it is changed."""
    postgres.query(f"CREATE SCHEMA {schema}")
    postgres.query(f"CREATE TABLE {schema}.session (mine text)")
    with pytest.raises(
        StorageError, match="already exists; something else has these names in the schema; name another"
    ):
        store().count()
    assert [("session",)] == postgres.query(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace", schema
    )


def test_a_migration_that_fails_leaves_nothing(postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are one transaction; the next opening makes all of them, and one that is behind gets what it lacks."""
    from cra.storage.postgresql import schema as module

    (first,) = read_migrations()
    second = module.Migration(2, "0002_more.sql", "CREATE TABLE more (); SELECT 1/0")
    monkeypatch.setattr(module, "read_migrations", lambda: [first, second])
    url = postgres.url(schema=schema)
    with pytest.raises(StorageError, match="division by zero"):
        PostgreSQLStorage(url)
    assert [(None,)] == postgres.query("SELECT to_regnamespace(%s)::text", schema)
    monkeypatch.setattr(module, "read_migrations", lambda: [first])
    PostgreSQLStorage(url).close()
    monkeypatch.setattr(module, "read_migrations", lambda: [first, second._replace(text="CREATE TABLE more ()")])
    with pytest.raises(StorageError, match="has schema version 1, and is only read here"):
        PostgreSQLStorage(url, make=False)
    PostgreSQLStorage(url).close()
    assert [(1, "0001_events.sql"), (2, "0002_more.sql")] == postgres.query(
        f"SELECT version, file FROM {schema}.migration ORDER BY version"
    )


def test_an_auditor_needs_no_more_than_the_right_to_read(postgres: Server, schema: str, sessions: Any) -> None:
    """Opened with `make=False`, or by a Resolver that then cannot write."""
    events = sessions.events(0, 2)
    writer = PostgreSQLStorage(postgres.url(schema=schema))
    writer.append(events)
    writer.close()
    postgres.query(
        f"DROP ROLE IF EXISTS auditor_{schema}; CREATE ROLE auditor_{schema} LOGIN; GRANT USAGE ON SCHEMA {schema}"
        f" TO auditor_{schema}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO auditor_{schema}"
    )
    storage = PostgreSQLStorage(postgres.url(schema=schema, user=f"auditor_{schema}"), make=False)
    assert events == list(storage.events(sessions.id(0)))
    with pytest.raises(StorageError, match=r"permission denied .*; grant the user what is missing"):
        storage.append(sessions.events(0))
    storage.close()


def test_what_is_only_read_is_not_made(postgres: Server, schema: str) -> None:
    """A mistyped schema stays what it is."""
    with pytest.raises(StorageError, match=rf"has no trace in the schema {schema}, and is only read here"):
        PostgreSQLStorage(postgres.url(schema=schema), make=False)
    assert [(None,)] == postgres.query("SELECT to_regnamespace(%s)::text", schema)


def test_a_database_in_another_encoding_is_refused(postgres: Server) -> None:
    """A batch with a character that it lacks would come again for ever."""
    postgres.query("DROP DATABASE IF EXISTS latin")
    postgres.query("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StorageError, match="is a database in LATIN1, and events are UTF-8; create one with: createdb"):
        PostgreSQLStorage(postgres.url("latin"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"database": "none"}, 'database "none" does not exist; create the database with: createdb NAME'),
        ({"user": "nobody_here"}, 'role "nobody_here" does not exist; check the user and the password'),
        (
            {"folder": "/nowhere"},
            "No such file or directory.*; check that the server runs, the address and the network",
        ),
    ],
)
def test_what_cannot_be_opened_says_what_to_do(postgres: Server, options: Any, message: str) -> None:
    """One line, with the address."""
    with pytest.raises(StorageError, match=message) as caught:
        PostgreSQLStorage(postgres.url(**options))
    assert "\n" not in str(caught.value)
    assert "storage 'postgresql://" in str(caught.value)


def test_a_password_is_nowhere_to_be_seen(postgres: Server, schema: str, sessions: Any) -> None:
    """Neither in the name nor in messages, `repr`, health or statistics, whether it is right or wrong."""
    postgres.query("DROP ROLE IF EXISTS locked; CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'hun/ter2'")
    url = postgres.url(schema=schema, user="locked:hun%2Fter2")
    storage = PostgreSQLStorage(url)
    storage.append(sessions.events(0))
    said = [storage.name, repr(storage), repr(vars(storage)), str(storage.health()), repr(storage._idle._connections)]
    with cra.Resolver(url) as resolver:
        resolver.create_session("bot", "work").end()
        resolver.flush()
        said += [repr(resolver.stats()), *map(str, resolver.trace(resolver.session_id))]
    for wrong in (url.replace("ter2", "ter3"), url.replace("/postgres?", "/none?"), url.replace("locked:", "lockd:")):
        with pytest.raises(StorageError) as caught:
            PostgreSQLStorage(wrong)
        said += [str(caught.value), repr(caught.value), str(caught.value.__cause__)]
    assert "locked@" in storage.name
    assert [] == [text for text in said if "ter2" in text or "ter3" in text]
    storage.close()
