"""Runs policy tests: each in a runtime of its own, in memory, on a virtual clock, with executors that do nothing.

Called by `cra atlas test` and by the pytest plugin. A test that fails says so in its result; nothing is raised for that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from cra.carp.explain import Explanation
from cra.carp.request import make_ask
from cra.carp.resolution import Resolution
from cra.errors import (
    ActionDenied,
    ActionRequiresApproval,
    BudgetExceeded,
    CRAError,
    InvalidParameters,
    RateLimitExceeded,
)
from cra.hotpath import glob_match
from cra.reference.match import Facts
from cra.resolver import Resolver
from cra.session import Session
from cra.testing import SeededIds, VirtualClock
from cra.testing.assertions import result_now, result_of, steps_in_words
from cra.testing.policies.coverage import Coverage
from cra.testing.policies.document import (
    Advance,
    Asked,
    Decide,
    Execute,
    ExpectedResolution,
    PolicyTest,
    Step,
    clock_ns,
)
from cra.testing.policies.files import PolicyFile, find_policy_tests, read_policy_file

_FOR_EVER = 1e9
"""Seconds. Sessions and resolutions do not expire in a test of policies, or a window of a day could not be tested."""
APPROVER = "policy-tests"


class PolicyTestResult(Struct, frozen=True):
    """How one test came out; `problems` are sentences, none where it passed."""

    file: str
    name: str
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


class Report(Struct, frozen=True):
    results: tuple[PolicyTestResult, ...]
    coverage: Coverage

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)


def run_policy_tests(path: str | os.PathLike[str]) -> Report:
    """Run what `find_policy_tests` finds at `path`, all of it read before any of it runs. Raises as that and
    `read_policy_file` do."""
    files = [read_policy_file(each) for each in find_policy_tests(path)]
    coverage = Coverage()
    for file in files:
        for atlas in (file.atlas, *file.overlays):
            coverage.add(atlas)
    results = [run_policy_test(file, test, coverage) for file in files for test in file.tests]
    return Report(tuple(results), coverage)


def run_policy_test(file: PolicyFile, test: PolicyTest, coverage: Coverage | None = None) -> PolicyTestResult:
    """Run one test of a file, to its end or to the first step that is not as expected."""
    given = test.given
    clock = VirtualClock(clock_ns(given, f"{test.path}/given/clock"))
    problems: list[str] = []
    with Resolver(
        clock=clock,
        ids=SeededIds(0),
        default_decision=file.default_decision,
        ttl_seconds=86_400,
        idle_seconds=_FOR_EVER,
        life_seconds=_FOR_EVER,
    ) as resolver:
        try:
            for atlas in file.beside:
                resolver.load_atlas(atlas)
            resolver.load_atlas(file.atlas)
            for atlas in file.overlays:
                resolver.load_atlas(atlas, overlay=True)
            session = resolver.create_session(
                given.agent, given.goal, context=given.context, scopes=given.scopes, risk_tier=given.risk_tier
            )
        except CRAError as error:
            return PolicyTestResult(str(file.path), test.name, (f"it cannot start: {error.message}",))
        run = _Run(file, resolver, session, clock, coverage or Coverage())
        for number, step in enumerate(test.steps, 1):
            try:
                found = list(run.step(step))
            except CRAError as error:
                found = [f"it raised {error.code}: {error.message}"]
            if found:
                place = f"step {number}, " if len(test.steps) > 1 else ""
                problems = [f"{place}{problem}" for problem in found]
                break
    return PolicyTestResult(str(file.path), test.name, tuple(problems))


class _Run:
    """One test on its way. `_ask` is how the last resolve asked; an execute asks again the same way, so that nothing expires."""

    def __init__(
        self, file: PolicyFile, resolver: Resolver, session: Session, clock: VirtualClock, coverage: Coverage
    ) -> None:
        self._resolver = resolver
        self._session = session
        self._clock = clock
        self._coverage = coverage
        self._ask = Asked()
        self._reasons = {policy.policy_id: policy.reason for atlas in file.atlases for policy in atlas.policies}
        self._known_policies = {*self._reasons, "default"}
        self._known_blocks = {block.block_id for atlas in file.atlases for block in atlas.context_blocks}
        self._called = 0
        for atlas in file.atlases:
            for action in atlas.actions:
                resolver.register(action.action_id, self._executor, inline=True)

    def _executor(self, **parameters: Any) -> None:
        self._called += 1

    def step(self, step: Step) -> Iterator[str]:
        """What is not as expected, a sentence each."""
        if isinstance(step, Advance):
            self._clock.advance(step.seconds)
        elif isinstance(step, Decide):
            yield from self._decide(step)
        elif isinstance(step, Execute):
            for number in range(1, step.times + 1):
                found = list(self._execute(step, number))
                if found:
                    yield from found
                    return
        else:
            self._ask = step.ask
            resolution = self._resolve()
            if step.expected is not None:
                yield from self._compare(resolution, step.expected)

    def _resolve(self) -> Resolution:
        ask = self._ask
        return self._session.resolve(
            ask.goal or self._session.goal,
            risk_tier=ask.risk_tier,
            context_hints=ask.hints,
            required_capabilities=ask.capabilities,
            context=ask.context,
        )

    # What a resolve says

    def _compare(self, resolution: Resolution, expected: ExpectedResolution) -> Iterator[str]:
        if expected.decision not in (None, resolution.decision.type):
            yield f"the decision {expected.decision} was expected, not {resolution.decision.type}"
        for wanted, patterns in expected.results.items():
            for pattern, by in patterns.items():
                if by is not None and by not in self._known_policies:
                    yield f"no policy of these atlases has the id {by!r}"
                    continue
                matched = self._matching(resolution, pattern)
                if not matched:
                    yield f"no action of these atlases matches {pattern!r}"
                for action_id in matched:
                    yield from self._compare_action(resolution, action_id, wanted, by)
        if expected.only_allowed is not None:
            yield from self._compare_allowed(resolution, expected.only_allowed)
        yield from self._compare_context(resolution, expected)

    def _matching(self, resolution: Resolution, pattern: str) -> list[str]:
        """The actions of the atlases; or those of them that are part of the resolution, where a glob matches any of these."""
        defined = [action for action in resolution.plan.policy_set.position if glob_match(pattern, action)]
        part = [action_id for action_id in defined if resolution.plan.index_of(action_id) is not None]
        return part or defined

    def _compare_action(self, resolution: Resolution, action_id: str, wanted: str, by: str | None) -> Iterator[str]:
        result, policy_id, reason = result_of(resolution, action_id)
        self._note(action_id, policy_id, None)
        if result != wanted or by not in (None, policy_id):
            yield self._unlike(action_id, wanted, by, f"{result} by {policy_id}", reason)

    def _compare_allowed(self, resolution: Resolution, patterns: Iterable[str]) -> Iterator[str]:
        wanted = {pattern: self._matching(resolution, pattern) for pattern in patterns}
        yield from (f"no action of these atlases matches {pattern!r}" for pattern, found in wanted.items() if not found)
        named = {action_id for found in wanted.values() for action_id in found}
        for action_id in resolution.plan.policy_set.position:
            result, policy_id, reason = result_of(resolution, action_id)
            self._note(action_id, policy_id, None)
            if (result == "allowed") != (action_id in named):
                expectation = "allowed" if action_id in named else "not allowed"
                yield self._unlike(action_id, expectation, None, f"{result} by {policy_id}", reason)

    def _compare_context(self, resolution: Resolution, expected: ExpectedResolution) -> Iterator[str]:
        selected = [block.block_id for block in resolution.context_blocks]
        for block_id in (*(expected.context or ()), *expected.context_has, *expected.context_lacks):
            if block_id not in self._known_blocks:
                yield f"no context block of these atlases has the id {block_id!r}"
        if expected.context is not None and list(expected.context) != selected:
            yield f"the context {_listed(expected.context)} was expected, in this order, not {_listed(selected)}"
        for block_id in expected.context_has:
            if block_id not in selected:
                yield f"the context block {block_id} was expected; selected are {_listed(selected)}"
        for block_id in expected.context_lacks:
            if block_id in selected:
                yield f"the context block {block_id} was not expected; selected are {_listed(selected)}"

    # What an execute comes to

    def _execute(self, step: Execute, number: int) -> Iterator[str]:
        expected = step.expected
        if expected.by is not None and expected.by not in self._known_policies:
            yield f"no policy of these atlases has the id {expected.by!r}"
            return
        resolution = self._resolve()
        before = self._explain(step.action_id, step.parameters)
        result, policy_id, reason, details = self._outcome(step, resolution, result_now(before)[1])
        if result != "invalid":
            self._note(step.action_id, policy_id, step.parameters)
        alike = (expected.result, expected.by or policy_id, expected.reason or reason) == (result, policy_id, reason)
        if not alike:
            which = f"call {number}: " if step.times > 1 else ""
            wanted = expected.result if expected.reason is None else f"{expected.result} ({expected.reason})"
            found = result if result == "invalid" else f"{result} by {policy_id}"
            lines = "\n    ".join(steps_in_words(before))
            call = f"execute {step.action_id} {_shown(step.parameters)}"
            by = f" by {expected.by}" if expected.by else ""
            told = f" ({details})" if details else ""
            yield f"{which}{call}: {wanted}{by} was expected; it was {found}{told}\n    {lines}"

    def _outcome(self, step: Execute, resolution: Resolution, policy_id: str) -> tuple[str, str, str | None, str]:
        """The result, the policy that decided (`policy_id` where nothing says so), the reason, and the whole message."""
        called = self._called
        try:
            self._session.execute(step.action_id, step.parameters, resolution=resolution)
        except InvalidParameters as error:
            return "invalid", policy_id, error.message, error.message
        except ActionRequiresApproval as error:
            return "held", policy_id, self._reasons.get(policy_id), error.message
        except RateLimitExceeded as error:
            kind = "budget" if isinstance(error, BudgetExceeded) else "rate_limit"
            return "limited", error.policy_id, f"{kind}_exceeded", error.message
        except ActionDenied as error:
            reason = error.message.removeprefix(f"{step.action_id}: ")
            return "denied", error.policy_id or "default", reason, error.message
        except CRAError:
            # The stand-in returns nothing, which a returns_schema may refuse; the policies have let it run.
            if self._called == called:
                raise
        return "allowed", policy_id, None, ""

    def _decide(self, step: Decide) -> Iterator[str]:
        """Grant or reject what is pending; where nothing is, what a resolve announces."""
        waiting = self._waiting(step.action_id)
        if not waiting:
            for constraint in self._resolve().constraints:
                for approval in constraint.parameters.get("approvals", ()):
                    if approval["action_id"] == step.action_id:
                        self._session.request_approval(approval["approval_id"])
            waiting = self._waiting(step.action_id)
        if not waiting:
            yield f"nothing that {step.action_id} needs waits for a person"
        for approval_id in waiting:
            (self._resolver.approve if step.grant else self._resolver.reject)(approval_id, by=APPROVER)

    def _waiting(self, action_id: str) -> list[str]:
        return [each.approval_id for each in self._resolver.pending_approvals() if each.action_id == action_id]

    # What both have in common

    def _note(self, action_id: str, policy_id: str, parameters: dict[str, Any] | None) -> None:
        """For coverage: an expectation was about this action, and this policy decided."""
        ask = make_ask(
            self._session.goal,
            risk_tier=self._ask.risk_tier,
            required_capabilities=self._ask.capabilities,
            context=self._ask.context,
        )
        policy_set = self._session.policy_set(ask)
        position = policy_set.position[action_id]
        about = [policy for policy, scope in zip(policy_set.policies, policy_set.positions) if position in scope]
        facts: Facts = self._session.facts(ask, self._clock.now_ns())[0]
        self._coverage.met(about, facts, parameters)
        owner = next((policy.atlas_id for policy in about if policy.policy_id == policy_id), None)
        if owner is not None:
            self._coverage.decided(owner, policy_id)

    def _explain(self, action_id: str, parameters: dict[str, Any] | None) -> Explanation:
        return self._session.explain(
            action_id,
            parameters,
            risk_tier=self._ask.risk_tier,
            required_capabilities=self._ask.capabilities,
            context=self._ask.context,
        )

    def _unlike(self, action_id: str, wanted: str, by: str | None, found: str, reason: str | None) -> str:
        lines = "\n    ".join(steps_in_words(self._explain(action_id, None)))
        because = f" ({reason})" if reason else ""
        return f"{action_id}: {wanted}{f' by {by}' if by else ''} was expected; it is {found}{because}\n    {lines}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _shown(parameters: dict[str, Any]) -> str:
    text = json.dumps(parameters, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"
