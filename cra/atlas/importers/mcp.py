"""From the tools of an MCP server to a manifest: one action a tool, its schemas carried over.

Called by `cra atlas import mcp`. It takes the answer to `tools/list` as data; it never talks to a server.
"""

from __future__ import annotations

from typing import Any

from cra.atlas.importers.draft import (
    JSONObject,
    action_prefix,
    assemble,
    check_schema,
    flag_field,
    heading,
    is_action_name,
    object_field,
    private_document,
    text_field,
)
from cra.errors import InvalidAtlasManifest
from cra.pointer import pointer
from cra.strictjson import shorten

_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint")


def import_mcp(
    document: object, atlas_id: str, *, version: str = "1.0.0", name: str = "", description: str = ""
) -> JSONObject:
    """The manifest of an atlas with an action `<last part of atlas_id>.<tool name>` for every tool.

    `document` is `{"tools": [...]}`, the list alone, or a JSON-RPC response with it as its result. A read-only tool is of risk
    tier `low`, a destructive one `high` (the hint counts for tools that are not read-only, as in MCP), any other `medium`. Hints
    are the server's own word, which `starter_policies`, with which the manifest starts, do not take for tools named `delete_…`.

    Raises `InvalidAtlasManifest`, with the JSON pointer of the tool, for anything that is no complete list of tools with
    distinct names and usable schemas. PROTOCOL: Identifiers.
    """
    prefix = action_prefix(atlas_id)
    tools, path = _tool_list(private_document(document))
    head = heading(
        atlas_id,
        version,
        name or atlas_id,
        description or f"{len(tools)} tools imported from an MCP server.",
    )
    places: dict[str, str] = {}
    actions = []
    for index, tool in enumerate(tools):
        place = pointer(path, index)
        action = _action(tool, prefix, place)
        other = places.setdefault(action["action_id"], place)
        if other != place:
            raise InvalidAtlasManifest(f"has the same name as the tool at {other}; remove one of them", path=place)
        actions.append(action)
    return assemble(head, actions, {"format": "mcp-tools-list"})


def _tool_list(document: Any) -> tuple[list[Any], str]:
    path = ""
    if isinstance(document, dict) and "result" in document:
        document, path = document["result"], "/result"
    if isinstance(document, dict):
        if document.get("nextCursor"):
            raise InvalidAtlasManifest(
                "the list is one page of several; fetch tools/list with the cursor until no nextCursor comes back, "
                "and import all tools in one list",
                path=pointer(path, "nextCursor"),
            )
        document, path = document.get("tools"), pointer(path, "tools")
    if not isinstance(document, list):
        raise InvalidAtlasManifest(
            'there is no list of tools; give the JSON answer of the server to tools/list, {"tools": [...]}', path=path
        )
    if not document:
        raise InvalidAtlasManifest("the list of tools is empty: there is nothing to import", path=path)
    return document, path


def _action(tool: object, prefix: str, path: str) -> JSONObject:
    if not isinstance(tool, dict):
        raise InvalidAtlasManifest("a tool must be an object", path=path)
    name = text_field(tool, "name", path)
    if not is_action_name(name):
        raise InvalidAtlasManifest(
            f"the tool name {shorten(name)} cannot be part of an action id; rename the tool using letters, digits, _ and -, "
            "in parts separated by single dots",
            path=pointer(path, "name"),
        )
    annotations, annotations_path = object_field(tool, "annotations", path), pointer(path, "annotations")
    # A hint that is absent promises nothing: neither that the tool only reads nor that it destroys.
    read_only, destructive, idempotent = (flag_field(annotations, hint, annotations_path) for hint in _HINTS)
    action: JSONObject = {
        "action_id": f"{prefix}.{name}",
        "name": text_field(tool, "title", path) or text_field(annotations, "title", annotations_path) or name,
        "description": text_field(tool, "description", path).strip(),
        "parameters_schema": _schema(tool, "inputSchema", path),
    }
    if tool.get("outputSchema") is not None:
        action["returns_schema"] = _schema(tool, "outputSchema", path)
    action["risk_tier"] = "low" if read_only else "high" if destructive else "medium"
    if idempotent:
        action["idempotent"] = True
    return action


def _schema(tool: JSONObject, field: str, path: str) -> JSONObject:
    place = pointer(path, field)
    schema = tool.get(field)
    if not isinstance(schema, dict):
        raise InvalidAtlasManifest(
            'a tool needs a JSON Schema here, an object; {"type": "object"} accepts any arguments', path=place
        )
    check_schema(schema, place)
    return schema
