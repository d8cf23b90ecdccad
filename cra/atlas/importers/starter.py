"""The policies an imported atlas starts with: reading is allowed, nothing else is, and the next steps are there in shadow mode.

Called by the importers, and by the folder writer for the pages that explain them. A shadow policy is evaluated and traced but
changes nothing (PROTOCOL: Policy parameters), so it is a comment that can be tried out. That an action only reads is what its
server says of itself; where the name says otherwise, nobody is believed. The starter tests say what all of it comes to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

JSONObject = dict[str, Any]

DOUBTFUL = "check-reads"
"""The policy that holds the doubtful actions."""

# The first are destructive wherever they stand (`undeleted` is worth a look, too), the others only as a word of their own.
_DESTRUCTIVE_PARTS = re.compile(
    "delet|remov|destroy|purg|eras|wipe|truncat|terminat|uninstall|shutdown|overwrit|revok", re.IGNORECASE
)
_DESTRUCTIVE_WORDS = frozenset(
    ("cancel", "clean", "clear", "del", "disable", "discard", "drop", "exec", "execute", "flush", "kill", "prune", "reset",
     "rm", "stop", "unlink")
)  # fmt: skip
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def is_doubtful(action: Mapping[str, Any]) -> bool:
    """Whether an action is said to only read (tier `low`) and has a name that says it destroys something."""
    name = action["action_id"].partition(".")[2]
    words = {word.lower() for word in _WORD.findall(name)}
    return action["risk_tier"] == "low" and bool(_DESTRUCTIVE_PARTS.search(name) or words & _DESTRUCTIVE_WORDS)


def starter_policies(actions: Sequence[Mapping[str, Any]]) -> list[JSONObject]:
    """Policies for actions by their `risk_tier` and, where it is `low`, by their name; none that would name no action."""
    groups = _groups(actions)
    return list(_policies(groups["low"], groups["doubtful"], groups["medium"], groups["high"]))


def starter_tests(actions: Sequence[Mapping[str, Any]]) -> JSONObject:
    """Policy tests (docs/testing-atlases.md) that hold for `starter_policies` of the same actions."""
    groups = _groups(actions)
    reads, refused = groups["low"], groups["high"]
    others = groups["doubtful"] + groups["medium"]
    expected: JSONObject = {"only_allowed": reads}
    if reads:
        expected["allowed"] = dict.fromkeys(reads, "allow-reads")
    if refused or others:
        expected["denied"] = dict.fromkeys(refused, "deny-destructive") | dict.fromkeys(others, "default")
    return {
        "policy_tests": 1,
        "tests": [{"name": "What reads is allowed, and nothing else", "expect": expected}],
    }


def _groups(actions: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {"low": [], "doubtful": [], "medium": [], "high": []}
    for action in actions:
        groups["doubtful" if is_doubtful(action) else action["risk_tier"]].append(action["action_id"])
    return groups


def _policies(
    reads: list[str], doubtful: list[str], changes: list[str], destructive: list[str]
) -> Iterator[JSONObject]:
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
            "description": "The import took these for actions that change nothing, because their server says so: a hint of "
            "an MCP server, or the method GET. Nobody has checked that. Review the list, and take out what you do not trust "
            "and what an agent should not see.",
            "type": "allow",
            "actions": reads,
        }
    if doubtful:
        yield {
            "policy_id": DOUBTFUL,
            "name": "Claims to be read-only, please check",
            "description": "No effect yet. The server says that these change nothing, and their names say otherwise. Take out "
            'those that do change something, then remove "mode".',
            "type": "allow",
            "actions": doubtful,
            "mode": "shadow",
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
