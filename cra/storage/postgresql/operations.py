"""Everything that a `postgresql:` store asks of its database, as steps that both backends run: each statement is here once.

An append is one transaction whose rows come by COPY. Nobody knows whether a COMMIT that was not answered was one, so a batch may
come again: then the primary key says that its events are there, and they are compared instead of stored. No transaction is
open while a reader looks at an event; a reading goes by pages, each a query of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from psycopg.errors import UniqueViolation

from cra.errors import InvalidTraceEvent, StorageError
from cra.ids import UUID_PATTERN
from cra.storage.base import StorageHealth
from cra.storage.chunks import chunks_of
from cra.storage.postgresql import rows
from cra.storage.postgresql.address import Address
from cra.storage.postgresql.steps import Do, Work
from cra.trace.event import Event
from cra.trace.jsonl import read_event

PAGE_EVENTS: Final = 1000
PAGE_BYTES: Final = 2 * 1024 * 1024
"""A page of a reading has no more events, and ends with the first that reaches so many bytes."""
LOCK_SECONDS: Final = 10
"""How long to wait for what another process has locked."""
IDLE_SECONDS: Final = 60
"""When the server gives up a transaction whose process it has not heard of, and with it the locks of that."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_LARGEST: Final = 2**63 - 1
# COMMIT waits until the log is on the disk, or as long as the server is told to wait for its standbys: only `off` is too short.
# Everything is read by the primary key, in its order. A table that was just filled has no statistics, and without these three
# settings the whole of a session would be sorted for each of its pages.
_SET_UP: Final = """
    SELECT current_setting('server_encoding'),
        set_config('search_path', 'pg_catalog', false),
        set_config('enable_bitmapscan', 'off', false), set_config('enable_sort', 'off', false), set_config('jit', 'off', false),
        set_config('lock_timeout', %(lock)s, false),
        set_config('statement_timeout', %(statement)s, false),
        set_config('idle_in_transaction_session_timeout', %(idle)s, false),
        CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END"""
_HEALTH: Final = """
    SELECT current_setting('server_version'), current_setting('fsync'), pg_is_in_recovery(),
        pg_total_relation_size(to_regclass(%s)) + pg_total_relation_size(to_regclass(%s))"""
Line = tuple[int, str]
"""Sequence and line of an event."""


class Place(NamedTuple):
    """What a reading is of: a session by its number, up to the newest event that it had then."""

    number: int
    newest: int


