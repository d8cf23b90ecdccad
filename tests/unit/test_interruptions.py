"""What interrupts a call and uses the runtime, or ends the call with an exception: nothing is left half done for good."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import UserDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.storage.memory import MemoryStorage
from cra.testing import SeededIds, VirtualClock

MOMENTS = 12  # more than there are looks at the clock during an execute


class Interrupting(VirtualClock):
    """A clock that calls `act` when it is asked for the n-th time, as a signal handler may come at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.act: Callable[[], object] = list

    def now_ns(self) -> int:
        self._count()
        return super().now_ns()

    def monotonic_ns(self) -> int:
        self._count()
        return super().monotonic_ns()

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.act()


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("moment", range(1, MOMENTS))
def test_an_execution_whose_session_ends_at_any_moment_is_closed(
    make_world: Any, atlas: Any, moment: int, inline: bool
) -> None:
    """Whatever ended it: what was approved has an outcome before the end, and what has none was not run."""
    clock = Interrupting()
    world = make_world(manifest := atlas("a.b"), clock=clock)
    ran: list[int] = []
    world.resolver.register("a.b", lambda: ran.append(1), inline=inline)
    session = world.open()
    resolution = session.resolve("x")
    clock.act, clock.left = session.end, moment
    with suppress(cra.CRAError):
        session.execute("a.b", resolution=resolution)
    clock.left = 0
    if session.status == "active":
        session.end()
    types = world.types(session, of="action.")
    assert types in (
        [],
        ["action.requested", "action.denied"],
        ["action.requested", "action.approved", "action.executed"],
        ["action.requested", "action.approved", "action.failed"],
    )
    assert len(ran) <= types.count("action.approved")
    assert "session.ended" == world.types(session)[-1]
    replayed = cra.replay(world.trace(session), [manifest])
    assert () == replayed.mismatches
    recorder = world.resolver.stats().recorder
    assert (0, 0) == (recorder.reservations, recorder.ring_reserved)


@pytest.mark.parametrize("recorded", [False, True], ids=["before", "after"])
def test_an_end_that_was_interrupted_is_gone_on_with(make_world: Any, atlas: Any, recorded: bool) -> None:
    """Ctrl-C before or after the record: the next `end` does what is left, once; nothing else is taken meanwhile."""
    world = make_world(atlas("a.b"))
    session = world.open()
    resolution = session.resolve("x")
    record_last = session.record_last

    def interrupted(*arguments: Any) -> None:
        if recorded:
            record_last(*arguments)
        raise KeyboardInterrupt

    session.record_last = interrupted
    with pytest.raises(KeyboardInterrupt):
        session.end("timeout")
    del session.record_last
    for call in (lambda: session.resolve("x"), lambda: session.execute("a.b", resolution=resolution)):
        with pytest.raises(cra.SessionAlreadyEnded):
            call()
    session.end("error")
    with pytest.raises(cra.SessionAlreadyEnded):
        session.end()
    reason = "timeout" if recorded else "error"
    assert [reason] == [event["reason"] for event in world.payloads(session, "session.ended")]
    assert 0 == world.resolver.stats().sessions_active
    assert 0 == world.resolver.stats().recorder.reservations


def test_a_close_ends_what_an_interrupted_end_left(make_world: Any, atlas: Any) -> None:
    """The session is still there to be ended."""
    world = make_world(atlas("a.b"))
    session = world.open()
    record_last = session.record_last

    def interrupted(*_: Any) -> None:
        session.record_last = record_last
        raise KeyboardInterrupt

    session.record_last = interrupted
    with pytest.raises(KeyboardInterrupt):
        session.end()
    world.resolver.close()
    assert "session.ended" == list(world.storage.events(session.session_id))[-1].event_type


def test_a_start_that_could_not_be_stored_at_once_is_closed(make_world: Any, atlas: Any) -> None:
    """With `tracing="immediate"` a backend may fail once the start is in the ring: nothing runs, and the trace says so."""

    class Failing(MemoryStorage):
        def append(self, batch: Any) -> None:
            if not failed and any(event.event_type == "action.approved" for event in batch):
                failed.append(True)
                raise StorageError("full")
            super().append(batch)

    failed: list[bool] = []
    world = make_world(manifest := atlas("a.b"), storage=Failing(), tracing="immediate")
    ran: list[int] = []
    world.resolver.register("a.b", lambda: ran.append(1))
    session = world.open()
    resolution = session.resolve("x")
    with pytest.raises(StorageError):
        session.execute("a.b", resolution=resolution)
    assert "success" == session.execute("a.b", resolution=resolution).status
    session.end()
    assert [1] == ran
    types = world.types(session, of="action.")
    begin = ["action.requested", "action.approved"]
    assert [*begin, "action.failed", *begin, "action.executed"] == types
    assert () == cra.replay(world.trace(session), [manifest]).mismatches


def test_a_session_may_end_while_resolve_looks_at_its_arguments(make_world: Any, atlas: Any) -> None:
    """Reading an argument can run anything."""
    world = make_world(atlas("a.b"))
    session = world.open()
    for _ in range(2):
        session.resolve("x")

    class Context(UserDict[str, Any]):
        def __iter__(self) -> Iterator[str]:
            if session.status == "active":
                thread = threading.Thread(target=session.end)
                thread.start()
                thread.join(60)
            return iter(self.data)

    with pytest.raises(cra.SessionAlreadyEnded):
        session.resolve("x", context=Context(env="dev"))


@pytest.mark.parametrize("field", ["context_hints", "required_capabilities", "atlas_ids"])
def test_a_resolution_holds_no_object_of_its_caller(make_world: Any, atlas: Any, field: str) -> None:
    """It is not tracked by the cycle collector, so what it holds must not refer to it."""

    class Name(str):
        answer: Any

    world = make_world(atlas("a.b"))
    session = world.open()

    def resolve() -> weakref.ref[Name]:
        name = Name("com.example.shop")
        name.answer = session.resolve("x", **{field: [name]})
        return weakref.ref(name)

    reference = resolve()
    session.end()
    gc.collect()
    assert reference() is None


def test_an_id_that_encodes_itself_is_taken_as_the_number_that_it_is(make_world: Any, atlas: Any) -> None:
    """An `int` with a `to_bytes` of its own is still an `int`."""

    class Number(int):
        def to_bytes(self, *_: Any, **__: Any) -> bytes:
            return b""

    class Ids(SeededIds):
        def draw(self, unix_ms: int) -> int:
            return Number(super().draw(unix_ms))

    with (
        cra.Resolver(ids=Ids(1), clock=VirtualClock()) as odd,
        cra.Resolver(ids=SeededIds(1), clock=VirtualClock()) as plain,
    ):
        found = []
        for resolver in (odd, plain):
            resolver.load_atlas(atlas("a.b"))
            session = resolver.create_session("bot", "work")
            found.append([session.resolve("x").resolution_id for _ in range(3)])
    assert found[0] == found[1]


def test_the_id_of_a_resolution_may_be_any_string(make_world: Any, atlas: Any) -> None:
    """A subclass of `str`, too."""
    world = make_world(atlas("a.b"))
    world.resolver.register("a.b", dict)
    session = world.open()

    class Id(str):
        pass

    assert "success" == session.execute("a.b", resolution=Id(session.resolve("x").resolution_id)).status
