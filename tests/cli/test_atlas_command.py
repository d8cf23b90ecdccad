"""`cra atlas`: valid or not, what is in it, and folders made from tool lists and API descriptions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cra
from cra.atlas.manifest import Finding
from cra.cli.findings import group_findings

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"

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
        "shadow: changes nothing; when risk_tiers: high; Gone is gone",
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


def _conditional(golden: Path, tmp_path: Path) -> Path:
    """The golden atlas with policies and context under every kind of condition."""
    schema = {"properties": {"amount": {"type": "integer", "minimum": 500}}, "required": ["amount"]}
    conditions = {
        "office": {
            "time_window": {"days": ["mon", "tue", "fri"], "start": "09:00", "end": "17:30", "timezone": "Asia/Tokyo"}
        },
        "always-window": {"time_window": {}},
        "seconds": {"time_window": {"start": "22:00:05", "end": "06:00"}},
        "big": {"parameters": schema},
        "who": {"agents": ["bot-*", "cron"], "context_matches": {"env": "prod*", "region": "eu"}},
    }
    manifest = json.loads((golden / "atlas.json").read_text())
    manifest["policies"] = [
        {"policy_id": name, "type": "deny", "conditions": condition} for name, condition in conditions.items()
    ]
    block = {"name": "B", "content": "x", "inject_mode": "always"}
    manifest["context_blocks"] = [
        block | {"context_id": "tiers", "conditions": {"risk_tiers": ["high", "critical"], "capabilities": ["code"]}},
        block
        | {"context_id": "word", "inject_mode": "on_match", "keywords": ["bug"], "conditions": {"agents": ["a*"]}},
        block | {"context_id": "never", "conditions": {"moon": "full"}},
    ]
    path = tmp_path / "atlas.json"
    path.write_text(json.dumps(manifest))
    return path


def test_conditions_are_shown_with_what_they_say(run, golden, tmp_path):
    """Of a policy and of a context block: the window, the schema, the tiers, not only that there is one."""
    code, out, _ = run("atlas", "show", _conditional(golden, tmp_path))
    assert 0 == code
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    for name, words in {
        "office": "when time_window: 09:00 to 17:30 Asia/Tokyo on mon, tue, fri",
        "always-window": "when time_window: 00:00 to 24:00 UTC",
        "seconds": "when time_window: 22:00:05 to 06:00 UTC",
        "big": 'when parameters: {"properties": {"amount": {"type": "integer", "minimum": 500}}, "required": ["amount"]}',
        "who": "when agents: bot-*, cron and context_matches: env = prod*, region = eu",
        "tiers": "always, when risk_tiers: high, critical and capabilities: code",
        "word": "keyword bug, when agents: a*",
        "never": "never: this version does not know moon",
    }.items():
        assert lines[name].endswith(words), lines[name]
    assert "on mon" not in lines["always-window"]


def test_a_long_schema_is_cut(run, golden, tmp_path):
    """A condition does not fill the screen."""
    path = _conditional(golden, tmp_path)
    manifest = json.loads(path.read_text())
    manifest["policies"][3]["conditions"]["parameters"]["properties"]["amount"]["enum"] = list(range(1000))
    path.write_text(json.dumps(manifest))
    _, out, _ = run("atlas", "show", path)
    line = next(line for line in out.splitlines() if line.startswith("big"))
    assert line.endswith("…")
    assert 400 > len(line)


def test_priorities_are_shown_where_there_are_any(run, golden, tmp_path):
    """The column is there only where a priority is not zero."""
    path = _conditional(golden, tmp_path)
    headers = [line for line in run("atlas", "show", path).out.splitlines() if line.startswith("policy ")]
    assert [True] == ["priority" not in header for header in headers]
    manifest = json.loads(path.read_text())
    manifest["policies"][0]["priority"] = 7
    path.write_text(json.dumps(manifest))
    headers = [line for line in run("atlas", "show", path).out.splitlines() if line.startswith("policy ")]
    assert [True] == ["priority" in header for header in headers]


def test_an_atlas_as_json(run, golden, tmp_path):
    """One document: the manifest as written, and what only the runtime knows of it."""
    path = _conditional(golden, tmp_path)
    code, out, err = run("atlas", "show", path, "--json")
    assert (0, "") == (code, err)
    document = json.loads(out)
    atlas = cra.load_atlas(path)
    assert json.loads(path.read_text()) == document["manifest"]
    assert (atlas.atlas_id, atlas.version, atlas.digest) == tuple(
        document[name] for name in ("atlas_id", "version", "digest")
    )
    assert ["office", "always-window", "seconds", "big", "who"] == document["evaluation_order"]
    assert {"block_id": "tiers", "priority": 100, "token_estimate": 1} == document["context_blocks"][0]


def _finding(code: str, number: int, message: str) -> Finding:
    return Finding(code, f"/actions/{number}", message)


def test_many_findings_of_a_kind_are_one_row():
    """More than three with one code and one message, the values in it aside: the count, the first place, the common message."""
    many = [_finding("loose", number, f"'a_{number}' is loose; see \"the docs\"") for number in range(4)]
    few = [_finding("other", number, f"'b_{number}' is other") for number in range(3)]
    another = [_finding("loose", 9, "'c' is loose in another way")]
    rows = group_findings((*few[:1], *many, *few[1:], *another))
    assert [
        ("other", "", "/actions/0", "'b_0' is other"),
        ("other", "", "/actions/1", "'b_1' is other"),
        ("other", "", "/actions/2", "'b_2' is other"),
        ("loose", "4 ×", "/actions/0 …", '… is loose; see "the docs"'),
        ("loose", "", "/actions/9", "'c' is loose in another way"),
    ] == rows


def test_a_flood_of_findings_is_short_for_people_and_whole_for_programs(run):
    """117 loose ids are one row; `--json` lists each."""
    atlas = ROOT / "examples" / "github" / "atlas"
    code, out, _ = run("atlas", "validate", atlas)
    assert 0 == code
    (row,) = [line for line in out.splitlines() if line.startswith("action_id_not_strict")]
    assert "117 ×  /actions/0/action_id …  … is outside the published pattern" in row
    assert "--json" in out
    findings = json.loads(run("atlas", "validate", atlas, "--json").out)["findings"]
    assert 117 == sum(finding["code"] == "action_id_not_strict" for finding in findings)


@pytest.mark.parametrize("command", ["validate", "show"])
@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"x": "'])
def test_what_is_wrong_with_a_folder_names_its_manifest(run, tmp_path, command, text):
    """Of a folder the file that is wrong is named."""
    (tmp_path / "atlas.json").write_text(text)
    _, out, err = run("atlas", command, tmp_path)
    assert f"{tmp_path / 'atlas.json'}" in out + err


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


@pytest.mark.parametrize("kind", ["mcp", "openapi"])
def test_a_document_that_cannot_be_read_is_named(run, tmp_path, kind):
    """With the place in it."""
    source = tmp_path / "source.json"
    source.write_text('{"a": 1, "a": 2}')
    code, _, err = run("atlas", "import", kind, source, "--id", "com.example.things", "--out", tmp_path / "out")
    assert (2, 1) == (code, err.count("\n"))
    assert str(source) in err
    assert "line 1 column 10" in err


def test_an_import_overwrites_nothing(run, tmp_path):
    """A folder that is there already is left as it is."""
    source = tmp_path / "source.json"
    source.write_text(json.dumps(TOOLS))
    code, _, err = run("atlas", "import", "mcp", source, "--id", "com.example.things", "--out", tmp_path)
    assert (2, 1) == (code, err.count("\n"))
    assert [source] == list(tmp_path.iterdir())
