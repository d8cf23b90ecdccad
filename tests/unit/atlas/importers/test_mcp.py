"""Importing the tools of an MCP server."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.atlas.importers.mcp import import_mcp
from cra.atlas.loader import load_atlas
from cra.errors import InvalidAtlasManifest

TOOLS = json.loads((Path(__file__).parents[4] / "examples/github/tools.json").read_bytes())
ID = "com.example.github"


def tool(**fields: Any) -> dict[str, Any]:
    """A minimal tool with `fields` on top."""
    return {"name": "get_thing", "inputSchema": {"type": "object"}, **fields}


def only_action(**fields: Any) -> dict[str, Any]:
    """The action that a tool with these fields becomes."""
    return import_mcp([tool(**fields)], ID)["actions"][0]


def refusal(document: object, atlas_id: str = ID, **options: str) -> InvalidAtlasManifest:
    """The error of an import that must fail."""
    with pytest.raises(InvalidAtlasManifest) as caught:
        import_mcp(document, atlas_id, **options)
    return caught.value


def test_github_tools_become_actions() -> None:
    """All 117 tools of the GitHub server become actions with their schemas, by risk tier, and the manifest loads."""
    manifest = import_mcp(TOOLS, ID)
    by_name = {item["name"]: item for item in TOOLS["tools"]}

    assert 117 == len(manifest["actions"])
    assert {"low": 58, "medium": 49, "high": 10} == Counter(action["risk_tier"] for action in manifest["actions"])
    for action in manifest["actions"]:
        source = by_name[action["action_id"].removeprefix("github.")]
        assert source["inputSchema"] == action["parameters_schema"]
        assert source["annotations"]["title"] == action["name"]
        assert source["description"].strip() == action["description"]
    assert 117 == len(load_atlas(manifest).actions)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tools: tools,
        lambda tools: {"tools": tools},
        lambda tools: {"tools": tools, "nextCursor": None},
        lambda tools: {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}},
        lambda tools: {"result": tools},
    ],
)
def test_accepts_every_wrapping_of_a_tool_list(wrap: Any) -> None:
    """The list alone, the result of tools/list, and the JSON-RPC response around it give the same manifest."""
    assert import_mcp([tool()], ID) == import_mcp(wrap([tool()]), ID)


@pytest.mark.parametrize(
    ("annotations", "tier"),
    [
        (None, "medium"),
        ({}, "medium"),
        ({"readOnlyHint": True}, "low"),
        ({"readOnlyHint": True, "destructiveHint": True}, "low"),
        ({"readOnlyHint": False, "destructiveHint": True}, "high"),
        ({"readOnlyHint": None, "destructiveHint": None}, "medium"),
        ({"destructiveHint": False}, "medium"),
    ],
)
def test_hints_decide_the_risk_tier(annotations: Any, tier: str) -> None:
    """Read-only is low, destructive high (a hint that MCP ignores for read-only tools), anything else medium."""
    assert tier == only_action(annotations=annotations)["risk_tier"]


def test_idempotent_hint_is_carried_over() -> None:
    """`idempotent` is set where the server promises it, and left out otherwise."""
    assert only_action(annotations={"idempotentHint": True})["idempotent"] is True
    assert "idempotent" not in only_action(annotations={"idempotentHint": False})


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"title": "Tool", "annotations": {"title": "Annotated"}}, "Tool"),
        ({"title": None, "annotations": {"title": "Annotated"}}, "Annotated"),
        ({}, "get_thing"),
    ],
)
def test_name_is_the_title_for_people(fields: Any, name: str) -> None:
    """The name is the tool's title, else the one in its annotations, else its name, in MCP's order."""
    assert name == only_action(**fields)["name"]


def test_output_schema_becomes_the_returns_schema() -> None:
    """`outputSchema` is carried over; null counts as absent."""
    schema = {"type": "object", "properties": {"id": {"type": "string"}}}

    assert schema == only_action(outputSchema=schema)["returns_schema"]
    assert "returns_schema" not in only_action(outputSchema=None)


def test_heading_can_be_given() -> None:
    """Version, name and description are the caller's; a description longer than a manifest allows is cut."""
    manifest = import_mcp([tool()], ID, version="2.1.0", name="GitHub", description="x" * 2000)

    assert ("2.1.0", "GitHub") == (manifest["version"], manifest["name"])
    assert "x" * 999 + "…" == manifest["description"]


