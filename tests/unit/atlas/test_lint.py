"""Lint: each finding at its place, and nothing to say about an atlas that is right. PROTOCOL: Atlas/1.0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cra.atlas.lint import lint_atlas
from cra.atlas.loader import load_atlas
from cra.errors import AtlasNotFound

Make = Callable[..., Any]

ALLOW = {"policy_id": "allow", "type": "allow", "actions": ["item.*"]}
TYPED = {"properties": {"amount": {"type": "number", "maximum": 5}}, "required": ["amount"]}


def action(action_id: str = "item.get", **fields: Any) -> dict[str, Any]:
    """An action."""
    return {"action_id": action_id, "name": "A", "description": "", **fields}


def lint(manifest: Any) -> list[tuple[str, str]]:
    """Codes and places of the findings."""
    return [(finding.code, finding.path) for finding in lint_atlas(manifest)]


def test_a_good_atlas_has_no_findings(make_manifest: Make) -> None:
    """References that lead somewhere, typed conditions, matching patterns: nothing to say."""
    manifest = make_manifest(
        actions=[action(rate_limit={"max_calls": 1, "window_seconds": 1}), action("item.put")],
        policies=[
            ALLOW,
            {"policy_id": "deny", "type": "deny", "actions": ["item.p?t"], "conditions": {"parameters": TYPED}},
            {"policy_id": "all", "type": "deny", "conditions": {"capabilities": ["items"]}},
        ],
        capabilities=[{"capability_id": "items", "name": "I", "actions": ["item.get"]}],
        context_blocks=[
            {
                "context_id": "a",
                "name": "A",
                "content": "",
                "also_inject": ["b"],
                "inject_when": ["item.put"],
                "conditions": {"capabilities": ["items"]},
            },
            {"context_id": "b", "name": "B", "content": ""},
        ],
    )
    assert [] == lint(manifest)


def test_a_path_a_mapping_and_a_loaded_atlas_are_linted_alike(make_folder: Make, make_manifest: Make) -> None:
    """Findings do not depend on how the atlas arrives; what is no atlas raises as loading does."""
    fields = {"actions": [action()], "surprise": 1}
    expected = [("unknown_field", "/surprise"), ("no_allow_policy", "/policies")]
    root: Path = make_folder(**fields)
    for source in (root, make_manifest(**fields), load_atlas(root)):
        assert expected == lint(source)
    with pytest.raises(AtlasNotFound):
        lint_atlas(root / "missing.json")


def test_the_real_atlases_get_the_lint_they_deserve(data: Path) -> None:
    """Both have actions that nothing allows; one restricts actions that it does not define."""
    development = lint(data / "atlases" / "cra-development.json")
    assert [
        ("no_allow_policy", "/policies"),
        ("unmatched_pattern", "/policies/1/actions/0"),
        ("unmatched_pattern", "/policies/2/actions/0"),
    ] == [finding for finding in development if finding[0] != "action_id_not_strict"]
    assert ("no_allow_policy", "/policies") in lint(data / "atlases" / "cra-agent-integration.json")
    assert [("missing_context_file", "/context_packs/0/files/0")] == lint(
        data / "golden" / "simple-resolve" / "atlas.json"
    )


@pytest.mark.parametrize("policies", [[], [{**ALLOW, "mode": "shadow"}], [{"policy_id": "d", "type": "deny"}]])
def test_actions_that_nothing_allows_are_found(make_manifest: Make, policies: list[Any]) -> None:
    """`no_allow_policy`: no allow at all, or none that counts."""
    assert [("no_allow_policy", "/policies")] == lint(make_manifest(actions=[action()], policies=policies))


def test_an_atlas_of_restrictions_only_needs_no_allow(make_manifest: Make) -> None:
    """An overlay without actions may restrict whatever it wants: its patterns are meant for others."""
    assert [] == lint(make_manifest(policies=[{"policy_id": "d", "type": "deny", "actions": ["*.delete"]}]))


def test_a_pattern_that_matches_nothing_is_found(make_manifest: Make) -> None:
    """`unmatched_pattern`: an allow then allows nothing; a restriction may be meant for other atlases, and the text says so."""
    allow = {**ALLOW, "actions": ["item.get", "itm.*"]}
    deny = {"policy_id": "d", "type": "deny", "actions": ["other.*"]}
    found = lint_atlas(make_manifest(actions=[action()], policies=[allow, deny]))
    assert ["/policies/0/actions/1", "/policies/1/actions/0"] == [finding.path for finding in found]
    assert "it allows nothing" in found[0].message
    assert "unless it is meant for the actions of other atlases" in found[1].message


def test_an_allow_without_actions_allows_nothing(make_manifest: Make) -> None:
    """In an atlas without actions an allow is pointless, whatever it names."""
    assert [("unmatched_pattern", "/policies/0/actions/0")] == lint(make_manifest(policies=[ALLOW]))


def test_capabilities_that_nobody_defines_are_found(make_folder: Make) -> None:
    """`unknown_capability`: in the conditions of policies, packs and blocks, once for each."""
    conditions = {"capabilities": ["known", "typo"]}
    root = make_folder(
        {"a.md": "", "b.md": ""},
        capabilities=[{"capability_id": "known", "name": "K"}],
        policies=[{"policy_id": "d", "type": "deny", "conditions": conditions}],
        context_packs=[{"pack_id": "p", "name": "P", "files": ["a.md", "b.md"], "conditions": conditions}],
        context_blocks=[{"context_id": "c", "name": "C", "content": "", "conditions": conditions}],
    )
    assert [
        ("unknown_capability", "/policies/0/conditions/capabilities/1"),
        ("unknown_capability", "/context_packs/0/conditions/capabilities/1"),
        ("unknown_capability", "/context_blocks/0/conditions/capabilities/1"),
    ] == lint(root)


def test_references_that_lead_nowhere_are_found(make_folder: Make) -> None:
    """`unknown_reference`: actions and packs of capabilities, also_inject, inject_when; packs and their files can be pulled."""
    root = make_folder(
        {"a.md": "", "b.md": ""},
        actions=[action()],
        policies=[ALLOW],
        capabilities=[
            {"capability_id": "c", "name": "C", "actions": ["item.get", "item.gone"], "context_packs": ["p", "q"]}
        ],
        context_packs=[{"pack_id": "p", "name": "P", "files": ["a.md", "b.md"]}],
        context_blocks=[
            {
                "context_id": "b",
                "name": "B",
                "content": "",
                "also_inject": ["b", "p", "p/a.md", "gone"],
                "inject_when": ["item.get", "item.gone"],
            }
        ],
    )
    assert [
        ("unknown_reference", "/capabilities/0/actions/1"),
        ("unknown_reference", "/capabilities/0/context_packs/1"),
        ("unknown_reference", "/context_blocks/0/also_inject/3"),
        ("unknown_reference", "/context_blocks/0/inject_when/1"),
    ] == lint(root)


def test_a_condition_on_what_is_allowed_anyway_is_found(make_manifest: Make) -> None:
    """`redundant_allow_condition`: another allow has no conditions, so the parameters do not matter."""
    small = {"policy_id": "small", "type": "allow", "actions": ["item.*"], "conditions": {"parameters": TYPED}}
    (found,) = lint_atlas(make_manifest(actions=[action()], policies=[small, ALLOW]))
    assert ("redundant_allow_condition", "/policies/0/conditions/parameters") == (found.code, found.path)
    assert "policy 'allow' allows 'item.get' whatever its parameters" in found.message


@pytest.mark.parametrize(
    "other",
    [
        {**ALLOW, "mode": "shadow"},
        {**ALLOW, "actions": ["item.put"]},
        {**ALLOW, "conditions": {"risk_tiers": ["low"]}},
        {"policy_id": "d", "type": "deny", "actions": ["item.get"]},
    ],
)
def test_a_condition_that_restricts_something_is_not(make_manifest: Make, other: dict[str, Any]) -> None:
    """No such finding where the other policy is in shadow, elsewhere, conditional, or no allow."""
    small = {"policy_id": "small", "type": "allow", "actions": ["item.get"], "conditions": {"parameters": TYPED}}
    manifest = make_manifest(actions=[action(), action("item.put")], policies=[small, other])
    assert "redundant_allow_condition" not in {code for code, _ in lint(manifest)}


def test_an_untyped_property_is_found(make_manifest: Make) -> None:
    """`untyped_condition`: once for each property, unless the action's schema has the type in every action concerned."""
    typed = {"type": "object", "properties": {"amount": {"type": "integer"}, "note": {}}}
    condition = {"properties": {"amount": {"maximum": 5}, "note": {"maxLength": 3}}}
    deny = {"policy_id": "d", "type": "deny", "actions": ["item.*"], "conditions": {"parameters": condition}}
    one = make_manifest(actions=[action(parameters_schema=typed)], policies=[ALLOW, deny])
    two = make_manifest(actions=[action(parameters_schema=typed), action("item.put")], policies=[ALLOW, deny])
    base = "/policies/1/conditions/parameters/properties"
    assert [("untyped_condition", f"{base}/note")] == lint(one)
    assert {("untyped_condition", f"{base}/amount"), ("untyped_condition", f"{base}/note")} == set(lint(two))
    assert 2 == len(lint(two))


