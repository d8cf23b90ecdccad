"""The front door: atlases in, sessions out, approvals, traces. One `Resolver` is one runtime; a process may have several.

Safe to use from many threads. PROTOCOL, all of it; docs/ has a page per topic.
"""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Literal, TypeVar

import msgspec

from cra.atlas.manifest import Atlas
from cra.atlas.registry import AtlasInfo, AtlasRegistry
from cra.carp.conditions import RiskTier
from cra.carp.request import Request
from cra.carp.resolution import Resolution
from cra.errors import (
    ApprovalNotFound,
    InternalError,
    InvalidCARPRequest,
    SessionNotFound,
    StorageError,
)
from cra.execution.approvals import Approval
from cra.execution.call import Call, Outcome
from cra.execution.execute import execute
from cra.execution.running import Executor, way_of
from cra.hotpath import RandomIds, RingRoom
from cra.ids import IdSource
from cra.opening import open_ring, open_shared_approvals, open_shared_limits
from cra.options import Options, Redact
from cra.reference.resolve import DefaultDecision
from cra.reference.ring_room import CLOSING_BYTES
from cra.runtime import ForkedLock, Runtime, approval_payload, record_bytes
from cra.session import Session
from cra.sessions import SessionTable
from cra.shared.approval_sharing import ApprovalSharing
from cra.shared.approvals import Decision, SharedApprovals, Verdict
from cra.shared.limits import SharedLimits, SharedWindows
from cra.storage.base import StorageBackend, StorageHealth
from cra.storage.open import StorageSpec, open_storage
from cra.timing.clock import NS_PER_SECOND, Clock, SystemClock
from cra.timing.manager import TimerManager, Timing
from cra.timing.of_runtime import timers_of
from cra.timing.thread_timers import ThreadTimers
from cra.timing.timers import TimerBackend
from cra.trace.event import Event
from cra.trace.own_session import beginning, ending, own_header
from cra.trace.recorder import Level, Recorder
from cra.trace.subscribe import Delivery, Subscription

CLOCK_SKEW_SECONDS = 300
_DEFAULT_TIMING = Timing()
Source = str | os.PathLike[str] | Mapping[str, Any] | Atlas
Function = TypeVar("Function", bound=Callable[..., Any])


class Stats(msgspec.Struct, frozen=True):
    """Counts since the resolver was made. `recorder` has the events: recorded, stored, waiting and lost, per backend."""

    resolutions: int
    executions: int
    sessions_active: int
    atlases: int
    plans_cached: int
    approvals_pending: int
    recorder: Any


