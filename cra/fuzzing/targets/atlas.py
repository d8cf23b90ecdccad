"""Manifests as somebody hands them over: loaded and linted as a mapping, and as a file beside a context file. PROTOCOL:
Atlas/1.0."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from cra.atlas.lint import lint_atlas
from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas
from cra.errors import AtlasVersionMismatch, CRAError, InvalidAtlasManifest, InvalidPolicy
from cra.fuzzing.atlases import manifest
from cra.fuzzing.harness import refusal
from cra.fuzzing.scratch import scratch
from cra.fuzzing.target import Target, expect
from cra.strictjson import JSONProblem, parse

_REFUSALS = (AtlasVersionMismatch, InvalidAtlasManifest, InvalidPolicy)


def answer(data: bytes) -> object:
    """The atlas, strictly and not, from a mapping and from a file."""
    with scratch() as folder:
        (folder / "notes.md").write_text("# Notes\n")
        (folder / "atlas.json").write_bytes(data)
        from_file = [
            _loaded(lambda: load_atlas(folder / "atlas.json")),
            _loaded(lambda: load_atlas(folder, strict=True)),
        ]
    try:
        document = parse(data)
    except JSONProblem:
        return from_file
    if not isinstance(document, dict):
        return from_file
    found = [_loaded(lambda: load_atlas(document)), _loaded(lambda: load_atlas(document, strict=True))]
    return from_file, found


def _loaded(load: Callable[[], Atlas]) -> object:
    """All that there is of an atlas, or its refusal."""
    try:
        atlas = load()
    except CRAError as error:
        if not isinstance(error, _REFUSALS):
            raise
        return refusal(error)
    again = load_atlas(atlas.manifest)
    expect((again.atlas_id, again.version) == (atlas.atlas_id, atlas.version), "its own manifest is another atlas")
    findings = [msgspec.to_builtins(finding) for finding in lint_atlas(atlas)]
    policies = [repr(policy) for policy in atlas.policies]
    blocks = [(block.block_id, block.priority, block.token_estimate, block.content) for block in atlas.context_blocks]
    return (
        atlas.atlas_id,
        atlas.version,
        atlas.digest,
        findings,
        policies,
        blocks,
        [repr(each) for each in atlas.actions],
    )


def seeds() -> list[bytes]:
    """An atlas with something of everything, the least one, and one with context files."""
    least = {"atlas_version": "1.0", "atlas_id": "a.b", "version": "0.0.1", "name": "n", "description": ""}
    packs = [
        {
            "pack_id": "p",
            "name": "P",
            "files": ["notes.md", "more.md"],
            "max_tokens": 9,
            "conditions": {"agents": ["a"]},
        }
    ]
    depending = {**least, "dependencies": {"com.example.desk": "^1.0 || >=2 <3.1"}, "unknown": 1}
    documents = (manifest(), least, {**least, "context_packs": packs}, depending)
    return [json.dumps(each, separators=(",", ":")).encode() for each in documents]


TARGET = Target(
    "atlas",
    "atlas manifests, loaded and linted",
    answer,
    seeds,
    tokens=(
        b'"atlas_version":"1.0"', b'"atlas_id":"', b'"policies":[', b'"actions":[', b'"capabilities":[', b'"context_packs":[',
        b'"context_blocks":[', b'"dependencies":{', b'"policy_id":"', b'"type":"deny"', b'"type":"scope"', b'"type":"budget"',
        b'"conditions":{', b'"time_window":{', b'"parameters":{', b'"required_scopes":[', b'"keywords":[', b'"inject_mode":"',
        b'"files":["notes.md"]', b'"files":["../x"]', b'"mode":"shadow"', b'"key":"global"', b'"timezone":"Europe/Berlin"',
        b'"rate_limit":{', b'"max_cost":', b'"window_seconds":', b'"adapters":{', b'"executor":"', b'"examples":[',
        b"^1.0", b">=1 <2",
    ),
    notation="json",
    max_bytes=6000,
)  # fmt: skip
