"""Which policies and conditions the tests have touched: decided by, held, failed.

Fed by `cra.testing.policies.run` with every action that an expectation names; it decides nothing. docs/testing-atlases.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from cra.atlas.manifest import Atlas
from cra.carp.conditions import Conditions
from cra.carp.policy import Policy
from cra.hotpath import conditions_hold
from cra.reference.match import Facts

_ONE_BY_ONE = ("risk_tiers", "agents", "capabilities", "time_window")


class PolicyCover(msgspec.Struct):
    """A policy: how many expectations it has decided. A shadow policy decides nothing, and is not counted."""

    atlas_id: str
    policy_id: str
    type: str
    shadow: bool
    decided: int = 0


class ConditionCover(msgspec.Struct):
    """A condition of a policy: how often it held and failed where an expectation was about an action of that policy."""

    atlas_id: str
    policy_id: str
    condition: str
    held: int = 0
    failed: int = 0


class Coverage:
    """What the tests have touched of some atlases. `policies` and `conditions` are in the order of declaration."""

    def __init__(self) -> None:
        self._policies: dict[tuple[str, str], PolicyCover] = {}
        self._conditions: dict[tuple[str, str, str], ConditionCover] = {}

    def add(self, atlas: Atlas) -> None:
        """Count the policies of an atlas, none of which is touched so far."""
        for policy in atlas.policies:
            named = (policy.atlas_id, policy.policy_id)
            self._policies.setdefault(named, PolicyCover(*named, policy.type, policy.shadow))
            for condition, _ in _parts(policy):
                self._conditions.setdefault((*named, condition), ConditionCover(*named, condition))

    def decided(self, atlas_id: str | None, policy_id: str) -> None:
        """An expectation named the result that this policy decided. `atlas_id` None: the one that has it."""
        for named, cover in self._policies.items():
            if named[1] == policy_id and atlas_id in (None, named[0]):
                cover.decided += 1

    def met(self, policies: Iterable[Policy], facts: Facts, parameters: dict[str, Any] | None) -> None:
        """An expectation was about an action of these policies, in these circumstances; `parameters` None: at a resolve."""
        for policy in policies:
            for condition, part in _parts(policy):
                cover = self._conditions.get((policy.atlas_id, policy.policy_id, condition))
                holds = _holds(policy, condition, part, facts, parameters)
                if cover is not None and holds is not None:
                    cover.held += holds
                    cover.failed += not holds

    @property
    def policies(self) -> list[PolicyCover]:
        return list(self._policies.values())

    @property
    def conditions(self) -> list[ConditionCover]:
        """Those of policies in shadow mode are here, too: that they held and failed can be seen before they count."""
        return list(self._conditions.values())

    @property
    def percent(self) -> float:
        """How much of what there is was touched: policies that decided, conditions that held, conditions that failed."""
        counted = [bool(policy.decided) for policy in self.policies if not policy.shadow]
        for condition in self.conditions:
            if not self._policies[condition.atlas_id, condition.policy_id].shadow:
                counted += [bool(condition.held), bool(condition.failed)]
        return 100.0 * sum(counted) / len(counted) if counted else 100.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "percent": round(self.percent, 1),
            "policies": msgspec.to_builtins(self.policies),
            "conditions": msgspec.to_builtins(self.conditions),
        }


def _parts(policy: Policy) -> Iterator[tuple[str, Conditions]]:
    """Each condition of a policy by its name, as conditions of its own."""
    conditions = policy.conditions
    for name in _ONE_BY_ONE:
        value = getattr(conditions, name)
        if value is not None:
            yield name, Conditions(**{name: value})
    for key, pattern in conditions.context_matches or ():
        yield f"context_matches/{key}", Conditions(context_matches=((key, pattern),))
    if policy.required_scopes:
        yield "required_scopes", Conditions()
    if conditions.parameters is not None:
        yield "parameters", Conditions(parameters=conditions.parameters)


def _holds(
    policy: Policy, condition: str, part: Conditions, facts: Facts, parameters: dict[str, Any] | None
) -> bool | None:
    """Whether one condition holds; None for one on parameters where there are none."""
    if condition == "required_scopes":
        return not policy.required_scopes <= facts.scopes
    if part.parameters is not None:
        return None if parameters is None else part.parameters.accepts(parameters)
    return conditions_hold(part, facts, restricting=policy.type != "allow")
