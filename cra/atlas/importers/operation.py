"""One OpenAPI operation as one schema for its parameters and one for its result.

Called by the OpenAPI importer. How a call is sent (styles, media types, security, servers) is the executor's concern, not its.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from cra.atlas.importers.draft import flag_field, object_field, text_field
from cra.atlas.importers.inline import ANNOTATIONS, Inliner
from cra.atlas.importers.references import References
from cra.errors import InvalidAtlasManifest
from cra.pointer import pointer
from cra.strictjson import shorten

JSONObject = dict[str, Any]
Parameters = dict[tuple[str, str], tuple[JSONObject, str]]

_LOCATIONS = ("path", "query", "header", "cookie")
_NOT_PARAMETERS = frozenset({"accept", "content-type", "authorization"})
_MERGEABLE = ANNOTATIONS | {"type", "properties", "required", "additionalProperties"}


class Operation:
    """An operation with the path item it stands in, and their pointers."""

    def __init__(
        self,
        references: References,
        item: tuple[JSONObject, str],
        operation: tuple[JSONObject, str],
        *,
        openapi_30: bool,
    ) -> None:
        self._references = references
        self._item = item
        self._operation, self._path = operation
        self._openapi_30 = openapi_30

    def parameters_schema(self) -> JSONObject:
        """One object schema: a property for every parameter, and the body.

        Two parameters of one name in different locations become `path_id`, `query_id`. The properties of a body stand beside the
        parameters where that says the same: the body is an object schema without further constraints, none of its names is
        taken, and it is required or requires nothing. Any other body is the property `body`. What the operation does not
        declare is refused (`additionalProperties: false`), unless such a body says otherwise.
        """
        inliner = Inliner(self._references, openapi_30=self._openapi_30)
        properties: JSONObject = {}
        required: list[str] = []
        found = self._parameters()
        uses = Counter(name for _, name in found)
        for (location, name), (parameter, path) in found.items():
            key = name if uses[name] == 1 else f"{location}_{name}"
            if key in properties:
                raise InvalidAtlasManifest(f"two parameters come out as {shorten(key)}; rename one of them", path=path)
            properties[key] = self._parameter_schema(inliner, parameter, path)
            if location == "path" or flag_field(parameter, "required", path):
                required.append(key)
        additional = self._add_body(inliner, properties, required)
        schema: JSONObject = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        return _with_definitions(schema | {"additionalProperties": additional}, inliner)

    def returns_schema(self) -> JSONObject | None:
        """What the results of all successful responses have in common, None where that is not known.

        A response without content is null; where one has content that is not JSON, nothing is known.
        """
        inliner = Inliner(self._references, openapi_30=self._openapi_30)
        place = pointer(self._path, "responses")
        alternatives: list[JSONObject] = []
        has_content = False
        for status, response in object_field(self._operation, "responses", self._path).items():
            if not status.startswith("2"):
                continue
            response, path = self._references.follow(response, pointer(place, status))
            content = object_field(response, "content", path)
            media = next((media for media in content if _is_json(media)), None)
            if content and media is None:
                return None
            schema: JSONObject = {"type": "null"}
            if media is not None:
                has_content = True
                schema = self._media_schema(inliner, content, media, pointer(path, "content"))
            if schema not in alternatives:
                alternatives.append(schema)
        if not has_content:
            return None
        return _with_definitions(alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}, inliner)

    def _parameters(self) -> Parameters:
        """Those of the path item, each overridden by one of the operation with the same location and name."""
        return self._listed(*self._item) | self._listed(self._operation, self._path)

    def _listed(self, owner: JSONObject, path: str) -> Parameters:
        listed = owner.get("parameters")
        place = pointer(path, "parameters")
        if listed is None:
            return {}
        if not isinstance(listed, list):
            raise InvalidAtlasManifest("must be a list of parameters", path=place)
        found: Parameters = {}
        for index, entry in enumerate(listed):
            parameter, at = self._references.follow(entry, pointer(place, index))
            location, name = text_field(parameter, "in", at), text_field(parameter, "name", at)
            if location not in _LOCATIONS:
                raise InvalidAtlasManifest("must be path, query, header or cookie", path=pointer(at, "in"))
            if not name:
                raise InvalidAtlasManifest("a parameter needs a name", path=pointer(at, "name"))
            if (location, name) in found:
                raise InvalidAtlasManifest(
                    f"the {location} parameter {shorten(name)} is there twice; remove one", path=pointer(place, index)
                )
            if location != "header" or name.lower() not in _NOT_PARAMETERS:
                found[location, name] = parameter, at
        return found

    def _parameter_schema(self, inliner: Inliner, parameter: JSONObject, path: str) -> JSONObject:
        content = object_field(parameter, "content", path)
        if content:
            schema = self._media_schema(inliner, content, next(iter(content)), pointer(path, "content"))
        elif "schema" in parameter:
            schema = inliner.schema(parameter["schema"], pointer(path, "schema"))
        else:
            raise InvalidAtlasManifest('a parameter needs a "schema" or a "content"', path=path)
        description = text_field(parameter, "description", path).strip()
        if description:
            schema = schema | {"description": description}
        return schema | {"deprecated": True} if flag_field(parameter, "deprecated", path) else schema

    def _add_body(self, inliner: Inliner, properties: JSONObject, required: list[str]) -> JSONObject | bool:
        """Adds the body to `properties` and `required`; returns what the whole says of `additionalProperties`."""
        if self._operation.get("requestBody") is None:
            return False
        body, path = self._references.follow(self._operation["requestBody"], pointer(self._path, "requestBody"))
        content = object_field(body, "content", path)
        if not content:
            return False
        media = next((media for media in content if _is_json(media)), next(iter(content)))
        schema = self._media_schema(inliner, content, media, pointer(path, "content"))
        needed = flag_field(body, "required", path)
        if _is_mergeable(schema, needed) and properties.keys().isdisjoint(schema["properties"]):
            properties.update(schema["properties"])
            required.extend(name for name in schema.get("required", ()) if name not in required)
            additional: JSONObject | bool = schema.get("additionalProperties", False)
            return additional
        if "body" in properties:
            raise InvalidAtlasManifest(
                "the body cannot be named body, a parameter is; rename that parameter", path=path
            )
        description = text_field(body, "description", path).strip()
        properties["body"] = schema | {"description": description} if description else schema
        if needed:
            required.append("body")
        return False

    def _media_schema(self, inliner: Inliner, content: JSONObject, media: str, path: str) -> JSONObject:
        described = object_field(content, media, path)
        return inliner.schema(described.get("schema", {}), pointer(path, media, "schema"))


def _is_mergeable(schema: JSONObject, needed: bool) -> bool:
    return (
        schema.keys() <= _MERGEABLE
        and "properties" in schema
        and schema.get("type", "object") == "object"
        and (needed or not schema.get("required"))
    )


def _with_definitions(schema: JSONObject, inliner: Inliner) -> JSONObject:
    definitions = inliner.definitions()
    return schema | {"$defs": definitions} if definitions else schema


def _is_json(media: str) -> bool:
    """`*/*` is what some frameworks write where they mean JSON."""
    kind = media.partition(";")[0].strip().lower()
    return kind in ("*/*", "application/*") or kind.endswith(("/json", "+json"))
