"""An atlas folder with tests, as the tests of the policy tests make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.decisions import manifest, rule

RULES = [
    rule("reads", "allow", "*.get", "*.list"),
    rule("pays", "allow", "pay.send", conditions={"agents": ["clerk*"]}),
    rule("cap", "deny", "pay.send", reason="Too much", conditions={"parameters": {
        "properties": {"amount": {"type": "number", "exclusiveMinimum": 100}}, "required": ["amount"]}}),
    rule("sign", "require_approval", "pay.send", reason="Somebody signs", conditions={"context_matches": {"env": "prod"}}),
    rule("member", "scope", "file.*", parameters={"required_scopes": ["files"]}),
    rule("slow", "rate_limit", "file.get", parameters={"max_calls": 2, "window_seconds": 60}),
    rule("later", "deny", "file.list", mode="shadow"),
]  # fmt: skip
MANIFEST = manifest(
    "file.get",
    "file.list",
    {"action_id": "pay.send", "name": "Pay", "description": "Pays", "returns_schema": {"type": "object"},
     "parameters_schema": {"type": "object", "properties": {"amount": {"type": "number"}}}},
    rules=RULES,
    context_blocks=[
        {"context_id": "manual", "name": "Manual", "content": "Read", "priority": 10},
        {"context_id": "money", "name": "Money", "content": "Care", "priority": 20, "keywords": ["pay"]},
    ],
)  # fmt: skip


@pytest.fixture
def atlas_with(tmp_path: Path) -> Callable[..., Path]:
    """`atlas_with(test, …)` makes the folder of an atlas whose only file of tests holds these."""

    def make(*tests: dict[str, Any], name: str = "one.policy.json", **fields: Any) -> Path:
        folder = tmp_path / "atlas"
        (folder / "tests").mkdir(parents=True, exist_ok=True)
        (folder / "atlas.json").write_text(json.dumps(MANIFEST))
        named = [{"name": f"test {number}", **each} for number, each in enumerate(tests)]
        (folder / "tests" / name).write_text(json.dumps({"policy_tests": 1, "tests": named, **fields}))
        return folder

    return make
