"""Makes an `Atlas` of a folder, a manifest file or a mapping: checked completely, or refused with the place that is wrong.

Called by the registry, the command line and the importers. It never keeps anything, never opens the network, and never ignores
what it does not understand: that is an error or a finding. PROTOCOL: Atlas/1.0.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from cra.atlas.blocks import ContextFiles, block_names, build_blocks
from cra.atlas.checks import untyped_conditions
from cra.atlas.files import MAX_MANIFEST_BYTES, read_manifest
from cra.atlas.manifest import Action, ActionLimit, Atlas, Capability, Finding
from cra.atlas.semver import parse_range, parse_version
from cra.atlas.written import WrittenAction, WrittenManifest, one_of, read_written, unknown_fields
from cra.carp.conditions import RISK_TIERS
from cra.carp.policy import Policy, action_limit_policy, parse_policy
from cra.carp.schema import Schema, SchemaProblem
from cra.carp.schema_patterns import MAX_ALL_PATTERN_BYTES, TOO_MANY
from cra.errors import AtlasVersionMismatch, CRAError, InvalidAtlasManifest, InvalidPolicy, ValidationError
from cra.pointer import pointer
from cra.strictjson import MAX_DEPTH, JSONProblem, parse, plain_copy, shorten

ATLAS_VERSION = "1.0"

_ATLAS_ID = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9-]*)+")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_STRICT_ACTION_ID = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9]*)+")
_STRICT_CAPABILITY_ID = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9]*)*")
_STRICT_FORM = {
    "action": "lower-case letters and digits in at least two parts with dots between",
    "capability": "lower-case letters and digits in parts with dots between",
}
_ERRORS_WHEN_STRICT = frozenset(
    {"unknown_field", "unknown_condition", "action_id_not_strict", "capability_id_not_strict"}
)


def load_atlas(source: str | os.PathLike[str] | Mapping[str, Any], *, strict: bool = False) -> Atlas:
    """The atlas in a folder with an `atlas.json`, in a manifest file, or in a mapping (which is copied).

    What is odd but harmless becomes `Atlas.findings`; with `strict` unknown fields and conditions, identifiers that the published
    schema would refuse, and untyped parameter conditions are errors instead. Raises `AtlasNotFound`, `AtlasLoadError` (the
    system refuses to read), `AtlasVersionMismatch` (another `atlas_version`), `InvalidPolicy`, and `InvalidAtlasManifest` for
    everything else; `path` is the JSON pointer of the first thing that is wrong. PROTOCOL: Atlas/1.0.
    """
    if isinstance(source, Mapping):
        return _build(_copied(source), ContextFiles(None), strict)
    if not isinstance(source, (str, os.PathLike)):
        raise InvalidAtlasManifest(f"an atlas is loaded from a path or a mapping, not from {type(source).__name__}")
    file = read_manifest(source)
    try:
        raw = parse(file.data)
    except JSONProblem as problem:
        raise InvalidAtlasManifest(f"{file.path} is no strict JSON: {problem}; correct it and load it again") from None
    try:
        return _build(raw, ContextFiles(file), strict, file.source)
    except ValidationError as error:
        error.args = (f"{error} (in {file.path})",)
        raise


def _copied(source: Mapping[str, Any]) -> Any:
    if not _fits(source):
        raise InvalidAtlasManifest("the manifest is larger than 16 MB, the most that is loaded; split it or shorten it")
    try:
        return plain_copy(dict(source))
    except JSONProblem as problem:
        raise InvalidAtlasManifest(f"{problem.message}; a manifest holds JSON only", path=problem.position) from None


def _fits(value: object) -> bool:
    """Whether a copy would be of a sensible size: objects that share parts can stand for far more than the memory they take."""
    left = MAX_MANIFEST_BYTES
    queue = [(value, 0)]
    while queue and left > 0:
        value, depth = queue.pop()
        left -= len(value) if isinstance(value, str) else 1
        if depth <= MAX_DEPTH:
            if isinstance(value, Mapping):
                queue += ((part, depth + 1) for member in value.items() for part in member)
            elif isinstance(value, list):
                queue += ((item, depth + 1) for item in value)
    return not queue


def _build(raw: object, files: ContextFiles, strict: bool, source: str | None = None) -> Atlas:
    from cra.hotpath import canonical_json

    if not isinstance(raw, dict):
        raise InvalidAtlasManifest("a manifest is a JSON object; put its fields between { and }")
    version = raw.get("atlas_version", ATLAS_VERSION)
    if isinstance(version, str) and version != ATLAS_VERSION:
        raise AtlasVersionMismatch(
            f"{shorten(version)} is not read here; convert the manifest to {ATLAS_VERSION}", path="/atlas_version"
        )
    written = read_written(raw)
    findings = [
        Finding("unknown_field", path, "this field is not known and does nothing; remove or correct it")
        for path in unknown_fields(raw)
    ]
    _check_identity(written)
    patterns = _Patterns()
    policies = _policies(written, patterns)
    actions = _actions(written, raw, patterns, findings)
    manifest = canonical_json(raw)
    blocks = build_blocks(written, files, findings)
    _refuse_duplicates(block_names(written), "context")
    digests = canonical_json(files.digests)
    atlas = Atlas(
        atlas_id=written.atlas_id,
        version=written.version,
        name=written.name,
        description=written.description,
        digest=hashlib.sha256(b'{"files":' + digests + b',"manifest":' + manifest + b"}").hexdigest(),
        manifest=raw,
        capabilities=_capabilities(written, findings),
        context_blocks=blocks,
        policies=(*policies, *_limits(written.atlas_id, actions, len(policies))),
        actions=actions,
        dependencies=_dependencies(written),
        findings=tuple(findings),
        source=source,
        size_bytes=len(manifest) + files.size_bytes,
    )
    if strict:
        _refuse_findings(atlas)
    return atlas


def _check_identity(written: WrittenManifest) -> None:
    _check_atlas_id(written.atlas_id, "/atlas_id")
    try:
        parse_version(written.version)
    except ValueError as error:
        raise InvalidAtlasManifest(str(error), path="/version") from None


def _check_atlas_id(atlas_id: str, path: str) -> None:
    if not _ATLAS_ID.fullmatch(atlas_id):
        raise InvalidAtlasManifest(
            f"{shorten(atlas_id)} is no atlas id; write lower-case parts with dots between, such as com.example.support",
            path=path,
        )


def _check_identifier(identifier: str, path: str, strict: re.Pattern[str], kind: str, findings: list[Finding]) -> None:
    if not _IDENTIFIER.fullmatch(identifier):
        raise InvalidAtlasManifest(
            f"{shorten(identifier)} is no {kind} id; write letters, digits, _ and - in parts with dots between",
            path=path,
        )
    if not strict.fullmatch(identifier):
        findings.append(
            Finding(
                f"{kind}_id_not_strict",
                path,
                f"{shorten(identifier)} is outside the published pattern, {_STRICT_FORM[kind]}; other runtimes may refuse it",
            )
        )


def _refuse_duplicates(
    names: Iterable[tuple[str, str]], kind: str, error: type[CRAError] = InvalidAtlasManifest
) -> None:
    seen: dict[str, str] = {}
    for name, path in names:
        first = seen.setdefault(name, path)
        if first != path:
            raise error(f"{kind} id {shorten(name)} is used at {first} already; give one of them another", path=path)


class _Patterns:
    """What the patterns of all schemas of one atlas take once compiled."""

    def __init__(self) -> None:
        self._left = MAX_ALL_PATTERN_BYTES

    def add(self, schema: Schema, path: str) -> None:
        self._left -= schema.pattern_bytes
        if self._left < 0:
            raise InvalidAtlasManifest(TOO_MANY, path=path)


def _policies(written: WrittenManifest, patterns: _Patterns) -> list[Policy]:
    policies: list[Policy] = []
    for index, raw in enumerate(written.policies):
        path = pointer("", "policies", index)
        policy = parse_policy(raw, atlas_id=written.atlas_id, index=index, path=path)
        if policy.conditions.parameters is not None:
            patterns.add(policy.conditions.parameters, pointer(path, "conditions", "parameters"))
        policies.append(policy)
    names = ((policy.policy_id, pointer("", "policies", policy.index, "policy_id")) for policy in policies)
    _refuse_duplicates(names, "policy", InvalidPolicy)
    return policies


def _actions(
    written: WrittenManifest, raw: Mapping[str, Any], patterns: _Patterns, findings: list[Finding]
) -> tuple[Action, ...]:
    actions = tuple(_action(action, raw, index, patterns, findings) for index, action in enumerate(written.actions))
    names = ((action.action_id, pointer("", "actions", i, "action_id")) for i, action in enumerate(actions))
    _refuse_duplicates(names, "action")
    return actions


def _limits(atlas_id: str, actions: tuple[Action, ...], index: int) -> Iterator[Policy]:
    """The policies that the actions' own rate limits are, numbered from `index`."""
    for action in actions:
        if action.rate_limit is not None:
            limit = action.rate_limit
            yield action_limit_policy(atlas_id, action.action_id, limit.max_calls, limit.window_seconds, index)
            index += 1


