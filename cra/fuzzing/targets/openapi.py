"""OpenAPI documents in JSON or YAML, imported: what comes out is an atlas that loads."""

from __future__ import annotations

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
    return [
        (b'{"openapi":"3.1.0","info":{"title":"T","version":"1.2.3"},"paths":{"/users/{id}":{"parameters":[{"name":"id","in":"path",'
        b'"required":true,"schema":{"type":"string"}}],"get":{"operationId":"getUser","summary":"s","parameters":[{"$ref":'
        b'"#/components/parameters/p"}],"responses":{"200":{"description":"d","content":{"application/json":{"schema":{"$ref":'
        b'"#/components/schemas/N"}}}}}},"delete":{"responses":{}}}},"components":{"parameters":{"p":{"name":"q","in":"query",'
        b'"schema":{"type":"integer"}}},"schemas":{"N":{"type":"object","properties":{"n":{"$ref":"#/components/schemas/N"}}}}}}'),
        (b'{"openapi":"3.0.3","info":{"title":"T","version":"x"},"paths":{"/a":{"post":{"requestBody":{"required":true,"content":'
        b'{"application/json":{"schema":{"type":"object","nullable":true,"required":["a"],"properties":{"a":{"type":"number",'
        b'"minimum":0,"exclusiveMinimum":true,"readOnly":true}},"discriminator":{"propertyName":"a"}}}}},"responses":{"default":'
        b'{"$ref":"#/components/responses/r"}}}}},"components":{"responses":{"r":{"description":""}}}}'), (b"openapi:
        3.1.0\ninfo: {title: T, version: '1'}\npaths:\n  /a:\n    get: &op\n      operationId: a.b\n      deprecated: true\n" b"
        description: |\n        text\n      responses: {}\n  /b:\n    put: {operationId: c, responses: {}}\n"), b"a: &a [x,
        x]\nb: &b [*a, *a]\nc: [*b, *b]\nopenapi: !!str 3.1.0\n", ]


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
    notation="json",
)  # fmt: skip
