"""What the tables are made of: cases, and short ways to write manifests and scripts. Used by the modules beside it."""

from __future__ import annotations

from typing import Any

from conformance.tables.quotes import section_of

Json = Any
ATLAS_ID = "com.example.shop"


class Group:
    """The cases of one group; `id`s get its name in front."""

    def __init__(self, name: str, level: str) -> None:
        self.name = name
        self.level = level
        self.cases: list[dict[str, Json]] = []

    def add(
        self,
        name: str,
        sentence: str,
        operation: str,
        question: Json,
        expected: Json,
        *,
        section: str | None = None,
        level: str | None = None,
    ) -> None:
        """One case. `sentence` is quoted from docs/protocol.md, or it is a keyword at `section` of a published schema."""
        self.cases.append(
            {
                "id": f"{self.name}/{name}",
                "level": level or self.level,
                "section": section or section_of(sentence),
                "sentence": sentence,
                "operation": operation,
                "input": question,
                "expected": expected,
            }
        )

    def script(
        self,
        name: str,
        sentence: str,
        atlases: list[Json],
        steps: list[Json],
        expected: Json,
        *,
        level: str | None = None,
        **world: Json,
    ) -> None:
        """A case of the operation `session`. `atlases` are manifests, or `overlay(manifest)`."""
        loaded = [each if "manifest" in each else {"manifest": each} for each in atlases]
        question = {"atlases": loaded, **world, "steps": steps}
        self.add(name, sentence, "session", question, expected, level=level)


def overlay(manifest: Json) -> Json:
    """An atlas that is part of every selection."""
    return {"manifest": manifest, "overlay": True}


def atlas(actions: list[Json], policies: list[Json] | None = None, atlas_id: str = ATLAS_ID, **fields: Json) -> Json:
    """A manifest; an action is an id or a mapping with one."""
    written = [{"action_id": each} if isinstance(each, str) else each for each in actions]
    return {
        "atlas_version": "1.0",
        "atlas_id": atlas_id,
        "version": "1.0.0",
        "name": "Example",
        "description": "An example",
        "actions": [{"name": each["action_id"], "description": "Does it", **each} for each in written],
        "policies": policies or [],
        **fields,
    }


def policy(kind: str, policy_id: str | None = None, actions: list[str] | None = None, **fields: Json) -> Json:
    """A policy; `allow` is for every action unless it says otherwise."""
    if actions is None and kind == "allow":
        actions = ["*"]
    named = {"policy_id": policy_id or kind, "type": kind}
    return {**named, **({} if actions is None else {"actions": actions}), **fields}


def rate(max_calls: int, window: float, policy_id: str = "rate", key: str | None = None, **fields: Json) -> Json:
    parameters = {"max_calls": max_calls, "window_seconds": window, **({} if key is None else {"key": key})}
    return policy("rate_limit", policy_id, parameters=parameters, **fields)


def budget(policy_id: str = "budget", actions: list[str] | None = None, **parameters: Json) -> Json:
    return policy("budget", policy_id, actions, parameters=parameters)


def session(**facts: Json) -> Json:
    return {"do": "create_session", **facts}


def resolve(name: str | None = "r", **ask: Json) -> Json:
    return {"do": "resolve", **_named(name), **ask}


def register(action_id: str, behaviour: str = "echo", **more: Json) -> Json:
    return {"do": "register", "action_id": action_id, "behaviour": behaviour, **more}


def execute(name: str | None, action_id: str = "shop.buy", **call: Json) -> Json:
    return {"do": "execute", **_named(name), "action_id": action_id, **call}


def step(do: str, name: str | None = None, **arguments: Json) -> Json:
    return {"do": do, **_named(name), **arguments}


def _named(name: str | None) -> Json:
    return {} if name is None else {"as": name}


def taken(path: str) -> Json:
    """A part of an earlier result: `r/decision/approval_id`."""
    return {"$from": path}


def error(code: str, **more: Json) -> Json:
    return {"error": {"code": code, **more}}


def outcome(actions: list[str], denied: list[tuple[str, str]] | None = None, kind: str | None = None) -> Json:
    """A resolution that allows exactly these actions, in this order, and denies those, each by its policy (`""`: any)."""
    refused = denied or []
    decision = kind or ("deny" if not actions else "partial" if refused else "allow")
    return {
        "decision": {"type": decision},
        "allowed_actions": [{"action_id": each} for each in actions],
        "denied_actions": [{"action_id": name, **({"policy_id": by} if by else {})} for name, by in refused],
    }


DYNAMIC = "$dynamic"
ABSENT = "$absent"
