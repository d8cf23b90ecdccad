"""Types of the compiled twins; each has its docstring in `cra.reference`."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any, BinaryIO, Literal, TypeVar

from typing_extensions import Self

from cra.carp.conditions import Conditions, RiskTier
from cra.carp.plan import Plan, Ruling
from cra.carp.policy import Limit
from cra.carp.request import Ask
from cra.carp.resolution import Resolution
from cra.execution.call import Call
from cra.execution.limits import LimitKey
from cra.ids import IdSource
from cra.reference.chain import Anchor, ChainVerification
from cra.reference.expander import Head
from cra.reference.keywords import Selection
from cra.reference.match import Facts
from cra.reference.ring import Ring as ReferenceRing
from cra.reference.ring_scan import RingScan
from cra.reference.session_core import NewEvent
from cra.reference.sliding_windows import Charge, LimitState
from cra.session import Session
from cra.timing.clock import Clock
from cra.trace.batch import Batch
from cra.trace.event import Event
from cra.trace.record import Record, SessionHeader
from cra.trace.record_queue import RecordQueue
from cra.trace.recorder import Recorder
from cra.trace.verify import FileVerifier

Value = TypeVar("Value")
Core = TypeVar("Core", bound="ResolutionCore")

def conditions_hold(conditions: Conditions, facts: Facts, *, restricting: bool) -> bool: ...
def glob_match(pattern: str, text: str) -> bool: ...
def canonical_json(value: object) -> bytes: ...
def canonical_text(value: object, levels: int = ..., root: str = "") -> str: ...
def event_hash(event: Event | Mapping[str, Any]) -> str: ...
def feed_lines(file: BinaryIO, verifier: FileVerifier) -> None: ...
def hash_value(value: object, key: bytes | None = None) -> str: ...
def seal(
    *,
    event_id: str,
    trace_id: str,
    span_id: str,
    parent_span_id: str | None,
    session_id: str,
    sequence: int,
    timestamp: str,
    event_type: str,
    payload: dict[str, Any],
    previous_event_hash: str,
) -> Event: ...
def verify_chain(
    events: Iterable[Event | Mapping[str, Any]], anchor: Anchor | None = None, dialect: str = "trace-1.0"
) -> ChainVerification: ...
def plain_copy(value: object, at: str = "") -> Any: ...

class KeywordMatcher:
    def __init__(self, words: Iterable[tuple[str, int]], *, dense_bytes: int = ...) -> None: ...
    def find(self, goal: str) -> tuple[int, ...]: ...

class GoalSelector:
    def __init__(self, matcher: KeywordMatcher, choose: Callable[[tuple[int, ...]], Selection]) -> None: ...
    def select(self, goal: str) -> Selection: ...

class Handoff:
    def give(self, item: object) -> None: ...
    def ask(self, item: object, timeout_s: float) -> bool: ...
    def next(self, timeout_s: float) -> object: ...

class Watches:
    limits: tuple[tuple[Hashable, Limit, Fraction | None], ...]
    unused: tuple[LimitState, ...]
    def __init__(self, limits: Iterable[tuple[Hashable, Limit, Fraction | None]]) -> None: ...
    def exhausted(self, states: tuple[LimitState, ...]) -> tuple[int, ...]: ...

class Reservation: ...

class SlidingWindows:
    def __init__(self, max_budget_entries: int = ...) -> None: ...
    def __len__(self) -> int: ...
    def peek(self, key: Hashable, limit: Limit, now_ns: int, next_cost: Fraction | None = None) -> LimitState: ...
    def states(self, watches: Watches, now_ns: int) -> tuple[LimitState, ...]: ...
    def reserve(self, charges: Iterable[Charge], now_ns: int) -> Reservation: ...
    def release(self, reservation: Reservation) -> None: ...
    def forget(self, keys: Iterable[Hashable]) -> None: ...
    def lock_out(self, lock: AbstractContextManager[Any]) -> None: ...

class Ring:
    def __init__(self, size: int = ..., fd: int = ...) -> None: ...
    def put(self, data: bytes | bytearray | memoryview) -> bool: ...
    def reserve(self, nbytes: int) -> bool: ...
    def put_reserved(self, data: bytes | bytearray | memoryview, nbytes: int) -> None: ...
    def release(self, nbytes: int) -> None: ...
    def wait_room(self, nbytes: int, timeout_s: float | None) -> bool: ...
    def read(self) -> bytes | None: ...
    def free(self, position: int) -> None: ...
    def wait(self, timeout_s: float | None) -> bool: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def head(self) -> int: ...
    @property
    def tail(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def reserved(self) -> int: ...
    @property
    def puts(self) -> int: ...
    @property
    def max_record(self) -> int: ...

class RingRoom:
    held: bool
    room: int
    spare: int
    def __init__(self, queue: RecordQueue, use: Callable[[RingRoom, Record], None], room: int, spare: int) -> None: ...
    def record(self, record: Record) -> None: ...
    def release(self) -> None: ...

def scan_ring(source: int | bytes | bytearray | memoryview) -> RingScan: ...
def format_uuid(value: int) -> str: ...
def parse_uuid(text: str) -> int: ...

class RandomIds:
    def draw(self, unix_ms: int) -> int: ...

class Expander:
    records: int
    events: int
    refused: int
    def __init__(self, heads: Mapping[str, Head] | None = None) -> None: ...
    def feed(self, record: bytes) -> None: ...
    def drain(self, ring: Ring | ReferenceRing, max_bytes: int = ...) -> int: ...
    def run(self, ring: Ring, timeout_s: float | None = None) -> bool: ...
    def interrupt(self) -> None: ...
    def take(self, position: int) -> Batch | None: ...
    def discard(self) -> tuple[int, int]: ...
    def heads(self) -> dict[str, Head]: ...

class ResolutionCore:
    header: SessionHeader
    base: int
    given_request_id: str | None
    time_ns: int
    expires_ns: int
    ttl_seconds: int
    plan: Plan
    ruling: Ruling
    injected: tuple[int, ...]
    limit_states: tuple[LimitState, ...]
    asked: Ask | str
    resolution_id: str
    request_id: str
    timestamp: str
    def __init__(
        self,
        *,
        header: SessionHeader,
        base: int,
        request_id: str | None,
        time_ns: int,
        expires_ns: int,
        ttl_seconds: int,
        plan: Plan,
        ruling: Ruling,
        injected: tuple[int, ...],
        limit_states: tuple[LimitState, ...],
        ask: Ask | str,
    ) -> None: ...
    @classmethod
    def restore(cls, *fields: Any) -> Self: ...
    def fields(self) -> tuple[Any, ...]: ...
    def kept(self, name: str, make: Callable[[], Value]) -> Value: ...

def untracked(cls: type[Core]) -> type[Core]: ...
def timestamp_ns(text: str) -> int | None: ...
def lower_uuid(text: str) -> str | None: ...

class SessionLock:
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *_: object) -> None: ...

class RuntimeCore:
    clock: Clock
    ids: IdSource
    recorder: Recorder
    ring: ReferenceRing
    limits: SlidingWindows
    ttl_seconds: int
    idle_ns: int
    life_ns: int
    resolution_type: type[Resolution]
    epoch: int
    direct: bool
    resolutions: int
    def __init__(
        self,
        *,
        clock: Clock,
        ids: IdSource,
        recorder: Recorder,
        limits: SlidingWindows,
        ttl_seconds: int,
        idle_seconds: float,
        life_seconds: float,
        resolution_type: type[Resolution],
    ) -> None: ...
    def note_change(self) -> None: ...
    def reserve(self) -> RingRoom: ...

class SessionCore:
    runtime: RuntimeCore
    header: SessionHeader
    session_id: str
    trace_id: str
    agent_id: str
    goal: str
    context: dict[str, Any]
    scopes: frozenset[str]
    risk_tier: RiskTier
    atlas_ids: frozenset[str] | None
    parent: Session | None
    ancestors: tuple[Session, ...]
    on_end: Callable[[Session], None]
    status: Literal["active", "ended"]
    children: dict[str, Session]
    open_calls: dict[str, Call]
    limit_keys: set[LimitKey]
    action_count: int
    last_base: int | None
    lock: AbstractContextManager[object]
    number: int
    started_ns: int
    active_ns: int
    def __init__(
        self,
        runtime: RuntimeCore,
        header: SessionHeader,
        agent_id: str,
        goal: str,
        context: dict[str, Any],
        scopes: frozenset[str],
        risk_tier: RiskTier,
        atlas_ids: frozenset[str] | None,
        parent: Session | None,
        on_end: Callable[[Session], None],
    ) -> None: ...
    def resolve(
        self,
        goal: str,
        *,
        risk_tier: RiskTier | None = None,
        context_hints: Sequence[str] = (),
        required_capabilities: Sequence[str] = (),
        context: Mapping[str, Any] | None = None,
        atlas_ids: Sequence[str] | None = None,
        context_budget: int | None = None,
    ) -> Resolution: ...
    def take_shortcut(self, goal: str, request_id: str | None) -> Resolution | int | None: ...
    def set_shortcut(
        self, epoch: int, second: int, plan: Plan, ruling: Ruling, template: int, watches: Watches
    ) -> None: ...
    def forget_shortcut(self) -> None: ...
    def remember(self, resolution: Resolution) -> None: ...
    def recall(self, base: int) -> Resolution | None: ...
    def forget_resolutions(self) -> None: ...
    def touch(self) -> None: ...
    def record(self, *events: NewEvent, base: int | None = None) -> int: ...
    def record_last(
        self, room: RingRoom, event_type: str, payload: dict[str, Any], span: int | None = None
    ) -> None: ...

def encode_events(
    session: int,
    base: int,
    time_ns: int,
    events: Sequence[tuple[str, str | bytes]],
    *,
    span: int | None = None,
    define: tuple[str, str, str] | None = None,
) -> bytes: ...