class Operations:
    """The steps of a store at this address. They raise `psycopg.Error`, and `StorageError` for what is not the server's fault."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._name = address.name
        self._session = session = f'"{address.schema}".session'
        self._event = event = f'"{address.schema}".event'
        self._copy = f'COPY {event} (session, sequence, "timestamp", event_type, event_hash, line) FROM STDIN'
        given = "unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[])"
        self._insert = (
            f'INSERT INTO {event} (session, sequence, "timestamp", event_type, event_hash, line)'
            f" SELECT * FROM {given} ON CONFLICT (session, sequence) DO NOTHING"
        )
        self._compare = f"""
            SELECT session_id, sequence FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS given (session, sequence, line)
                JOIN {event} AS stored USING (session, sequence) JOIN {session} ON number = session
            WHERE stored.line <> given.line ORDER BY session, sequence LIMIT 1"""
        self._page = f"""
            SELECT sequence, line FROM (
                SELECT sequence, line, sum(octet_length(line)) OVER (ORDER BY sequence) - octet_length(line) AS before
                FROM (
                    SELECT sequence, line FROM {event}
                    WHERE session = %(number)s AND sequence > %(after)s AND sequence <= %(newest)s
                        AND (%(types)s::text[] IS NULL OR event_type = ANY (%(types)s::text[]))
                    ORDER BY sequence LIMIT {PAGE_EVENTS}
                ) AS page
            ) AS measured WHERE before < {PAGE_BYTES} ORDER BY sequence"""

    def set_up(self) -> Work[None]:
        """What every connection has: limits of time, and a COMMIT that waits for the disk."""
        limits = {"lock": f"{LOCK_SECONDS}s", "statement": f"{self._address.timeout}s", "idle": f"{IDLE_SECONDS}s"}
        ((encoding, *_),) = (yield Do(_SET_UP, limits)).rows
        if encoding != "UTF8":  # others lack characters, and the batch that has one would come again for ever
            raise StorageError(
                f"storage '{self._name}' is a database in {encoding}, and events are UTF-8; create one with:"
                " createdb --template template0 --encoding UTF8 NAME"
            )

    def append(self, batch: Sequence[Event]) -> Work[None]:
        """Store a batch; what of it is stored already, to the byte, is left as it is.

        Raises `StorageError` when another event has the place of one, `InvalidTraceEvent` for what is no event.
        """
        chunks = list(chunks_of(batch))
        session_ids = list(dict.fromkeys(chunk[0] for chunk in chunks))
        if not session_ids:
            return
        yield Do(_BEGIN)
        numbers = yield from self._numbers(session_ids)
        try:
            yield Do(self._copy, data=rows.copy_data(chunks, numbers))
        except UniqueViolation:
            yield Do("ROLLBACK")
        else:
            yield Do("COMMIT")
            return
        yield Do(_BEGIN)
        numbers = yield from self._numbers(session_ids)
        columns = rows.columns(chunks, numbers)
        yield Do(self._insert, columns)
        # Only now: the statement has waited for those who were writing the same, and this one sees what they have written.
        for session_id, sequence in (yield Do(self._compare, (columns[0], columns[1], columns[-1]))).rows:
            raise StorageError(
                f"storage '{self._name}' has another event {sequence} of session {session_id};"
                " two processes have written one session: give the second one a database or a schema of its own"
            )
        yield Do("COMMIT")

    def find(self, session_id: str) -> Work[Place | None]:
        """Where to read a session; None where it has no events."""
        text = f"SELECT number, (SELECT max(sequence) FROM {self._event} WHERE session = number) FROM {self._session}"
        found = (yield Do(f"{text} WHERE session_id = %s::uuid", (_checked(session_id),))).rows
        return Place(*found[0]) if found and found[0][1] is not None else None

    def page(self, place: Place, after: int, types: Collection[str] | None) -> Work[list[Line]]:
        """The next events of a session after one, some of them; none at the end."""
        wanted = rows.wanted_types(types)
        values = {**place._asdict(), "after": max(-1, min(after, _LARGEST)), "types": wanted}
        return [(sequence, line) for sequence, line in (yield Do(self._page, values)).rows]

    def sessions(self) -> Work[list[str]]:
        """The ids of all sessions, in the order of their numbers."""
        found = (yield Do(f"SELECT session_id::text FROM {self._session} ORDER BY number")).rows
        return [session_id for (session_id,) in found]

    def last(self, session_id: str, n: int) -> Work[list[Line]]:
        """The last events of a session, in order."""
        text = f"""
            SELECT sequence, line FROM {self._event}
            WHERE session = (SELECT number FROM {self._session} WHERE session_id = %s::uuid)
            ORDER BY sequence DESC LIMIT %s::bigint"""
        found = (yield Do(text, (_checked(session_id), max(0, min(n, _LARGEST))))).rows
        return [(sequence, line) for sequence, line in reversed(found)]

    def count(self, session_id: str | None) -> Work[int]:
        """The number of events of a session, or of all."""
        if session_id is None:
            answer = yield Do(f"SELECT count(*) FROM {self._event}")
        else:
            text = f"SELECT count(*) FROM {self._event} WHERE session = (SELECT number FROM {self._session}"
            answer = yield Do(f"{text} WHERE session_id = %s::uuid)", (_checked(session_id),))
        count: int = answer.rows[0][0]
        return count

    def delete(self, session_id: str) -> Work[int]:
        """Remove a session and its events; returns how many there were."""
        text = f"SELECT number FROM {self._session} WHERE session_id = %s::uuid FOR UPDATE"
        yield Do(_BEGIN)
        count = 0
        for (number,) in (yield Do(text, (_checked(session_id),))).rows:  # nobody appends to it from here on
            count = (yield Do(f"DELETE FROM {self._event} WHERE session = %s", (number,))).changed
            yield Do(f"DELETE FROM {self._session} WHERE number = %s", (number,))
        yield Do("COMMIT")
        return count

    def survives_power_cuts(self) -> Work[bool]:
        """Whether the server has what was committed written to its disk."""
        fsync: str = (yield Do("SELECT current_setting('fsync')")).rows[0][0]
        return fsync == "on"

    def health(self) -> Work[StorageHealth]:
        """Not ok where nothing can be stored, or what is stored would not survive a power cut."""
        ((version, fsync, is_standby, size),) = (yield Do(_HEALTH, (self._event, self._session))).rows
        details = [f"PostgreSQL {version}, {size} bytes in the schema {self._address.schema}"]
        if is_standby:
            details.append("the server is a standby, which cannot be written; name the primary")
        if fsync != "on":
            details.append("the server runs with fsync=off: nothing that it stores may survive a power cut")
        return StorageHealth(self._name, ok=len(details) == 1, details=tuple(details))

    def decode(self, session_id: str, lines: Sequence[Line]) -> Iterator[Event]:
        """The events of lines that were read. Raises `StorageError` at the first that is none."""
        for sequence, line in lines:
            try:
                yield read_event(line.encode())
            except InvalidTraceEvent as error:
                raise StorageError(
                    f"storage '{self._name}', event {sequence} of session {session_id}: {error}"
                ) from error

    def not_durable(self) -> StorageError:
        """Why a durable flush is refused where `survives_power_cuts` is false."""
        return StorageError(
            f"storage '{self._name}' cannot be made durable: the server runs with fsync=off; set it to on in postgresql.conf"
        )

    def _numbers(self, session_ids: list[str]) -> Work[dict[str, int]]:
        """The numbers of sessions, which get one if they have none; nobody deletes the sessions until the transaction ends."""
        for session_id in session_ids:
            _checked(session_id)
        find = f"SELECT session_id::text, number FROM {self._session} WHERE session_id = ANY (%s::uuid[]) FOR KEY SHARE"
        make = (
            f"INSERT INTO {self._session} (session_id) SELECT id FROM unnest(%s::uuid[]) WITH ORDINALITY AS new (id, place)"
            " ORDER BY place ON CONFLICT (session_id) DO NOTHING"
        )
        while True:
            numbers: dict[str, int] = dict((yield Do(find, (session_ids,))).rows)
            missing = [session_id for session_id in session_ids if session_id not in numbers]
            if not missing:
                return numbers
            yield Do(make, (missing,))


def _checked(session_id: str) -> str:
    if not UUID_PATTERN.fullmatch(session_id):
        raise StorageError("a session id is a lower-case UUID; nothing else names a session of this storage")
    return session_id
