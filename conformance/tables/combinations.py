"""Every combination of the six classes of policies on one action, group `policy-combinations`. PROTOCOL: Evaluation.

The limits are exhausted beforehand, by another action that shares them. `_decided` is the combining rule as the protocol has it.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from conformance.tables.table import (
    Group,
    atlas,
    budget,
    error,
    execute,
    policy,
    rate,
    register,
    resolve,
    session,
    step,
    taken,
)

RULE = "the first class with a matching policy decides"
GRANTED = "a grant replaces neither an allow, a limit nor a deny"
ACTION, OTHER = "shop.a", "shop.b"
POLICIES: dict[str, Any] = {
    "deny": policy("deny", "deny", [ACTION]),
    "scope": policy("scope", "scope", [ACTION], parameters={"required_scopes": ["w"]}),
    "approval": policy("require_approval", "approval", [ACTION]),
    "rate": rate(1, 60, key="agent"),
    "budget": budget(max_cost=1, cost=1, key="agent"),
    "allow": policy("allow", "allow", [ACTION]),
}
ALLOW_OTHER = policy("allow", "other", [OTHER])


def _decided(kinds: set[str]) -> tuple[str, str | None, str | None]:
    """The result for an action of these policies, its reason and its policy (None: the protocol does not say)."""
    if "deny" in kinds:
        return "denied", "Denied by policy", "deny"
    if "scope" in kinds:
        return "denied", "Denied by policy", "scope"
    if "approval" in kinds and "allow" not in kinds:
        return "denied", None, None
    if "approval" in kinds:
        return "held", "Requires approval", "approval"
    if "rate" in kinds:
        return "limited", "rate_limit_exceeded", "rate"
    if "budget" in kinds:
        return "limited", "budget_exceeded", "budget"
    return ("allowed", None, None) if "allow" in kinds else ("denied", None, None)


def _at_execute(result: str, policy_id: str | None, allowed: bool) -> Any:
    if result == "allowed":
        return {"status": "success"}
    if result == "held":
        return error("ACTION_REQUIRES_APPROVAL", http_status=423, recoverable=True)
    if result == "denied":
        return {"error": {"http_status": 403}} if policy_id else {"error": {}}
    # Without an allow it is refused twice over; which of the two `execute` names is not said.
    return error("RATE_LIMIT_EXCEEDED" if policy_id == "rate" else "BUDGET_EXCEEDED") if allowed else {"error": {}}


def _case(group: Group, kinds: tuple[str, ...], granted: bool) -> None:
    effective = set(kinds) - {"approval"} if granted else set(kinds)
    result, reason, policy_id = _decided(effective)
    denial = {"action_id": ACTION}
    if reason is not None:
        denial["reason"] = reason
    if policy_id is not None:
        denial["policy_id"] = policy_id
    # The other action has spent what the limits had.
    others = ["denied_actions"] if {"rate", "budget"} & set(kinds) else []
    denied = {"$contains": [denial]} if others else [denial]
    allowed = (
        {"$contains": [{"action_id": ACTION}]} if result == "allowed" else [] if others else [{"action_id": OTHER}]
    )
    expected = {"allowed_actions": allowed, **({} if result == "allowed" else {"denied_actions": denied})}
    approve = [
        step("request_approval", approval_id=taken("before/decision/approval_id")),
        step("approve", approval_id=taken("before/decision/approval_id")),
    ]
    steps = [session(), register(ACTION), register(OTHER), resolve("before"), *(approve if granted else [])]
    steps += [execute(None, OTHER, resolution="before"), resolve("r"), execute("x", ACTION)]
    manifest = atlas([ACTION, OTHER], [ALLOW_OTHER, *(POLICIES[kind] for kind in kinds)])
    name = "+".join(kinds) or "none"
    group.script(
        f"{name}+granted" if granted else name,
        GRANTED if granted else RULE,
        [manifest],
        steps,
        {"r": expected, "x": _at_execute(result, policy_id, "allow" in kinds)},
    )


def groups() -> list[Group]:
    group = Group("policy-combinations", "CRA-Full")
    for size in range(len(POLICIES) + 1):
        for kinds in combinations(POLICIES, size):
            _case(group, kinds, granted=False)
    for kinds in (("approval", "allow"), ("approval", "rate", "allow"), ("approval", "budget", "allow")):
        _case(group, kinds, granted=True)
    _case(group, ("approval", "rate", "budget", "allow"), granted=True)
    return [group]
