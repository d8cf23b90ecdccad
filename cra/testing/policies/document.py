"""A file of policy tests as it is written: every field, type and bound checked before anything runs.

Called by `cra.testing.policies.files`. Nothing in a file is ignored: an unknown key, an expectation of nothing and a file
without a test are errors with their place. It runs nothing and opens no file. Schema: policy-tests; docs/testing-atlases.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from cra.carp.conditions import RiskTier
from cra.carp.plan import DecisionType
from cra.errors import InvalidCARPRequest, InvalidPolicyTest
from cra.pointer import pointer
from cra.reference.resolve import DefaultDecision
from cra.structs import learn, shape_problem

FORMAT = 1
MAX_TIMES = 10_000
MAX_SECONDS = 1_000_000_000
"""How long one test may take, on its own clock."""
_LATEST_NS = 250_246_627_200 * 10**9  # 9900-01-01: what MAX_SECONDS adds stays inside the calendar

Shape = TypeVar("Shape", bound=Struct)
Text = Annotated[str, Meta(min_length=1)]
Result = Literal["allowed", "denied", "held", "limited"]
RESULTS: tuple[Result, ...] = ("allowed", "denied", "held", "limited")
Names = tuple[Text, ...] | dict[Text, Text]
"""Patterns of action ids; as a mapping, each with the policy that has to decide."""


class Given(Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks, where and when: the host's facts. `clock` is an RFC 3339 date-time."""

    agent: Text = "agent"
    goal: Text = "Test the policies"
    clock: Text = "2026-01-01T12:00:00Z"
    scopes: tuple[Text, ...] = ()
    context: dict[str, Any] = {}
    risk_tier: RiskTier = "low"


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """What one resolve asks for, beyond what is given."""

    goal: Text | None = None
    risk_tier: RiskTier | None = None
    hints: tuple[Text, ...] = ()
    capabilities: tuple[Text, ...] = ()
    context: dict[str, Any] = {}


class ExpectedResolution(Struct, frozen=True, forbid_unknown_fields=True):
    """What a resolution has to say; what is left out is not looked at."""

    decision: DecisionType | None = None
    allowed: Names = ()
    denied: Names = ()
    held: Names = ()
    limited: Names = ()
    only_allowed: tuple[Text, ...] | None = None
    context: tuple[Text, ...] | None = None
    context_has: tuple[Text, ...] = ()
    context_lacks: tuple[Text, ...] = ()

    @property
    def results(self) -> dict[Result, dict[str, str | None]]:
        """The patterns by what they have to come to, each with the policy that has to decide, or None."""
        return {result: _named(getattr(self, result)) for result in RESULTS}


class ExpectedOutcome(Struct, frozen=True, forbid_unknown_fields=True):
    """What an execute has to come to. `invalid`: the parameters do not satisfy the action's schema."""

    result: Literal["allowed", "denied", "held", "limited", "invalid"]
    by: Text | None = None
    reason: Text | None = None


class Resolve(Struct, frozen=True):
    ask: Asked
    expected: ExpectedResolution | None


class Execute(Struct, frozen=True):
    action_id: str
    parameters: dict[str, Any]
    times: int
    expected: ExpectedOutcome


class Decide(Struct, frozen=True):
    """A person grants or rejects whatever waits for one, of one action."""

    action_id: str
    grant: bool


class Advance(Struct, frozen=True):
    seconds: float


Step = Resolve | Execute | Decide | Advance


class PolicyTest(Struct, frozen=True):
    """One test: a session of its own, on a clock of its own. `path` is its JSON pointer in the file."""

    name: str
    path: str
    given: Given
    steps: tuple[Step, ...]


class Document(Struct, frozen=True):
    """A whole file. `atlas`, `beside` and `overlays` are paths as written, relative to the file."""

    tests: tuple[PolicyTest, ...]
    atlas: str | None = None
    beside: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    default_decision: DefaultDecision = "deny"


class _WrittenDocument(Struct, frozen=True, forbid_unknown_fields=True):
    policy_tests: Literal[1]
    tests: Annotated[tuple[Any, ...], Meta(min_length=1)]
    atlas: Text | None = None
    beside: tuple[Text, ...] = ()
    overlays: tuple[Text, ...] = ()
    default_decision: DefaultDecision = "deny"
    given: dict[str, Any] = {}


class _WrittenTest(Struct, frozen=True, forbid_unknown_fields=True):
    name: Text
    given: dict[str, Any] = {}
    resolve: Asked | None = None
    expect: dict[str, Any] | None = None
    steps: Annotated[tuple[Any, ...], Meta(min_length=1)] | None = None


class _WrittenStep(Struct, frozen=True, forbid_unknown_fields=True):
    resolve: Asked | None = None
    execute: Text | None = None
    approve: Text | None = None
    reject: Text | None = None
    advance: Annotated[float, Meta(gt=0, le=MAX_SECONDS)] | None = None
    parameters: dict[str, Any] | None = None
    times: Annotated[int, Meta(ge=1, le=MAX_TIMES)] | None = None
    expect: Any = None


learn(_WrittenDocument, _WrittenTest, _WrittenStep, Given, ExpectedResolution, ExpectedOutcome)