def test_document_is_not_shared_with_the_manifest() -> None:
    """What the caller does to the document afterwards changes nothing in the manifest."""
    document = [tool()]
    manifest = import_mcp(document, ID)
    document[0]["inputSchema"]["type"] = "array"

    assert {"type": "object"} == manifest["actions"][0]["parameters_schema"]


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        (None, None, "no list of tools"),
        ({}, "/tools", "no list of tools"),
        ({"tools": {}}, "/tools", "no list of tools"),
        ({"result": {}}, "/result/tools", "no list of tools"),
        ([], None, "nothing to import"),
        ({"tools": [tool()], "nextCursor": "abc"}, "/nextCursor", "one page of several"),
        ({"result": {"tools": [], "nextCursor": "abc"}}, "/result/nextCursor", "one page of several"),
        ([7], "/0", "must be an object"),
        ([tool(name="a/b")], "/0/name", "rename the tool"),
        ([tool(name="a..b")], "/0/name", "rename the tool"),
        ([{"inputSchema": {}}], "/0/name", "rename the tool"),
        ([tool(name=7)], "/0/name", "must be a string"),
        ([tool(), tool(name="b"), tool()], "/2", "the same name as the tool at /0"),
        ({"tools": [tool(), {"name": "b"}]}, "/tools/1/inputSchema", "needs a JSON Schema"),
        ([tool(inputSchema=True)], "/0/inputSchema", "needs a JSON Schema"),
        ([tool(inputSchema={"type": "objekt"})], "/0/inputSchema/type", "import again"),
        ([tool(inputSchema={"$ref": "https://example.com/s.json"})], "/0/inputSchema/$ref", "import again"),
        ([tool(outputSchema=[])], "/0/outputSchema", "needs a JSON Schema"),
        ([tool(annotations=[])], "/0/annotations", "must be an object"),
        ([tool(annotations={"readOnlyHint": "yes"})], "/0/annotations/readOnlyHint", "true or false"),
        ([tool(annotations={"title": 1})], "/0/annotations/title", "must be a string"),
        ([tool(inputSchema={"x": {1, 2}})], "/0/inputSchema/x", "cannot be imported"),
    ],
)
def test_bad_tool_lists_are_refused_with_their_place(document: Any, path: str | None, words: str) -> None:
    """Whatever is no complete list of usable tools is one error, with the pointer of what is to blame."""
    error = refusal(document)

    assert (path or None) == (error.path or None)
    assert words in error.message


def test_nesting_is_bounded() -> None:
    """A document that nests 100,000 deep is refused without recursing over it."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"not": deep}

    assert "nested deeper" in refusal([tool(inputSchema=deep)]).message


@pytest.mark.parametrize("atlas_id", ["github", "Com.example", "com.example.", "com..github", "com.git_hub", ""])
def test_atlas_id_has_the_published_form(atlas_id: str) -> None:
    """An atlas id that the schema does not allow is refused before anything else."""
    assert "reverse domain notation" in refusal([tool()], atlas_id).message


def test_version_is_semantic() -> None:
    """A version that is no semantic one is refused."""
    assert "semantic version" in refusal([tool()], version="1.0").message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["tools", "result", "name", "inputSchema", "annotations", "type"]), inner)
        ),
    )
)
def test_never_raises_anything_else(document: Any) -> None:
    """Any JSON value is imported or refused with InvalidAtlasManifest, never another exception."""
    try:
        manifest = import_mcp(document, ID)
    except InvalidAtlasManifest:
        return
    load_atlas(manifest)
