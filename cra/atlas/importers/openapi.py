"""From an OpenAPI 3.0 or 3.1 document to a manifest: one action an operation.

Called by `cra atlas import openapi`. It takes the document as data; it never fetches anything and never calls the API.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cra.atlas.importers.draft import (
    MAX_NAME,
    JSONObject,
    action_prefix,
    assemble,
    check_schema,
    cut,
    flag_field,
    heading,
    is_action_name,
    object_field,
    private_document,
    text_field,
)
from cra.atlas.importers.operation import Operation
from cra.atlas.importers.references import References
from cra.atlas.semver import parse_version
from cra.errors import InvalidAtlasManifest
from cra.pointer import pointer
from cra.strictjson import shorten

RISK = {"get": "low", "head": "low", "options": "low", "delete": "high"}
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

_SUPPORTED = re.compile(r"3\.(?P<minor>[01])\.[0-9]+(-.+)?")
_DIALECTS = ("https://spec.openapis.org/oas/3.1/dialect/base", "https://json-schema.org/draft/2020-12/schema")
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_.-]+")
_DOTS = re.compile(r"\.{2,}")


def import_openapi(
    document: object, atlas_id: str, *, version: str = "", name: str = "", description: str = ""
) -> JSONObject:
    """The manifest of an atlas with an action for every operation under `paths`; webhooks and callbacks are none.

    An action is `<last part of atlas_id>.<operationId>`, characters that an action id cannot have replaced by `_`, or without an
    operationId method and path (`get_users_id` for `GET /users/{id}`). GET, HEAD and OPTIONS are of risk tier `low`, DELETE
    `high`, the others `medium`. Parameters and body are one schema (`Operation.parameters_schema`). Local references are
    inlined, recursive ones kept in `$defs`. Without `version` the atlas has the document's where that is a semantic one, else
    1.0.0. The manifest starts with the policies of `starter_policies`.

    Raises `InvalidAtlasManifest`, with the JSON pointer into the document, for what is no such document, refers outside of
    itself, gives two operations one action id, or expands to more than 200,000 values. PROTOCOL: Identifiers.
    """
    prefix = action_prefix(atlas_id)
    api = private_document(document)
    openapi_30 = _check_version(api)
    info = object_field(api, "info", "")
    head = heading(
        atlas_id,
        version or _semantic(info.get("version")),
        name or text_field(info, "title", "/info"),
        description or text_field(info, "description", "/info"),
    )
    references = References(api)
    places: dict[str, str] = {}
    actions = []
    for method, template, item, operation in _operations(api, references):
        action = _action(references, prefix, method, template, item, operation, openapi_30)
        title = f"{method.upper()} {template}"
        other = places.setdefault(action["action_id"], title)
        if other != title:
            raise InvalidAtlasManifest(
                f"{title} and {other} both come out as action {shorten(action['action_id'])}; "
                "give one of them another operationId",
                path=operation[1],
            )
        actions.append(action)
    if not actions:
        raise InvalidAtlasManifest("there are no operations: nothing to import", path="/paths")
    return assemble(head, actions, {"format": "openapi", "version": api["openapi"]})


def _check_version(api: object) -> bool:
    """Whether the document is 3.0, whose schemas are a dialect of their own."""
    if not isinstance(api, dict):
        raise InvalidAtlasManifest("an OpenAPI document must be an object")
    if "swagger" in api:
        raise InvalidAtlasManifest(
            "Swagger 2.0 is not supported; convert the document to OpenAPI 3 and import that", path="/swagger"
        )
    found = _SUPPORTED.fullmatch(text_field(api, "openapi", ""))
    if found is None:
        raise InvalidAtlasManifest(
            'this is no OpenAPI 3.0 or 3.1 document; it has to say so, as in "openapi": "3.1.0"', path="/openapi"
        )
    if api.get("jsonSchemaDialect", _DIALECTS[0]) not in _DIALECTS:
        raise InvalidAtlasManifest(
            "schemas in another dialect than JSON Schema 2020-12 are not supported", path="/jsonSchemaDialect"
        )
    return found["minor"] == "0"


def _semantic(version: object) -> str:
    try:
        parse_version(version if isinstance(version, str) else "")
    except ValueError:
        return "1.0.0"
    return str(version)


def _operations(
    api: JSONObject, references: References
) -> Iterator[tuple[str, str, tuple[JSONObject, str], tuple[JSONObject, str]]]:
    """Method, path, path item and operation, the latter two with their pointers, as the document orders them."""
    for template, entry in object_field(api, "paths", "").items():
        if template.startswith("x-"):
            continue
        item, place = references.follow(entry, pointer("/paths", template))
        for method in item:
            if method in METHODS:
                yield method, template, (item, place), (object_field(item, method, place), pointer(place, method))


def _action(
    references: References,
    prefix: str,
    method: str,
    template: str,
    item: tuple[JSONObject, str],
    operation: tuple[JSONObject, str],
    openapi_30: bool,
) -> JSONObject:
    described, path = operation
    parts = Operation(references, item, operation, openapi_30=openapi_30)
    summary = text_field(described, "summary", path).strip()
    text = text_field(described, "description", path).strip() or summary
    deprecated = "Deprecated." if flag_field(described, "deprecated", path) else ""
    name = _action_name(described, method, template, path)
    action: JSONObject = {
        "action_id": f"{prefix}.{name}",
        "name": cut(summary, MAX_NAME) or name,
        "description": "\n\n".join(filter(None, (deprecated, text, f"{method.upper()} {template}"))),
        "parameters_schema": _checked(parts.parameters_schema(), path),
    }
    returns = parts.returns_schema()
    if returns is not None:
        action["returns_schema"] = _checked(returns, pointer(path, "responses"))
    action["risk_tier"] = RISK.get(method, "medium")
    return action


def _action_name(operation: JSONObject, method: str, template: str, path: str) -> str:
    written = text_field(operation, "operationId", path)
    if not written:
        return "_".join(filter(None, (method, re.sub(r"[^A-Za-z0-9-]+", "_", template).strip("_"))))
    name = _DOTS.sub(".", _NOT_IN_IDS.sub("_", written)).strip(".")
    if not is_action_name(name):
        raise InvalidAtlasManifest(
            f"the operationId {shorten(written)} cannot be part of an action id; use letters, digits, _ and -",
            path=pointer(path, "operationId"),
        )
    return name


def _checked(schema: JSONObject, path: str) -> JSONObject:
    """`path` is where the operation says what the schema was made of; the place inside it is the converted schema's."""
    check_schema(schema, path)
    return schema
