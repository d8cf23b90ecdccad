"""The fields of a resolution: what they are for, that nobody changes them, and that a million of them weigh little."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cra
from cra.ids import format_uuid
from cra.reference import resolution_core
from cra.timing.clock import format_timestamp
from tests.support.decisions import ALLOW_ALL, manifest, rule, runtime
from tests.support.twins import BUILT, compiled_twin, twins

BASE = 0x0192F3A1_7C4E_7D2A_9B1F_3C5E7A9B0000
GIVEN: dict[str, Any] = {
    "header": "header",
    "base": BASE,
    "request_id": None,
    "time_ns": 1_767_268_800_123_456_789,
    "expires_ns": 3,
    "ttl_seconds": 4,
    "plan": "plan",
    "ruling": "ruling",
    "injected": (1, 2),
    "limit_states": ("state",),
    "ask": "goal",
}


@pytest.fixture(params=twins(resolution_core), scope="module")
def twin(request: pytest.FixtureRequest) -> Any:
    """The module under test."""
    return request.param


def made(twin: Any, **given: Any) -> Any:
    return twin.ResolutionCore(**(GIVEN | given))


def test_it_holds_what_it_was_given(twin: Any) -> None:
    """Each under its name."""
    core = made(twin)
    names = ("header", "base", "given_request_id", "time_ns", "expires_ns", "ttl_seconds", "plan", "ruling", "injected",
             "limit_states", "asked")  # fmt: skip
    assert tuple(GIVEN.values()) == core.fields() == tuple(getattr(core, name) for name in names)


def test_it_is_restored_from_its_fields(twin: Any) -> None:
    """All of them, as an instance of the class that restores."""
    core = type("Sub", (twin.ResolutionCore,), {"__slots__": ()}).restore(*made(twin).fields())  # type: ignore[attr-defined]
    assert ("Sub", made(twin).fields()) == (type(core).__name__, core.fields())


def test_ids_derive_from_the_draw(twin: Any) -> None:
    """The request's own id goes before the one that was made for it."""
    core = made(twin)
    assert (format_uuid(BASE + 1), format_uuid(BASE + 2)) == (core.request_id, core.resolution_id)
    assert "mine" == made(twin, request_id="mine").request_id
    assert format_timestamp(GIVEN["time_ns"]) == core.timestamp


@given(st.integers(0, 2**128 - 3) | st.integers(2**128 - 70_000, 2**128 - 3), st.integers(0, 2**63 - 1))
def test_twins_agree(base: int, time_ns: int) -> None:
    """On any draw, a carry through all of it included, and at any time."""
    cores = [made(module, base=base, time_ns=time_ns) for module in (resolution_core, compiled_twin())]
    (shown,) = {(c.base, c.resolution_id, c.request_id, c.time_ns, c.timestamp) for c in cores}
    assert base == shown[0]


@pytest.mark.parametrize("name", ["header", "base", "given_request_id", "time_ns", "expires_ns", "ttl_seconds", "plan",
                                  "ruling", "injected", "limit_states", "asked", "resolution_id", "_cache", "new"])  # fmt: skip
def test_nobody_changes_it(twin: Any, name: str) -> None:
    """No field is set, added or removed."""
    core = made(twin)
    with pytest.raises(AttributeError, match=f"^a resolution cannot be changed: {name}$"):
        setattr(core, name, 1)
    with pytest.raises(AttributeError, match=f"^a resolution cannot be changed: {name}$"):
        delattr(core, name)
    assert not hasattr(core, "__dict__")