class Resolver:
    """A governance runtime. Every argument is optional.

    - `storage`: where events go: `"memory:"`, `"jsonl:///dir"` or `"sqlite:///audit.db"` (three slashes relative, four
      absolute), `"postgresql://user@host/db"`, `"null:"`, a `StorageBackend` or an `AsyncStorageBackend`, or a list of them.
    - `ring`: the folder of the memory-mapped ring that records wait in; what it holds survives the process, and the next start
      stores it. By default beside the store (`<store>.ring/`), in anonymous memory for a store that is no file or folder.
    - `tracing`: `"deferred"` (a worker hashes and stores) or `"immediate"` (inline, for debugging); the same events and bytes.
    - `overflow`: what a full recorder does: `"block"` for at most `overflow_timeout` seconds, `"fail"`, or `"drop"` (resolves
      only; counted, and chained as `runtime.lost`).
    - `default_decision`: for actions that no policy speaks of. `ttl_seconds`: how long a resolution is good for.
    - `trace_detail`: `"decisions"` leaves out the evaluations that allow.
    - `fail_closed`, `durability`: with `fail_closed` an execute waits until its own record has reached the level `durability`
      before its executor runs.
    - `hash_key`: hashes of values become HMACs under this key. `redact(event_type, payload)` returns the payload to record
      instead. `record_values`: record the context values that conditions read as they are, instead of their hashes.
    - `idle_seconds`, `life_seconds`: how long a session lives unused, and at most. `timing`: heartbeats, warnings, grace and
      periodic flushes (`Timing`); None for none of them, and sessions then expire when somebody uses them.
    - `atlas_cache_bytes`: how much of the loaded atlases to keep in memory; those of files are read again when needed. What
      sessions use stays, unless `atlas_cache_hard_limit` says to refuse what does not fit.
    - `shared_limits`: count the limits that outlive sessions together with other processes: a `redis://` URL, or a `SharedLimits`
      such as `RedisLimits(url, when_away="local")`. `shared_approvals`, likewise: announce approvals to other processes,
      which may decide them. docs/sharing.md.
    - `clock`, `ids`: injected for deterministic runs (`cra.testing`). `timers`: the `TimerBackend` for `timing`, by default a
      thread of this resolver's own; with a `clock` injected there is none unless it is given.

    Raises `StorageError` for a storage that cannot be opened or cannot give `durability`, `ValueError` for a bad option.
    """

    def __init__(
        self,
        storage: StorageSpec = "memory:",
        *,
        ring: str | os.PathLike[str] | None = None,
        tracing: Literal["deferred", "immediate"] = "deferred",
        overflow: Literal["block", "fail", "drop"] = "block",
        overflow_timeout: float = 5.0,
        default_decision: DefaultDecision = "deny",
        ttl_seconds: int = 3600,
        trace_detail: Literal["full", "decisions"] = "full",
        fail_closed: bool = False,
        durability: Level = "recorded",
        hash_key: bytes | None = None,
        redact: Redact | None = None,
        record_values: bool = False,
        idle_seconds: float = 3600,
        life_seconds: float = 86_400,
        atlas_cache_bytes: int = 64 * 2**20,
        atlas_cache_hard_limit: bool = False,
        shared_limits: str | SharedLimits | None = None,
        shared_approvals: str | SharedApprovals | None = None,
        timing: Timing | None = _DEFAULT_TIMING,
        timers: TimerBackend | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
    ) -> None:
        options = Options(
            tracing=tracing,
            overflow=overflow,
            overflow_timeout=overflow_timeout,
            default_decision=default_decision,
            ttl_seconds=ttl_seconds,
            trace_detail=trace_detail,
            fail_closed=fail_closed,
            durability=durability,
            hash_key=hash_key,
            redact=redact,
            record_values=record_values,
            idle_seconds=idle_seconds,
            life_seconds=life_seconds,
            grace_seconds=0.0 if timing is None else timing.grace_seconds,
        )
        options.check()
        if timing is not None:
            timing.check()
        elif timers is not None:
            raise ValueError("timers are for what timing says; give it, or leave out timers")
        own_timers = ThreadTimers() if timers is None and clock is None and timing is not None else None
        clock = clock or SystemClock()
        self._shared_limits = open_shared_limits(shared_limits)
        self._closes_limits = isinstance(shared_limits, str)
        board = open_shared_approvals(shared_approvals)
        self._backends = open_storage(storage)
        volatile = next((backend.name for backend in self._backends if not backend.durable), None)
        if durability == "durable" and volatile is not None:
            for backend in self._backends:
                backend.close()
            raise StorageError(f"storage {volatile!r} cannot make anything durable; use jsonl: or sqlite:")
        own_ids = RandomIds()
        self._header = own_header(clock, own_ids)
        file, recovery = open_ring(ring, tracing, self._backends, clock, own_ids)
        recorder = Recorder(
            self._backends,
            ring=file,
            tracing=tracing,
            overflow=overflow,
            overflow_timeout=overflow_timeout,
            runtime=self._header,
            clock=clock,
            ids=own_ids,
        )
        self._runtime = Runtime(
            options=options,
            clock=clock,
            ids=ids or RandomIds(),
            registry=AtlasRegistry(atlas_cache_bytes, atlas_cache_hard_limit),
            recorder=recorder,
        )
        if self._shared_limits is not None:
            self._runtime.asks_others = True
            self._runtime.spending = SharedWindows(
                self._runtime.limits, self._shared_limits, clock, lambda *event: self._record(event)
            )
        if board is not None:
            self._runtime.asks_others = True
            self._runtime.sharing = self._share(board)
        self._own_ids = own_ids
        self._lock = threading.Lock()
        self._own_ended = False
        self._started_ns = clock.monotonic_ns()
        self._sessions = SessionTable(self._runtime, self._is_stored)
        _live.add(self)
        self._record(*beginning(recovery))
        self._manager: TimerManager | None = None
        self._own_timers = own_timers
        if own_timers is not None:
            weakref.finalize(self, own_timers.close).atexit = False
        used = timers or own_timers
        if used is not None and timing is not None:
            self._manager = timers_of(used, timing, self._runtime, self._sessions, self._record, self._uptime_ms)
            try:
                self._manager.start()
            except BaseException:
                self.close()
                raise

    def _share(self, board: SharedApprovals) -> ApprovalSharing:
        this = weakref.ref(self)

        def decide(approval_id: str, decision: Decision) -> None:
            resolver = this()
            if resolver is not None:
                resolver._decide_here(decision.status, approval_id, decision.by, decision.reason)

        return ApprovalSharing(board, self._runtime.approvals, self._runtime.clock, decide)

    def __enter__(self) -> Resolver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def session_id(self) -> str:
        """The id of the runtime's own session (agent `cra.runtime`)."""
        return self._header.session_id

    def _record(self, *events: tuple[str, dict[str, Any]], last: bool = False, room: RingRoom | None = None) -> None:
        """Record events of the runtime's own session, whose ids come from a stream of its own; the `last` ones end it."""
        with self._lock:
            if self._own_ended:
                raise InternalError("this resolver is closed; create a new one")
            base = self._own_ids.draw(self._runtime.clock.now_ns() // 1_000_000)
            make = self._runtime.closing_record if last or room is not None else self._runtime.events_record
            record = make(self._header, *events, base=base)
            (self._runtime.recorder if room is None else room).record(record)
            self._own_ended = last

    # Atlases

    def load_atlas(
        self, source: Source, *, overlay: bool = False, replace: bool = False, strict: bool = False
    ) -> Atlas:
        """Load an atlas from a folder, a file, a mapping, or an `Atlas`.

        `overlay` makes it part of every selection; `replace` swaps a loaded version in one step; `strict` makes errors of what
        lint would warn of. Raises `InvalidAtlasManifest`, `InvalidPolicy`, `AtlasVersionMismatch`, `AtlasAlreadyLoaded`,
        `AtlasNotFound` (the path, or a dependency), `AtlasLoadError`. Nothing is loaded then.
        """
        with self._noting() as note:
            atlas = self._runtime.registry.load(source, overlay=overlay, replace=replace, strict=strict)
            note(*_loaded(atlas))
        return atlas

    async def preload_atlases(self, sources: Iterable[Source]) -> list[Atlas]:
        """Load several atlases in parallel and off the event loop: all of them, or none."""
        import asyncio

        def load() -> list[Atlas]:
            wanted = list(sources)
            with self._noting(len(wanted)) as note:
                atlases = self._runtime.registry.load_many(wanted)
                note(*_loaded(*atlases))
            return atlases

        return await asyncio.to_thread(load)

    @contextmanager
    def _noting(self, events: int = 1) -> Iterator[Callable[..., None]]:
        """Room for events of the runtime's own, taken before something changes that has to be recorded."""
        with self._runtime.room(CLOSING_BYTES * max(1, events)) as room:
            if self._own_ended:
                raise InternalError("this resolver is closed; create a new one")
            yield lambda *events: self._record(*events, room=room)

    def unload_atlas(self, atlas_id: str) -> None:
        """Raises `AtlasNotFound`, or `Conflict` while another atlas depends on it."""
        with self._noting() as note:
            self._runtime.registry.unload(atlas_id)
            note(("runtime.atlas_unloaded", {"atlas_id": atlas_id}))

    def list_atlases(self) -> list[AtlasInfo]:
        """The loaded atlases, by id."""
        return self._runtime.registry.infos()

    # Executors

    def register(self, name: str, function: Callable[..., Any], *, shared: bool = False, inline: bool = False) -> None:
        """The executor of the action `name`, called as `function(**parameters)`, or awaited.

        `shared`: of every action whose `executor` is `name` and that has none of its own. `inline`: run on the thread of whoever
        executes, for functions that never block: nothing ends the wait for one that hangs, and that it took longer than the
        action's `timeout_seconds` is seen when it is back. A later registration replaces an earlier one.

        Raises `TypeError` for what cannot be called, and for an asynchronous function that is to run inline.
        """
        if not callable(function):
            raise TypeError(f"the executor for {name!r} is not callable")
        way = way_of(function)
        if inline:
            if way == "loop":
                raise TypeError(f"the executor for {name!r} is asynchronous and cannot run inline; leave out inline")
            way = "inline"
        (self._runtime.shared_executors if shared else self._runtime.executors)[name] = Executor(function, way)

    def action(self, name: str, *, shared: bool = False, inline: bool = False) -> Callable[[Function], Function]:
        """`register` as a decorator."""

        def decorate(function: Function) -> Function:
            self.register(name, function, shared=shared, inline=inline)
            return function

        return decorate

    # Sessions

    def create_session(
        self,
        agent_id: str,
        goal: str,
        *,
        context: Mapping[str, Any] | None = None,
        scopes: Iterable[str] | None = None,
        risk_tier: RiskTier = "low",
        atlas_ids: Iterable[str] | None = None,
        parent: Session | str | None = None,
        session_id: str | None = None,
    ) -> Session:
        """Open a session for an agent. What is said here holds for all its requests. PROTOCOL: The host says who and where.

        `atlas_ids` None: every atlas that is loaded at the time of a request. A child (`parent`) is never allowed more than its
        parent, and ends with it. `session_id` (a UUID) is for hosts that have one already.

        Raises `InvalidCARPRequest`, `AtlasNotFound`, `ActionDenied` (the agent is revoked), `SessionAlreadyExists`, and for the
        parent `SessionNotFound`, `SessionAlreadyEnded`.
        """
        return self._sessions.open(
            agent_id,
            goal,
            context=context,
            scopes=scopes,
            risk_tier=risk_tier,
            atlas_ids=atlas_ids,
            parent=parent,
            session_id=session_id,
        )

    def session(self, session_id: str) -> Session:
        """An active session by its id. Raises `SessionNotFound`, `SessionAlreadyEnded`."""
        return self._sessions.get(session_id)

    def revoke(self, agent_id: str) -> int:
        """End all sessions of an agent (reason `cancelled`) and refuse it new ones. Returns how many ended."""
        return self._sessions.revoke(agent_id)

    # Requests

    def resolve(self, request: Mapping[str, Any] | Request) -> Resolution:
        """Answer a full CARP request of operation `resolve`. PROTOCOL: Requests.

        Raises `InvalidCARPRequest`, `SessionNotFound`, `SessionAlreadyEnded`, `Conflict` (a repeated `request_id`), and what
        `Session.resolve` raises.
        """
        parsed = Request.parse(request)
        if parsed.operation != "resolve":
            raise InvalidCARPRequest(
                "resolve answers the operation 'resolve' only; handle answers all three", path="/operation"
            )
        return self._admit(parsed).answer_request(parsed)

    def handle(self, request: Mapping[str, Any] | Request) -> Resolution | Outcome:
        """Answer a CARP request of any operation.

        `resolve` gives a `Resolution`; `validate` evaluates, spends nothing and records the request alone; `execute` gives the
        `Outcome`. Raises as `resolve` and `Session.execute` do.
        """
        parsed = Request.parse(request)
        session = self._admit(parsed)
        if parsed.operation == "execute":
            assert parsed.execution is not None
            execution = parsed.execution
            call = Call(
                session,
                execution.action_id,
                execution.parameters,
                execution.resolution_id,
                execution.idempotency_key,
                request=parsed.ask(),
            )
            return execute(call)
        return session.answer(parsed.ask(), request_id=parsed.request_id, operation=parsed.operation)

    def _admit(self, request: Request) -> Session:
        """The session of a request that is neither stale nor repeated nor somebody else's."""
        skew_ns = abs(request.time_ns - self._runtime.clock.now_ns())
        if skew_ns > CLOCK_SKEW_SECONDS * NS_PER_SECOND:
            raise InvalidCARPRequest(
                f"more than {CLOCK_SKEW_SECONDS} s away from this runtime's clock; set the clock, or send it sooner",
                path="/timestamp",
            )
        requester = request.requester
        session = self.session(requester.session_id)
        if session.agent_id != requester.agent_id:
            raise SessionNotFound(
                f"agent {requester.agent_id!r} has no session {requester.session_id}; name a session of its own"
            )
        if requester.parent_session_id is not None:
            if session.parent is None or session.parent.session_id != requester.parent_session_id:
                raise InvalidCARPRequest("not the parent of this session", path="/requester/parent_session_id")
        session.remember_request(request.request_id, CLOCK_SKEW_SECONDS)
        return session

    # Approvals

    def pending_approvals(self) -> list[Approval]:
        """The approvals that wait for a person, oldest first; with `shared_approvals` those of other processes after them.

        Raises `StorageError` where these are not to be had.
        """
        self._runtime.expire_approvals()
        sharing = self._runtime.sharing
        return self._runtime.approvals.pending() + ([] if sharing is None else sharing.pending())

    def approve(self, approval_id: str, *, by: str, reason: str = "") -> Approval:
        """Grant a pending approval in the name of `by`.

        Raises `ApprovalNotFound`, `Conflict` (decided already), `InvalidParameters` (nobody named), `ActionDenied` (an agent
        cannot approve what it asked for itself), `SessionAlreadyEnded`. PROTOCOL: Approvals.
        """
        return self._decide("granted", approval_id, by, reason)

    def reject(self, approval_id: str, *, by: str, reason: str = "") -> Approval:
        """Reject a pending approval for the rest of the session; raises as `approve` does."""
        return self._decide("rejected", approval_id, by, reason)

    def wait_for_approval(self, approval_id: str, timeout: float | None = None) -> Approval:
        """Wait until a requested approval is decided: granted or rejected, or still pending after `timeout` seconds.

        Raises `ApprovalNotFound` for one that was never requested, has expired, or whose session has ended.
        """
        self._runtime.expire_approvals()
        return self._runtime.approvals.wait(approval_id, timeout)

    async def await_for_approval(self, approval_id: str, timeout: float | None = None) -> Approval:
        """`wait_for_approval` for callers on an event loop; no thread waits meanwhile."""
        from cra import aio

        self._runtime.expire_approvals()
        return await aio.decision(self._runtime.approvals, approval_id, timeout)

    def _decide(self, status: Verdict, approval_id: str, by: str, reason: str) -> Approval:
        try:
            return self._decide_here(status, approval_id, by, reason)
        except ApprovalNotFound:
            if self._runtime.sharing is None:
                raise
        return self._runtime.sharing.decide(approval_id, status, by, reason)

    def _decide_here(self, status: Verdict, approval_id: str, by: str, reason: str) -> Approval:
        runtime = self._runtime
        runtime.expire_approvals()
        pending = runtime.approvals.find(approval_id)
        session = self._sessions.get(pending.session_id)
        # The session's lock: a resolve that sees the decision comes after it in the trace, and nothing comes after its end.
        with session.lock:
            event = (f"approval.{status}", approval_payload(pending, by=by, reason=reason))
            record = runtime.events_record(session.header, event)  # what cannot be recorded is not decided
            with runtime.room(record_bytes(record)) as room:
                decide = runtime.approvals.grant if status == "granted" else runtime.approvals.reject
                approval = decide(approval_id, by=by, reason=reason)
                session.forget_shortcut()
                room.record(record)
        return approval

    # Traces

    def flush(self, level: Level = "stored", timeout: float | None = None) -> None:
        """Wait until everything recorded before has reached `level`: `"stored"` in every backend, `"durable"` on disk.

        Raises `StorageError` when a backend cannot give the level, fails, or takes longer than `timeout` seconds.
        """
        self._runtime.recorder.flush(level, timeout)

    async def aflush(self, level: Level = "stored", timeout: float | None = None) -> None:
        """`flush` for callers on an event loop."""
        import asyncio

        await asyncio.to_thread(self.flush, level, timeout)

    def trace(self, session_id: str) -> list[Event]:
        """The events of a session so far. Raises `SessionNotFound`, `StorageError` (no backend can be read)."""
        return list(self.iter_trace(session_id))

    def iter_trace(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        """The events of a session with a sequence above `after`, of `types`, one by one."""
        self.flush()
        backend = self.readable_storage()
        if not backend.last(session_id, 1):
            raise SessionNotFound(f"no events of a session {session_id} are stored")
        return backend.events(session_id, after=after, types=types)

    def stream(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> AsyncIterator[Event]:
        """The events of a session with a sequence above `after`, of `types`: those that are stored, then each as it is stored.

        For `async for`. Ends after `session.ended`, or when the resolver is closed. A slow consumer misses nothing. Raises as
        `iter_trace`.
        """
        from cra import aio

        return aio.stream(self, session_id, after=after, types=types)

    def readable_storage(self) -> StorageBackend:
        """The first storage that can be read. Raises `StorageError`."""
        backend = next(iter(self._readable()), None)
        if backend is None:
            raise StorageError("none of the storages keeps events; use memory:, jsonl: or sqlite:")
        return backend

    def wait_for_room(self, timeout: float | None = None) -> bool:
        """Wait until at least half of the ring is free; False when it is not after `timeout` seconds.

        For producers that would rather wait than be refused (`overflow="fail"`) or be held up in the middle of a resolve.
        """
        ring = self._runtime.recorder.ring
        return ring.wait_room(ring.size // 2 - 64, timeout)

    async def await_for_room(self, timeout: float | None = None) -> bool:
        """`wait_for_room` for callers on an event loop: how backpressure reaches a producer there."""
        import asyncio

        ring = self._runtime.recorder.ring
        if ring.wait_room(ring.size // 2 - 64, 0):
            return True
        return await asyncio.to_thread(self.wait_for_room, timeout)

    def _is_stored(self, session_id: str) -> bool:
        return any(backend.last(session_id, 1) for backend in self._readable())

    def _readable(self) -> list[StorageBackend]:
        return [backend for backend in self._backends if backend.readable]

    def subscribe(
        self,
        target: Callable[[Delivery], object] | queue.Queue[Delivery],
        *,
        types: Collection[str] | None = None,
        session_id: str | None = None,
        capacity: int = 10_000,
    ) -> Subscription:
        """Send events to a callback or a `queue.Queue` as they are stored, numbered, so that a slow one sees what it missed.

        A subscriber that is slow or raises holds up nothing but itself; what it has no room for is dropped and counted.
        """
        return self._runtime.recorder.subscribe(target, types=types, session_id=session_id, capacity=capacity)

    def health(self) -> list[StorageHealth]:
        """The health of every storage, in the order given; of one that is away: since when, and what is spooled. Never raises."""
        return self._runtime.recorder.health()

    def stats(self) -> Stats:
        """Counts since the resolver was made."""
        runtime = self._runtime
        return Stats(
            resolutions=runtime.resolutions,
            executions=runtime.executions,
            sessions_active=len(self._runtime.sessions),
            atlases=len(runtime.registry.infos()),
            plans_cached=runtime.cached_plans,
            approvals_pending=len(runtime.approvals.pending()),
            recorder=runtime.recorder.stats(),
        )

    def close(self) -> None:
        """End the sessions that are left (reason `cancelled`), store everything, and stop. A second call does nothing.

        Raises `StorageError` when something could not be stored, `TraceBackpressure` when sessions could not be ended for that.
        """
        if not self._sessions.open_no_more():
            return
        with ExitStack() as stack:
            stack.callback(self._runtime.recorder.close)
            stack.callback(self._runtime.threads.close)
            if self._runtime.sharing is not None:
                stack.callback(self._runtime.sharing.close)
            if self._closes_limits and self._shared_limits is not None:
                stack.callback(self._shared_limits.close)
            stack.callback(self._end)
            if self._own_timers is not None:
                stack.callback(self._own_timers.close)
            if self._manager is not None:
                self._manager.stop()

    def _end(self) -> None:
        self._sessions.end_all()
        self._record(ending(self._uptime_ms()), last=True)

    def _end_in_child(self) -> None:  # pragma: no cover - runs in forked children only
        """Whoever takes a lock in a forked child is told, where he might wait for ever."""
        runtime = self._runtime
        for part in (self, self._sessions, runtime, runtime.registry, runtime.approvals):
            vars(part)["_lock"] = ForkedLock()
        runtime.limits.lock_out(ForkedLock())
        for session in runtime.sessions.values():
            session.lock = ForkedLock()

    def _uptime_ms(self) -> int:
        return (self._runtime.clock.monotonic_ns() - self._started_ns) // 1_000_000


def _loaded(*atlases: Atlas) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("runtime.atlas_loaded", {"atlas_id": atlas.atlas_id, "version": atlas.version, "sha256": atlas.digest})
        for atlas in atlases
    ]


# A fork happens to all resolvers at once.
_live: weakref.WeakSet[Resolver] = weakref.WeakSet()


def _end_in_child() -> None:  # pragma: no cover - runs in forked children only
    for resolver in list(_live):
        resolver._end_in_child()
    _live.clear()


os.register_at_fork(after_in_child=_end_in_child)
