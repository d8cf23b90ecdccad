"""The project's schemas: the published ones, with the stated additions and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from cra import schemas

DATA = Path(__file__).resolve().parents[2] / "data"
WIDE_ID = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"

ADDED: dict[str, set[str]] = {
    "carp-request": {"/$defs/Execution/properties/action_id"},
    "carp-resolution": {"/$defs/AllowedAction/properties/action_id"},
    "trace-event": {"/$defs/EventType", "/$defs/PolicyEvaluatedPayload/properties/result"},
    "atlas-manifest": {
        "/properties/context_blocks",
        "/$defs/ContextBlock",
        "/$defs/ContextConditions",
        "/$defs/Action/properties/action_id",
        "/$defs/Action/properties/rate_limit",
        "/$defs/Capability/properties/capability_id",
        "/$defs/ContextPack/properties/pack_id",
        "/$defs/ContextPack/properties/conditions",
        "/$defs/Policy/properties/type",
        "/$defs/Policy/properties/policy_id",
        "/$defs/Policy/properties/reason",
        "/$defs/Policy/properties/mode",
        "/$defs/Conditions/properties/parameters",
        "/$defs/Conditions/properties/time_window",
    },
}
"""Where each schema differs from the published one."""


def published(name: str) -> dict[str, Any]:
    """The published schema."""
    schema: dict[str, Any] = json.loads((DATA / "spec" / f"{name}.schema.json").read_text())
    return schema


def differences(ours: Any, theirs: Any, allowed: set[str], at: str = "") -> list[str]:
    """The pointers at which two documents differ, except at the allowed ones."""
    if at in allowed or ours == theirs:
        return []
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return [at]
    return [
        found
        for key in {**theirs, **ours}
        for found in differences(ours.get(key), theirs.get(key), allowed, f"{at}/{key}")
    ]


@pytest.mark.parametrize("name", ADDED)
def test_only_the_stated_places_differ_from_the_published_schema(name: str) -> None:
    """Everything else is the published contract, word for word; and each stated place does differ."""
    ours, theirs = schemas.load(name), published(name)
    assert [] == differences(ours, theirs, ADDED[name])
    for place in ADDED[name]:
        assert differences(ours, theirs, ADDED[name] - {place}), f"{place} does not differ"


@pytest.mark.parametrize("name", ADDED)
def test_each_is_a_valid_schema(name: str) -> None:
    """All of them are JSON Schema 2020-12 without anything that backtracks."""
    jsonschema_rs.Draft202012Validator(schemas.load(name), pattern_options=jsonschema_rs.RegexOptions())


def test_identifiers_are_widened_alike() -> None:
    """Action and capability ids have one pattern in all schemas."""
    manifest = schemas.load("atlas-manifest")["$defs"]
    patterns = {
        manifest["Action"]["properties"]["action_id"]["pattern"],
        manifest["Capability"]["properties"]["capability_id"]["pattern"],
        schemas.load("carp-request")["$defs"]["Execution"]["properties"]["action_id"]["pattern"],
        schemas.load("carp-resolution")["$defs"]["AllowedAction"]["properties"]["action_id"]["pattern"],
    }
    assert {WIDE_ID} == patterns


def test_a_published_enumeration_keeps_its_values() -> None:
    """What the published trace schema names is still there; the runtime's own names are added."""
    ours, theirs = schemas.load("trace-event")["$defs"], published("trace-event")["$defs"]
    assert set(theirs["EventType"]["enum"]) < set(ours["EventType"]["enum"])
    assert {"approval.requested", "runtime.lost"} < set(ours["EventType"]["enum"])
    result = "PolicyEvaluatedPayload"
    assert set(theirs[result]["properties"]["result"]["enum"]) < set(ours[result]["properties"]["result"]["enum"])


def test_the_golden_files_satisfy_both() -> None:
    """The golden atlas, request and resolution are valid by the published and by the project's schemas."""
    golden = DATA / "golden" / "simple-resolve"
    for name, file in (("atlas-manifest", "atlas.json"), ("carp-request", "request.json")):
        value = json.loads((golden / file).read_text())
        for schema in (schemas.load(name), published(name)):
            assert jsonschema_rs.Draft202012Validator(schema).is_valid(value)


def test_the_real_atlas_satisfies_the_projects_schema_only() -> None:
    """The development atlas is valid here; by the published schema its ids, inline context and reasons are not."""
    value = json.loads((DATA / "atlases" / "cra-development.json").read_text())
    assert jsonschema_rs.Draft202012Validator(schemas.load("atlas-manifest")).is_valid(value)
    assert not jsonschema_rs.Draft202012Validator(published("atlas-manifest")).is_valid(value)


def test_a_loaded_schema_is_the_callers_own() -> None:
    """Changing one changes no other."""
    schemas.load("trace-event").clear()
    assert "object" == schemas.load("trace-event")["type"]


@pytest.mark.parametrize("name", ["", "atlas", "../pyproject", "atlas-manifest.schema.json"])
def test_other_names_are_refused(name: str) -> None:
    """Only the schemas that there are can be loaded."""
    with pytest.raises(KeyError, match="there are atlas-manifest, carp-request"):
        schemas.load(name)
