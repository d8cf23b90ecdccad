"""`cra atlas`: valid or not, what is in it, and folders made from tool lists and API descriptions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cra

DATA = Path(__file__).parents[1] / "data"

TOOLS = {
    "tools": [
        {"name": "get_thing", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
        {"name": "drop_thing", "inputSchema": {"type": "object"}, "annotations": {"destructiveHint": True}},
    ]
}
SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "Things", "version": "1.0.0"},
    "paths": {"/things": {"get": {"operationId": "listThings", "responses": {"200": {"description": "ok"}}}}},
}


def test_a_valid_atlas_is_exit_code_0(run, golden):
    """A valid atlas is named with what it holds."""
    code, out, err = run("atlas", "validate", golden / "atlas.json")
    assert (0, "") == (code, err)
    assert "valid: com.cra.conformance.simple 1.0.0, 5 actions" in out


def test_findings_are_warnings(run):
    """What lint finds is shown and changes nothing about the exit code."""
    code, out, _ = run("atlas", "validate", DATA / "atlases" / "cra-development.json")
    assert 0 == code
    assert "finding" in out
    code, out, _ = run("atlas", "validate", DATA / "atlases" / "cra-development.json", "--json")
    document = json.loads(out)
    assert 0 == code
    assert document["valid"] is True
    assert {"code", "path", "message"} == document["findings"][0].keys()


def test_an_invalid_atlas_is_exit_code_1(run):
    """An invalid atlas is a no, with the place of the first error."""
    atlas = DATA / "atlases" / "cra-bootstrap.json"
    code, out, err = run("atlas", "validate", atlas)
    assert (1, "") == (code, err)
    assert "invalid: /policies/0" in out
    code, out, err = run("atlas", "validate", atlas, "--json")
    document = json.loads(out)
    assert (1, "") == (code, err)
    assert document["valid"] is False
    assert "INVALID_POLICY" == document["error"]["code"]


def test_strict_turns_loose_things_into_errors(run, golden, tmp_path):
    """With `--strict` an unknown field is an error; without, a finding."""
    manifest = json.loads((golden / "atlas.json").read_text()) | {"colour": "blue"}
    path = tmp_path / "atlas.json"
    path.write_text(json.dumps(manifest))
    assert 0 == run("atlas", "validate", path).code
    code, out, _ = run("atlas", "validate", path, "--strict")
    assert 1 == code
    assert "colour" in out


def test_a_path_that_does_not_exist_is_exit_code_2(run):
    """A mistyped path is a wrong call, no invalid atlas."""
    for command in ("validate", "show"):
        code, out, err = run("atlas", command, "no-such-folder")
        assert (2, "", 1) == (code, out, err.count("\n"))


def test_showing_an_invalid_atlas_is_a_wrong_call(run):
    """There is nothing to show of an invalid atlas."""
    code, out, err = run("atlas", "show", DATA / "atlases" / "cra-bootstrap.json")
    assert (2, "", 1) == (code, out, err.count("\n"))


def test_an_atlas_is_shown_in_full(run, golden, tmp_path):
    """Actions by risk, policies in evaluation order, context with what injects it, capabilities, dependencies."""
    manifest = json.loads((golden / "atlas.json").read_text())
    manifest["dependencies"] = {"com.example.base": "^1.0.0"}
    manifest["actions"][0]["rate_limit"] = {"max_calls": 7, "window_seconds": 60}
    manifest["actions"][0]["requires_confirmation"] = True
    manifest["policies"] = [
        {"policy_id": "open", "type": "allow", "actions": ["resource.*"]},
        {"policy_id": "spend", "type": "budget", "parameters": {"max_cost": 5, "cost": 1}},
        {"policy_id": "who", "type": "scope", "parameters": {"required_scopes": ["write"]}},
        {
            "policy_id": "never",
            "type": "deny",
            "actions": ["*.delete"],
            "reason": "Gone is gone",
            "conditions": {"risk_tiers": ["high"]},
            "mode": "shadow",
        },
    ]
    block = {"name": "B", "content": "x", "content_type": "text/plain", "priority": 5}
    manifest["context_blocks"] = [
        block | {"context_id": "kept", "inject_mode": "always"},
        block | {"context_id": "found", "keywords": ["issue", "bug"], "risk_tiers": ["critical"]},
    ]
    path = tmp_path / "atlas.json"
    path.write_text(json.dumps(manifest))

    code, out, err = run("atlas", "show", path)
    assert (0, "") == (code, err)
    rows = [line.split() for line in out.splitlines()]
    first = [row[0] for row in rows if row]
    policies = [name for name in first if name in ("never", "who", "spend", "open", "action:resource.get")]
    assert ["never", "who", "action:resource.get", "spend", "open"] == policies
    for words in (
        "7 calls in 60 s",
        "asks for confirmation",
        "shadow: changes nothing; when risk_tiers; Gone is gone",
        "scopes write",
        "5 in a session, per action",
        "7 in 60 s, per action",
        "keyword issue, bug or risk tier critical",
        "always",
        "com.example.base",
    ):
        assert words in out


def test_a_bare_atlas_is_shown(run, tmp_path):
    """An atlas with nothing in it has no tables."""
    path = tmp_path / "atlas.json"
    path.write_text(
        json.dumps(
            {"atlas_version": "1.0", "atlas_id": "com.example", "version": "1.0.0", "name": "N", "description": "D"}
        )
    )
    code, out, _ = run("atlas", "show", path)
    assert 0 == code
    assert "0 actions, 0 policies, 0 context blocks, 0 capabilities" in out


@pytest.mark.parametrize(("kind", "document", "action"), [("mcp", TOOLS, "get_thing"), ("openapi", SPEC, "listThings")])
def test_an_import_makes_an_atlas(run, tmp_path, kind, document, action):
    """The folder that an import writes is a valid atlas with the new id."""
    source, out_folder = tmp_path / "source.json", tmp_path / "out"
    source.write_text(json.dumps(document))
    code, out, err = run("atlas", "import", kind, source, "--id", "com.example.things", "--out", out_folder)
    assert (0, "") == (code, err)
    assert "com.example.things" in out
    atlas = cra.load_atlas(out_folder)
    assert f"things.{action}" in {entry.action_id for entry in atlas.actions}
    assert 0 == run("atlas", "validate", out_folder).code


@pytest.mark.parametrize("kind", ["mcp", "openapi"])
@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"tools": 3}'])
def test_what_cannot_be_imported_is_one_line(run, tmp_path, kind, content):
    """A document that is no tool list or API description is exit code 2, and no folder is left behind."""
    source, out_folder = tmp_path / "source.json", tmp_path / "out"
    source.write_text(content)
    code, out, err = run("atlas", "import", kind, source, "--id", "com.example.things", "--out", out_folder)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert not out_folder.exists()


def test_an_import_overwrites_nothing(run, tmp_path):
    """A folder that is there already is left as it is."""
    source = tmp_path / "source.json"
    source.write_text(json.dumps(TOOLS))
    code, _, err = run("atlas", "import", "mcp", source, "--id", "com.example.things", "--out", tmp_path)
    assert (2, 1) == (code, err.count("\n"))
    assert [source] == list(tmp_path.iterdir())
