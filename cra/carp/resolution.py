"""The answer to a resolve. What the published schema shows is built from the plan when somebody looks at it.

PROTOCOL: Decision; schema: carp-resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from cra.carp.plan import Denial
from cra.carp.published import (
    AllowedAction,
    Constraint,
    Decision,
    DeniedAction,
    InjectedBlock,
    allowed_action,
    approval_constraint,
    denied_actions,
    injected_block,
    limit_constraint,
    number,
    scope_constraints,
)
from cra.carp.request import Ask
from cra.hotpath import ResolutionCore, untracked

CARP_VERSION = "1.0"

__all__ = [
    "CARP_VERSION",
    "AllowedAction",
    "Constraint",
    "Decision",
    "DeniedAction",
    "InjectedBlock",
    "Resolution",
    "number",
]


@untracked
class Resolution(ResolutionCore):
    """What the agent may do and should read, until it expires. Immutable; made by `Session.resolve` only.

    It is its own proof: it holds its session, its plan and its expiry, and nothing is registered for it. `expires_ns` is on the
    runtime's monotonic clock; `ask` is what was asked.
    """

    __slots__ = ()

    carp_version = CARP_VERSION

    def __repr__(self) -> str:
        return (
            f"<Resolution {self.ruling.decision}: {len(self.ruling.allowed)} allowed, {len(self.ruling.denied)} denied,"
            f" {len(self.injected)} context blocks>"
        )

    def __reduce__(self) -> tuple[Callable[..., Resolution], tuple[object, ...]]:
        return _restored, self.fields()

    @property
    def ask(self) -> Ask:
        asked = self.asked
        return self.kept("ask", lambda: Ask(asked)) if isinstance(asked, str) else asked

    @property
    def session_id(self) -> str:
        return self.header.session_id

    @property
    def trace_id(self) -> str:
        return self.header.trace_id

    @property
    def decision(self) -> Decision:
        first = next(iter(self._approval_ids()), None)
        return Decision(self.ruling.decision, self.ruling.reason, first)

    @property
    def context_blocks(self) -> tuple[InjectedBlock, ...]:
        """The context to read, most important first."""
        blocks = self.plan.policy_set.blocks
        return self.kept("context_blocks", lambda: tuple(injected_block(*blocks[index]) for index in self.injected))

    @property
    def allowed_actions(self) -> tuple[AllowedAction, ...]:
        actions = self.plan.actions
        return self.kept(
            "allowed_actions", lambda: tuple(allowed_action(actions[index][1]) for index in self.ruling.allowed)
        )

    @property
    def denied_actions(self) -> tuple[DeniedAction, ...]:
        """Every action that may not be executed now, those awaiting approval included."""
        return self.kept("denied_actions", lambda: tuple(denied_actions(self.plan, self.ruling)))

    @property
    def held_actions(self) -> tuple[DeniedAction, ...]:
        """Those of `denied_actions` that wait for a person; the `require_approval` constraint has the approval ids."""
        held = {self.plan.actions[index][1].action_id for _, index in self.plan.pending}
        return tuple(action for action in self.denied_actions if action.action_id in held)

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """Approvals needed, limits with what remains of them, and conditions on parameters, in this order."""
        return self.kept("constraints", lambda: tuple(self._constraints()))

    def is_allowed(self, action_id: str) -> bool:
        """Whether the action may be executed; False for one that is unknown, denied, or awaiting approval."""
        index = self.plan.index_of(action_id)
        return index is not None and index in self.ruling.allowed

    def refusal(self, action_id: str) -> Denial | None:
        """Why `execute` may not even try the action; None for one that is allowed, held, or out of an exhausted limit alone.

        PROTOCOL: Execute.
        """
        index = self.plan.index_of(action_id)
        if index is None:
            return Denial(-1, "Not part of the resolution", None)
        verdict = self.plan.verdicts[index]
        if verdict.result != "deny":
            return None
        return next(denial for denial in self.ruling.denied if denial.action == index)

    def to_dict(self) -> dict[str, Any]:
        """The published schema's fields, in its order; a private copy."""
        return {
            "carp_version": self.carp_version,
            "resolution_id": self.resolution_id,
            "request_id": self.request_id,
            "timestamp": self.timestamp,
            "decision": msgspec.to_builtins(self.decision),
            "context_blocks": msgspec.to_builtins(list(self.context_blocks)),
            "allowed_actions": msgspec.to_builtins(list(self.allowed_actions)),
            "denied_actions": msgspec.to_builtins(list(self.denied_actions)),
            "constraints": msgspec.to_builtins(list(self.constraints)),
            "ttl_seconds": self.ttl_seconds,
            "trace_id": self.trace_id,
        }

    def to_json(self) -> str:
        """`to_dict()` as one line of JSON."""
        return self.plan.policy_set.text.render(self)

    def _approval_ids(self) -> tuple[str, ...]:
        """One per policy and action that waits for a person."""
        plan = self.plan
        return plan.policy_set.text.approvals(plan, self.session_id).ids if plan.pending else ()

    def _constraints(self) -> Iterator[Constraint]:
        yield from approval_constraint(self.plan, self._approval_ids())
        told: list[Constraint] = []
        for limit, state in zip(self.plan.limits, self.limit_states):
            if limit.announced:
                constraint = limit_constraint(self.plan, limit, state)
                # An ancestor may share the count, and what stands the same need not be told twice.
                if not limit.member or constraint not in told:
                    told.append(constraint)
                    yield constraint
        yield from scope_constraints(self.plan)


def _restored(*fields: Any) -> Resolution:
    """A resolution from its pickle, which is the same whatever implementation wrote it."""
    return Resolution.restore(*fields)
