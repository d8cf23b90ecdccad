"""Policy tests run: what passes, what fails, what a failure says, and what coverage counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cra.testing.policies.run import run_policy_tests
from tests.support.decisions import manifest, rule

Make = Callable[..., Path]
FILES = {"scopes": ["files"]}
CLERK = {"agent": "clerk-1"}
PAY = {"execute": "pay.send", "parameters": {"amount": 5}}
BAD_CALL = {"execute": "pay.send", "parameters": {"amount": "x"}}
TOO_MUCH = {"execute": "pay.send", "parameters": {"amount": 101}}


def problems(folder: Path) -> list[str]:
    """What the one test of the folder has to say."""
    (result,) = run_policy_tests(folder).results
    assert result.passed == (not result.problems)
    return list(result.problems)


def steps(*steps: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {"given": given, "steps": list(steps)}


PROD, TEST = {"context": {"env": "prod"}}, {"context": {"env": "test"}}

PASSING: dict[str, dict[str, Any]] = {
    "denied by the default": {"expect": {"denied": {"pay.send": "default"}, "only_allowed": []}},
    "denied by a scope": {"expect": {"decision": "deny", "denied": {"file.*": "member"}}},
    "allowed by a policy": {"given": FILES, "expect": {"decision": "partial", "allowed": {"file.*": "reads"}}},
    "only these are allowed": {"given": FILES, "expect": {"only_allowed": ["file.get", "*.list"]}},
    "held": {"given": CLERK | PROD, "expect": {"decision": "requires_approval", "held": {"pay.*": "sign"}}},
    "what a resolve adds": {"given": CLERK, "resolve": PROD, "expect": {"held": ["pay.send"]}},
    "the context": {"expect": {"context": ["manual"], "context_has": ["manual"], "context_lacks": ["money"]}},
    "the context of a goal": {"resolve": {"goal": "pay it"}, "expect": {"context": ["money", "manual"]}},
    "the goal that is given": {"given": {"goal": "pay it"}, "expect": {"context_has": ["money"]}},
    "a tier that is raised": steps({"resolve": {"risk_tier": "critical"}}, {"expect": {"denied": ["pay.send"]}}),
    "parameters": steps(
        PAY | {"expect": {"result": "allowed", "by": "pays"}},
        TOO_MUCH | {"expect": {"result": "denied", "by": "cap", "reason": "Too much"}},
        **CLERK,
        **TEST,
    ),
    "parameters that are none": steps(BAD_CALL | {"expect": "invalid"}, **CLERK),
    "an approval": steps(
        PAY | {"expect": {"result": "held", "by": "sign", "reason": "Somebody signs"}},
        {"approve": "pay.send"},
        PAY | {"expect": "allowed"},
        **CLERK,
        **PROD,
    ),
    "an approval in advance": steps({"approve": "pay.send"}, PAY | {"expect": "allowed"}, **CLERK, **PROD),
    "a rejection": steps(
        PAY | {"expect": "held"},
        {"reject": "pay.send"},
        PAY | {"expect": {"result": "denied", "by": "sign", "reason": "Approval rejected"}},
        **CLERK,
        **PROD,
    ),
    "a limit": steps(
        {"execute": "file.get", "times": 2, "expect": "allowed"},
        {"execute": "file.get", "expect": {"result": "limited", "by": "slow", "reason": "rate_limit_exceeded"}},
        {"expect": {"limited": {"file.get": "slow"}, "allowed": ["file.list"]}},
        {"advance": 59.9},
        {"execute": "file.get", "expect": "limited"},
        {"advance": 0.1},
        {"execute": "file.get", "expect": "allowed"},
        **FILES,
    ),
    "time that outlives a session": steps(
        {"advance": 1_000_000}, {"execute": "file.get", "expect": "allowed"}, **FILES
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_is_as_expected_passes(name: str, atlas_with: Make) -> None:
    """Every kind of expectation and step, of an atlas that comes up to it."""
    assert [] == problems(atlas_with(PASSING[name]))


FAILING: list[tuple[str, dict[str, Any], str]] = [
    ("another decision", {"expect": {"decision": "allow"}}, "the decision allow was expected, not deny"),
    (
        "not allowed",
        {"expect": {"allowed": ["file.get"]}},
        (
            "file.get: allowed was expected; it is denied by member (Denied by policy)\n"
            "    the policies about it, in the order of evaluation:\n"
            "      member (scope): matches\n"
            "      slow (rate_limit): matches, not exhausted\n"
            "      reads (allow): matches"
        ),
    ),
    (
        "denied by another",
        {"expect": {"denied": {"file.get": "default"}}},
        "file.get: denied by default was expected; it is denied by member",
    ),
    (
        "held, not denied",
        {"given": CLERK | PROD, "expect": {"denied": ["pay.send"]}},
        "pay.send: denied was expected; it is held by sign (Requires approval)",
    ),
    (
        "more is allowed",
        {"given": FILES, "expect": {"only_allowed": ["file.get"]}},
        "file.list: not allowed was expected; it is allowed by reads",
    ),
    (
        "less is allowed",
        {"expect": {"only_allowed": ["file.get"]}},
        "file.get: allowed was expected; it is denied by member",
    ),
    ("no such action", {"expect": {"denied": ["file.x"]}}, "no action of these atlases matches 'file.x'"),
    ("no such action allowed", {"expect": {"only_allowed": ["x.*"]}}, "no action of these atlases matches 'x.*'"),
    ("no such policy", {"expect": {"denied": {"file.get": "x"}}}, "no policy of these atlases has the id 'x'"),
    (
        "no such policy of a call",
        steps(PAY | {"expect": {"result": "denied", "by": "max"}}),
        "no policy of these atlases has the id 'max'",
    ),
    ("no such block", {"expect": {"context_lacks": ["x"]}}, "no context block of these atlases has the id 'x'"),
    (
        "another order",
        {"given": {"goal": "pay"}, "expect": {"context": ["manual", "money"]}},
        "the context manual, money was expected, in this order, not money, manual",
    ),
    (
        "a block too few",
        {"expect": {"context_has": ["money"]}},
        "the context block money was expected; selected are manual",
    ),
    (
        "a block too many",
        {"expect": {"context_lacks": ["manual"]}},
        "the context block manual was not expected; selected are manual",
    ),
    (
        "a call that is refused",
        steps(TOO_MUCH | {"expect": "allowed"}, **CLERK),
        (
            'execute pay.send {"amount": 101}: allowed was expected; it was denied by cap (pay.send: Too much)\n'
            "    the policies about it, in the order of evaluation:\n"
            "      cap (deny): matches\n"
        ),
    ),
    (
        "a call that is let through",
        steps(PAY | {"expect": {"result": "denied", "by": "cap"}}, **CLERK, **TEST),
        (
            'execute pay.send {"amount": 5}: denied by cap was expected; it was allowed by pays\n'
            "    the policies about it, in the order of evaluation:\n"
            "      cap (deny): does not match: parameters\n"
            "      sign (require_approval): does not match: context_matches/env\n"
        ),
    ),
    (
        "a call that is held",
        steps(PAY | {"expect": "allowed"}, **CLERK),
        'execute pay.send {"amount": 5}: allowed was expected; it was held by sign (pay.send needs the approval ',
    ),
    (
        "parameters that are none",
        steps(BAD_CALL | {"expect": "allowed"}, **CLERK),
        'execute pay.send {"amount": "x"}: allowed was expected; it was invalid (/amount: ',
    ),
    (
        "a call for another reason",
        steps(TOO_MUCH | {"expect": {"result": "denied", "reason": "x"}}, **CLERK),
        'execute pay.send {"amount": 101}: denied (x) was expected; it was denied by cap (pay.send: Too',
    ),
    (
        "a call of many",
        steps({"execute": "file.get", "times": 3, "expect": "allowed"}, **FILES),
        "call 3: execute file.get {}: allowed was expected; it was limited by slow",
    ),
    (
        "a step of many",
        steps({"advance": 1}, {"expect": {"decision": "allow"}}),
        "step 2, the decision allow was expected",
    ),
    (
        "nothing to approve",
        steps({"approve": "file.get"}, {"expect": {"decision": "deny"}}),
        "step 1, nothing that file.get needs waits for a person",
    ),
    (
        "nothing to execute",
        steps({"execute": "file.x", "expect": "denied"}),
        "it raised ACTION_NOT_FOUND: no selected atlas",
    ),
    (
        "a context that is none",
        {"given": {"context": {"a": "x" * 70_000}}, "expect": {"decision": "deny"}},
        "it cannot start: /context",
    ),
]


@pytest.mark.parametrize(("test", "expected"), [pytest.param(*each[1:], id=each[0]) for each in FAILING])
def test_what_is_not_as_expected_says_what_decided(test: dict[str, Any], expected: str, atlas_with: Make) -> None:
    """The expectation, what was found, and the policies about the action."""
    found = problems(atlas_with(test))
    assert found
    assert found[0].startswith(expected)


def test_a_test_ends_with_its_first_failing_step(atlas_with: Make) -> None:
    """What comes after it builds on it, and would say nothing."""
    wrong = {"expect": {"decision": "allow", "allowed": ["file.get"]}}
    first, second = problems(atlas_with(steps(wrong, wrong)))
    assert first.startswith("step 1, the decision")
    assert second.startswith("step 1, file.get")


def test_tests_do_not_know_of_each_other(atlas_with: Make) -> None:
    """Each has limits, approvals and a clock of its own."""
    spend = steps({"execute": "file.get", "times": 2, "expect": "allowed"}, **FILES)
    assert run_policy_tests(atlas_with(spend, spend)).passed


def test_an_atlas_for_another_default_is_tested_with_it(atlas_with: Make) -> None:
    """`default_decision` is that of the runtime the atlas is written for."""
    test = {"given": FILES | TEST, "expect": {"allowed": {"pay.send": "default"}}}
    assert run_policy_tests(atlas_with(test, default_decision="allow")).passed
    assert not run_policy_tests(atlas_with(test)).passed


def cover(folder: Path) -> tuple[set[str], dict[str, tuple[bool, bool]], float]:
    """The policies that decided something, the conditions with whether they held and failed, the percentage."""
    coverage = run_policy_tests(folder).coverage
    return (
        {policy.policy_id for policy in coverage.policies if policy.decided},
        {f"{each.policy_id}/{each.condition}": (bool(each.held), bool(each.failed)) for each in coverage.conditions},
        coverage.percent,
    )


def test_what_no_expectation_names_is_not_touched(atlas_with: Make) -> None:
    """A resolve evaluates every policy; only those count that decided about an action that an expectation names."""
    conditions = ("pays/agents", "cap/parameters", "sign/context_matches/env", "member/required_scopes")
    untouched = dict.fromkeys(conditions, (False, False))
    assert (set(), untouched, 0.0) == cover(atlas_with({"expect": {"decision": "deny"}}))
    decided, met, percent = cover(atlas_with({"expect": {"denied": ["file.get"]}}))
    assert ({"member"}, untouched | {"member/required_scopes": (True, False)}) == (decided, met)
    assert pytest.approx(100 * 2 / 14) == percent


def test_a_condition_is_covered_once_it_held_and_failed(atlas_with: Make) -> None:
    """Each side counts; a condition on parameters is met by calls alone; a key that is absent holds for what restricts."""
    decided, met, _ = cover(
        atlas_with(
            {"given": CLERK, "expect": {"held": ["pay.send"]}},
            steps(PAY | {"expect": "allowed"}, **CLERK, **TEST),
        )
    )
    assert {"sign", "pays"} == decided
    assert (True, True) == met["sign/context_matches/env"]
    assert (True, False) == met["pays/agents"]
    assert (False, True) == met["cap/parameters"]


def test_parameters_that_are_refused_meet_no_condition(atlas_with: Make) -> None:
    """The schema of the action refuses them before any policy is asked."""
    decided, met, percent = cover(atlas_with(steps(BAD_CALL | {"expect": "invalid"}, **CLERK)))
    assert set() == decided
    assert (False, False) == met["cap/parameters"]
    assert 0.0 == percent


def test_everything_can_be_touched(atlas_with: Make) -> None:
    """A shadow policy decides nothing and is not asked for."""
    coverage = run_policy_tests(atlas_with(*PASSING.values())).coverage
    assert 100.0 == coverage.percent
    assert ["later"] == [policy.policy_id for policy in coverage.policies if not policy.decided]
    assert ["later"] == [policy.policy_id for policy in coverage.policies if policy.shadow]


def test_atlases_beside_and_over_it_are_loaded(atlas_with: Make, tmp_path: Path) -> None:
    """An overlay restricts the atlas under test, and its policies are covered; those of an atlas beside it are not."""
    for name, rules in (("company", [rule("freeze", "deny")]), ("other", [rule("x", "deny", "y.z")])):
        (tmp_path / f"{name}.json").write_text(json.dumps(manifest(rules=rules, atlas_id=f"com.example.{name}")))
    folder = atlas_with(
        {"given": FILES, "expect": {"denied": {"*": "freeze"}}},
        overlays=["../../company.json"],
        beside=["../../other.json"],
    )
    report = run_policy_tests(folder)
    assert report.passed
    policies = {policy.policy_id: policy.decided for policy in report.coverage.policies}
    assert 3 == policies["freeze"]
    assert "x" not in policies