def read_document(raw: object) -> Document:
    """The tests in a JSON value; raises `InvalidPolicyTest` with the pointer of the first thing that is wrong."""
    written = _convert(raw, _WrittenDocument, "")
    _given(written.given, {}, "")
    tests = tuple(_test(each, written.given, pointer("", "tests", index)) for index, each in enumerate(written.tests))
    names: dict[str, str] = {}
    for test in tests:
        other = names.setdefault(test.name, test.path)
        if other != test.path:
            raise InvalidPolicyTest(
                f"is the name of {other} already; give one of them another", path=f"{test.path}/name"
            )
    return Document(tests, written.atlas, written.beside, written.overlays, written.default_decision)


def _test(raw: object, given: Mapping[str, Any], path: str) -> PolicyTest:
    _refuse_nulls(raw, path)
    written = _convert(raw, _WrittenTest, path)
    facts = _given(written.given, given, path)
    if (written.expect is None) == (written.steps is None):
        raise InvalidPolicyTest("needs either `expect`, for one resolve, or `steps`", path=path)
    if written.steps is None:
        steps: tuple[Step, ...] = (
            Resolve(written.resolve or Asked(), _resolution(written.expect, pointer(path, "expect"))),
        )
    elif written.resolve is not None:
        raise InvalidPolicyTest("belongs to `expect`; with `steps` it is a step", path=f"{path}/resolve")
    else:
        steps = tuple(_step(each, pointer(path, "steps", index)) for index, each in enumerate(written.steps))
        if not any(isinstance(step, (Resolve, Execute)) and step.expected for step in steps):
            raise InvalidPolicyTest("no step expects anything; add an `expect`", path=f"{path}/steps")
        if sum(step.seconds for step in steps if isinstance(step, Advance)) > MAX_SECONDS:
            raise InvalidPolicyTest(f"the steps advance by more than {MAX_SECONDS} s together", path=f"{path}/steps")
    return PolicyTest(written.name, path, facts, steps)


def _given(own: Mapping[str, Any], common: Mapping[str, Any], path: str) -> Given:
    """What is given at `path`, over what is given for the whole file; every part of both is checked."""
    _refuse_nulls(own, f"{path}/given")
    clock_ns(_convert(own, Given, f"{path}/given"), f"{path}/given/clock")
    return _convert({**common, **own}, Given, f"{path}/given")


def clock_ns(given: Given, path: str) -> int:
    """`given.clock` in ns since the epoch; raises `InvalidPolicyTest`."""
    from cra.carp.request import parse_timestamp

    try:
        ns = parse_timestamp(given.clock, path)
    except InvalidCARPRequest as error:
        raise InvalidPolicyTest(error.message) from None
    if not 0 <= ns < _LATEST_NS:
        raise InvalidPolicyTest("the year is not between 1970 and 9899; correct it", path=path)
    return ns


def _step(raw: object, path: str) -> Step:
    _refuse_nulls(raw, path)
    step = _convert(raw, _WrittenStep, path)
    verbs = [verb for verb in ("resolve", "execute", "approve", "reject", "advance") if getattr(step, verb) is not None]
    if len(verbs) > 1 or not (verbs or step.expect is not None):
        raise InvalidPolicyTest("a step is one of resolve, execute, approve, reject, advance", path=path)
    if step.execute is None:
        for name in ("parameters", "times"):
            if getattr(step, name) is not None:
                raise InvalidPolicyTest("belongs to a step with `execute`", path=f"{path}/{name}")
    if step.execute is not None:
        if step.expect is None:
            raise InvalidPolicyTest(
                "is missing; say what the call has to come to, such as allowed", path=f"{path}/expect"
            )
        return Execute(step.execute, step.parameters or {}, step.times or 1, _outcome(step.expect, f"{path}/expect"))
    if verbs in ([], ["resolve"]):
        expected = None if step.expect is None else _resolution(step.expect, f"{path}/expect")
        return Resolve(step.resolve or Asked(), expected)
    if step.expect is not None:
        raise InvalidPolicyTest("belongs to a step that resolves or executes", path=f"{path}/expect")
    if step.advance is not None:
        return Advance(step.advance)
    action_id = step.approve or step.reject
    assert action_id is not None
    return Decide(action_id, grant=step.approve is not None)


def _resolution(raw: object, path: str) -> ExpectedResolution:
    _refuse_nulls(raw, path)
    expected = _convert(raw, ExpectedResolution, path)
    if expected == ExpectedResolution():
        raise InvalidPolicyTest("expects nothing; say what the resolution has to come to", path=path)
    return expected


def _outcome(raw: object, path: str) -> ExpectedOutcome:
    _refuse_nulls(raw, path)
    expected = _convert({"result": raw} if isinstance(raw, str) else raw, ExpectedOutcome, path)
    if expected.result == "allowed" and expected.reason is not None:
        raise InvalidPolicyTest("an allowed call has no reason; leave it out", path=f"{path}/reason")
    if expected.result == "invalid" and expected.by is not None:
        raise InvalidPolicyTest(
            "the schema of the action refuses the parameters, no policy; leave it out", path=f"{path}/by"
        )
    return expected


def _named(names: Names) -> dict[str, str | None]:
    return dict(names) if isinstance(names, dict) else dict.fromkeys(names)


def _refuse_nulls(raw: object, path: str) -> None:
    """Null stands for what was left out; written, it is most often a key whose value was forgotten."""
    for name, value in raw.items() if isinstance(raw, dict) else ():
        if value is None:
            raise InvalidPolicyTest(
                "has no value; write one, or {} for nothing in particular", path=pointer(path, name)
            )


def _convert(raw: object, kind: type[Shape], path: str) -> Shape:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        message, place = shape_problem(error)
    raise InvalidPolicyTest(f"{message}; see docs/testing-atlases.md", path=path + place)
