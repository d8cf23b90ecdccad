"""Replay: compute every resolution of a trace again, from the trace and the atlases, and compare. PROTOCOL: Replay.

It decides with the same parts that decided in the first place, fed with what the trace says of the session and the request.
Only what a trace cannot hold is taken on trust, and counted: the state of limits, and context values of which it has no more
than a hash. What has to hold without any atlas is `cra.trace.audit`'s.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from typing import Any

import msgspec

from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas
from cra.carp.plan import Plan
from cra.carp.policy_set import PolicySet, policy_set_digest
from cra.carp.request import Ask, parse_timestamp
from cra.errors import InvalidCARPRequest, ReplayError
from cra.hotpath import Expander, canonical_json, encode_events, hash_value
from cra.reference.match import Facts, scalar_text
from cra.reference.records import encode_resolve
from cra.session import effective_tier
from cra.strictjson import JSONProblem, parse
from cra.trace.audit import Audit, missing_atlases
from cra.trace.event import Event
from cra.trace.template import TraceDetail, make_template

Draft = tuple[str, dict[str, Any]]
"""Event type and payload."""
_NIL = "00000000-0000-0000-0000-000000000000"
MAX_SUBSETS = 4_096
MAX_REASONS = 1_000
NO_POLICY_SET = "no selection of the given atlases has the policy set of this resolution"
NO_MATCH = "\0"
_OF_A_RESOLVE = ("policy.evaluated", "context.injected", "context.redacted", "carp.resolution.completed")
_HASH = re.compile("[0-9a-f]{64}")


class Mismatch(msgspec.Struct, frozen=True):
    """A resolution that came out differently (`sequence` is that of its request, `expected` what the replay computed), or an
    event that contradicts the rest of the trace."""

    session_id: str
    sequence: int
    message: str
    expected: dict[str, Any] | None = None
    actual: dict[str, Any] | None = None


class NotRecomputed(msgspec.Struct, frozen=True):
    """A resolution that was taken on trust; `sequence` is that of its request, or of the execution that rests on it."""

    session_id: str
    sequence: int
    reason: str


class Replay(msgspec.Struct, frozen=True):
    """`resolutions` in the trace, of which `reproduced` came out the same.

    `not_recomputed` counts what was taken on trust: the outcomes of limits, and the `unknown` resolutions, those that could not
    be recomputed since something they depend on is not in the trace. `not_recomputed_reasons` has the first 1,000 of the
    latter.
    """

    resolutions: int
    reproduced: int
    not_recomputed: int
    mismatches: tuple[Mismatch, ...] = ()
    unknown: int = 0
    not_recomputed_reasons: tuple[NotRecomputed, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether nothing came out differently, of what could be recomputed: see `complete`."""
        return not self.mismatches

    @property
    def complete(self) -> bool:
        """Whether every resolution was recomputed and came out the same, the outcomes of limits aside."""
        return self.reproduced == self.resolutions and not self.unknown

    def to_dict(self) -> dict[str, Any]:
        """The result in plain JSON types."""
        lists = {
            name: msgspec.to_builtins(list(getattr(self, name))) for name in ("mismatches", "not_recomputed_reasons")
        }
        return {"valid": self.valid, "complete": self.complete, **msgspec.to_builtins(self), **lists}


class Unknown(Exception):
    """Something a resolution depends on is not in the trace; the message says what."""


class _Session(msgspec.Struct):
    """What the trace has said of a session so far."""

    started: Mapping[str, Any]
    grants: set[tuple[str, str, str]]


