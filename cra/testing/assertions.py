"""Assertions on what an agent may do, which say what decided when they fail.

For users' own tests, with pytest or without; the policy tests use the same words. They spend and record nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from cra.carp.explain import Explanation, Step
    from cra.carp.resolution import Resolution
    from cra.session import Session

_RESULTS = {"allow": "allowed", "deny": "denied", "requires_approval": "held", "rate_limited": "limited"}
Wanted = Literal["allowed", "denied", "held"]


def assert_allowed(
    answer: Resolution | Session, action_id: str, parameters: Mapping[str, Any] | None = None, *, by: str | None = None
) -> None:
    """`action_id` may be executed: now (of a session), or by what was answered (of a resolution).

    `parameters` are those of a call, which only a session can be asked about; without them conditions on parameters are left
    open, as at a resolve. `by` is the policy that has to be the one that allows. Raises `AssertionError` with what decided and
    every policy about the action, `ActionNotFound` for one that no selected atlas defines.
    """
    __tracebackhide__ = True
    _check("allowed", answer, action_id, parameters, by)


def assert_denied(
    answer: Resolution | Session, action_id: str, parameters: Mapping[str, Any] | None = None, *, by: str | None = None
) -> None:
    """`action_id` is refused: by a policy (`by` is its id), for an exhausted limit, or by the default (`by="default"`).

    What waits for a person is not denied but held. Otherwise as `assert_allowed`.
    """
    __tracebackhide__ = True
    _check("denied", answer, action_id, parameters, by)


def assert_held(
    answer: Resolution | Session, action_id: str, parameters: Mapping[str, Any] | None = None, *, by: str | None = None
) -> None:
    """`action_id` waits for a person; `by` is the policy whose approval is the first missing. Otherwise as `assert_allowed`."""
    __tracebackhide__ = True
    _check("held", answer, action_id, parameters, by)


def _check(
    wanted: Wanted,
    answer: Resolution | Session,
    action_id: str,
    parameters: Mapping[str, Any] | None,
    by: str | None,
) -> None:
    __tracebackhide__ = True
    from cra.carp.resolution import Resolution
    from cra.session import Session

    about = "" if parameters is None else f" with {parameters!r}"
    if isinstance(answer, Session):
        explanation = answer.explain(action_id, parameters)
        result, policy_id, reason = _RESULTS[explanation.result], explanation.policy_id, explanation.reason
        details = list(steps_in_words(explanation))
    elif not isinstance(answer, Resolution):
        raise TypeError(f"a Resolution or a Session is needed, not {type(answer).__name__}")
    elif parameters is not None:
        raise TypeError("a resolution does not know the parameters of calls; give the session instead")
    else:
        result, policy_id, reason = result_of(answer, action_id)
        details = ["ask the session instead, and this message lists every policy about the action"]
    said = "denied" if wanted == "denied" and result == "limited" else result
    if said == wanted and by in (None, policy_id):
        return
    expected = wanted if by is None else f"{wanted} by {by}"
    found = f"{result} by {policy_id}" + (f" ({reason})" if reason else "")
    raise AssertionError("\n  ".join([f"{action_id}{about}: {expected} was expected; it is {found}", *details]))


def result_of(resolution: Resolution, action_id: str) -> tuple[str, str, str | None]:
    """What a resolution says of an action (`allowed`, `denied`, `held` or `limited`), the policy that decided, and the reason.

    Raises `ActionNotFound` for an action that no selected atlas defines.
    """
    from cra.carp.policy import DEFAULT_POLICY_ID
    from cra.errors import ActionNotFound

    plan = resolution.plan
    if action_id not in plan.policy_set.position:
        raise ActionNotFound(f"no selected atlas defines the action {action_id!r}")
    if plan.index_of(action_id) is None:
        return "denied", DEFAULT_POLICY_ID, "Not named by a required capability"
    evaluation = next(
        each
        for each in resolution.ruling.evaluations
        if each.action_id == action_id and not each.result.startswith("shadow:")
    )
    reason = next((denied.reason for denied in resolution.denied_actions if denied.action_id == action_id), None)
    return _RESULTS[evaluation.result], evaluation.policy_id, reason


def result_now(explanation: Explanation) -> tuple[str, str, str | None]:
    """The same of an explanation."""
    return _RESULTS[explanation.result], explanation.policy_id, explanation.reason


def steps_in_words(explanation: Explanation) -> Iterator[str]:
    """Every policy about the action, in the order of evaluation: whether it matched, and which condition failed."""
    if not explanation.steps:
        yield "no policy is about it"
        return
    yield "the policies about it, in the order of evaluation:"
    alone = len({step.agent_id for step in explanation.steps}) == 1
    for step in explanation.steps:
        owner = "" if alone else f" for {step.agent_id}"
        yield f"  {step.policy_id} ({step.type}{', shadow' if step.shadow else ''}){owner}: {_state(step)}"


def _state(step: Step) -> str:
    if step.matched is None:
        return "depends on the parameters of the call"
    if not step.matched:
        return f"does not match: {step.failed}"
    if step.exhausted is not None:
        return "matches, exhausted" if step.exhausted else "matches, not exhausted"
    if step.granted is not None:
        return "matches, granted" if step.granted else "matches, not granted"
    return "matches"
