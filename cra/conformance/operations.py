"""The operations of the wire that need no session, answered with `cra`. Called by `cra.conformance.adapter` only.

Inputs and results are described in docs/conformance.md; what `cra` refuses, it raises, and the adapter puts it into words.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cra
from cra import hotpath, strictjson
from cra.conformance.published import validator

Question = Mapping[str, Any]


def canonical_json(question: Question) -> dict[str, Any]:
    try:
        value = strictjson.parse(question["json"])
    except strictjson.JSONProblem as problem:
        raise cra.InvalidTraceEvent(str(problem)) from None
    return {"canonical": cra.canonical_json(value).decode()}


def event_hash(question: Question) -> dict[str, Any]:
    return {"hash": cra.event_hash(question["event"])}


def verify_chain(question: Question) -> dict[str, Any]:
    anchor = question.get("anchor")
    return verification(cra.verify_chain(question["events"], None if anchor is None else tuple(anchor)))


def verify_file(question: Question) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.jsonl")
        path.write_bytes(question["text"].encode(errors="surrogatepass"))
        found = cra.verify_file(path, question.get("dialect", "trace-1.0"))
    return {**verification(found), "sessions": {name: verification(each) for name, each in found.sessions.items()}}


def verification(found: cra.ChainVerification | cra.FileVerification) -> dict[str, Any]:
    """What a verification says, but for its words."""
    return {
        "valid": found.valid,
        "event_count": found.event_count,
        "error_type": found.error_type,
        "error_index": found.error_index,
        "last_hash": found.last_hash,
        "warnings": len(found.warnings),
    }


def glob(question: Question) -> dict[str, Any]:
    return {"matches": hotpath.glob_match(question["pattern"], question["text"])}


def load_atlas(question: Question) -> dict[str, Any]:
    strict = question.get("strict", False)
    if "manifest" in question:
        return _loaded(question["manifest"], strict)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "atlas")
        folder.mkdir()
        for relative, content in question["files"].items():
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                target.write_text(content, encoding="utf-8")
            elif "hex" in content:
                target.write_bytes(bytes.fromhex(content["hex"]))
            else:
                os.symlink(content["link"], target)
        return _loaded(folder / question.get("path", "."), strict)


def _loaded(source: Any, strict: bool) -> dict[str, Any]:
    from cra.atlas.loader import load_atlas

    atlas = load_atlas(source, strict=strict)
    return {
        "atlas_id": atlas.atlas_id,
        "version": atlas.version,
        "actions": [action.action_id for action in atlas.actions],
        "warnings": [finding.path for finding in cra.lint_atlas(atlas)],
        "codes": [finding.code for finding in cra.lint_atlas(atlas)],
    }


def validate(question: Question) -> dict[str, Any]:
    return {"valid": _VALIDATORS[question["schema"]](question["document"])}


def _is_request(document: Any) -> bool:
    try:
        cra.Request.parse(document)
    except cra.InvalidCARPRequest:
        return False
    return True


def _by_schema(name: str) -> Callable[[Any], bool]:
    def check(document: Any) -> bool:
        return bool(validator(name).is_valid(document))

    return check


_VALIDATORS: dict[str, Callable[[Any], bool]] = {
    "carp-request": _is_request,
    "carp-resolution": _by_schema("carp-resolution"),
    "trace-event": _by_schema("trace-event"),
}


def diff(question: Question) -> dict[str, Any]:
    return {"grade": cra.diff(question["a"], question["b"]).grade}