def replay(
    events: Iterable[Event | Mapping[str, Any]],
    atlases: Iterable[Atlas | str | os.PathLike[str] | Mapping[str, Any]],
    *,
    context: Mapping[str, Any] | None = None,
    hash_key: bytes | None = None,
) -> Replay:
    """Compute every resolution again and compare its events; and check that every execution rests on one.

    A trace that holds is `valid` and `complete`.

    `events`: of one session or several, each in order; of a child session, with those of its parents. `atlases`: those that were
    loaded; a resolution finds its own by `policy_set`. `context`: context values that the trace holds as hashes only; each is
    used where its hash agrees. `hash_key`: that of the runtime, if it had one.

    Raises `ReplayError` for events that are no trace. Check the chain first (`verify_chain`): replay takes the trace at its word.
    """
    library = _Library([each if isinstance(each, Atlas) else load_atlas(each) for each in atlases])
    known = {hash_value(value, hash_key): value for value in (context or {}).values()}
    player = _Player(library, known, hash_key)
    at: Event | None = None

    def read(trace: Iterable[Event]) -> Iterator[Event]:
        nonlocal at
        for event in trace:
            at = event
            yield event

    try:
        trace = [_event(event) for event in events]
        for timestamp in {event.timestamp for event in trace}:
            parse_timestamp(timestamp, "/timestamp")
        for event in read(trace):
            if event.event_type == "session.started":
                player.open(event)
        for group in _operations(read(trace)):
            player.play(group)
    except (KeyError, TypeError, ValueError, AttributeError, InvalidCARPRequest) as error:
        # Python's own words differ between the implementations.
        place = f"the {at.event_type} at sequence {at.sequence} of session {at.session_id}" if at else "its end"
        raise ReplayError(
            f"there is an event in the trace that is not as the protocol has it, at {place} or before; verify it first"
        ) from error
    return player.result()


def _event(event: Event | Mapping[str, Any]) -> Event:
    return event if isinstance(event, Event) else msgspec.convert(dict(event), Event)


def _operations(events: Iterable[Event]) -> Iterator[list[Event]]:
    """The events in groups: a resolve from its request to its completion, anything else alone."""
    open_resolves: dict[str, list[Event]] = {}
    for event in events:
        group = open_resolves.get(event.session_id)
        if group is not None:
            if event.event_type not in _OF_A_RESOLVE:
                raise _unfinished(group)
            group.append(event)
            if event.event_type == "carp.resolution.completed":
                yield open_resolves.pop(event.session_id)
        elif event.event_type in _OF_A_RESOLVE:
            raise ReplayError(f"the {event.event_type} at sequence {event.sequence} belongs to no resolve")
        elif event.event_type == "carp.request.received" and event.payload["operation"] == "resolve":
            open_resolves[event.session_id] = [event]
        else:
            yield [event]
    for group in open_resolves.values():
        raise _unfinished(group)


def _unfinished(group: list[Event]) -> ReplayError:
    return ReplayError(
        f"the resolve at sequence {group[0].sequence} of session {group[0].session_id} has no carp.resolution.completed; the"
        " trace is cut"
    )


class _Library:
    """The atlases at hand, and the policy set of any selection of them by its digest."""

    def __init__(self, atlases: Sequence[Atlas]) -> None:
        self._sets: dict[str, PolicySet] = {}
        self._choices: dict[str, tuple[tuple[Atlas, ...], Any]] = {}
        for size in range(len(atlases), -1, -1):
            for chosen in combinations(atlases, size):
                for default in ("deny", "allow"):
                    self._choices[policy_set_digest(chosen, default)] = chosen, default
                if len(self._choices) > MAX_SUBSETS:
                    raise ReplayError(
                        f"too many atlases to try every selection of them; give the {size} that were selected"
                    )

    def find(self, digest: str) -> PolicySet | None:
        if digest not in self._sets and digest in self._choices:
            self._sets[digest] = PolicySet(*self._choices[digest])
        return self._sets.get(digest)


