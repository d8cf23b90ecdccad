"""What both importers share: checked identifiers, compiled schemas, and the manifest mapping put together.

Called by `mcp` and `openapi`. It never reads or writes a file. PROTOCOL: Atlas/1.0, Identifiers.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from cra.atlas.importers.starter import starter_policies
from cra.atlas.semver import parse_version
from cra.carp.schema import Schema, SchemaProblem
from cra.errors import InvalidAtlasManifest
from cra.pointer import pointer
from cra.strictjson import JSONProblem, plain_copy, shorten

MAX_NAME = 100
MAX_DESCRIPTION = 1000

_ATLAS_ID = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9-]*)+")
_ACTION_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

JSONObject = dict[str, Any]


class Heading(NamedTuple):
    """What an atlas says of itself."""

    atlas_id: str
    version: str
    name: str
    description: str


def action_prefix(atlas_id: str) -> str:
    """The last part of an atlas id, under which its actions are named; raises `InvalidAtlasManifest` for another form."""
    if not _ATLAS_ID.fullmatch(atlas_id):
        raise InvalidAtlasManifest(
            f"the atlas id {shorten(atlas_id)} is not in reverse domain notation; use lower-case parts as in com.example.github"
        )
    return atlas_id.rpartition(".")[2]


def is_action_name(name: str) -> bool:
    """Whether `name` may follow the prefix in an action id."""
    return _ACTION_NAME.fullmatch(name) is not None


def heading(atlas_id: str, version: str, name: str, description: str) -> Heading:
    """The checked heading; a description over 1,000 characters, the most a manifest may have, is cut and ends in `…`."""
    try:
        parse_version(version)
    except ValueError as error:
        raise InvalidAtlasManifest(f"{error}; give the atlas a semantic version such as 1.0.0") from None
    return Heading(atlas_id, version, cut(name, MAX_NAME) or atlas_id, cut(description, MAX_DESCRIPTION))


def cut(text: str, limit: int) -> str:
    """`text` without white space around it, in at most `limit` characters."""
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def private_document(document: object) -> Any:
    """A deep copy in plain JSON types; raises `InvalidAtlasManifest` for what is no JSON or nests too deep."""
    try:
        return plain_copy(document)
    except JSONProblem as problem:
        raise InvalidAtlasManifest(
            f"the document cannot be imported: {problem.message}", path=problem.position
        ) from None


def text_field(owner: JSONObject, key: str, path: str) -> str:
    """An optional string member, empty where it is absent or null."""
    value = owner.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidAtlasManifest("must be a string", path=pointer(path, key))
    return value


def check_schema(schema: JSONObject, path: str) -> None:
    """Raises `InvalidAtlasManifest` at `path` for a schema the runtime could not validate with."""
    try:
        Schema(schema)
    except SchemaProblem as problem:
        raise InvalidAtlasManifest(
            f"{problem.message}; correct the schema in the document and import again", path=path + problem.pointer
        ) from None


def object_field(owner: JSONObject, key: str, path: str) -> JSONObject:
    """An optional object member, empty where it is absent or null."""
    value = owner.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidAtlasManifest("must be an object", path=pointer(path, key))
    return value


def flag_field(owner: JSONObject, key: str, path: str) -> bool:
    """An optional boolean member, false where it is absent or null."""
    value = owner.get(key)
    if value is not None and not isinstance(value, bool):
        raise InvalidAtlasManifest("must be true or false", path=pointer(path, key))
    return value is True


def assemble(head: Heading, actions: list[JSONObject], imported_from: JSONObject) -> JSONObject:
    """The manifest, its fields in the order of the published schema, with starter policies."""
    return {
        "atlas_version": "1.0",
        **head._asdict(),
        "policies": starter_policies(actions),
        "actions": actions,
        "metadata": {"imported_from": imported_from},
    }