def test_an_untyped_property_of_an_overlay_is_found(make_manifest: Make) -> None:
    """Where the actions are those of other atlases, nothing but the condition can give the type."""
    deny = {"policy_id": "d", "type": "deny", "conditions": {"parameters": {"properties": {"a": {"minimum": 1}}}}}
    assert [("untyped_condition", "/policies/0/conditions/parameters/properties/a")] == lint(
        make_manifest(policies=[deny])
    )


def test_a_condition_on_a_parameter_that_no_action_has_is_found(make_manifest: Make) -> None:
    """`unknown_parameter`: a misspelt name switches a deny off; wherever it stands, and not where the parameter may exist."""
    kilos = {"properties": {"kilos": {"type": "number", "minimum": 100}}, "required": ["kilos"]}
    kilo = {"properties": {"kilo": {"type": "number", "minimum": 100}}, "required": ["kilo"]}

    def found(condition: Any, *schemas: Any) -> list[Any]:
        deny = {"policy_id": "d", "type": "deny", "actions": ["item.*"], "conditions": {"parameters": condition}}
        actions = [action(f"item.a{n}", parameters_schema=schema) for n, schema in enumerate(schemas)]
        manifest = make_manifest(actions=actions, policies=[ALLOW, deny])
        return [path for code, path in lint(manifest) if code == "unknown_parameter"]

    has = {"properties": {"kilos": {"type": "number"}}}
    base = "/policies/1/conditions/parameters"
    assert [f"{base}/properties/kilo", f"{base}/required/0"] == found(kilo, has)
    assert [f"{base}/not/properties/kilo", f"{base}/not/required/0"] == found({"not": kilo}, has)
    assert [f"{base}/anyOf/1/required/0"] == found({"anyOf": [kilos, {"required": ["kilo"]}]}, has, has)
    assert [] == found(kilos, has)
    assert [] == found({"properties": {"kilos": {"type": "object", "required": ["unit"]}}}, has)
    assert [] == found(kilo, has, {"properties": {"kilo": {}}})
    assert [] == found(kilo, {"type": "object"})
    assert [] == found(kilo, has | {"allOf": [{"properties": {"kilo": {}}}]})
    assert [] == found(kilo)


def test_parts_of_schemas_that_check_nothing_are_found(make_manifest: Make) -> None:
    """`unknown_keyword` and `unknown_format`, in parameters and in results; known ones are not."""
    manifest = make_manifest(
        actions=[
            action(
                parameters_schema={
                    "properties": {"a": {"requird": True, "format": "date-time"}, "b": {"format": "colour"}}
                },
                returns_schema={"x-order": 1},
            )
        ],
        policies=[ALLOW],
    )
    assert [
        ("unknown_keyword", "/actions/0/parameters_schema/properties/a/requird"),
        ("unknown_format", "/actions/0/parameters_schema/properties/b/format"),
        ("unknown_keyword", "/actions/0/returns_schema/x-order"),
    ] == lint(manifest)
