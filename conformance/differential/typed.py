"""The well-typed generator: episodes of a runtime at work, in which most calls are such as a host and an agent would make them.

A case is what happens in a moment: a few operations, after which others find changed atlases, grants, counts and clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from conformance.differential import atlases
from conformance.differential.episode import Episode, Generator, Operation

_SLOTS: Final = ("a", "b", "c", "d")
_STARTS: Final = (
    999_999_999,
    1_774_745_999 * 10**9,  # a second before clocks change in Europe, in spring
    1_792_976_400 * 10**9,
    *((1_767_225_600 + hours * 3600) * 10**9 for hours in range(0, 96, 5)),
)
_BEHAVIOURS: Final = (
    ("echo", None), ("echo", None), ("echo", None), ("value", {"amount": 1}), ("value", "text"), ("value", None), ("raise", None),
    ("unhashable", None), ("late", None), ("late", None), ("resolve", None),
)  # fmt: skip


def _load(rng: Random) -> list[Operation]:
    atlas_id = rng.choice(atlases.ATLAS_IDS)
    overlay = atlas_id == atlases.ATLAS_IDS[3]
    manifest = atlases.manifest(rng, atlas_id)
    loaded: Operation = {"do": "load_atlas", "manifest": manifest, "overlay": overlay, "replace": rng.random() < 0.8}
    if rng.random() < 0.05:
        loaded["strict"] = True
    return [loaded, _resolve_in(rng), _resolve_in(rng)]


def _unload(rng: Random) -> list[Operation]:
    unloaded: Operation = {"do": "unload_atlas", "atlas_id": rng.choice(atlases.ATLAS_IDS)}
    loaded: Operation = {"do": "load_atlas", "manifest": atlases.manifest(rng, unloaded["atlas_id"])}
    return [unloaded, _resolve_in(rng), {"do": "list_atlases"}, loaded, _resolve_in(rng)]


def _register(rng: Random, action_id: str | None = None) -> Operation:
    behaviour, value = rng.choice(_BEHAVIOURS) if rng.random() < 0.99 else ("end", None)
    way = rng.choice(("inline",) * 16 + ("thread", "loop", "shared"))
    return {
        "do": "register",
        "action_id": action_id or rng.choice(atlases.ACTION_IDS),
        "behaviour": behaviour,
        "way": way,
        "value": value,
    }


def _open(rng: Random, slot: str | None = None) -> list[Operation]:
    slot = slot or rng.choice(_SLOTS)
    created: Operation = {"do": "create_session", "slot": slot, **atlases.facts(rng)}
    if rng.random() < 0.4:
        created["parent"] = rng.choice(_SLOTS)
    return [created, {"do": "resolve", "slot": slot, **atlases.ask(rng)}]


def _end(rng: Random) -> list[Operation]:
    slot = rng.choice(_SLOTS)
    ended: Operation = {"do": "end", "slot": slot, "reason": rng.choice(("completed", "error", "cancelled"))}
    if rng.random() < 0.05:
        ended = {"do": "revoke", "agent_id": rng.choice(("bot-2", "robot", "nobody"))}
    return [ended, _resolve_in(rng, slot), *_open(rng, slot)]


def _resolve_in(rng: Random, slot: str | None = None) -> Operation:
    view = rng.choice(("json", "json", "dict", "parts"))
    return {"do": "resolve", "slot": slot or rng.choice(_SLOTS), "view": view, **atlases.ask(rng)}


def _resolves(rng: Random) -> list[Operation]:
    """Some in one session: the first goes the long way, the others may take the short one."""
    slot, goal = rng.choice(_SLOTS), atlases.goal(rng)
    return [
        {"do": "resolve", "slot": slot, "goal": goal},
        {"do": "resolve", "slot": slot, "goal": goal if rng.random() < 0.5 else atlases.goal(rng), "view": "dict"},
        _resolve_in(rng, slot),
        {"do": "resolve", "slot": slot, "goal": goal, "view": "parts"},
    ]


def _execute_in(rng: Random, slot: str) -> Operation:
    operation: Operation = {"do": "execute", "slot": slot, "action_id": rng.choice(atlases.ACTION_IDS[:7])}
    operation["parameters"] = atlases.parameters(rng)
    if rng.random() < 0.25:
        operation["key"] = rng.choice(("k1", "k2", "k3"))
    if rng.random() < 0.2:
        operation["nth"] = rng.choice((-2, -3, 0))
    if rng.random() < 0.2:
        operation["by_id"] = True
    return operation


def _executes(rng: Random) -> list[Operation]:
    slot = rng.choice(_SLOTS)
    asked = [] if rng.random() < 0.3 else [_resolve_in(rng, slot)]
    return [*asked, *(_execute_in(rng, slot) for _ in range(rng.randrange(1, 4)))]


def _spend(rng: Random) -> list[Operation]:
    """One action again and again, until a limit says no, and then after a while once more."""
    slot, call = rng.choice(_SLOTS), _execute_in(rng, rng.choice(_SLOTS))
    call = {**call, "slot": slot}
    call.pop("key", None)
    return [
        {"do": "resolve", "slot": slot},
        *([call] * rng.randrange(2, 5)),
        {"do": "resolve", "slot": slot, "view": "parts"},
        _advance(rng),
        {"do": "resolve", "slot": slot, "view": "parts"},
        call,
    ]


def _advance(rng: Random) -> Operation:
    if rng.random() < 0.4:
        return {"do": "set_wall", "seconds": rng.choice((-3600, -1, 1, 3600, 21_600, 43_200, 86_400))}
    return {"do": "advance", "seconds": rng.choice((0, 0, 0.25, 0.5, 1, 1, 59.999999999, 60, 61))}


def _pass_time(rng: Random) -> list[Operation]:
    if rng.random() > 0.1:
        return [_advance(rng), _resolve_in(rng), _resolve_in(rng)]
    gone: Operation = {"do": "advance", "seconds": rng.choice((3601, 7200, 86_401))}
    return [
        gone,
        {"do": "pending"},
        *(operation for slot in _SLOTS for operation in (_resolve_in(rng, slot), *_open(rng, slot))),
    ]


def _decide(rng: Random) -> list[Operation]:
    slot, nth = rng.choice(_SLOTS), rng.choice((-1, -1, -1, -2, -3))
    by = rng.choice(("alice", "alice", "bob", "bot", "bot", ""))
    call = _execute_in(rng, slot)
    decided = {
        "do": rng.choice(("approve", "approve", "reject")),
        "nth": nth,
        "by": by,
        "reason": rng.choice(("", "fine é")),
    }
    return [
        {"do": "resolve", "slot": slot},
        {"do": "request_approval", "slot": slot, "nth": nth},
        call,
        decided,
        _resolve_in(rng, slot),
        call,
        call,
        {"do": "pending"},
    ]


def _repeat(rng: Random) -> list[Operation]:
    """One key for a call, for the same again, and for another."""
    slot = rng.choice(_SLOTS)
    call = {**_execute_in(rng, slot), "key": rng.choice(("k1", "k2", "k3")), "nth": -1}
    return [{"do": "resolve", "slot": slot}, call, call, {**call, "parameters": atlases.parameters(rng)}]


def _requests(rng: Random) -> list[Operation]:
    made = []
    for _ in range(rng.randrange(1, 4)):
        document = atlases.request(rng, rng.choice((0, 0, 0, 10, -299, 400)))
        document["requester"] = {"agent_id": None if rng.random() < 0.8 else "bot", "session_id": None}
        if "execution" in document:
            document["execution"]["resolution_id"] = None
        made.append({"do": "request", "slot": rng.choice(_SLOTS), "document": document, "handle": rng.random() < 0.7})
    return [*made, made[-1]] if rng.random() < 0.3 else made


def _explain(rng: Random) -> list[Operation]:
    operation: Operation = {"do": "explain", "slot": rng.choice(_SLOTS), "action_id": rng.choice(atlases.ACTION_IDS)}
    if rng.random() < 0.5:
        operation["parameters"] = {"amount": rng.choice((5, 500))}
    return [operation, {"do": "stats"}]


def _look(rng: Random) -> list[Operation]:
    slot, other = rng.choice(_SLOTS), rng.choice(_SLOTS)
    looks = ({"do": "trace"}, {"do": "verify"}, {"do": "diff", "other": other}, {"do": "replay"})
    return [{**rng.choice(looks), "slot": slot}, _resolve_in(rng)]


def _register_and_execute(rng: Random) -> list[Operation]:
    return [_register(rng), *_executes(rng)]


Moment = Callable[[Random], list[Operation]]
MOMENTS: Final[dict[str, tuple[int, Moment]]] = {
    "load": (5, _load),
    "unload": (2, _unload),
    "register": (6, _register_and_execute),
    "open": (10, _open),
    "end": (5, _end),
    "resolves": (22, _resolves),
    "executes": (20, _executes),
    "spend": (8, _spend),
    "pass_time": (8, _pass_time),
    "decide": (10, _decide),
    "requests": (8, _requests),
    "repeat": (6, _repeat),
    "explain": (4, _explain),
    "look": (2, _look),
}
"""What can happen in a moment, each with its weight."""
_CHOICES: Final = tuple(moment for _, moment in MOMENTS.values())
_WEIGHTS: Final = tuple(weight for weight, _ in MOMENTS.values())


def options(rng: Random) -> dict[str, Any]:
    """Those of a runtime; few are not the defaults."""
    made: dict[str, Any] = {"ids": rng.randrange(1000)}
    members: tuple[tuple[str, float, tuple[Any, ...]], ...] = (
        ("default_decision", 0.2, ("allow",)),
        ("trace_detail", 0.2, ("decisions",)),
        ("ttl_seconds", 0.15, (1, 60)),
        ("hash_key", 0.2, ("6b6579",)),
        ("record_values", 0.2, (True,)),
        ("redact", 0.1, ("goal", "action_id", "parameters_hash")),
        ("idle_seconds", 0.1, (60, 3599.5)),
        ("life_seconds", 0.1, (600, 3600)),
        ("fail_closed", 0.15, (True,)),
        ("tracing", 0.08, ("immediate",)),
        ("start_ns", 0.7, _STARTS),
    )
    for name, chance, choices in members:
        if rng.random() < chance:
            made[name] = rng.choice(choices)
    return made


def beginning(rng: Random) -> list[Operation]:
    """Atlases, executors and sessions."""
    made: list[Operation] = []
    count = rng.choice((3, 3, 3, 3, 3, 4, 4, 4, 4, 1))
    for atlas_id in atlases.ATLAS_IDS[:count]:
        manifest = atlases.manifest(rng, atlas_id)
        made.append({"do": "load_atlas", "manifest": manifest, "overlay": atlas_id == atlases.ATLAS_IDS[3]})
    made += [_register(rng, action_id) for action_id in atlases.ACTION_IDS if rng.random() < 0.95]
    for slot in _SLOTS:
        made += _open(rng, slot)
    return made


def make(seed: int, number: int, size: int) -> Episode:
    """An episode of `size` moments."""
    rng = Random(f"typed {seed} {number}")
    first = beginning(rng)
    cases = [moment(rng) for moment in rng.choices(_CHOICES, _WEIGHTS, k=size)]
    cases[0] = first + cases[0]
    return Episode(options(rng), cases)


GENERATOR: Final = Generator("typed", 100, make)
