"""Mutants that count, approve, execute, select context or load atlases wrongly."""

from __future__ import annotations

from fractions import Fraction
from itertools import count
from typing import Any

import msgspec

import cra.resolver
from conformance.mutants.registry import mutant, replace, replace_method, set_global
from cra.atlas import loader
from cra.atlas.manifest import ContextBlock
from cra.carp import conditions, policy
from cra.carp.context import ContextPlan
from cra.carp.request import Request
from cra.carp.resolution import Resolution
from cra.execution import parameters
from cra.execution.approvals import ApprovalBook
from cra.execution.idempotency import IdempotencyStore
from cra.reference import sliding_windows
from cra.reference.sliding_windows import Charge, SlidingWindows
from cra.session import Session

# Limits and approvals


@mutant("limits")
def one_call_too_many() -> None:
    """A limit admits one call more than it says."""

    def build(original: Any) -> Any:
        return lambda self, cost, limit, *more: original(
            self, cost, msgspec.structs.replace(limit, amount=limit.amount + 1), *more
        )

    replace_method(sliding_windows._Window, "has_room_for", build)


@mutant("limits")
def windows_a_moment_too_long() -> None:
    """A call still counts at the very moment it leaves the window."""
    replace_method(sliding_windows._Window, "expire", lambda original: lambda self, now: original(self, now - 1))


@mutant("limits")
def limits_never_reset() -> None:
    """A window never empties."""
    replace_method(sliding_windows._Window, "expire", lambda original: lambda self, now: None)


@mutant("limits")
def refused_calls_count() -> None:
    """What was reserved for a refused call is not given back."""
    replace_method(SlidingWindows, "_give_back", lambda original: lambda self, reservation: None)


@mutant("limits")
def resolves_are_spent() -> None:
    """Every resolve spends a call of each limit."""

    def build(original: Any) -> Any:
        def states(self: Any, watches: Any, now_ns: int) -> Any:
            found = original(self, watches, now_ns)
            for (key, limit, _), state in zip(watches.limits, found):
                if not state.exhausted:
                    self.reserve([Charge(key, limit, Fraction(1), enforced=False)], now_ns)
            return found

        return states

    replace_method(SlidingWindows, "states", build)


@mutant("limits")
def any_cost() -> None:
    """A cost that is missing or no number is zero."""

    def build(original: Any) -> Any:
        def cost(limit: Any, given: Any) -> Any:
            try:
                return original(limit, given)
            except cra.InvalidParameters:
                return Fraction(0)

        return cost

    replace(parameters.cost_of, build)


@mutant("approvals")
def agents_approve_themselves() -> None:
    """An agent may grant what it asked for."""

    def build(original: Any) -> Any:
        def grant(self: ApprovalBook, approval_id: str, *, by: str, reason: str = "") -> Any:
            try:
                return original(self, approval_id, by=by, reason=reason)
            except cra.ActionDenied:
                return original(self, approval_id, by=f"{by} itself", reason=reason)

        return grant

    replace_method(ApprovalBook, "grant", build)


@mutant("approvals")
def grants_are_never_used_up() -> None:
    """A grant that is bound to parameters is good for ever."""
    replace_method(
        ApprovalBook,
        "consume",
        lambda original: lambda self, i: msgspec.structs.replace(self._approvals[i], status="used"),
    )


@mutant("approvals")
def approvals_never_expire() -> None:
    """A pending approval waits for ever."""
    replace_method(ApprovalBook, "_expire", lambda original: lambda self: None)


# Execution, requests, context


@mutant("execution")
def parameters_unchecked() -> None:
    """Parameters need not satisfy their schema."""
    replace(parameters.check_parameters, lambda original: lambda schema, given: None)


@mutant("idempotency")
def keys_forgotten() -> None:
    """An idempotency key is never recognised."""
    numbers = count()
    replace_method(
        IdempotencyStore,
        "begin",
        lambda original: lambda self, action, key, digest: original(self, action, f"{key}{next(numbers)}", digest),
    )


@mutant("idempotency")
def keys_for_any_parameters() -> None:
    """A key answers for other parameters as well."""
    replace_method(
        IdempotencyStore, "begin", lambda original: lambda self, action, key, digest: original(self, action, key, "")
    )


@mutant("requests")
def stale_requests_pass() -> None:
    """The timestamp of a request is not looked at."""
    set_global(cra.resolver, "CLOCK_SKEW_SECONDS", 10**9)


@mutant("requests")
def repeated_requests_pass() -> None:
    """A request may be made twice."""
    replace_method(Session, "remember_request", lambda original: lambda self, request_id, skew: None)


@mutant("request-schema")
def short_requests_pass() -> None:
    """A goal may be empty, and is cut where it is too long."""

    def build(original: Any) -> Any:
        def parse(document: Any) -> Any:
            task = document.get("task") if isinstance(document, dict) else None
            if isinstance(task, dict) and isinstance(task.get("goal"), str):
                document = {**document, "task": {**task, "goal": (task["goal"] or "x")[:10_000]}}
            return original(document)

        return parse

    replace_method(Request, "parse", build)


@mutant("context")
def least_important_first() -> None:
    """Context comes in the order of its priority, ascending."""
    replace_method(
        ContextPlan,
        "select",
        lambda original: lambda self, *more: tuple(each[::-1] for each in original(self, *more)),
    )


@mutant("context")
def keywords_by_case() -> None:
    """A keyword has to occur in the goal as it is written."""
    replace_method(
        ContextPlan, "select", lambda original: lambda self, goal, *more: original(self, _Folded(goal), *more)
    )


class _Folded(str):
    def casefold(self) -> str:
        return str(self)


@mutant("context")
def tokens_by_characters() -> None:
    """Tokens are estimated by characters rather than bytes."""
    estimate = property(lambda self: -(-len(self.content) // 4))
    replace_method(ContextBlock, "token_estimate", lambda original: estimate)  # type: ignore[arg-type, return-value]


@mutant("requests", "events")
def resolutions_say_more() -> None:
    """A resolution has a member that the published schema does not know."""
    replace_method(Resolution, "to_dict", lambda original: lambda self: original(self) | {"score": 1})


@mutant("requests", "events")
def resolutions_of_no_time() -> None:
    """A resolution's timestamp is none."""
    replace_method(Resolution, "to_dict", lambda original: lambda self: original(self) | {"timestamp": "yesterday"})


# Atlases


@mutant("policy-syntax")
def unknown_policy_members_pass() -> None:
    """What a policy has besides is ignored."""
    replace_method(policy._Fields, "refuse_others", lambda original: lambda self, known, what: None)


@mutant("policy-syntax")
def unknown_conditions_pass() -> None:
    """A condition that is not known is ignored."""
    replace_method(conditions._Reader, "unknown_key", lambda original: lambda self, *more: None)


@mutant("policy-syntax")
def empty_lists_pass() -> None:
    """A policy may list no action at all."""
    replace_method(
        policy._Fields,
        "strings",
        lambda original: lambda self, name: () if self.raw.get(name) == [] else original(self, name),
    )


@mutant("atlas")
def duplicates_pass() -> None:
    """Two things of an atlas may have one id."""
    replace(loader._refuse_duplicates, lambda original: lambda names, *more: list(names) and None)


@mutant("atlas")
def never_strict() -> None:
    """`strict` changes nothing."""
    replace(loader._refuse_findings, lambda original: lambda atlas: None)