class _Player:
    def __init__(self, library: _Library, known: Mapping[str, Any], hash_key: bytes | None) -> None:
        self._library = library
        self._known = known
        self._hash_key = hash_key
        self._sessions: dict[str, _Session] = {}
        self._audit = Audit()
        self._resolutions = 0
        self._reproduced = 0
        self._limited = 0
        self._unknown = 0
        self._reasons: list[NotRecomputed] = []
        self._mismatches: list[Mismatch] = []

    def result(self) -> Replay:
        return Replay(
            resolutions=self._resolutions,
            reproduced=self._reproduced,
            not_recomputed=self._limited + self._unknown,
            mismatches=tuple(self._mismatches),
            unknown=self._unknown,
            not_recomputed_reasons=tuple(self._reasons),
        )

    def open(self, started: Event) -> None:
        self._sessions.setdefault(started.session_id, _Session(started.payload, set()))

    def play(self, group: list[Event]) -> None:
        for event in group:
            for finding in self._audit.findings(event):
                (self._differ if finding.certain else self._trust)(event, finding.message)
        first = group[0]
        if first.event_type == "approval.granted" and "parameters_hash" not in first.payload:
            covers = first.payload["atlas_id"], first.payload["policy_id"], first.payload["action_id"]
            if first.session_id in self._sessions:
                self._sessions[first.session_id].grants.add(covers)
        elif len(group) > 1:
            self._resolutions += 1
            self._compare(group)

    def _compare(self, group: list[Event]) -> None:
        request, completed = group[0].payload, group[-1].payload
        policy_set = self._library.find(completed["policy_set"])
        if policy_set is None:
            self._differ(group[0], NO_POLICY_SET)
            return
        try:
            plan, ask = self._plan(policy_set, group[0])
        except Unknown as unknown:
            self._trust(group[0], str(unknown))
            return
        may_try = {
            action.action_id for verdict, (_, action) in zip(plan.verdicts, plan.actions) if verdict.result != "deny"
        }
        self._audit.permit(group[-1], may_try.__contains__)
        missing = missing_atlases(self._sessions[group[0].session_id].started, request, policy_set)
        if missing:
            self._differ(group[0], f"the policy set lacks {', '.join(missing)}, which session and request select")
            return
        exhausted = _exhausted(plan, group)
        self._limited += len(exhausted)
        injected, cut = plan.context.select(ask.goal, ask.context_hints, ask.context_budget)
        actual = [(event.event_type, _comparable(event.payload)) for event in group]
        details: tuple[TraceDetail, ...] = ("full", "decisions")
        for detail in details:
            template = make_template(1, plan, plan.ruling(exhausted), detail, completed["ttl_seconds"])
            expected = [(t, _comparable(payload)) for t, payload in _expand(template, request, injected, cut)]
            if expected == actual:
                self._reproduced += 1
                return
            if detail == "full":
                full = expected
        self._differ(group[0], "the resolution came out differently", *_first_difference(full, actual))

    def _plan(self, policy_set: PolicySet, event: Event) -> tuple[Plan, Ask]:
        request = event.payload
        ask = Ask(
            request["goal"],
            request.get("risk_tier"),
            tuple(request.get("context_hints", ())),
            tuple(request.get("required_capabilities", ())),
            {key: self._value(policy_set, key, value) for key, value in request.get("condition_inputs", {}).items()},
            None,
            request.get("context_budget"),
        )
        now_ns = parse_timestamp(event.timestamp, "/timestamp")
        lineage = self._lineage(event.session_id)
        outcomes = tuple(policy_set.outcomes(_facts(session.started, ask, now_ns)) for session in lineage)
        return policy_set.plan(outcomes, ask.required_capabilities, frozenset(lineage[0].grants)), ask

    def _lineage(self, session_id: str) -> list[_Session]:
        """The session and its ancestors, as far as the trace has them. Raises `Unknown` where one is missing."""
        lineage: list[_Session] = []
        upwards: str | None = session_id
        while upwards is not None:
            if upwards not in self._sessions:
                raise Unknown(
                    f"the trace of the parent session {upwards} is needed as well"
                    if lineage
                    else "the trace does not have the beginning of the session"
                )
            if len(lineage) == len(self._sessions):
                raise ReplayError(f"session {upwards} is its own ancestor; verify the trace first")
            lineage.append(self._sessions[upwards])
            upwards = lineage[-1].started.get("parent_session_id")
        return lineage

    def _value(self, policy_set: PolicySet, key: str, recorded: Any) -> Any:
        """The context value behind what the trace recorded.

        A hash can be undone where the value was given, or where it is that of a pattern without wildcards; and where all
        patterns are such, not being one of them is all there is to know.
        """
        patterns = policy_set.context_patterns.get(key, [])
        if not (isinstance(recorded, str) and _HASH.fullmatch(recorded)) or recorded in patterns:
            return recorded
        if recorded in self._known:
            return self._known[recorded]
        for value in (value for pattern in patterns for value in _values(pattern)):
            if hash_value(value, self._hash_key) == recorded:
                return value
        if any("*" in pattern or "?" in pattern for pattern in patterns):
            raise Unknown(f"of the context value {key!r} the trace has a hash only; pass it as context")
        return NO_MATCH

    def _differ(
        self,
        event: Event,
        message: str,
        expected: dict[str, Any] | None = None,
        actual: dict[str, Any] | None = None,
    ) -> None:
        self._mismatches.append(Mismatch(event.session_id, event.sequence, message, expected, actual))

    def _trust(self, event: Event, reason: str) -> None:
        self._unknown += 1
        if len(self._reasons) < MAX_REASONS:
            self._reasons.append(NotRecomputed(event.session_id, event.sequence, reason))


