"""What must hold after any fault: everything that was said is there, once, in chains that verify, and the store goes on.

`Promises` are what a run said, in order. `judge` opens what the run left, as the next process would, and raises `AssertionError`
with the first thing that is not as it must be. Called in a child of its own, by `tests.fault.enumerate`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import cra
from conformance import journal as second_reader
from cra.storage.base import StorageBackend
from cra.storage.journal.backend import JournalStorage
from cra.storage.journal.names import tombstones
from cra.storage.journal.verify import verify_journal
from cra.storage.jsonl import SUFFIX, JsonlStorage
from cra.storage.sqlite import SqliteStorage
from cra.trace import recorder
from cra.trace.checkup import check
from cra.trace.event import Event
from cra.trace.jsonl import dump_line
from cra.trace.ring_folder import DAMAGED, RING
from tests.fault.calls import Fault, Said
from tests.support.crashes import ATLAS

LEVELS = ("stored", "durable")
_RING_BYTES = 64 * 1024
_OPEN: dict[str, Any] = {"journal": JournalStorage, "jsonl": JsonlStorage, "sqlite": SqliteStorage}
_REFUSED = (("refused", "stored"), ("refused", "durable"))
_HARMLESS = ("leftover",)  # a ring that its process had not finished making
_OUTCOMES = ("action.executed", "action.failed")


class Promise(NamedTuple):
    """What a life said of a session: a resolution `recorded` or `executed`, or that it `ended`. `is_stored` where a level was
    reached after that, `may_go` where retention may have taken it since."""

    life: str
    kind: str
    session_id: str
    resolution_id: str
    is_stored: bool
    may_go: bool


def promises(said: Sequence[Said]) -> list[Promise]:
    """What was promised, in one life or several."""
    made: list[Promise] = []
    for life, kind, *rest in said:
        if kind in ("recorded", "executed", "ended"):
            made.append(Promise(life, kind, rest[0], rest[1] if len(rest) > 1 else "", False, False))
        elif kind in (*LEVELS, "closed"):
            made = [each._replace(is_stored=each.is_stored or each.life == life) for each in made]
        elif kind in ("opened", "repaired"):  # and has recovered what was left
            made = [each._replace(is_stored=True) for each in made]
        elif kind == "old":
            made = [each._replace(may_go=True) for each in made]
    return made


def check_undisturbed(said: Sequence[Said]) -> None:
    """Without a fault nothing is refused."""
    wrong = [words for words in said if words[0] in ("raised", "hangs") or words[1] == "refused"]
    assert not wrong, f"without a fault: {wrong}"


def check_run(kind: str, said: Sequence[Said], status: int, fault: Fault) -> None:
    """What a run must not do whatever fails: raise anything but a refusal, hang, stay useless, or believe an fsync after one that
    failed."""
    for words in said:
        assert words[0] not in ("raised", "hangs"), "\n".join(words)
    if fault.effect == "KILL":
        return
    assert 0 == status, f"it ended with {status}"
    is_sync = fault.call.name in ("fsync", "fdatasync")
    # SQLite syncs the folder of its file again, after the store has done so, and tells nobody when that fails.
    is_again = kind == "sqlite" and "<>" in fault.call.text
    if is_sync and not is_again and fault.call.thread.startswith("cra-recorder"):
        # Who asked last may have been served by the fsync before: then nobody is left to be told.
        levels = [words[1:] for words in said if words[1] in LEVELS]
        is_told = any(words[1] == "refused" for words in said)
        assert is_told or (levels and levels[-1][0] == "durable"), "an fsync failed, and nobody was told"
    for life in {words[0] for words in said if words[0] != "repair"}:
        asked = [words[1:] for words in said if words[0] == life]
        levels = [words for words in asked if words[0] in LEVELS or words[:2] in _REFUSED]
        assert levels, "it does not even begin"
        is_poisoned = is_sync and kind == "journal"  # which then takes nothing any more
        assert is_poisoned or ("refused", "stored") != levels[-1][:2], (
            f"nothing can be stored any more after one fault: {levels[-1]}"
        )
        refused = [place for place, words in enumerate(levels) if words[:2] == ("refused", "durable")]
        if is_sync and refused:
            assert ("durable",) not in levels[refused[0] :], "an fsync was believed after one that failed"


def judge(kind: str, folder: Path, said: Sequence[Said]) -> int:
    """Open what was left, and see that everything that was promised is there. Returns how many events the store has."""
    usual, recorder.DEFAULT_RING_BYTES = recorder.DEFAULT_RING_BYTES, _RING_BYTES
    try:
        return _judge(kind, folder, promises(said))
    finally:
        recorder.DEFAULT_RING_BYTES = usual


def _judge(kind: str, folder: Path, promised: Sequence[Promise]) -> int:
    _check_without_rings(kind, folder, [each for each in promised if each.is_stored])
    first = _Reopened(kind, folder)
    first.check(promised)
    for session_id, events in first.events.items():
        kinds = Counter(event.event_type for event in events)
        assert (1, "session.ended") == (kinds["session.ended"], events[-1].event_type), f"{session_id} has no one end"
        _check_executions_are_closed(events)
    again = _Reopened(kind, folder)
    assert not again.recovered, f"something was left to recover: {again.recovered}"
    for session_id, events in first.events.items():
        assert events == again.events[session_id], f"{session_id} is another after it was opened once more"
    _check_files(kind, folder)
    if kind == "journal":
        lines = second_reader.read(folder / "trace")
        for session_id, events in again.events.items():
            found = [dump_line(event).decode() for event in events]
            assert found == lines[session_id], f"{session_id} is another to the second reader"
    return sum(map(len, again.events.values()))


class _Reopened:
    """What a runtime finds in a store, which it opens, works in, and closes: the `events` there were, by session."""

    def __init__(self, kind: str, folder: Path) -> None:
        backend = _OPEN[kind](folder / "trace")
        with cra.Resolver(backend) as resolver:
            own = resolver.trace(resolver.session_id)
            self.recovered = [event.payload for event in own if event.event_type == "runtime.recovered"]
            self.events, self._is_cut = _read(backend, without=resolver.session_id)
            before = backend.count()
            assert before == sum(map(len, self.events.values())) + len(own), (
                "the count is another than what can be read"
            )
            resolver.load_atlas(ATLAS)
            resolver.register("a.do0", dict, inline=True)
            session = resolver.create_session("bot", "work")
            resolution = session.resolve("a lamp")
            session.execute("a.do0", {}, resolution=resolution)
            resolver.flush("durable")
            stats = resolver.stats().recorder
            (stored,) = stats.backends
            assert (stats.events_recorded, 0, 0) == (stored.stored, stored.waiting, stored.lost), stats
            assert stored.stored - len(own) == backend.count() - before, "what was stored is not what is there"
            assert cra.verify_chain(resolver.trace(session.session_id)).valid

    def check(self, promised: Iterable[Promise]) -> None:
        """Hold it against what was promised."""
        _check_promises(promised, self.events, self._is_cut)


def _read(backend: StorageBackend, without: str = "") -> tuple[dict[str, list[Event]], bool]:
    """The events of all sessions in a store, whose chains verify; and whether retention has taken something."""
    events = {each: list(backend.events(each)) for each in backend.sessions() if each != without}
    for session_id, found in events.items():
        anchor = backend.anchor(session_id) if isinstance(backend, JournalStorage) else None
        verdict = cra.verify_chain(found, anchor=anchor)
        assert verdict.valid, f"{session_id}: {verdict}"
        assert found, f"{session_id} has no events"
        assert found[0].sequence == (0 if anchor is None else anchor[1] + 1), f"{session_id} has lost its beginning"
    ids = Counter(event.event_id for found in events.values() for event in found)
    assert not ids or max(ids.values()) == 1, "an event is there twice"
    return events, isinstance(backend, JournalStorage) and bool(tombstones(backend.location))


def _check_promises(promised: Iterable[Promise], events: dict[str, list[Event]], is_cut: bool) -> None:
    for each in promised:
        found = events.get(each.session_id, [])
        if each.kind == "ended":
            places = [event.payload["reason"] for event in found if event.event_type == "session.ended"]
            expected = ["completed"]
        elif each.kind == "executed":
            spans = [
                event.span_id
                for event in found
                if event.event_type == "action.approved" and event.payload["resolution_id"] == each.resolution_id
            ]
            # Before it was executed it may have been refused, which closes it, too.
            places = [
                event.event_type for event in found if event.span_id in spans and event.event_type == _OUTCOMES[0]
            ]
            expected = ["action.executed"]
        else:
            expected = ["carp.resolution.completed"]
            places = [
                event.event_type
                for event in found
                if event.event_type == expected[0] and event.payload["resolution_id"] == each.resolution_id
            ]
        if places != expected and not (each.may_go and is_cut and not places):
            raise AssertionError(f"{each} is there as {places}, in a session of {len(found)} events")


def _check_executions_are_closed(events: Iterable[Event]) -> None:
    started = Counter(event.span_id for event in events if event.event_type == "action.approved")
    closed = Counter(event.span_id for event in events if event.event_type in _OUTCOMES)
    assert all(closed[span] == 1 for span in started), "an execution was not closed once"


def _check_without_rings(kind: str, folder: Path, stored: list[Promise]) -> None:
    """What was said to be stored is in the store itself."""
    bare = folder.with_name(folder.name + ".bare")
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("trace.ring"))
    try:
        if not (bare / "trace").exists():
            assert not stored, "there is no store"
            return
        with closing(_OPEN[kind](bare / "trace")) as backend:
            events, is_cut = _read(backend)
        _check_promises(stored, events, is_cut)
    finally:
        shutil.rmtree(bare)


def _check_files(kind: str, folder: Path) -> None:
    data = folder / "trace"
    odd = [problem for problem in check(data).problems if problem.code not in _HARMLESS]
    assert not odd, odd
    rings = [name for name in os.listdir(folder / "trace.ring") if RING in name or DAMAGED in name]
    assert not rings, f"rings were left or set aside: {rings}"
    if kind == "journal":
        faults = verify_journal(data).faults
        assert not faults, faults
    elif kind == "jsonl":
        for path in data.glob("*" + SUFFIX):
            verdict = cra.verify_file(path)
            assert verdict.valid, f"{path.name}: {verdict}"
    else:
        with closing(sqlite3.connect(data)) as database:
            verdicts = database.execute("PRAGMA integrity_check").fetchall()
        assert [("ok",)] == verdicts, verdicts
