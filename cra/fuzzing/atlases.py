"""A small atlas with something of everything, for the targets that need one, and as a seed for the one that loads them."""

from __future__ import annotations

from typing import Any, Final

ATLAS_ID: Final = "com.example.desk"
ACTIONS: Final = ("desk.get", "desk.close", "desk.delete", "desk.pay", "desk.list")


def manifest() -> dict[str, Any]:
    """A fresh copy."""
    return {
        "atlas_version": "1.0",
        "atlas_id": ATLAS_ID,
        "version": "1.2.0",
        "name": "Desk",
        "description": "A support desk.",
        "authors": ["Somebody"],
        "capabilities": [
            {"capability_id": "desk.read", "name": "Read", "description": "", "actions": ["desk.get", "desk.list"]},
            {"capability_id": "desk.write", "name": "Write", "description": "", "actions": ["desk.close"]},
        ],
        "policies": policies(),
        "actions": [
            _action("desk.get", "low", {"id": {"type": "string", "maxLength": 8}}, idempotent=True),
            _action("desk.close", "medium", {"id": {"type": "string"}, "note": {"type": "string"}}),
            _action("desk.delete", "high", {"id": {"type": "string"}}),
            _action("desk.pay", "critical", {"amount": {"type": "number", "minimum": 0}}),
            _action("desk.list", "low", {}, rate_limit={"max_calls": 3, "window_seconds": 60}),
        ],
        "context_blocks": [
            {
                "context_id": "rules",
                "name": "Rules",
                "priority": 90,
                "content": "Be kind to stale tickets.",
                "keywords": ["stale", "Straße"],
                "risk_tiers": ["low"],
            },
            {
                "context_id": "all",
                "name": "All",
                "content": "Always.",
                "inject_mode": "always",
                "conditions": {"agents": ["b*"]},
            },
        ],
        "dependencies": {},
        "metadata": {},
    }


def policies() -> list[dict[str, Any]]:
    """One of every kind."""
    return [
        {"policy_id": "reads", "type": "allow", "actions": ["desk.get", "desk.list"], "priority": 5},
        {
            "policy_id": "office-hours",
            "type": "allow",
            "actions": ["desk.*"],
            "conditions": {
                "risk_tiers": ["low", "medium"],
                "agents": ["bot*"],
                "context_matches": {"env": "prod*"},
                "time_window": {"start": "08:00", "end": "18:30", "timezone": "Europe/Berlin", "days": ["mon", "thu"]},
            },
        },
        {
            "policy_id": "no-big-payments",
            "type": "deny",
            "actions": ["desk.pay"],
            "conditions": {
                "parameters": {"properties": {"amount": {"type": "number", "minimum": 100}}, "required": ["amount"]}
            },
            "reason": "too much",
        },
        {"policy_id": "ask-first", "type": "require_approval", "actions": ["desk.delete"]},
        {
            "policy_id": "few-calls",
            "type": "rate_limit",
            "actions": ["*"],
            "parameters": {"max_calls": 20, "window_seconds": 3600},
        },
        {
            "policy_id": "spend",
            "type": "budget",
            "actions": ["desk.pay"],
            "parameters": {"max_cost": 9.5, "cost_field": "amount"},
        },
        {
            "policy_id": "scoped",
            "type": "scope",
            "actions": ["desk.close"],
            "parameters": {"required_scopes": ["write"]},
        },
    ]


def _action(action_id: str, risk_tier: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "action_id": action_id,
        "name": action_id.title(),
        "description": "",
        "risk_tier": risk_tier,
        "parameters_schema": {"type": "object", "properties": properties, "additionalProperties": False},
        **more,
    }