def _values(pattern: str) -> Iterator[Any]:
    """What matches a pattern without wildcards: the string itself, and the scalar of which it is the canonical JSON."""
    yield pattern
    with suppress(JSONProblem):
        value = parse(pattern)
        if scalar_text(value) == pattern:
            yield value


def _facts(started: Mapping[str, Any], ask: Ask, now_ns: int) -> Facts:
    return Facts(
        started["agent_id"],
        effective_tier(started.get("risk_tier", "low"), ask.risk_tier),
        ask.context or {},
        frozenset(started.get("scopes", ())),
        ask.required_capabilities,
        now_ns,
    )


def _exhausted(plan: Plan, group: list[Event]) -> tuple[int, ...]:
    """The limits that were exhausted, as the trace tells it: one that it names, and whose other actions were limited, too."""
    told = {
        (event.payload["result"], event.payload["policy_id"], event.payload["action_id"])
        for event in group
        if event.event_type == "policy.evaluated" and event.payload["result"].endswith("rate_limited")
    }
    limited = {(result, action_id) for result, _, action_id in told}
    exhausted = []
    for number, limit in enumerate(plan.limits):
        result = "shadow:rate_limited" if limit.policy.shadow else "rate_limited"
        affected = limit.actions if limit.policy.shadow else limit.guards
        action_ids = [plan.actions[index][1].action_id for index in affected]
        named = any((result, limit.policy.policy_id, action_id) in told for action_id in action_ids)
        if named and all((result, action_id) in limited for action_id in action_ids):
            exhausted.append(number)
    return tuple(exhausted)


def _expand(
    template: bytes, request: Mapping[str, Any], injected: tuple[int, ...], cut: tuple[int, ...]
) -> list[Draft]:
    """The events of a resolve with these template and request, made as the recorder makes them."""
    expander = Expander()
    expander.feed(encode_events(1, 0, 0, [("session.started", b"{}")], define=(_NIL, _NIL, _NIL)))
    expander.feed(template)
    text, request_id = canonical_json(request), request["request_id"]
    expander.feed(encode_resolve(1, 0, 0, 1, text, payload=True, request_id=request_id, injected=injected, cut=cut))
    batch = expander.take(0)
    assert batch is not None
    return [(event.event_type, event.payload) for event in batch[1:]]


def _comparable(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in payload.items() if key != "resolution_id"}


def _first_difference(expected: list[Draft], actual: list[Draft]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where they first differ; there is a place, since only the last event of a resolve is its completion."""
    a, b = next(pair for pair in zip(expected, actual) if pair[0] != pair[1])
    return {"event_type": a[0], "payload": a[1]}, {"event_type": b[0], "payload": b[1]}
