"""What a trace has to look like whatever the atlases say: how sessions begin and end, and what executions rest on.

Called by replay with every event, those of a session in order. It recomputes nothing, and it raises nothing over what the trace
says; what an action may do is told to it (`permit`). PROTOCOL: Events of a resolve, Execute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from cra.carp.policy_set import PolicySet
from cra.trace.event import Event

Permits = Callable[[str], bool]
"""Whether a resolution allowed an action, held it, or refused it for a limit alone: what `execute` may try."""


class Finding(NamedTuple):
    """What is wrong with an event; `certain` is False where the trace says itself that it lost what would tell."""

    message: str
    certain: bool = True


class _Execution:
    """An execution between its `action.requested` and its last event."""

    def __init__(self, payload: Mapping[str, Any]) -> None:
        self.action_id = payload.get("action_id")
        self.resolution_id = payload.get("resolution_id")
        self.approved = False


class _Session:
    """What the trace has said of a session so far."""

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self.ended = False
        self.lost = False
        self.started = 0
        self.denied: set[str] = set()
        self.request_ids: set[str] = set()
        self.resolutions: dict[str, Permits] = {}
        self.open: dict[str, _Execution] = {}


class Audit:
    """See the module."""

    def __init__(self) -> None:
        self._event_ids: set[str] = set()
        self._sessions: dict[str, _Session] = {}

    def findings(self, event: Event) -> Iterator[Finding]:
        """What is wrong with the next event."""
        if event.event_id in self._event_ids:
            yield Finding("another event has the same event_id")
        self._event_ids.add(event.event_id)
        begins = event.event_type == "session.started"
        session = self._sessions.get(event.session_id)
        if session is None:
            session = self._sessions[event.session_id] = _Session(event.trace_id)
            if not begins:
                yield Finding("the session does not begin with session.started")
        elif begins:
            yield Finding("the session begins a second time")
        if session.ended:
            yield Finding("the session has ended before")
        if event.trace_id != session.trace_id:
            yield Finding("the trace_id is not the one that the session began with")
        check = _CHECKS.get(event.event_type)
        if check is not None:
            yield from check(session, event)

    def permit(self, completed: Event, permits: Permits) -> None:
        """What a resolution permits, now that it has been recomputed; until then it is what the trace says."""
        self._sessions[completed.session_id].resolutions[completed.payload["resolution_id"]] = permits


def missing_atlases(started: Mapping[str, Any], request: Mapping[str, Any], policy_set: PolicySet) -> list[str]:
    """The atlases that session and request select together and the policy set lacks; it may have more, which are overlays."""
    named = [set(payload["atlas_ids"]) for payload in (started, request) if "atlas_ids" in payload]
    selected = set.intersection(*named) if named else set()
    return sorted(selected - {atlas.atlas_id for atlas in policy_set.atlases})


# One check an event type. Nothing here is a decision: the events of an execution share its span.


def _on_ended(session: _Session, event: Event) -> Iterator[Finding]:
    session.ended = True
    if session.open:
        yield Finding(f"the session ends with {len(session.open)} executions that have no outcome")
    if event.payload.get("action_count") != session.started:
        yield Finding(f"action_count is not {session.started}, the number of executions that started")


def _on_lost(session: _Session, event: Event) -> Iterator[Finding]:
    session.lost = True
    yield from ()


def _on_request(session: _Session, event: Event) -> Iterator[Finding]:
    session.denied = set()
    request_id = event.payload["request_id"]
    if request_id in session.request_ids:
        yield Finding("another request of the session has the same request_id")
    session.request_ids.add(request_id)


def _on_evaluation(session: _Session, event: Event) -> Iterator[Finding]:
    if event.payload["result"] == "deny":
        session.denied.add(event.payload["action_id"])
    yield from ()


def _on_resolution(session: _Session, event: Event) -> Iterator[Finding]:
    resolution_id, denied = event.payload["resolution_id"], session.denied
    if resolution_id in session.resolutions:
        yield Finding("another resolution of the session has the same resolution_id")
    session.resolutions[resolution_id] = lambda action_id: action_id not in denied


def _on_requested(session: _Session, event: Event) -> Iterator[Finding]:
    if event.span_id in session.open:
        yield Finding("another execution of the same span has no outcome yet")
    session.open[event.span_id] = _Execution(event.payload)


def _on_refused(session: _Session, event: Event) -> Iterator[Finding]:
    """`action.denied`, and `approval.requested`, which also comes on its own."""
    execution = session.open.pop(event.span_id, None)
    alone = event.event_type == "approval.requested" and execution is None
    if not alone and not _continues(execution, event, approved=False):
        yield Finding(f"{event.event_type} without an execution that waits for it")


def _on_approved(session: _Session, event: Event) -> Iterator[Finding]:
    execution = session.open.get(event.span_id)
    if execution is None or not _continues(execution, event, approved=False):
        yield Finding("action.approved without an execution that waits for it")
        return
    execution.approved = True
    permits = session.resolutions.get(str(execution.resolution_id))
    if permits is None and session.lost:
        yield Finding("executed with a resolution that the trace has lost", certain=False)
    elif permits is None or not permits(str(execution.action_id)):
        yield Finding("executed without a resolution that allows it")


def _on_outcome(session: _Session, event: Event) -> Iterator[Finding]:
    execution = session.open.pop(event.span_id, None)
    if not _continues(execution, event, approved=True):
        yield Finding(f"{event.event_type} without an execution that was approved")
    elif not event.payload.get("replayed"):
        session.started += 1


def _continues(execution: _Execution | None, event: Event, *, approved: bool) -> bool:
    """Whether an event is the next of an execution. One that could not be redacted, or that refuses, names less of it."""
    if execution is None or execution.approved is not approved:
        return False
    payload = event.payload
    resolution_id = payload.get("resolution_id", execution.resolution_id)
    return (execution.action_id, execution.resolution_id) == (payload.get("action_id"), resolution_id)


_CHECKS: dict[str, Callable[[_Session, Event], Iterator[Finding]]] = {
    "session.ended": _on_ended,
    "runtime.lost": _on_lost,
    "carp.request.received": _on_request,
    "policy.evaluated": _on_evaluation,
    "carp.resolution.completed": _on_resolution,
    "action.requested": _on_requested,
    "action.denied": _on_refused,
    "approval.requested": _on_refused,
    "action.approved": _on_approved,
    "action.executed": _on_outcome,
    "action.failed": _on_outcome,
}
