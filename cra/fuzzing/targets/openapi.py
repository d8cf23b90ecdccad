"""OpenAPI documents in JSON or YAML, imported: what comes out is an atlas that loads."""

from __future__ import annotations

import json

from cra.atlas.importers.document import parse_openapi
from cra.atlas.importers.openapi import import_openapi
from cra.atlas.loader import load_atlas
from cra.errors import InvalidAtlasManifest
from cra.fuzzing.target import Target


def answer(data: bytes) -> object:
    """The manifest, and the digest of the atlas that it is."""
    manifest = import_openapi(parse_openapi(data), "com.example.api")
    return manifest, load_atlas(manifest).digest


def seeds() -> list[bytes]:
    """Both versions, both notations, and references of all kinds."""
    schema = {"schema": {"$ref": "#/components/schemas/N"}}
    query = {"name": "q", "in": "query", "schema": {"type": "integer"}}
    path = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    number = {"type": "number", "minimum": 0, "exclusiveMinimum": True, "readOnly": True}
    body = {"type": "object", "nullable": True, "required": ["a"], "properties": {"a": number}, "discriminator": {}}
    get = {
        "operationId": "getUser",
        "summary": "s",
        "parameters": [{"$ref": "#/components/parameters/p"}],
        "responses": {"200": {"description": "d", "content": {"application/json": schema}}},
    }
    post = {
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"default": {"$ref": "#/components/responses/r"}},
    }
    newer = {
        "openapi": "3.1.0",
        "info": {"title": "T", "version": "1.2.3"},
        "paths": {"/users/{id}": {"parameters": [path], "get": get, "delete": {"responses": {}}}},
        "components": {
            "parameters": {"p": query},
            "schemas": {"N": {"type": "object", "properties": {"n": {"$ref": "#/components/schemas/N"}}}},
        },
    }
    older = {
        "openapi": "3.0.3",
        "info": {"title": "T", "version": "x"},
        "paths": {"/a": {"post": post}},
        "components": {"responses": {"r": {"description": ""}}},
    }
    yaml = (
        (
            "openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths:\n  /a:\n    get: &op\n      operationId: a.b\n"
            "      deprecated: true\n      description: |\n        text\n      responses: {}\n"
            "  /b:\n    put: {operationId: c, responses: {}}\n"
        ),
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\nopenapi: !!str 3.1.0\n",
    )
    return [*(json.dumps(each, separators=(",", ":")).encode() for each in (newer, older)), *map(str.encode, yaml)]


TARGET = Target(
    "openapi",
    "OpenAPI documents, imported as atlases",
    answer,
    seeds,
    refusals=(InvalidAtlasManifest,),
    tokens=(
        b'"openapi":"3.0.0"', b'"openapi":"3.1.0"', b'"paths":{', b'"parameters":[', b'"in":"path"', b'"in":"query"',
        b'"in":"header"',
        b'"requestBody":{', b'"content":{', b'"application/json"', b'"multipart/form-data"', b'"schema":{',
        b'"$ref":"#/', b'"nullable":true',
        b'"allOf":[', b'"oneOf":[', b'"discriminator":', b'"operationId":"', b'"components":{', b'"schemas":{', b'"responses":{',
        b"&a ", b"*a", b"<<: ", b"!!str ", b"- ", b"? ", b"|\n", b"%YAML 1.2\n", b"---\n", b"...\n", b"~", b"0x1",
        b".inf", b"#/paths/~1a",
    ),
)  # fmt: skip
