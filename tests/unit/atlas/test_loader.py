"""Loading: what becomes of a manifest, and what every kind of bad one gets. PROTOCOL: Atlas/1.0."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.atlas.loader import load_atlas
from cra.atlas.manifest import ActionLimit, Capability
from cra.carp.policy import Limit
from cra.errors import AtlasVersionMismatch, CRAError, InvalidAtlasManifest, InvalidPolicy
from cra.strictjson import MAX_DEPTH

Make = Callable[..., Any]

ACTION = {"action_id": "item.get", "name": "Get", "description": "Gets it"}


def refusal(source: Any, *, strict: bool = False) -> CRAError:
    """The error that loading ends in."""
    with pytest.raises(CRAError) as caught:
        load_atlas(source, strict=strict)
    return caught.value


def nested(levels: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


# What an atlas is


def test_the_golden_atlas_is_read_completely(data: Path) -> None:
    """Every part of the published golden atlas arrives; strictly, its only finding is the context file that it lacks."""
    path = data / "golden" / "simple-resolve" / "atlas.json"
    atlas = load_atlas(path, strict=True)
    raw = json.loads(path.read_text())
    assert "com.cra.conformance.simple" == atlas.atlas_id
    assert ("1.0.0", "Simple Conformance Atlas") == (atlas.version, atlas.name)
    assert str(path) == atlas.source
    assert raw == atlas.manifest
    assert [action["action_id"] for action in raw["actions"]] == [action.action_id for action in atlas.actions]
    assert raw["actions"][0]["parameters_schema"] == atlas.actions[0].parameters_schema.document
    assert raw["actions"][4].get("returns_schema") is atlas.actions[4].returns_schema
    assert ["allow-read", "allow-write", "deny-delete"] == [policy.policy_id for policy in atlas.policies]
    assert Capability(
        "resource.read", "Read Resources", "Read-only resource access", ("resource.get", "resource.list")
    ) == atlas.capabilities[0]  # fmt: skip
    assert [("missing_context_file", "/context_packs/0/files/0")] == [(f.code, f.path) for f in atlas.findings]


def test_the_development_atlas_loads_with_the_findings_it_deserves(data: Path) -> None:
    """A real atlas with `_` in its action ids: they are accepted, and each is a finding; nothing else is."""
    atlas = load_atlas(data / "atlases" / "cra-development.json")
    assert (12, 13, 3) == (len(atlas.actions), len(atlas.context_blocks), len(atlas.policies))
    assert {"action_id_not_strict"} == {finding.code for finding in atlas.findings}
    assert [f"/actions/{i}/action_id" for i in range(12)] == [finding.path for finding in atlas.findings]
    assert "require_approval" == atlas.policies[0].type


def test_the_integration_atlas_loads_with_an_unknown_inject_mode(data: Path) -> None:
    """A real atlas with an inject_mode of its own: a finding with its path, and it counts as on_match."""
    atlas = load_atlas(data / "atlases" / "cra-agent-integration.json")
    codes = [(f.code, f.path) for f in atlas.findings if f.code != "action_id_not_strict"]
    assert [("unknown_inject_mode", "/context_blocks/4/inject_mode")] == codes
    assert "on_match" == atlas.context_blocks[4].inject_mode


def test_the_bootstrap_atlas_is_refused_for_its_first_policy(data: Path) -> None:
    """A real atlas with policies without a type: the error has the place, the types there are, and the file."""
    path = data / "atlases" / "cra-bootstrap.json"
    error = refusal(path)
    assert isinstance(error, InvalidPolicy)
    assert "/policies/0/type" == error.path
    assert "deny, scope, require_approval, rate_limit, budget, allow" in error.message
    assert error.message.endswith(f"(in {path})")


def test_all_fields_of_an_action_arrive(make_manifest: Make) -> None:
    """Nothing that an action says is lost, and the defaults are those of the schema."""
    full = {
        **ACTION,
        "returns_schema": {"type": "string"},
        "risk_tier": "critical",
        "idempotent": True,
        "requires_confirmation": True,
        "executor": "http",
        "timeout_seconds": 300,
        "rate_limit": {"max_calls": 2, "window_seconds": 60},
        "examples": [{"name": "one", "parameters": {"id": 1}, "expected_result": {}, "more": 1}],
    }
    bare = {**ACTION, "action_id": "item.list"}
    atlas = load_atlas(make_manifest(actions=[full, bare]))
    one, two = atlas.actions
    assert ("critical", True, True, "http", 300) == (
        one.risk_tier, one.idempotent, one.requires_confirmation, one.executor, one.timeout_seconds,
    )  # fmt: skip
    assert ActionLimit(2, 60) == one.rate_limit
    assert tuple(full["examples"]) == one.examples
    assert one.returns_schema is not None
    assert one.returns_schema.accepts("x")
    assert ("low", False, False, None, 30, None, None, None, ()) == (
        two.risk_tier, two.idempotent, two.requires_confirmation, two.executor, two.timeout_seconds, two.rate_limit,
        two.parameters_schema, two.returns_schema, two.examples,
    )  # fmt: skip


def test_an_actions_own_rate_limit_is_a_policy_after_the_declared_ones(make_manifest: Make) -> None:
    """It is called `action:<action_id>`, covers that action, and is numbered on from the declared policies."""
    limited = {**ACTION, "rate_limit": {"max_calls": 5, "window_seconds": 10}}
    other = {**ACTION, "action_id": "item.list"}
    third = {**ACTION, "action_id": "item.put", "rate_limit": {"max_calls": 1, "window_seconds": 1}}
    declared = {"policy_id": "reads", "type": "allow", "actions": ["item.*"]}
    atlas = load_atlas(make_manifest(actions=[limited, other, third], policies=[declared]))
    assert [("reads", 0), ("action:item.get", 1), ("action:item.put", 2)] == [
        (p.policy_id, p.index) for p in atlas.policies
    ]
    assert ("item.get",) == atlas.policies[1].actions
    assert Limit("rate_limit", Fraction(5), 10_000_000_000) == atlas.policies[1].limit


def test_sizes_count_the_manifest_and_its_files(make_folder: Make) -> None:
    """`size_bytes` is what the cache counts: the manifest and the content of each file once."""
    packs = [{"pack_id": "p", "name": "P", "files": ["a.md"]}, {"pack_id": "q", "name": "Q", "files": ["a.md"]}]
    small = load_atlas(make_folder({"a.md": "x"}, context_packs=packs))
    large = load_atlas(make_folder({"a.md": "x" * 1001}, context_packs=packs))
    assert 1000 == large.size_bytes - small.size_bytes


# Sources


def test_a_mapping_is_copied(make_manifest: Make) -> None:
    """What the program does to its mapping afterwards changes nothing; a read-only mapping will do."""
    manifest = make_manifest(actions=[dict(ACTION)])
    atlas = load_atlas(MappingProxyType(manifest))
    manifest["actions"][0]["name"] = "changed"
    assert "Get" == atlas.manifest["actions"][0]["name"] == atlas.actions[0].name
    assert atlas.source is None


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"when": object()}, "/metadata/when"),
        ({"list": [1, (2, 3)]}, "/metadata/list/1"),
        ({"n": float("nan")}, "/metadata/n"),
        ({"n": 2**64}, "/metadata/n"),
        ({"s": "\ud800"}, "/metadata/s"),
        ({1: 2}, "/metadata"),
    ],
)
def test_a_mapping_has_to_be_json(make_manifest: Make, metadata: object, path: str) -> None:
    """A value that JSON does not have is refused with its place."""
    error = refusal(make_manifest(metadata=metadata))
    assert isinstance(error, InvalidAtlasManifest)
    assert path == error.path
    assert error.message.endswith("a manifest holds JSON only")


def test_a_mapping_that_contains_itself_is_refused(make_manifest: Make) -> None:
    """Endless nesting ends at the bound."""
    endless: list[Any] = []
    endless.append(endless)
    assert f"nested deeper than {MAX_DEPTH} levels" in refusal(make_manifest(metadata={"x": endless})).message


def test_a_mapping_that_stands_for_gigabytes_is_refused_in_time(make_manifest: Make) -> None:
    """Objects that share their parts are measured by the JSON they stand for, not by the memory they take."""
    bomb: list[Any] = ["x" * 1000]
    for _ in range(100):
        bomb = [bomb, bomb]
    started = time.monotonic()
    assert "larger than 16 MB" in refusal(make_manifest(metadata={"x": bomb})).message
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("source", [b"atlas.json", 7, None, []])
def test_other_sources_are_refused(source: Any) -> None:
    """Only a path or a mapping can be loaded."""
    assert f"from a path or a mapping, not from {type(source).__name__}" in refusal(source).message


# What is no manifest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{,}", "not JSON: .* at line 1 column 2"),
        (b'{"name": 1,\n "name": 2}', "the key 'name' occurs twice in one object at line 2 column 2"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": 1e400}', "too large for a double"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper than 128 levels"),
    ],
    ids=["empty", "broken", "duplicate", "nan", "overflow", "utf8", "surrogate", "deep"],
)
def test_a_file_that_is_no_strict_json_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    """The error names the file, what is wrong, and the position."""
    path = tmp_path / "atlas.json"
    path.write_bytes(text)
    error = refusal(path)
    assert isinstance(error, InvalidAtlasManifest)
    assert re.search(message, error.message)
    assert error.message.startswith(f"{path} is no strict JSON")


@pytest.mark.parametrize("text", ["{", "{}"])
def test_of_a_folder_the_manifest_is_named(tmp_path: Path, text: str) -> None:
    """The error names the file that is wrong, not only the folder that was given."""
    (tmp_path / "atlas.json").write_text(text)
    assert str(tmp_path / "atlas.json") in refusal(tmp_path).message


@pytest.mark.parametrize("text", ["[]", "7", "null", '"atlas"'])
def test_json_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    """A manifest is an object."""
    (tmp_path / "atlas.json").write_text(text)
    assert "a manifest is a JSON object" in refusal(tmp_path).message


def test_the_deepest_manifest_that_is_read_also_has_a_digest(make_folder: Make) -> None:
    """What the parser lets pass at the bound of nesting, everything else can take."""
    assert 64 == len(load_atlas(make_folder(metadata={"x": nested(MAX_DEPTH - 2)})).digest)


@pytest.mark.parametrize("version", ["1.1", "2.0", "", "1"])
def test_another_atlas_version_is_a_mismatch(make_manifest: Make, version: str) -> None:
    """AtlasVersionMismatch comes before anything else is looked at, since another version has other fields."""
    error = refusal({"atlas_version": version})
    assert isinstance(error, AtlasVersionMismatch)
    assert "/atlas_version" == error.path
    assert "convert the manifest to 1.0" in error.message


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"atlas_id": "Shop"}, "/atlas_id"),
        ({"atlas_id": "shop"}, "/atlas_id"),
        ({"atlas_id": "com.example.shop\n"}, "/atlas_id"),
        ({"version": "1.0"}, "/version"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"description": "x" * 1001}, "/description"),
        ({"domains": "one"}, "/domains"),
        ({"authors": [1]}, "/authors/0"),
        ({"actions": {}}, "/actions"),
        ({"actions": [ACTION, 5]}, "/actions/1"),
        ({"actions": [{"action_id": "item.get"}]}, "/actions/0"),
        ({"actions": [{**ACTION, "action_id": "item..get"}]}, "/actions/0/action_id"),
        ({"actions": [{**ACTION, "action_id": "item/get"}]}, "/actions/0/action_id"),
        ({"actions": [{**ACTION, "action_id": ""}]}, "/actions/0/action_id"),
        ({"actions": [{**ACTION, "risk_tier": "urgent"}]}, "/actions/0/risk_tier"),
        ({"actions": [{**ACTION, "timeout_seconds": 301}]}, "/actions/0/timeout_seconds"),
        ({"actions": [{**ACTION, "timeout_seconds": True}]}, "/actions/0/timeout_seconds"),
        ({"actions": [{**ACTION, "idempotent": "yes"}]}, "/actions/0/idempotent"),
        ({"actions": [{**ACTION, "executor": None}]}, "/actions/0/executor"),
        ({"actions": [{**ACTION, "parameters_schema": True}]}, "/actions/0/parameters_schema"),
        ({"actions": [{**ACTION, "examples": [{"parameters": 1}]}]}, "/actions/0/examples/0/parameters"),
        ({"capabilities": [{"capability_id": "a b", "name": "A"}]}, "/capabilities/0/capability_id"),
        ({"capabilities": [{"capability_id": "a", "name": "A", "actions": [1]}]}, "/capabilities/0/actions/0"),
        ({"policies": {}}, "/policies"),
        ({"adapters": {"a/b": {"enabled": 1}}}, "/adapters/a~1b/enabled"),
        ({"adapters": {"x": []}}, "/adapters/x"),
        ({"dependencies": {"com.example.base": "latest"}}, "/dependencies/com.example.base"),
        ({"dependencies": {"com.example.base": 1}}, "/dependencies/com.example.base"),
        ({"dependencies": {"no/id": "1.0.0"}}, "/dependencies/no~1id"),
        ({"dependencies": {"com.example.shop": "*"}}, "/dependencies/com.example.shop"),
    ],
)
def test_a_wrong_field_is_refused_with_its_pointer(make_manifest: Make, fields: dict[str, Any], path: str) -> None:
    """InvalidAtlasManifest says where and what; the message begins with the place."""
    error = refusal(make_manifest(**fields))
    assert isinstance(error, InvalidAtlasManifest)
    assert path == error.path
    assert error.message.startswith(f"{path}: ")


def test_a_missing_field_is_named(make_manifest: Make) -> None:
    """The error names a required field that is not there."""
    manifest = make_manifest()
    del manifest["version"]
    assert "object missing required field `version`" in refusal(manifest).message


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"type": "strnig"}, "/actions/0/parameters_schema/type"),
        (
            {"properties": {"a": {"$ref": "https://example.com/s.json"}}},
            "/actions/0/parameters_schema/properties/a/$ref",
        ),
        ({"$ref": "file:///etc/passwd"}, "/actions/0/parameters_schema/$ref"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "/actions/0/parameters_schema/properties/a/pattern"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(make_manifest: Make, document: dict[str, Any], path: str) -> None:
    """Invalid, remote or backtracking: refused at load, with the place inside the schema."""
    error = refusal(make_manifest(actions=[{**ACTION, "parameters_schema": document}]))
    assert isinstance(error, InvalidAtlasManifest)
    assert path == error.path


def test_the_patterns_of_an_atlas_have_a_bound_together(make_manifest: Make) -> None:
    """Those of policies, parameters and results add up; the schema that is one too many is named."""

    def schema(patterns: int) -> dict[str, Any]:
        return {"properties": {f"p{n}": {"type": "string", "pattern": rf"\pL{{20}}{n}"} for n in range(patterns)}}

    def manifest(patterns: int) -> Any:
        deny = {"policy_id": "p", "type": "deny", "conditions": {"parameters": schema(8)}}
        action = {**ACTION, "parameters_schema": schema(16), "returns_schema": schema(patterns)}
        return make_manifest(policies=[deny], actions=[action])

    assert load_atlas(manifest(8)).actions
    error = refusal(manifest(9))
    assert isinstance(error, InvalidAtlasManifest)
    assert "/actions/0/returns_schema" == error.path
    assert "the patterns up to here take more than 32 MB once compiled" in error.message
    policies = [{"policy_id": f"p{n}", "type": "deny", "conditions": {"parameters": schema(17)}} for n in range(2)]
    assert "/policies/1/conditions/parameters" == refusal(make_manifest(policies=policies)).path


@pytest.mark.parametrize(
    ("limit", "path"),
    [
        ({"max_calls": 1}, "window_seconds"),
        ({"window_seconds": 1}, "max_calls"),
        ({"max_calls": 0, "window_seconds": 1}, "max_calls"),
        ({"max_calls": True, "window_seconds": 1}, "max_calls"),
        ({"max_calls": 1, "window_seconds": 1.5}, "window_seconds"),
        ({"max_calls": 1, "window_seconds": 1, "key": "agent"}, "key"),
    ],
)
def test_an_actions_limit_is_as_strict_as_a_policy(make_manifest: Make, limit: dict[str, Any], path: str) -> None:
    """Nothing in it is ignored or guessed: InvalidPolicy with the place."""
    error = refusal(make_manifest(actions=[{**ACTION, "rate_limit": limit}]))
    assert isinstance(error, InvalidPolicy)
    assert f"/actions/0/rate_limit/{path}" == error.path


@pytest.mark.parametrize(
    ("fields", "path", "first"),
    [
        ({"actions": [ACTION, ACTION]}, "/actions/1/action_id", "/actions/0/action_id"),
        (
            {"capabilities": [{"capability_id": "a", "name": "A"}, {"capability_id": "a", "name": "B"}]},
            "/capabilities/1/capability_id",
            "/capabilities/0/capability_id",
        ),
        (
            {"policies": [{"policy_id": "p", "type": "deny"}, {"policy_id": "p", "type": "deny"}]},
            "/policies/1/policy_id",
            "/policies/0/policy_id",
        ),
        (
            {"context_blocks": [{"context_id": "c", "name": "C", "content": ""}] * 2},
            "/context_blocks/1/context_id",
            "/context_blocks/0/context_id",
        ),
        (
            {
                "context_packs": [{"pack_id": "c", "name": "C", "files": []}],
                "context_blocks": [{"context_id": "c", "name": "C", "content": ""}],
            },
            "/context_blocks/0/context_id",
            "/context_packs/0/pack_id",
        ),
        (
            {"context_packs": [{"pack_id": "c", "name": "C", "files": ["a.md", "a.md"]}]},
            "/context_packs/0/files/1",
            "/context_packs/0/files/0",
        ),
    ],
)
def test_an_id_that_is_used_twice_is_refused_with_both_places(
    make_manifest: Make, fields: dict[str, Any], path: str, first: str
) -> None:
    """Duplicate ids within an atlas are an error, of policies an InvalidPolicy."""
    error = refusal(make_manifest(**fields))
    assert (InvalidPolicy if "policies" in fields else InvalidAtlasManifest) is type(error)
    assert path == error.path
    assert f"is used at {first} already" in error.message


# Identifiers, unknown fields, strict


@pytest.mark.parametrize("action_id", ["create_issue", "merge-pr", "single", "A.b", "x.create_issue", "item.2get"])
def test_a_wider_action_id_is_accepted_with_a_finding(make_manifest: Make, action_id: str) -> None:
    """What the published pattern would reject is a lint finding, and an error with strict."""
    manifest = make_manifest(actions=[{**ACTION, "action_id": action_id}])
    atlas = load_atlas(manifest)
    assert [("action_id_not_strict", "/actions/0/action_id")] == [(f.code, f.path) for f in atlas.findings]
    error = refusal(manifest, strict=True)
    assert isinstance(error, InvalidAtlasManifest)
    assert "/actions/0/action_id" == error.path


def test_a_wider_capability_id_is_accepted_with_a_finding(make_manifest: Make) -> None:
    """The same for capabilities, whose published pattern allows a single part."""
    fields = [{"capability_id": "read", "name": "R"}, {"capability_id": "read_all", "name": "R"}]
    atlas = load_atlas(make_manifest(capabilities=fields))
    assert [("capability_id_not_strict", "/capabilities/1/capability_id")] == [(f.code, f.path) for f in atlas.findings]


def test_unknown_fields_are_findings_with_their_paths(make_manifest: Make) -> None:
    """Outside policies a field that nobody knows is a finding at its place, and an error with strict."""
    manifest = make_manifest(
        governance={},
        actions=[{**ACTION, "returns": {}}],
        capabilities=[{"capability_id": "a", "name": "A", "x/y": 1}],
        context_blocks=[{"context_id": "c", "name": "C", "content": "", "weight": 1}],
        context_packs=[{"pack_id": "p", "name": "P", "files": [], "glob": "*"}],
        adapters={"openai": {"enabled": True, "model": "x"}},
        metadata={"anything": 1},
    )
    found = [f.path for f in load_atlas(manifest).findings if f.code == "unknown_field"]
    expected = [
        "/governance", "/capabilities/0/x~1y", "/context_packs/0/glob", "/context_blocks/0/weight", "/actions/0/returns",
    ]  # fmt: skip
    assert expected == found
    assert "/governance" == refusal(manifest, strict=True).path


def test_an_unknown_field_in_a_policy_is_always_an_error(make_manifest: Make) -> None:
    """Inside a policy nothing is ignored."""
    error = refusal(make_manifest(policies=[{"policy_id": "p", "type": "deny", "effect": "deny"}]))
    assert isinstance(error, InvalidPolicy)
    assert "/policies/0/effect" == error.path


def test_an_untyped_parameter_condition_is_an_error_only_when_strict(make_manifest: Make) -> None:
    """It loads otherwise, since lint says so; strict makes it an InvalidPolicy with the property's place."""
    cap = {"properties": {"amount": {"exclusiveMinimum": 100}}, "required": ["amount"]}
    manifest = make_manifest(policies=[{"policy_id": "p", "type": "deny", "conditions": {"parameters": cap}}])
    assert () == load_atlas(manifest).findings
    error = refusal(manifest, strict=True)
    assert isinstance(error, InvalidPolicy)
    assert "/policies/0/conditions/parameters/properties/amount" == error.path


