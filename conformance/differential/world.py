"""One runtime with a clock and ids of its own, and the operations on it. An episode is played in one world, by the worker.

Sessions and resolutions go by slots: an operation whose slot is empty does nothing and says so, so that any part of an episode
can be played, which is what minimising does.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import msgspec

import cra
from conformance.differential.answers import failure, without
from conformance.differential.doors import DOORS
from conformance.differential.episode import Operation
from conformance.differential.values import decode
from cra.storage.base import StorageHealth
from cra.storage.chunks import chunks_of
from cra.testing import SeededIds, VirtualClock
from cra.trace import recorder
from cra.trace.batch import decode_line

RING_BYTES: Final = 2**18
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NOTHING: Final = ("nothing there",)


def use_small_rings() -> None:
    """Runtimes of this process record into rings that one episode fills several times over; they are also quickly made."""
    assert recorder.DEFAULT_RING_BYTES > RING_BYTES
    vars(recorder)["DEFAULT_RING_BYTES"] = RING_BYTES


class LineStore:
    """A `StorageBackend` that keeps the lines of each session as they came."""

    name = "lines:"
    durable = False
    readable = True

    def __init__(self) -> None:
        self.lines: dict[str, list[bytes]] = {}
        self._lock = threading.Lock()

    def append(self, batch: Sequence[cra.Event]) -> None:
        with self._lock:
            for session_id, lines, _, _ in chunks_of(batch):
                self.lines.setdefault(session_id, []).extend(lines.splitlines(keepends=True))

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[cra.Event]:
        events = map(decode_line, list(self.lines.get(session_id, ())))
        return (each for each in events if each.sequence > after and (types is None or each.event_type in types))

    def sessions(self) -> list[str]:
        return list(self.lines)

    def last(self, session_id: str, n: int) -> list[cra.Event]:
        return [decode_line(line) for line in self.lines.get(session_id, [])[-n:]]

    def count(self, session_id: str | None = None) -> int:
        return len(self.lines.get(session_id, ())) if session_id else sum(map(len, self.lines.values()))

    def delete_session(self, session_id: str) -> int:
        return len(self.lines.pop(session_id, ()))

    def health(self) -> StorageHealth:
        return StorageHealth(self.name, ok=True)

    def flush(self, durable: bool) -> None:
        pass

    def close(self) -> None:
        pass


class World:
    """`options` are those of `Resolver`, with `hash_key` in hex, `redact` the name of a payload member, and `start_ns`, `ids`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = dict(options)
        self._clock = VirtualClock(given.pop("start_ns", None))
        ids = SeededIds(given.pop("ids", 1))
        if "hash_key" in given:
            given["hash_key"] = bytes.fromhex(given["hash_key"])
        if "redact" in given:
            secret = given["redact"]
            given["redact"] = lambda _, payload: {k: "redacted" if k == secret else v for k, v in payload.items()}
        self._store = LineStore()
        self._resolver = cra.Resolver(self._store, clock=self._clock, ids=ids, **given)
        self._sessions: dict[str, cra.Session] = {}
        self._resolutions: dict[str, list[cra.Resolution]] = {}
        self._announced: list[str] = []
        self._manifests: list[Any] = []
        self._running = ""
        self._calls = 0

    def play(self, operation: Operation) -> Any:
        """What an operation comes to, errors included."""
        action = getattr(self, f"_do_{operation['do']}")
        arguments = {key: value for key, value in operation.items() if key != "do"}
        try:
            return action(**arguments)
        except cra.ActionRequiresApproval as held:
            self._announced.append(held.approval_id)
            return failure(held)
        except Exception as error:
            return failure(error)

    def close(self) -> tuple[Any, list[bytes]]:
        """End everything; the counts and what the runtime told of itself, and the lines that were stored, session by session."""
        self._resolver.close()
        stats = msgspec.to_builtins(self._resolver.stats())
        del stats["recorder"]["records_recorded"]  # templates are forgotten when the garbage collector comes by
        own = self._resolver.session_id
        told = [(event.event_type, _of_any_process(event.payload)) for event in self._store.events(own)]
        lines = [line for name in sorted(self._store.lines) if name != own for line in self._store.lines[name]]
        return (told, stats, self._calls), lines

    # Atlases and executors

    def _do_load_atlas(self, manifest: Any, **options: Any) -> Any:
        atlas = self._resolver.load_atlas(decode(manifest), **options)
        self._manifests.append(decode(manifest))
        return atlas.atlas_id, atlas.version, atlas.digest, atlas.findings

    def _do_unload_atlas(self, atlas_id: Any) -> Any:
        return self._resolver.unload_atlas(atlas_id)

    def _do_list_atlases(self) -> Any:
        return self._resolver.list_atlases()

    def _do_register(self, action_id: str, behaviour: str = "echo", way: str = "inline", value: Any = None) -> Any:
        def act(**parameters: Any) -> Any:
            return self._behave(behaviour, value, parameters)

        async def act_later(**parameters: Any) -> Any:
            await asyncio.sleep(0)
            return self._behave(behaviour, value, parameters)

        if way == "loop":
            return self._resolver.register(action_id, act_later)
        return self._resolver.register(action_id, act, inline=way == "inline", shared=way == "shared")

    def _behave(self, behaviour: str, value: Any, parameters: dict[str, Any]) -> Any:
        """What an executor does, on whatever thread; some use the runtime that is executing them."""
        self._calls += 1
        session = self._sessions.get(self._running)
        if behaviour == "raise":
            raise RuntimeError("the executor was told to fail")
        if behaviour == "unhashable":
            return {"value": math.nan}
        if behaviour == "late":
            self._clock.advance(0.25)
        elif behaviour == "resolve" and session is not None:
            return session.resolve("from the executor").resolution_id
        elif behaviour == "end" and session is not None:
            session.end("cancelled")
        return parameters if behaviour == "echo" else decode(value)

    # Sessions

    def _do_create_session(self, slot: str, parent: str | None = None, **facts: Any) -> Any:
        facts = decode(facts)
        if parent in self._sessions:
            facts["parent"] = self._sessions[parent]
        session = self._resolver.create_session(facts.pop("agent_id", "bot"), facts.pop("goal", "Work"), **facts)
        self._sessions[slot] = session
        self._resolutions[slot] = []
        return repr(session), session.trace_id, sorted(session.scopes), session.context, session.risk_tier

    def _do_end(self, slot: str, **reason: Any) -> Any:
        return self._sessions[slot].end(**reason) if slot in self._sessions else _NOTHING

    def _do_revoke(self, agent_id: Any) -> Any:
        return self._resolver.revoke(agent_id)

    def _do_resolve(self, slot: str, goal: Any = "Work", view: str = "json", **ask: Any) -> Any:
        if slot not in self._sessions:
            return _NOTHING
        return self._keep(slot, self._sessions[slot].resolve(decode(goal), **decode(ask)), view)

    def _keep(self, slot: str, resolution: cra.Resolution, view: str) -> Any:
        self._resolutions.setdefault(slot, []).append(resolution)
        if resolution.decision.approval_id is not None:
            for constraint in resolution.constraints:
                self._announced += [each["approval_id"] for each in constraint.parameters.get("approvals", ())]
        if view == "dict":
            return resolution.to_dict(), resolution.held_actions, repr(resolution)
        if view == "parts":
            denied = [(each, resolution.refusal(each.action_id)) for each in resolution.denied_actions]
            allowed = [(each.action_id, resolution.is_allowed(each.action_id)) for each in resolution.allowed_actions]
            return resolution.decision, denied, allowed, resolution.constraints, resolution.session_id
        return resolution.to_json()

    def _do_request(self, slot: str, document: Any, handle: bool = False, view: str = "json") -> Any:
        """Null as an id of the requester stands for the slot's session, a number as `timestamp` for so many seconds from now."""
        document = decode(document)
        session = self._sessions.get(slot)
        if isinstance(document, dict):
            requester, stamp = document.get("requester"), document.get("timestamp")
            if isinstance(requester, dict) and session is not None:
                for name in ("session_id", "agent_id"):
                    if requester.get(name, ...) is None:
                        requester[name] = getattr(session, name)
            if isinstance(stamp, int | float) and abs(stamp) < 10**9:
                moment = _EPOCH + timedelta(microseconds=self._clock.now_ns() // 1000) + timedelta(seconds=stamp)
                document["timestamp"] = moment.isoformat()
            execution, known = document.get("execution"), self._resolutions.get(slot)
            if isinstance(execution, dict) and execution.get("resolution_id", ...) is None and known:
                execution["resolution_id"] = known[-1].resolution_id
        self._running = slot
        answer = self._resolver.handle(document) if handle else self._resolver.resolve(document)
        return self._keep(slot, answer, view) if isinstance(answer, cra.Resolution) else answer

    def _do_execute(
        self, slot: str, action_id: Any, parameters: Any = None, nth: Any = -1, key: Any = None, by_id: bool = False
    ) -> Any:
        """`nth` is which resolution of the slot, counted from the end, or the name of no resolution at all."""
        session, known = self._sessions.get(slot), self._resolutions.get(slot, [])
        if session is None or not known:
            return _NOTHING
        resolution: Any = known[nth % len(known)] if isinstance(nth, int) else nth
        if by_id and isinstance(resolution, cra.Resolution):
            resolution = resolution.resolution_id
        self._running = slot
        return session.execute(
            decode(action_id), decode(parameters), resolution=resolution, idempotency_key=decode(key)
        )

    def _do_explain(self, slot: str, action_id: Any, parameters: Any = None, **ask: Any) -> Any:
        session = self._sessions.get(slot)
        return session.explain(decode(action_id), decode(parameters), **decode(ask)) if session else _NOTHING

    # Approvals

    def _approval(self, nth: Any) -> Any:
        """The `nth` of the approvals announced so far; anything but a number stands for itself."""
        if not isinstance(nth, int):
            return nth
        return self._announced[nth % len(self._announced)] if self._announced else "none yet"

    def _do_request_approval(self, slot: str, nth: Any) -> Any:
        session = self._sessions.get(slot)
        return session.request_approval(self._approval(nth)) if session else _NOTHING

    def _do_approve(self, nth: Any, by: Any = "alice", reason: str = "") -> Any:
        return self._resolver.approve(self._approval(nth), by=by, reason=reason)

    def _do_reject(self, nth: Any, by: Any = "alice", reason: str = "") -> Any:
        return self._resolver.reject(self._approval(nth), by=by, reason=reason)

    def _do_pending(self) -> Any:
        return self._resolver.pending_approvals()

    # Time, traces, counts

    def _do_advance(self, seconds: float) -> Any:
        self._clock.advance(seconds)

    def _do_set_wall(self, seconds: float) -> Any:
        """Set the wall clock alone, `seconds` from where it is."""
        self._clock.set_wall(max(0, self._clock.now_ns() + round(seconds * 10**9)))

    def _do_trace(self, slot: str) -> Any:
        session = self._sessions.get(slot)
        return self._resolver.trace(session.session_id) if session else _NOTHING

    def _do_verify(self, slot: str) -> Any:
        session = self._sessions.get(slot)
        return cra.verify_chain(self._resolver.trace(session.session_id)) if session else _NOTHING

    def _do_diff(self, slot: str, other: str) -> Any:
        if slot not in self._sessions or other not in self._sessions:
            return _NOTHING
        one, another = (self._resolver.trace(self._sessions[each].session_id) for each in (slot, other))
        return cra.diff(one, another)

    def _do_replay(self, slot: str) -> Any:
        session = self._sessions.get(slot)
        return cra.replay(self._resolver.trace(session.session_id), self._manifests) if session else _NOTHING

    def _do_flush(self, level: Any) -> Any:
        """Flush, and show what every session has in the store by then."""
        self._resolver.flush(level)
        own = self._resolver.session_id
        return {
            name: hashlib.sha256(b"".join(lines)).hexdigest()
            for name, lines in sorted(self._store.lines.items())
            if name != own
        }

    def _do_stats(self) -> Any:
        return without(msgspec.to_builtins(self._resolver.stats()), "recorder")


def _of_any_process(payload: Mapping[str, Any]) -> dict[str, Any]:
    return without(payload, "implementation", "process", "host", "memory")


class Player:
    """Plays an episode: operations without a runtime at the doors, the others in a world that is made when it is needed."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._world: World | None = None

    def play(self, operation: Operation) -> Any:
        """What an operation comes to."""
        door = DOORS.get(operation["do"])
        if door is None:
            if self._world is None:
                self._world = World(self._options)
            return self._world.play(operation)
        try:
            return door(operation)
        except Exception as error:
            return failure(error)

    def close(self) -> tuple[Any, list[bytes]]:
        """What is left to say at the end, and the lines that were stored."""
        return (None, []) if self._world is None else self._world.close()