def test_what_is_made_is_kept(twin: Any) -> None:
    """Made once, by name; what could not be made is not kept."""
    core, calls = made(twin), iter("abc")
    with pytest.raises(ZeroDivisionError):
        core.kept("x", lambda: 1 // 0)
    assert ["a", "a", "b"] == [core.kept(name, lambda: next(calls)) for name in ("x", "x", "y")]


def test_only_resolutions_go_untracked(twin: Any) -> None:
    """Of other classes nobody knows that they are in no cycle."""
    with pytest.raises(TypeError, match=r"^only a resolution is known to be in no cycle$"):
        twin.untracked(dict)


@pytest.mark.skipif(not BUILT, reason="Python keeps track of what is written in it")
def test_a_class_without_fields_of_its_own_is_not_tracked() -> None:
    """Like its base; one that has more, a `__dict__` or weak references is tracked as usual, and freed either way."""
    twin = compiled_twin()

    @twin.untracked  # type: ignore[untyped-decorator]
    class Plain(twin.ResolutionCore):  # type: ignore[misc]
        __slots__ = ()

    @twin.untracked  # type: ignore[untyped-decorator]
    class More(twin.ResolutionCore):  # type: ignore[misc]
        __slots__ = ("__dict__", "__weakref__")

    assert [False, False, True] == [gc.is_tracked(made(twin))] + [gc.is_tracked(c(**GIVEN)) for c in (Plain, More)]
    marker = object()
    before = sys.getrefcount(marker)
    for cls in (twin.ResolutionCore, Plain, More):
        kept = [cls(**GIVEN | {"plan": marker}) for _ in range(100)] + [
            cls.restore(*cls(**GIVEN | {"plan": marker}).fields()) for _ in range(100)
        ]
        assert before + 200 == sys.getrefcount(marker)
        del kept
    gc.collect()
    assert before == sys.getrefcount(marker)


@pytest.mark.skipif(cra.implementation() == "pure", reason="Python keeps track of what is written in it")
def test_resolutions_are_safe_to_keep_by_the_million() -> None:
    """None of them, nor what belongs to it alone, is something that the cycle collector has to look at."""
    with runtime(manifest("a", rules=[ALLOW_ALL, rule("l", "rate_limit", "a", parameters=RATE)])) as resolver:
        resolver.register("a", dict)
        session = resolver.create_session("bot", "work")
        session.execute("a", resolution=session.resolve("work"))
        kept = [session.resolve(f"work {number}") for number in range(1000)]
        gc.collect()
        assert [] == [each for each in kept if gc.is_tracked(each)]
        assert [] == [each for each in kept if gc.is_tracked(each.limit_states) or gc.is_tracked(each.limit_states[0])]


RATE = {"max_calls": 5, "window_seconds": 60}
SHOW = """
import pickle, sys
from tests.unit.reference.test_resolution_core import resolved
import cra
data = pickle.dumps(resolved(), protocol=4)
given = pickle.loads(bytes.fromhex(sys.stdin.read()))
print(cra.implementation(), data.hex(), given.to_json(), sep="\\n")
"""


def resolved() -> cra.Resolution:
    """One with something of everything, the same in every process."""
    rules = [
        ALLOW_ALL,
        rule("ask", "require_approval", "b", reason="a person décides"),
        rule("l", "rate_limit", "a", parameters=RATE),
        rule("p", "deny", "a", conditions={"parameters": {"properties": {"x": {"type": "number"}}, "required": ["x"]}}),
    ]
    blocks = [{"context_id": "how", "name": "How", "content": "Pay late."}]
    with runtime(manifest("a", "b", rules=rules, context_blocks=blocks)) as resolver:
        resolver.register("a", dict)
        session = resolver.create_session("bot", "work")
        session.execute("a", resolution=session.resolve("first"))
        return session.resolve("work")


def test_a_pickle_is_the_same_from_either_implementation() -> None:
    """And read by the other: what comes out shows the same, allows the same, and shares its plan with others of the pickle."""
    resolution = resolved()
    data = pickle.dumps(resolution, protocol=4)
    for pure in ("0", "1"):
        environment = {n: v for n, v in os.environ.items() if n != "CRA_REQUIRE_COMPILED"} | {"CRA_PURE_PYTHON": pure}
        shown = subprocess.run(
            [sys.executable, "-c", SHOW], input=data.hex(), env=environment, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert ["pure" if pure == "1" or not BUILT else "compiled", data.hex(), resolution.to_json()] == shown
    first, second = pickle.loads(pickle.dumps((resolution, resolution)))
    assert first.plan is second.plan
    assert (True, False) == (first.is_allowed("a"), first.is_allowed("b"))
    assert (resolution.to_dict(), resolution.ask, resolution.limit_states) == (
        first.to_dict(),
        first.ask,
        first.limit_states,
    )
