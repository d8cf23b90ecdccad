"""Recovery: what a dead process recorded and did not store is stored, and what it left open is closed as unknown.

Called when a recorder opens a folder of rings, before it records anything of its own. Expanding a record is a pure function, so
what is stored here is byte for byte what the dead process would have stored; what it had stored already is recognised by its ids
and not stored again. Interrupted, it starts over. It never guesses and never destroys what it cannot read.
PROTOCOL: Execute (after a crash); ARCHITECTURE: The ring is a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec

from cra.errors import StorageError
from cra.ids import IdSource
from cra.reference.records import Definition
from cra.reference.ring_scan import NOT_COMMITTED
from cra.storage.base import RecordStorage, ResumedRecords, StorageBackend
from cra.timing.clock import Clock
from cra.trace.batch import Batch
from cra.trace.closing import closing_events, open_work
from cra.trace.dead_records import DeadRecords
from cra.trace.ring_folder import DeadRing, Refused, RingFolder
from cra.trace.spool_recovery import DeadSpools


class Recovery(msgspec.Struct):
    """What recovery found and did, summed over rings.

    `records` were committed and not freed, `events` were stored now, `torn` places held no record any more, `unreadable` rings
    were set aside, and spools as well. `sessions` and `executions` are those that were closed as unknown. `spooled` events were
    found in spools, whether their store had them or not.
    """

    rings: int = 0
    records: int = 0
    events: int = 0
    torn: int = 0
    unreadable: int = 0
    sessions: int = 0
    executions: int = 0
    spooled: int = 0

    def payload(self) -> dict[str, Any]:
        """The payload of a `runtime.recovered` event."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def recover(
    folder: RingFolder,
    backends: Sequence[StorageBackend],
    clock: Clock,
    ids: IdSource,
    refused: Refused | None = None,
) -> Recovery:
    """Recover every ring in `folder` whose process is gone.

    Raises `StorageError` where a backend does not take what is recovered; the ring stays, and the next recovery starts over.
    With `refused`, that is told of such a ring and the next one is tried.
    """
    total = Recovery()
    for dead in folder.dead(refused):
        try:
            _recover_ring(dead, backends, clock, ids, total)
        except StorageError as error:
            if refused is None:
                raise
            refused(dead.path, error)
        finally:
            dead.leave()
    return total


def _recover_ring(
    dead: DeadRing, backends: Sequence[StorageBackend], clock: Clock, ids: IdSource, total: Recovery
) -> None:
    spools = DeadSpools(dead.path)
    _recover_spools(spools, backends, total)
    try:
        scan, definitions = dead.read()
    except StorageError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise  # nothing was read: that says nothing of what is there
        for backend in (backend for backend in backends if backend.readable):
            backend.flush(durable=backend.durable)
        spools.remove()
        dead.remove(damaged=True)
        total.rings += 1
        total.unreadable += 1
        return
    total.records += len(scan.records)
    total.torn += len(scan.torn) + (definitions.torn > 0)
    restarted = bool(scan.records) and dead.has_restarted()
    records = dead.read_again(scan) if restarted else scan.records
    ring = DeadRecords(scan, records, definitions.sessions, definitions.templates, restarted=restarted)
    # The first is whom the others follow: who has records has what came last, and what is not durable had a beginning of its own.
    readable = sorted(
        [backend for backend in backends if backend.readable],
        key=lambda backend: (not isinstance(backend, RecordStorage), not backend.durable),
    )
    if readable:
        with ExitStack() as stack:
            resumed: dict[int, ResumedRecords] = {}
            for index, backend in enumerate(readable):
                if isinstance(backend, RecordStorage):
                    resumed[index] = stack.enter_context(backend.resume(dead.path.stem))
            stored = [ring.store_records(series) for series in resumed.values()]
            takers = [backend for index, backend in enumerate(readable) if index not in resumed]
            if takers:
                stored.append(ring.store(takers))
            total.events += max(stored)
            ring.look_for_left(readable[0])
            close_what_is_open(ring.sessions, readable, clock, ids, total, resumed)
        for backend in readable:
            backend.flush(durable=backend.durable)
    damaged = ring.unreadable > 0 or any(torn.reason != NOT_COMMITTED for torn in scan.torn)
    total.torn += ring.unreadable
    spools.remove()  # before the ring, whose lock is theirs
    dead.remove(damaged=damaged)
    total.rings += 1


def _recover_spools(spools: DeadSpools, backends: Sequence[StorageBackend], total: Recovery) -> None:
    """What is older than the ring, and in order before it."""
    found = spools.deliver(backends)
    total.spooled += found.spooled
    total.events += found.events
    total.torn += found.torn
    total.unreadable += found.unreadable


def close_what_is_open(
    sessions: Mapping[int, Definition],
    backends: Sequence[StorageBackend],
    clock: Clock,
    ids: IdSource,
    total: Recovery,
    resumed: Mapping[int, ResumedRecords] | None = None,
) -> None:
    """End the sessions that a dead process had open, and their executions, whose outcome nobody knows. `total` counts them.

    What the first of the `backends` has, decides; the others get what they lack of it, so that this can be interrupted anywhere.
    Those that are `resumed`, by their place, get records.
    """
    reference = backends[0]
    resumed = resumed or {}
    for number, define in sessions.items():
        newest = reference.last(define[0], 1)
        if not newest:
            continue
        closing: Batch | None = None
        if newest[0].event_type != "session.ended":
            work = open_work(reference, define[0])
            closing = closing_events(number, define, newest[0], work, clock, ids)
            if 0 in resumed:
                resumed[0].append(closing.frames)
            else:
                reference.append(closing)
            total.sessions += 1
            total.executions += len(work.running)
        for place, backend in enumerate(backends[1:], 1):
            had = backend.last(define[0], 1)
            if not had or had[0].event_type == "session.ended":
                continue  # it never had the session, or all of it
            if place in resumed and closing is not None:
                resumed[place].append(closing.frames)
            else:
                backend.append(list(reference.events(define[0], after=had[0].sequence)))