# Digest


def test_the_digest_is_that_of_the_canonical_content(make_folder: Make, make_manifest: Make) -> None:
    """SHA-256 of `{"files": {name: SHA-256}, "manifest": …}` as canonical JSON, recomputed here with the standard library."""
    import hashlib

    packs = [{"pack_id": "p", "name": "Pé", "files": ["b.md", "a.md"]}]
    atlas = load_atlas(make_folder({"a.md": "alpha", "b.md": "beta"}, context_packs=packs))
    files = {"a.md": hashlib.sha256(b"alpha").hexdigest(), "b.md": hashlib.sha256(b"beta").hexdigest()}
    content = {"files": files, "manifest": make_manifest(context_packs=packs)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == atlas.digest


def test_the_digest_does_not_depend_on_how_it_was_written(make_folder: Make, make_manifest: Make) -> None:
    """White space, the order of keys, and whether it came from a file change nothing."""
    manifest = make_manifest(actions=[ACTION])
    backwards = dict(reversed(manifest.items()))
    assert load_atlas(make_folder(actions=[ACTION])).digest == load_atlas(backwards).digest


def test_the_digest_changes_with_a_file_and_with_a_field(make_folder: Make) -> None:
    """Another content, another description: another digest."""
    packs = [{"pack_id": "p", "name": "P", "files": ["a.md"]}]
    digests = {
        load_atlas(make_folder({"a.md": "one"}, context_packs=packs)).digest,
        load_atlas(make_folder({"a.md": "two"}, context_packs=packs)).digest,
        load_atlas(make_folder({"a.md": "two"}, context_packs=packs, description="other")).digest,
    }
    assert 3 == len(digests)


# Anything at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "atlas_id", "version", "name", "description", "authors", "license", "capabilities", "context_packs", "context_blocks",
    "policies", "actions", "adapters", "dependencies", "metadata",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4))
def test_any_mapping_is_an_atlas_or_one_error(fields: dict[str, Any]) -> None:
    """Whatever stands in a field, loading ends in an atlas or in an error of the tree, never in anything else."""
    manifest = {
        "atlas_version": "1.0", "atlas_id": "com.example.shop", "version": "1.0.0", "name": "S", "description": "", **fields,
    }  # fmt: skip
    try:
        atlas = load_atlas(manifest)
    except CRAError:
        return
    assert manifest == atlas.manifest


@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_file_is_an_atlas_or_one_error(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    """Whatever bytes a file has, loading it ends in InvalidAtlasManifest (none of these is an atlas)."""
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(text)
    assert isinstance(refusal(path), (InvalidAtlasManifest, AtlasVersionMismatch))
