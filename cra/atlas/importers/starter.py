"""The policies an imported atlas starts with: reading is allowed, nothing else is, and the next steps are there in shadow mode.

Called by the importers, and by the folder writer for the page that explains them. A shadow policy is evaluated and traced but
changes nothing (PROTOCOL: Policy parameters), so it is a comment that can be tried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

JSONObject = dict[str, Any]


def starter_policies(actions: Sequence[Mapping[str, Any]]) -> list[JSONObject]:
    """Policies for actions by their `risk_tier`; none that would name no action."""
    by_tier: dict[str, list[str]] = {"low": [], "medium": [], "high": []}
    for action in actions:
        by_tier[action["risk_tier"]].append(action["action_id"])
    return list(_policies(by_tier["low"], by_tier["medium"], by_tier["high"]))


def _policies(reads: list[str], changes: list[str], destructive: list[str]) -> Iterator[JSONObject]:
    if destructive:
        yield {
            "policy_id": "deny-destructive",
            "name": "Destructive actions are refused",
            "description": "What destroys something stays refused, whatever another policy allows: deny always wins. Take an "
            "action out of the list before you allow it.",
            "type": "deny",
            "priority": 100,
            "actions": destructive,
            "reason": "Destructive actions are refused",
        }
    if reads:
        yield {
            "policy_id": "allow-reads",
            "name": "Reading is allowed",
            "description": "The import took these for actions that change nothing. Take out what an agent should not see.",
            "type": "allow",
            "actions": reads,
        }
    if changes:
        yield {
            "policy_id": "allow-changes",
            "name": "Changes are allowed",
            "description": "No effect yet, and what no policy allows is denied. Keep the actions that an agent needs, then "
            'remove "mode".',
            "type": "allow",
            "actions": changes,
            "mode": "shadow",
        }
        yield {
            "policy_id": "approve-changes",
            "name": "Changes wait for a person",
            "description": "No effect yet. Enforce it together with allow-changes, and every change waits until somebody has "
            "approved it: an approval does not replace an allow.",
            "type": "require_approval",
            "actions": changes,
            "reason": "Changes wait for a person",
            "mode": "shadow",
        }
        yield {
            "policy_id": "limit-changes",
            "name": "Changes are limited",
            "description": "No effect yet. Enforced, it admits 30 changes an hour for each agent, all of these actions together.",
            "type": "rate_limit",
            "actions": changes,
            "parameters": {"max_calls": 30, "window_seconds": 3600, "key": "agent"},
            "mode": "shadow",
        }
