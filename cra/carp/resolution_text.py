"""The JSON of resolutions, joined from pieces that are serialised once: by action, block, ruling, plan and session.

One `ResolutionText` belongs to a policy set. What it keeps is bounded: actions and blocks are as many as the atlases have, the
rest goes when it becomes too much. Byte for byte what `json.dumps(resolution.to_dict())` gives. Schema: carp-resolution.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from cra.carp.plan import Plan, PlanLimit, Ruling
from cra.carp.published import (
    Constraint,
    DeniedAction,
    allowed_action,
    approval_constraint,
    denied_actions,
    injected_block,
    limit_terms,
    number,
    scope_constraints,
    seconds,
    window_seconds,
)
from cra.execution.approvals import approval_id
from cra.timing.clock import format_timestamp
from cra.timing.rate_limit import LimitState

if TYPE_CHECKING:
    from cra.carp.resolution import Resolution

MAX_CHARACTERS = 4_000_000
_ENTRY_CHARACTERS = 200  # what an entry costs beside its text
Made = TypeVar("Made", bound=tuple[Any, ...])


class RulingText(NamedTuple):
    """`decision` up to its approval id; `actions`: all actions, up to the first constraint."""

    decision: str
    actions: str


class LimitText(NamedTuple):
    """The constraint of a limit up to `remaining`, and from there to `reset_after`, None where nothing resets it."""

    limit: PlanLimit
    place: int
    head: str
    window: str | None


class PlanText(NamedTuple):
    """The limits that are announced, and the scope constraints, joined."""

    limits: tuple[LimitText, ...]
    scopes: str


class ApprovalText(NamedTuple):
    """What one session needs approvals for."""

    ids: tuple[str, ...]
    constraint: str


class ResolutionText:
    """See the module. Safe to use from many threads: what two of them make at once is the same."""

    __slots__ = ("_actions", "_approvals", "_blocks", "_plans", "_rulings")

    def __init__(self) -> None:
        self._actions: dict[str, str] = {}
        self._blocks: dict[int, str] = {}
        self._rulings: _Kept[RulingText] = _Kept()
        self._plans: _Kept[PlanText] = _Kept()
        self._approvals: _Kept[ApprovalText] = _Kept()

    def render(self, resolution: Resolution) -> str:
        """A resolution of this policy set as one line of JSON."""
        plan, ruling, header = resolution.plan, resolution.ruling, resolution.header
        decision, actions = self._rulings.get(id(ruling), ruling, lambda: self._ruling(plan, ruling))
        needed = self.approvals(plan, header.session_id) if plan.pending else None
        pieces = [
            f'{{"carp_version":"1.0","resolution_id":"{resolution.resolution_id}","request_id":',
            quoted(resolution.request_id),
            f',"timestamp":"{resolution.timestamp}",',
            decision,
            f'"{needed.ids[0]}"' if needed else "null",
            ',"expires_at":null},"context_blocks":[',
            ",".join([self._blocks.get(index) or self._block(plan, index) for index in resolution.injected]),
            actions,
        ]
        constraints = [needed.constraint] if needed else []
        if plan.limits or plan.announcements:
            limits, scopes = self._plans.get(id(plan), plan, lambda: _plan_text(plan))
            constraints += _limits(limits, resolution.limit_states)
            if scopes:
                constraints.append(scopes)
        if constraints:
            pieces.append(",".join(constraints))
        pieces.append(f'],"ttl_seconds":{resolution.ttl_seconds},"trace_id":{quoted(header.trace_id)}}}')
        return "".join(pieces)

    def approvals(self, plan: Plan, session_id: str) -> ApprovalText:
        """What waits for a person under a plan, for one session: in the order of `Plan.pending`."""

        def make() -> ApprovalText:
            ids = tuple(
                approval_id(session_id, policy.atlas_id, policy.policy_id, plan.actions[index][1].action_id)
                for policy, index in plan.pending
            )
            return ApprovalText(ids, "".join(map(_text, approval_constraint(plan, ids))))

        return self._approvals.get((id(plan), session_id), plan, make)

    def _ruling(self, plan: Plan, ruling: Ruling) -> RulingText:
        decision = f'"decision":{{"type":"{ruling.decision}","reason":{_text(ruling.reason)},"approval_id":'
        allowed = ",".join([self._action(plan, index) for index in ruling.allowed])
        denied = ",".join(map(_text, denied_actions(plan, ruling)))
        return RulingText(decision, f'],"allowed_actions":[{allowed}],"denied_actions":[{denied}],"constraints":[')

    def _action(self, plan: Plan, index: int) -> str:
        action = plan.actions[index][1]
        text = self._actions.get(action.action_id)
        if text is None:
            text = self._actions[action.action_id] = _text(allowed_action(action))
        return text

    def _block(self, plan: Plan, index: int) -> str:
        text = self._blocks[index] = _text(injected_block(*plan.policy_set.blocks[index]))
        return text


class _Kept(dict[object, tuple[object, Made]]):
    """Texts by what they belong to, which is kept alive with them, since its address is the key."""

    __slots__ = ("_characters",)

    def __init__(self) -> None:
        self._characters = 0

    def get(self, key: object, owner: object, make: Callable[[], Made]) -> Made:  # type: ignore[override]
        """The text, made now where it is not kept."""
        found = super().get(key)
        if found is not None:
            return found[1]
        text = make()
        size = _ENTRY_CHARACTERS + sum(_characters(each) for each in text)
        if size <= MAX_CHARACTERS:
            if self._characters + size > MAX_CHARACTERS:
                self.clear()
                self._characters = 0
            self._characters += size
            self[key] = owner, text
        return text


def _characters(part: object) -> int:
    if isinstance(part, str):
        return len(part)
    return sum(map(_characters, part)) if isinstance(part, tuple) else 0


def _plan_text(plan: Plan) -> PlanText:
    limits = []
    for index, limit in enumerate(plan.limits):
        if limit.announced:
            terms = limit_terms(plan, limit)
            head = _text(terms).removesuffix("}}") + ',"remaining":'
            window = window_seconds(limit.policy)
            tail = None if window is None else f',"window_seconds":{window!r},"reset_after":'
            limits.append(LimitText(limit, index, head, tail))
    return PlanText(tuple(limits), ",".join(map(_text, scope_constraints(plan))))


def _limits(limits: tuple[LimitText, ...], states: tuple[LimitState, ...]) -> list[str]:
    told: list[str] = []
    for limit, index, head, window in limits:
        state = states[index]
        text = f"{head}{number(state.remaining)!r}"
        if window is not None:
            text += f"{window}{seconds(state.reset_after_ns or 0)!r}"
        if state.as_of_ns is not None:
            text += f',"as_of":"{format_timestamp(state.as_of_ns)}"'
        text += "}}"
        # An ancestor may share the count, and what stands the same need not be told twice.
        if not limit.member or text not in told:
            told.append(text)
    return told


def _text(part: Constraint | DeniedAction | msgspec.Struct | str | None) -> str:
    return json.dumps(msgspec.to_builtins(part), ensure_ascii=False, separators=(",", ":"))
