"""One call of `Session.execute`: the steps before the executor, and the record of how it went.

`cra.execution.execute` walks these steps around a synchronous or an asynchronous wait. docs/execution.md has the table of
outcomes. PROTOCOL: Execute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import msgspec

from cra.carp.policy import Policy
from cra.carp.policy_set import PolicySet
from cra.carp.request import Ask, narrow
from cra.carp.resolution import Resolution
from cra.carp.schema import Schema
from cra.errors import (
    ActionDenied,
    ActionNotFound,
    ActionRequiresApproval,
    BudgetExceeded,
    Conflict,
    CRAError,
    ExecutionError,
    InternalError,
    InvalidParameters,
    RateLimitExceeded,
    ResolutionExpired,
    SchemaValidationError,
    SessionAlreadyEnded,
)
from cra.execution.approvals import Approval
from cra.execution.clearance import Clearance, clear
from cra.execution.idempotency import Entry, Settled
from cra.execution.limits import charges, limit_key, limit_state
from cra.execution.parameters import check_parameters, copy_json, private_copy, told
from cra.execution.running import Executor, ExecutorCancelled, ExecutorTimeout, ExecutorUnavailable
from cra.hotpath import RingRoom, canonical_json, format_uuid
from cra.ids import UUID_PATTERN
from cra.reference.resolve import DENIED, Verdict
from cra.reference.session_core import NewEvent
from cra.runtime import approval_payload, approval_room
from cra.shared.limits import CannotCount, SharedLimitsAway
from cra.timing.clock import NS_PER_SECOND
from cra.timing.rate_limit import LimitReached
from cra.trace.record import EXECUTION

if TYPE_CHECKING:
    from cra.atlas.manifest import Action
    from cra.session import Session

OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
TIMEOUT = "TIMEOUT"
WAIT_SLACK_SECONDS = 10
MAX_KEY = 255
MAX_ACTION_ID = 1_000
ACTION_ID = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
NO_ACTION = "(not an action id)"
NO_RESOLUTION = "(not a resolution id)"
UNKNOWN = "unknown"


class Outcome(msgspec.Struct, frozen=True):
    """A successful execution. `duration_ms` is the executor's; `replayed` says that an earlier one with the same
    idempotency key answered instead."""

    status: Literal["success"]
    result: Any
    execution_id: str
    action_id: str
    resolution_id: str
    duration_ms: int
    replayed: bool = False


class Run(msgspec.Struct, frozen=True):
    """What there is to do once everything has agreed."""

    executor: Executor
    parameters: dict[str, Any]
    timeout_seconds: int


class Call:
    """One call of `Session.execute`. Not reused, and used by one thread at a time but for `close_unknown`.

    `request` is what a CARP request of operation `execute` asks: it can narrow what the resolution was for, never widen it.
    `patience` is how long to wait for an execution in flight under the same idempotency key, s.
    """

    parameters_hash: str | None = None
    execution_id = ""
    patience = 0.0
    _ask = Ask("")
    _base = 0
    _started_ns = 0
    _returns: Schema | None = None
    _entry: Entry | None = None
    _room: RingRoom | None = None
    """Room for the closing record, as long as the execution is open."""
    _is_started = False
    """Whether its start is recorded."""
    # What is given back where the executor is not called.
    _reserved: RingRoom | None = None
    _spent: object = None
    _used: tuple[Approval, ...] = ()

    def __init__(
        self,
        session: Session,
        action_id: str,
        parameters: Mapping[str, Any] | None,
        resolution: Resolution | str,
        idempotency_key: str | None,
        request: Ask | None = None,
    ) -> None:
        if not isinstance(resolution, (Resolution, str)):
            raise TypeError(f"resolution is a Resolution or its id, not {type(resolution).__name__}")
        self.session = session
        self.runtime = session.runtime
        self.action_id = action_id if is_action_id(action_id) else NO_ACTION
        self.request = request
        self.given = {} if parameters is None else parameters
        self.given_resolution = resolution
        self.idempotency_key = idempotency_key
        self.resolution_id = named_resolution(resolution)

    # Before the executor

    def admit(self) -> Run | Entry:
        """Every check, and then the record that the executor starts.

        Comes back with what to run, or with the entry of an earlier execution under the same idempotency key, to wait for.
        Raises, with the refusal recorded, when the call may not run.
        """
        session, runtime = self.session, self.runtime
        with session.lock:
            session.touch()
        resolution = self._resolution()
        policy_set, action = self._action(resolution)
        try:
            parameters = private_copy(self.given)
            self.parameters_hash = digest = runtime.hash(parameters)
            if action.parameters_schema is not None:
                check_parameters(action.parameters_schema, parameters)
        except CRAError as error:
            self._refuse(error, told(error, action.parameters_schema))
        cleared = self._clear(policy_set, parameters, digest)
        executor = runtime.find_executor(action)
        if executor is None:
            self._refuse(
                ExecutionError(
                    f"no executor is registered for {self.action_id!r}; register one with resolver.register"
                ),
                "No executor is registered",
            )
        if self.idempotency_key is not None:
            earlier = self._earlier(self.idempotency_key, digest)
            if earlier is not None:
                self.patience = action.timeout_seconds + WAIT_SLACK_SECONDS
                return earlier
        self._returns = action.returns_schema
        try:
            self._start(cleared, parameters)
        except BaseException as error:
            code = error.code if isinstance(error, CRAError) else "INTERNAL_ERROR"
            self._not_run(code, "it was interrupted before it ran")
            raise
        return Run(executor, parameters, action.timeout_seconds)

    def confirm(self, timeout_seconds: float) -> None:
        """With `fail_closed`: wait until the start of this execution has reached the configured level, or do not run it."""
        level = self.runtime.options.durability
        if level == "recorded":
            return
        try:
            self.runtime.recorder.flush(level, timeout_seconds)
        except BaseException as error:
            code = error.code if isinstance(error, CRAError) else "INTERNAL_ERROR"
            self._not_run(code, "the start of the execution could not be stored")
            raise

    def check_open(self) -> None:
        """Right before the executor: where the session has ended since, the execution is closed and must not run."""
        if self._room is None or not self._room.held:
            self._give_back()
            raise self._unknown("its session ended before it ran")

    def _not_run(self, code: str, message: str) -> None:
        """Close an execution whose executor was never called: everything it took is given back."""
        self._close("action.failed", self._failure(code, message))
        self._give_back()
        self._abandon()

    def refuse_in_flight(self) -> NoReturn:
        """Another execution under the same key has not come to an end in time."""
        self._refuse(
            Conflict("an execution with this idempotency key is still in flight; ask for its outcome later"),
            "In flight under the same idempotency key",
        )

    def _resolution(self) -> Resolution:
        resolution = self.given_resolution
        if isinstance(resolution, str):
            try:
                resolution = self.session.resolution(resolution)
            except CRAError as error:
                self._refuse(error, error.message)
        if resolution.session_id != self.session.session_id:
            self._refuse(ActionDenied("the resolution belongs to another session"), "Resolution of another session")
        if self.runtime.clock.monotonic_ns() >= resolution.expires_ns:
            self._refuse(ResolutionExpired("the resolution has expired; resolve again"), "Resolution expired")
        return resolution

    def _action(self, resolution: Resolution) -> tuple[PolicySet, Action]:
        """The action as it is now; the resolution must have allowed it, held it, or refused it for a limit alone."""
        self._ask = resolution.ask if self.request is None else narrow(resolution.ask, self.request)
        try:
            policy_set = self.session.policy_set(self._ask)
        except CRAError as error:
            self._refuse(error, error.message)
        position = policy_set.position.get(self.action_id)
        if position is None:
            self._refuse(ActionNotFound(f"no selected atlas defines the action {self.action_id!r}"), "Unknown action")
        refusal = resolution.refusal(self.action_id)
        if refusal is not None:
            self._deny(refusal.reason, refusal.policy_id)
        return policy_set, policy_set.actions[position][1]

    def _earlier(self, key: str, digest: str) -> Entry | None:
        """The execution that has the idempotency key already; None where this one has it now."""
        try:
            _check_key(key)
            entry, owner = self.session.idempotency.begin(self.action_id, key, digest)
        except CRAError as error:
            self._refuse(error, error.message)
        if not owner:
            return entry
        self._entry = entry
        return None

    def _clear(self, policy_set: PolicySet, parameters: dict[str, Any], digest: str) -> Clearance:
        """The policies again, this time with the parameters. Refuses what they deny, and holds what they hold."""
        self.runtime.expire_approvals()
        cleared = clear(self.session, self._ask, policy_set, self.action_id, parameters, digest)
        if cleared.verdict.result == "deny":
            self._refuse_denied(cleared.member, cleared.verdict)
        if cleared.verdict.result == "requires_approval":
            policy = cleared.verdict.pending[0]
            if not self._is_granted_elsewhere(policy):
                self._ask_approval(policy)
            cleared = clear(self.session, self._ask, policy_set, self.action_id, parameters, digest)
            if cleared.verdict.result == "deny":
                self._refuse_denied(cleared.member, cleared.verdict)
            if cleared.verdict.result == "requires_approval":  # of another policy, too
                self._ask_approval(cleared.verdict.pending[0])
        return cleared

    def _is_granted_elsewhere(self, policy: Policy) -> bool:
        """Whether somebody in another process has granted what this call waits for, which counts here from now on."""
        sharing = self.runtime.sharing
        if sharing is None:
            return False
        waits_for = self.session.session_id, policy, self.action_id, self._bound_to(policy)
        waiting = self.runtime.approvals.held(*waits_for)
        if waiting is not None and waiting.status == "pending":
            sharing.take_over(waiting.approval_id)  # or the listener has, a moment ago
            waiting = self.runtime.approvals.held(*waits_for)
        return waiting is not None and waiting.status == "granted"

    def _bound_to(self, policy: Policy) -> str | None:
        """The hash of the parameters that an approval of this policy is bound to, None where it is to none."""
        return None if policy.conditions.parameters is None else self.parameters_hash

    def _refuse_denied(self, member: int, verdict: Verdict) -> NoReturn:
        """A deny; or the default's, before which an exhausted limit decides."""
        now = self.runtime.clock.monotonic_ns()
        for policy in verdict.limits:
            state = limit_state(self.session, policy, member, self.action_id, now)
            if state.exhausted:
                self._refuse_limit(policy, state.reset_after_ns)
        self._deny(verdict.reason or DENIED, verdict.named_policy)

    def _ask_approval(self, policy: Policy) -> NoReturn:
        """Hold the call: the approval becomes pending, and the call ends in `approval.requested`."""
        with self.session.lock, self.runtime.room(approval_room(policy, self.action_id)) as room:
            self.session.touch()
            try:
                approval, is_new = self.session.find_approval(policy, self.action_id, self._bound_to(policy))
            except CRAError as error:
                self._refuse(error, error.message)
            if approval.status == "rejected":
                self._deny("Approval rejected", policy.policy_id)
            events = self._requested(), ("approval.requested", approval_payload(approval))
            room.record(self.runtime.events_record(self.session.header, *events))
        if is_new and self.runtime.sharing is not None:
            self.runtime.sharing.announce(approval)
        raise ActionRequiresApproval(
            f"{self.action_id} needs the approval {approval.approval_id} (policy {policy.policy_id!r}); have it granted,"
            " then execute again",
            approval_id=approval.approval_id,
        )

    def _start(self, cleared: Clearance, parameters: dict[str, Any]) -> None:
        """Reserve every limit, the one-shot grants and room for the closing record, and record the start.

        All or none: what this has taken when it raises, `_give_back` gives back.
        """
        session, runtime = self.session, self.runtime
        if cleared.limits:
            self._spend(cleared, parameters)
        for policy, grant in cleared.grants:
            used = runtime.approvals.consume(grant.approval_id)
            if used is None:  # another call with the same parameters was quicker
                self._ask_approval(policy)
            self._used = (*self._used, used)
        self._reserved = room = runtime.reserve()
        with session.lock:
            session.touch()
            approved = {"action_id": self.action_id, "resolution_id": self.resolution_id}
            self._base = base = runtime.ids.draw(runtime.clock.now_ns() // 1_000_000)
            self.execution_id = execution_id = format_uuid(base + EXECUTION)
            self._started_ns = runtime.clock.monotonic_ns()
            self._room = room
            # Before the record: from there on, whoever ends the session has to know of it.
            session.open_calls[execution_id] = self
            self._record(("action.approved", approved), base=base)
            self._note_start()

    def _note_start(self) -> None:
        """Its start is recorded."""
        if not self._is_started:
            self._is_started = True
            self.session.action_count += 1
            self.runtime.executions += 1

    def _spend(self, cleared: Clearance, parameters: dict[str, Any]) -> None:
        """Count the call against its limits. Refuses the call that does not fit, or says nothing of its cost."""
        try:
            charged = list(charges(self.session, cleared.limits, self.action_id, parameters))
        except CRAError as error:
            self._refuse(error, error.message)
        try:
            self._spent = self.runtime.spending.reserve(charged, self.runtime.clock.monotonic_ns())
        except LimitReached as reached:
            policy = next(
                p
                for m, p in cleared.limits
                if limit_key(p, self.session.lineage[m], self.action_id) == reached.charge.key
            )
            self._refuse_limit(policy, reached.retry_after_ns)
        except SharedLimitsAway as away:
            policy = next(policy for _, policy in cleared.limits)
            message = f"{self.action_id}: {away}; try again in 1 s"
            refusal = RateLimitExceeded(message, retry_after=1.0, policy_id=policy.policy_id)
            self._refuse(refusal, "limits_unavailable", policy.policy_id)
        except CannotCount as reason:
            self._refuse(InvalidParameters(f"{self.action_id}: {reason}"), "budget_too_large")

    def _give_back(self) -> None:
        """The executor has not been called and will not be: what was taken for it is free again."""
        if self._reserved is not None:
            self._reserved.release()
        for used in reversed(self._used):
            self.runtime.approvals.give_back(used)
        if self._spent is not None:
            self.runtime.spending.release(self._spent)

    def _abandon(self) -> None:
        """Free the idempotency key: the executor has not been called."""
        if self._entry is not None:
            self.session.idempotency.abandon(self._entry)
            self._entry = None

    # Refusals

    def _refuse(self, error: CRAError, reason: str, policy_id: str | None = None) -> NoReturn:
        """Record `action.denied` and raise."""
        payload = {"action_id": self.action_id, "reason": reason}
        if policy_id is not None:
            payload["policy_id"] = policy_id
        with self.session.lock:
            if self.session.status == "active":
                self._record(("action.denied", payload))
        raise error

    def _deny(self, reason: str, policy_id: str | None) -> NoReturn:
        self._refuse(ActionDenied(f"{self.action_id}: {reason}", policy_id=policy_id), reason, policy_id)

    def _refuse_limit(self, policy: Policy, retry_after_ns: int | None) -> NoReturn:
        kind = RateLimitExceeded if policy.type == "rate_limit" else BudgetExceeded
        retry_after = None if retry_after_ns is None else retry_after_ns / NS_PER_SECOND
        advice = "waiting does not help" if retry_after is None else f"try again in {retry_after:g} s"
        error = kind(
            f"{self.action_id}: the limit of policy {policy.policy_id!r} is exhausted; {advice}",
            retry_after=retry_after,
            policy_id=policy.policy_id,
        )
        self._refuse(error, f"{policy.type}_exceeded", policy.policy_id)

    # After the executor

    def succeeded(self, result: object) -> Outcome:
        """Record how it went; a result that breaks `returns_schema` or is no JSON value is a failure of the executor."""
        duration_ms = self._elapsed_ms()
        try:
            kept = copy_json(result)
        except InvalidParameters as error:
            self._fail(
                ExecutionError(
                    f"the executor of {self.action_id} returned what is no JSON value ({error.message}); what it did is unknown",
                    execution_id=self.execution_id,
                    effect=UNKNOWN,
                ),
                "the result is no JSON value",
            )
        problem = None if self._returns is None else self._returns.first_error(kept, plain=True)
        if problem is not None:
            where, sentence = problem
            self._fail(
                SchemaValidationError(
                    f"the result of {self.action_id} breaks its schema: {sentence}", path=where or None
                ),
                "the result breaks its schema",
            )
        payload = {
            "action_id": self.action_id,
            "duration_ms": duration_ms,
            "execution_id": self.execution_id,
            "resolution_id": self.resolution_id,
            "result_hash": self.runtime.hash(kept),
        }
        if not self._close("action.executed", payload):
            raise self._unknown("the session ended while it ran")
        if self._entry is not None:
            self._entry.execution_id = self.execution_id
            self.session.idempotency.succeed(self._entry, kept, len(canonical_json(kept)))
        return Outcome("success", kept, self.execution_id, self.action_id, self.resolution_id, duration_ms)

    def failed(self, error: Exception) -> NoReturn:
        """The executor raised, did not come back in time, or could not be called."""
        if isinstance(error, ExecutorUnavailable):
            unavailable = ExecutionError(f"{self.action_id} was not run: {error}", execution_id=self.execution_id)
            self._not_run(unavailable.code, "no thread was to be had for the executor")
            raise unavailable from error
        if isinstance(error, ExecutorTimeout):
            self._fail(
                self._unknown("it did not come back in time"),
                "the executor did not come back in time",
                error,
                code=TIMEOUT,
            )
        if isinstance(error, ExecutorCancelled):
            failure = self._unknown("it was cancelled")
        else:
            failure = ExecutionError(
                f"the executor of {self.action_id} raised {_said(error)}",
                execution_id=self.execution_id,
            )
        self._fail(failure, f"the executor raised {type(error).__name__}", error)

    def interrupted(self) -> None:
        """The caller was interrupted, and the executor may go on; nothing, where the execution has been closed."""
        with self.session.lock:
            self.close_unknown()

    def close_unknown(self) -> None:
        """Close an execution whose end nobody will see. The session's lock is held."""
        error = self._unknown("its caller or its session ended first")
        if self._close("action.failed", self._failure(OUTCOME_UNKNOWN, "the outcome is unknown", UNKNOWN)):
            self._settle_failed(error)

    def replay(self, entry: Entry, settled: Settled) -> Outcome:
        """Answer with the outcome of the execution that has the same idempotency key; nothing is spent."""
        self.execution_id = entry.execution_id
        approved = ("action.approved", self._named())
        with self.session.lock:
            self.session.touch()
            if settled.error is not None:
                failure = self._failure(settled.error.code, "a replayed failure", _effect(settled.error))
                replayed = ("action.failed", failure | {"duration_ms": 0, "replayed": True})
                self._record(approved, replayed)
                raise settled.error
            payload = {"duration_ms": 0, "result_hash": self.runtime.hash(settled.result), "replayed": True}
            self._record(approved, ("action.executed", self._named() | payload))
        return Outcome(
            "success", settled.result, self.execution_id, self.action_id, self.resolution_id, 0, replayed=True
        )

    def _fail(
        self, error: CRAError, said: str, cause: BaseException | None = None, *, code: str | None = None
    ) -> NoReturn:
        """Record `action.failed` and raise. The trace gets `said` instead of the error's own words, which may hold values."""
        if not self._close("action.failed", self._failure(code or error.code, said, _effect(error))):
            error = self._unknown("the session ended while it ran")
        self._settle_failed(error)
        raise error from cause

    def _settle_failed(self, error: CRAError) -> None:
        if self._entry is not None:
            self._entry.execution_id = self.execution_id
            self.session.idempotency.fail(self._entry, error)
            self._entry = None

    def _unknown(self, why: str) -> ExecutionError:
        return ExecutionError(
            f"the outcome of {self.action_id} is unknown: {why}; find out before trying again",
            execution_id=self.execution_id,
            effect=UNKNOWN,
        )

    def _close(self, event_type: str, payload: dict[str, Any]) -> bool:
        """Write the closing record, once; False where it is written already, never can be, or there is nothing to close."""
        session = self.session
        with session.lock:
            room, is_closed = self._room, False
            if room is not None and room.held and (self._is_started or session.last_base == self._base):
                self._note_start()
                try:
                    session.record_last(room, event_type, payload, self._base)
                    is_closed = True
                except SessionAlreadyEnded:
                    room.release()
                except InternalError:
                    if room.held:
                        raise
                    # else what interrupted this has ended the session, and closed the execution
            # Only now: what interrupts this and ends the session finds what is open.
            self._room = None
            session.open_calls.pop(self.execution_id, None)
            return is_closed

    # Payloads

    def _named(self) -> dict[str, Any]:
        named = {"action_id": self.action_id, "resolution_id": self.resolution_id}
        return named | {"execution_id": self.execution_id} if self.execution_id else named

    def _failure(self, code: str, message: str, effect: str | None = None) -> dict[str, Any]:
        payload = self._named() | {"error_code": code, "error_message": message, "duration_ms": self._elapsed_ms()}
        return payload if effect is None else payload | {"effect": effect}

    def _elapsed_ms(self) -> int:
        return (self.runtime.clock.monotonic_ns() - self._started_ns) // 1_000_000

    def _record(self, *ending: NewEvent, base: int | None = None) -> None:
        """Record `action.requested` and what came of it. The session's lock is held."""
        self.session.record(self._requested(), *ending, base=base)

    def _requested(self) -> NewEvent:
        requested = {"action_id": self.action_id}
        if self.parameters_hash is not None:
            requested["parameters_hash"] = self.parameters_hash
        requested["resolution_id"] = self.resolution_id
        return "action.requested", requested


def _effect(error: CRAError) -> str | None:
    return error.effect if isinstance(error, ExecutionError) else None


def _said(error: Exception) -> str:
    """An exception in words, even one that cannot be printed."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def is_action_id(value: object) -> bool:
    """Whether a value can be the id of an action at all; what cannot is refused without being recorded."""
    return isinstance(value, str) and len(value) <= MAX_ACTION_ID and ACTION_ID.fullmatch(value) is not None


def named_resolution(resolution: Resolution | str) -> str:
    """The id of a resolution as it may be recorded: one that was made up can be any string."""
    if isinstance(resolution, Resolution):
        return resolution.resolution_id
    return resolution if UUID_PATTERN.fullmatch(resolution) else NO_RESOLUTION


def _check_key(key: object) -> None:
    if not isinstance(key, str) or len(key) > MAX_KEY:
        raise InvalidParameters(f"an idempotency key is a string of at most {MAX_KEY} characters")