def _action(
    action: WrittenAction, raw: Mapping[str, Any], index: int, patterns: _Patterns, findings: list[Finding]
) -> Action:
    path = pointer("", "actions", index)
    _check_identifier(action.action_id, pointer(path, "action_id"), _STRICT_ACTION_ID, "action", findings)
    return Action(
        action_id=action.action_id,
        name=action.name,
        description=action.description,
        parameters_schema=_schema(action.parameters_schema, pointer(path, "parameters_schema"), patterns),
        returns_schema=_schema(action.returns_schema, pointer(path, "returns_schema"), patterns),
        risk_tier=one_of(RISK_TIERS, action.risk_tier, pointer(path, "risk_tier")),
        idempotent=action.idempotent,
        requires_confirmation=action.requires_confirmation,
        executor=None if action.executor is msgspec.UNSET else action.executor,
        timeout_seconds=action.timeout_seconds,
        rate_limit=_limit(action.rate_limit, pointer(path, "rate_limit")),
        examples=tuple(raw["actions"][index].get("examples", ())),
    )


def _schema(document: dict[str, Any] | msgspec.UnsetType, path: str, patterns: _Patterns) -> Schema | None:
    if document is msgspec.UNSET:
        return None
    try:
        schema = Schema(document)
    except SchemaProblem as problem:
        raise InvalidAtlasManifest(problem.message, path=path + problem.pointer) from None
    patterns.add(schema, path)
    return schema


