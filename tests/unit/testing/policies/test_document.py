"""Files of policy tests as they are written: what is read, and that nothing in them is ignored."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cra import schemas
from cra.errors import InvalidPolicyTest
from cra.testing.policies.document import (
    Advance,
    Asked,
    Decide,
    Execute,
    ExpectedOutcome,
    ExpectedResolution,
    Given,
    Resolve,
    read_document,
)

EXAMPLES = Path(__file__).parents[4] / "examples"
SCHEMA = jsonschema_rs.Draft202012Validator(schemas.load("policy-tests"))

WHOLE: dict[str, Any] = {
    "policy_tests": 1,
    "atlas": "..",
    "beside": ["a"],
    "overlays": ["b"],
    "default_decision": "allow",
    "given": {"agent": "bot", "goal": "g", "scopes": ["s"], "context": {"env": "prod"}, "risk_tier": "high"},
    "tests": [
        {
            "name": "one",
            "given": {"clock": "2026-02-01T00:00:00+01:00", "context": {}},
            "resolve": {
                "goal": "h",
                "risk_tier": "critical",
                "hints": ["x"],
                "capabilities": ["c"],
                "context": {"k": 1},
            },
            "expect": {
                "decision": "partial",
                "allowed": ["a.*"],
                "denied": {"a.b": "p"},
                "held": [],
                "limited": {},
                "only_allowed": [],
                "context": ["c"],
                "context_has": ["c"],
                "context_lacks": ["d"],
            },
        },
        {
            "name": "two",
            "steps": [
                {"resolve": {}},
                {"expect": {"decision": "deny"}},
                {
                    "execute": "a.b",
                    "parameters": {"n": 1},
                    "times": 3,
                    "expect": {"result": "held", "by": "p", "reason": "r"},
                },
                {"approve": "a.b"},
                {"reject": "a.b"},
                {"advance": 0.5},
                {"execute": "a.b", "expect": "allowed"},
            ],
        },
    ],
}


def test_a_whole_file_is_read() -> None:
    """Every key has its meaning; what a test gives replaces what the file gives, key by key."""
    document = read_document(WHOLE)

    assert ("..", ("a",), ("b",), "allow") == (
        document.atlas,
        document.beside,
        document.overlays,
        document.default_decision,
    )
    one, two = document.tests
    assert Given("bot", "g", "2026-02-01T00:00:00+01:00", ("s",), {}, "high") == one.given
    assert Given("bot", "g", "2026-01-01T12:00:00Z", ("s",), {"env": "prod"}, "high") == two.given
    (step,) = one.steps
    assert isinstance(step, Resolve)
    assert Asked("h", "critical", ("x",), ("c",), {"k": 1}) == step.ask
    assert step.expected is not None
    assert {"allowed": {"a.*": None}, "denied": {"a.b": "p"}, "held": {}, "limited": {}} == step.expected.results
    assert (
        Resolve(Asked(), None),
        Resolve(Asked(), ExpectedResolution(decision="deny")),
        Execute("a.b", {"n": 1}, 3, ExpectedOutcome("held", "p", "r")),
        Decide("a.b", grant=True),
        Decide("a.b", grant=False),
        Advance(0.5),
        Execute("a.b", {}, 1, ExpectedOutcome("allowed")),
    ) == two.steps
    assert SCHEMA.is_valid(WHOLE)


KEYS = (
    "name",
    "given",
    "expect",
    "steps",
    "execute",
    "advance",
    "approve",
    "allowed",
    "denied",
    "result",
    "by",
    "times",
    "context",
)
TESTS = ("tests",)
ONE = ("tests", 0)
STEP = ("tests", 1, "steps", 2)
NOTHING = object()

BAD: dict[str, tuple[tuple[str | int, ...], Any, str]] = {
    "no version": (("policy_tests",), NOTHING, "object missing required field `policy_tests`"),
    "another version": (("policy_tests",), 2, "/policy_tests: invalid enum value 2"),
    "a version as text": (("policy_tests",), "1", "/policy_tests: "),
    "an unknown key": (("test",), [], "object contains unknown field `test`"),
    "no tests": (TESTS, [], "/tests: expected `array` of length >= 1"),
    "tests left out": (TESTS, NOTHING, "object missing required field `tests`"),
    "a test that is none": (ONE, "x", "/tests/0: expected `object`, got `string`"),
    "an unknown key of given": (("given", "agents"), "x", "/given: object contains unknown field `agents`"),
    "a given without a value": (("given", "agent"), None, "/given/agent: has no value"),
    "an ill-typed given": (("given", "scopes"), "s", "/given/scopes: expected `array`, got `string`"),
    "an unknown tier": (("given", "risk_tier"), "severe", "/given/risk_tier: invalid enum value 'severe'"),
    "no name": ((*ONE, "name"), NOTHING, "/tests/0: object missing required field `name`"),
    "an empty name": ((*ONE, "name"), "", "/tests/0/name: "),
    "an unknown key of a test": ((*ONE, "expected"), {}, "/tests/0: object contains unknown field `expected`"),
    "an unknown key of a test's given": ((*ONE, "given", "when"), "x", "/tests/0/given: object contains unknown field `when`"),
    "neither expect nor steps": ((*ONE, "expect"), NOTHING, "/tests/0: needs either `expect`"),
    "both expect and steps": ((*ONE, "steps"), [{"advance": 1}], "/tests/0: needs either `expect`"),
    "a resolve beside steps": (("tests", 1, "resolve"), {}, "/tests/1/resolve: belongs to `expect`"),
    "an expect of nothing": ((*ONE, "expect"), {}, "/tests/0/expect: expects nothing"),
    "a key without a value": ((*ONE, "expect"), None, "/tests/0/expect: has no value"),
    "an expectation without a value": ((*ONE, "expect", "allowed"), None, "/tests/0/expect/allowed: has no value"),
    "an unknown expectation": ((*ONE, "expect", "alowed"), [], "/tests/0/expect: object contains unknown field `alowed`"),
    "an unknown decision": ((*ONE, "expect", "decision"), "maybe", "/tests/0/expect/decision: invalid enum value"),
    "a pattern that is no text": ((*ONE, "expect", "allowed"), [1], "/tests/0/expect/allowed/0: expected `string`"),
    "an empty pattern": ((*ONE, "expect", "held"), [""], "/tests/0/expect/held/0: "),
    "steps without a step": (("tests", 1, "steps"), [], "/tests/1/steps: expected `array` of length >= 1"),
    "steps without an expectation": (("tests", 1, "steps"), [{"advance": 1}], "/tests/1/steps: no step expects anything"),
    "a step that does nothing": (STEP, {}, "/tests/1/steps/2: a step is one of"),
    "a step that does two things": ((*STEP, "approve"), "a.b", "/tests/1/steps/2: a step is one of"),
    "an unknown key of a step": ((*STEP, "exec"), "a", "/tests/1/steps/2: object contains unknown field `exec`"),
    "an execute without an expectation": ((*STEP, "expect"), NOTHING, "/tests/1/steps/2/expect: is missing"),
    "an approval that expects": (("tests", 1, "steps", 3, "expect"), "held", "/tests/1/steps/3/expect: belongs to a step"),
    "parameters of a resolve": (("tests", 1, "steps", 0, "parameters"), {}, "/tests/1/steps/0/parameters: belongs to"),
    "times of an approval": (("tests", 1, "steps", 3, "times"), 2, "/tests/1/steps/3/times: belongs to"),
    "no times": ((*STEP, "times"), 0, "/tests/1/steps/2/times: "),
    "too many times": ((*STEP, "times"), 10_001, "/tests/1/steps/2/times: "),
    "an unknown result": ((*STEP, "expect"), "refused", "/tests/1/steps/2/expect/result: invalid enum value"),
    "a resolution expected of an execute": ((*STEP, "expect"), {"decision": "deny"}, "/tests/1/steps/2/expect: obj"),
    "a reason of an allowed call": ((*STEP, "expect"), {"result": "allowed", "reason": "x"}, "/tests/1/steps/2/expect/reason: "),
    "a policy of an invalid call": ((*STEP, "expect"), {"result": "invalid", "by": "x"}, "/tests/1/steps/2/expect/by: "),
    "time that stands still": (("tests", 1, "steps", 5, "advance"), 0, "/tests/1/steps/5/advance: "),
    "time that runs back": (("tests", 1, "steps", 5, "advance"), -1, "/tests/1/steps/5/advance: "),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_an_error_with_its_place(name: str) -> None:
    """Unknown keys, wrong types, and what would be ignored; by the published schema it is wrong, too."""
    place, value, expected = BAD[name]
    raw = copy.deepcopy(WHOLE)
    owner: Any = raw
    for step in place[:-1]:
        owner = owner[step]
    if value is NOTHING:
        del owner[place[-1]]
    else:
        owner[place[-1]] = value

    with pytest.raises(InvalidPolicyTest) as raised:
        read_document(raw)
    assert raised.value.message.startswith(expected)
    assert not SCHEMA.is_valid(raw)


def test_names_are_unique() -> None:
    """A test is known by its name; the second of two is the one that is wrong."""
    raw = WHOLE | {"tests": [WHOLE["tests"][0]] * 2}
    with pytest.raises(InvalidPolicyTest, match=r"^/tests/1/name: is the name of /tests/0 already"):
        read_document(raw)


def test_a_test_stays_inside_the_calendar() -> None:
    """Times that have no timestamp, and steps that lead there, are refused before anything runs."""
    for clock in ("1969-12-31T23:59:59Z", "9900-01-01T00:00:00Z"):
        with pytest.raises(InvalidPolicyTest, match=r"^/given/clock: the year is not between 1970 and 9899"):
            read_document(WHOLE | {"given": {"clock": clock}})
    steps = [{"advance": 500_000_000}, {"advance": 500_000_001}, {"expect": {"decision": "deny"}}]
    with pytest.raises(
        InvalidPolicyTest, match=r"^/tests/0/steps: the steps advance by more than 1000000000 s together"
    ):
        read_document(WHOLE | {"tests": [{"name": "x", "steps": steps}]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON, st.integers(0, 400))
def test_no_document_makes_anything_else_of_the_reader(value: Any, place: int) -> None:
    """Whatever stands wherever in a document, it is read or refused with a place."""
    raw = copy.deepcopy(WHOLE)
    spots: list[tuple[Any, Any]] = []
    queue: list[Any] = [raw]
    while queue:
        owner = queue.pop()
        for key, member in owner.items() if isinstance(owner, dict) else enumerate(owner):
            spots.append((owner, key))
            if isinstance(member, (dict, list)):
                queue.append(member)
    owner, key = spots[place % len(spots)]
    owner[key] = value
    with contextlib.suppress(InvalidPolicyTest):
        read_document(raw)


@pytest.mark.parametrize("clock", ["noon", "2026-01-01", "2026-01-01T12:00:00"])
def test_a_clock_is_a_moment(clock: str) -> None:
    """A date-time with its zone."""
    raw = WHOLE | {"given": {"clock": clock}, "tests": [WHOLE["tests"][1]]}
    with pytest.raises(InvalidPolicyTest, match=r"^/given/clock: expected an RFC 3339 date-time"):
        read_document(raw)
    raw = WHOLE | {"tests": [WHOLE["tests"][1] | {"given": {"clock": clock}}]}
    with pytest.raises(InvalidPolicyTest, match=r"^/tests/0/given/clock: expected an RFC 3339 date-time"):
        read_document(raw)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/atlas/tests/*.policy.yaml")), ids=lambda path: path.name)
def test_the_examples_satisfy_the_schema(path: Path) -> None:
    """What is committed as an example is valid for an editor that knows the schema."""
    assert [] == [error.message for error in SCHEMA.iter_errors(yaml.safe_load(path.read_text()))]


@pytest.mark.parametrize("raw", [None, [], 1, "x"])
def test_a_document_is_an_object(raw: object) -> None:
    """Whatever else JSON or YAML can hold is refused."""
    with pytest.raises(InvalidPolicyTest, match=r"^expected `object`"):
        read_document(raw)
