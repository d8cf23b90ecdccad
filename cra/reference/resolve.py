"""The combining rule: what the policies that match one action decide about it. PROTOCOL: Evaluation, per action.

Used by `cra.carp.plan` for a resolve (parameters unknown) and by `cra.execution` for a call (parameters known). Whether a
policy matches is settled before; this is only the order of the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from cra.carp.policy import Policy

Result = Literal["allow", "deny", "requires_approval"]
DefaultDecision = Literal["allow", "deny"]

DEFAULT_POLICY_ID = "default"
DENIED = "Denied by policy"
HELD = "Requires approval"
_STRICTNESS: tuple[Result, ...] = ("deny", "requires_approval", "allow")
CLASSES = ("deny", "scope", "require_approval", "rate_limit", "budget", "allow")


class Verdict(msgspec.Struct, frozen=True):
    """What the policies say of one action, limits aside.

    `policy` is the one that decided, None for the default. `pending` are the approvals still needed, in order, when held.
    `limits` are the limits that an allowed action still has to pass, and that decide before the default refuses; none where a
    deny, a scope or a missing approval has decided already.
    """

    result: Result
    policy: Policy | None = None
    reason: str | None = None
    pending: tuple[Policy, ...] = ()
    limits: tuple[Policy, ...] = ()

    @property
    def named_policy(self) -> str | None:
        """The id of the policy that decided, None for the default."""
        return self.policy.policy_id if self.policy else None

    @property
    def policy_id(self) -> str:
        """The same as traces have it, where the default has a name too."""
        return self.named_policy or DEFAULT_POLICY_ID


def evaluation_order(policy: Policy) -> tuple[int, int, str, int]:
    """Sort key: class, priority descending, atlas id, declaration order."""
    return CLASSES.index(policy.type), -policy.priority, policy.atlas_id, policy.index


def decide(matching: Iterable[Policy], granted: Callable[[Policy], bool], default: DefaultDecision) -> Verdict:
    """The verdict of the policies that match, given in evaluation order.

    A scope policy is among `matching` only where the session's scopes do not suffice; shadow policies never are.
    """
    by_class: dict[str, list[Policy]] = {name: [] for name in CLASSES}
    for policy in matching:
        by_class[policy.type].append(policy)
    refusing = by_class["deny"] + by_class["scope"]
    if refusing:
        return Verdict("deny", refusing[0], refusing[0].reason or DENIED)
    allowing = by_class["allow"][0] if by_class["allow"] else None
    limits = tuple(by_class["rate_limit"] + by_class["budget"])
    if allowing is None and default == "deny":
        return Verdict("deny", None, DENIED, limits=limits)
    pending = tuple(policy for policy in by_class["require_approval"] if not granted(policy))
    if pending:
        return Verdict("requires_approval", pending[0], HELD, pending=pending)
    return Verdict("allow", allowing, limits=limits)


def strictest(verdicts: Sequence[Verdict]) -> int:
    """Which verdict of a session and its ancestors counts: the index of a denial, else of a hold, else 0; of equals the first.

    A child is never allowed more than its parent, and nobody is asked for what an ancestor is denied. PROTOCOL: The host says
    who and where.
    """
    return min(range(len(verdicts)), key=lambda index: _STRICTNESS.index(verdicts[index].result))