def _limit(raw: dict[str, Any] | msgspec.UnsetType, path: str) -> ActionLimit | None:
    """An action's own limit is a policy, so that nothing in it is ignored."""
    if raw is msgspec.UNSET:
        return None
    for name in raw:
        if name not in ActionLimit.__struct_fields__:
            raise InvalidPolicy(
                "this field is not known in a rate_limit; remove or correct it", path=pointer(path, name)
            )
    for name in ActionLimit.__struct_fields__:
        value = raw.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidPolicy("a rate_limit needs an integer of at least 1 here", path=pointer(path, name))
    return ActionLimit(**raw)


def _capabilities(written: WrittenManifest, findings: list[Finding]) -> tuple[Capability, ...]:
    names: list[tuple[str, str]] = []
    for index, item in enumerate(written.capabilities):
        path = pointer("", "capabilities", index, "capability_id")
        _check_identifier(item.capability_id, path, _STRICT_CAPABILITY_ID, "capability", findings)
        names.append((item.capability_id, path))
    _refuse_duplicates(names, "capability")
    return tuple(
        Capability(item.capability_id, item.name, item.description, item.actions, item.context_packs)
        for item in written.capabilities
    )


def _dependencies(written: WrittenManifest) -> dict[str, str]:
    for atlas_id, needed in written.dependencies.items():
        path = pointer("", "dependencies", atlas_id)
        _check_atlas_id(atlas_id, path)
        if atlas_id == written.atlas_id:
            raise InvalidAtlasManifest("an atlas cannot depend on itself; remove this dependency", path=path)
        if not isinstance(needed, str):
            raise InvalidAtlasManifest("a dependency needs a version range, such as ^1.2.0", path=path)
        try:
            parse_range(needed)
        except ValueError as error:
            raise InvalidAtlasManifest(str(error), path=path) from None
    return dict(written.dependencies)


def _refuse_findings(atlas: Atlas) -> None:
    for finding in atlas.findings:
        if finding.code in _ERRORS_WHEN_STRICT:
            raise InvalidAtlasManifest(finding.message, path=finding.path)
    for finding in untyped_conditions(atlas):
        raise InvalidPolicy(finding.message, path=finding.path)
