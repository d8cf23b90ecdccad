"""Tool lists of MCP servers, imported: what comes out is an atlas that loads."""

from __future__ import annotations

from cra.atlas.importers.mcp import import_mcp
from cra.atlas.loader import load_atlas
from cra.errors import InvalidAtlasManifest
from cra.fuzzing.target import Target
from cra.strictjson import JSONProblem, parse


def answer(data: bytes) -> object:
    """The manifest, and the digest of the atlas that it is."""
    try:
        document = parse(data)
    except JSONProblem:
        return None
    manifest = import_mcp(document, "com.example.tools")
    return manifest, load_atlas(manifest).digest


def seeds() -> list[bytes]:
    """A list, an answer of a server, and what a tool may have besides."""
    return [
        (
            b'[{"name":"get_issue","description":"d","inputSchema":{"type":"object","properties":{"n":{"type":"number"}}},'
            b'"annotations":{"readOnlyHint":true,"title":"Get"}},{"name":"delete.it-now","inputSchema":{"type":"object"},'
            b'"annotations":{"destructiveHint":true,"idempotentHint":true},"outputSchema":{"type":"object"}}]'
        ),
        (
            b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","title":"A","inputSchema":{"$schema":'
            b'"http://json-schema.org/draft-07/schema#","type":"object","definitions":{"x":{}},"properties":{"y":{"$ref":'
            b'"#/definitions/x"}}}}],"nextCursor":""}}'
        ),
        b'{"tools":[{"name":"a","inputSchema":{}},{"name":"a","inputSchema":{}}],"nextCursor":"x"}',
    ]


TARGET = Target(
    "mcp",
    "tool lists of MCP servers, imported as atlases",
    answer,
    seeds,
    refusals=(InvalidAtlasManifest,),
    tokens=(
        b'"tools":[', b'"name":"', b'"inputSchema":{', b'"outputSchema":{', b'"annotations":{', b'"readOnlyHint":true',
        b'"title":"',
        b'"destructiveHint":false', b'"idempotentHint":true', b'"nextCursor":"', b'"result":{', b'"$ref":"#', b'"properties":{',
        b'"$schema":"', b'"definitions":{', b'"pattern":"', b'"type":["object","null"]', b'"description":null', b'"anyOf":[',
    ),
    notation="json",
)  # fmt: skip
