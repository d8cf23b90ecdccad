"""A look at a folder of rings: whose process lives, what waits in each, what has been set aside, what is left over.

Used by `cra doctor` and by offline recovery. It changes nothing, holds no lock for longer than the look, and raises over nothing
that lies in the folder. docs/formats/ring.md.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from cra.errors import InvalidTraceEvent, StorageError
from cra.reference.records import EventsRecord, decode
from cra.reference.ring_scan import RingRecord, RingScan
from cra.storage.look import NotRegular, is_locked, is_running, opened_to_look
from cra.trace.definitions import DefinitionsRead, read_definitions
from cra.trace.ring_folder import DAMAGED, DEFINITIONS, PART, RING, scan_file
from cra.trace.spool_files import SegmentReader, ring_stem_of, spools_of

State = Literal["living", "dead", "unreadable"]
_NO_DEFINITIONS = DefinitionsRead({}, {}, 0)
_EVENTS = b"\x01"  # the first byte of an EVENTS record
_OF_RING = re.compile(r"(?P<ring>(?P<pid>[0-9]{1,10})-[0-9a-f]{16})(?P<kind>\.part|\.defs|\.defs\.part)")


class RingLook(msgspec.Struct, frozen=True):
    """A ring. `state` is `unreadable` where the file cannot be opened, or is no ring, and `problem` says why then.

    `records` were committed and not yet freed: all but the latest of them are not stored. `torn` has the places that hold no
    record any more, by reason; of a living ring it is empty, since what looks torn is being written. `sessions` are the ids that
    the ring does not say have ended. `definitions` is None where they can be read, or says what is wrong. `spooled` events wait
    beside it in `spool_bytes` for `stores` that were away, as far as their segments can be read; `spool` says what is wrong.
    """

    file: str
    state: State
    pid: int | None = None
    records: int = 0
    torn: dict[str, int] = msgspec.field(default_factory=dict)
    sessions: tuple[str, ...] = ()
    definitions: str | None = None
    problem: str | None = None
    spooled: int = 0
    spool_bytes: int = 0
    stores: tuple[str, ...] = ()
    spool: str | None = None


class RingsLook(msgspec.Struct, frozen=True):
    """A folder of rings. `leftovers` are files that no ring needs; `damaged` were set aside; `strange` bear a ring's name and are
    no regular files, by what they are; `orphans` are spools without their ring. `problem`: why it cannot be listed."""

    folder: str
    rings: tuple[RingLook, ...] = ()
    damaged: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    strange: dict[str, str] = msgspec.field(default_factory=dict)
    problem: str | None = None
    orphans: tuple[str, ...] = ()

    @property
    def living_sessions(self) -> frozenset[str]:
        """The sessions whose process lives."""
        return frozenset(name for ring in self.rings if ring.state == "living" for name in ring.sessions)

    @property
    def dead_sessions(self) -> frozenset[str]:
        """The sessions that recovery will find in a ring."""
        return frozenset(name for ring in self.rings if ring.state == "dead" for name in ring.sessions)


def look_at_rings(folder: str | os.PathLike[str]) -> RingsLook:
    """Look at every ring in a folder. One that is not there has none."""
    path = Path(folder)
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return RingsLook(os.fspath(path))
    except OSError as error:
        return RingsLook(os.fspath(path), problem=error.strerror)
    rings: list[RingLook] = []
    strange: dict[str, str] = {}
    for name in names:
        if name.endswith(RING):
            try:
                rings.append(_look_at(path / name))
            except FileNotFoundError:
                pass  # recovered, or ended, since
            except NotRegular as kind:
                strange[name] = str(kind)
    damaged = tuple(name for name in names if DAMAGED in name)
    orphans = tuple(name for name in names if _is_orphan(path, name))
    return RingsLook(os.fspath(path), tuple(rings), damaged, tuple(_leftovers(path, names)), strange, orphans=orphans)


def _look_at(path: Path) -> RingLook:
    """Raises `FileNotFoundError` and `NotRegular`."""
    try:
        with opened_to_look(path) as descriptor:
            lives = is_locked(descriptor)
            try:
                scan = scan_file(descriptor)
            except StorageError as error:
                return RingLook(path.name, "unreadable", problem=error.message)
    except FileNotFoundError:
        raise
    except OSError as error:
        return RingLook(path.name, "unreadable", problem=error.strerror)
    definitions, problem = _definitions_of(path, scan, lives=lives)
    torn = {} if lives else dict(Counter(each.reason for each in scan.torn))
    return RingLook(
        path.name,
        "living" if lives else "dead",
        scan.pid or None,
        len(scan.records),
        torn,
        tuple(sorted(_open_sessions(definitions, scan.records))),
        problem,
        None,
        *_spools_beside(path, lives=lives),
    )


def _spools_beside(ring: Path, *, lives: bool) -> tuple[int, int, tuple[str, ...], str | None]:
    """Events, bytes, stores, and what is wrong with the spools beside a ring; a living one may be writing its last batch."""
    events = size = 0
    stores: set[str] = set()
    problem: str | None = None
    try:
        found = spools_of(ring)
    except OSError as error:
        return 0, 0, (), error.strerror
    for file in (file for files in found.values() for file in files):
        try:
            size += file.path.stat().st_size
            reader = SegmentReader(file.path)
            events += sum(len(batch) for batch in reader.batches())
        except FileNotFoundError:
            continue  # delivered since
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                problem = error.message
            continue
        if reader.head is not None:
            stores.add(reader.head.store)
        if reader.torn and not lives:
            problem = f"{file.path.name}: {reader.torn} bytes are torn"
    return events, size, tuple(sorted(stores)), problem


def _is_orphan(folder: Path, name: str) -> bool:
    stem = ring_stem_of(name)
    return stem is not None and not os.path.lexists(folder / (stem + RING)) and os.path.lexists(folder / name)


def _definitions_of(ring: Path, scan: RingScan, *, lives: bool) -> tuple[DefinitionsRead, str | None]:
    path = ring.with_suffix(DEFINITIONS)
    if not os.path.lexists(path):
        return _NO_DEFINITIONS, "missing" if scan.records or scan.torn else None
    try:
        found = read_definitions(os.fspath(path))
    except StorageError as error:
        return _NO_DEFINITIONS, error.message
    return found, f"{found.torn} bytes at the end are torn" if found.torn and not lives else None


def _open_sessions(definitions: DefinitionsRead, records: Iterable[RingRecord]) -> set[str]:
    """The ids of the sessions that are defined and do not end in the records."""
    numbers = {number: define[0] for number, define in definitions.sessions.items()}
    for record in records:
        if not record.data.startswith(_EVENTS):
            continue
        try:
            decoded = decode(record.data)
        except InvalidTraceEvent:
            continue
        assert isinstance(decoded, EventsRecord)
        if decoded.define is not None:
            numbers[decoded.session] = decoded.define[0]
        if decoded.events and decoded.events[-1][0] == "session.ended":
            numbers.pop(decoded.session, None)
    return set(numbers.values())


def _leftovers(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """What a process leaves that dies while it makes, rewrites or removes a ring: nothing refers to it.

    One that lives has such files for a moment, too.
    """
    for name in names:
        match = _OF_RING.fullmatch(name)
        if match is None or not _is_regular(folder / name):
            continue
        part, ring = folder / (match["ring"] + PART), folder / (match["ring"] + RING)
        if match["kind"] == DEFINITIONS + PART:
            is_left = not _is_held(ring)
        else:  # in this order: a ring that is being made bears the first name, then the second
            is_made = part.exists() and (is_running(int(match["pid"])) or _is_held(part))
            is_left = not is_made and not ring.exists()
        if is_left:
            yield name


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_held(path: Path) -> bool:
    """Whether somebody has the lock of a file; one that cannot be looked at may be held."""
    try:
        with opened_to_look(path) as descriptor:
            return is_locked(descriptor)
    except FileNotFoundError:
        return False
    except (OSError, NotRegular):
        return True
