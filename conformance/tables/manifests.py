"""Manifests and their files, group `atlas`. PROTOCOL: Atlas/1.0; schema: atlas-manifest."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import ABSENT, Group, atlas, error, policy

SCHEMA = "atlas-manifest.schema.json"
IDENTIFIERS = "Accept `[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*` everywhere"
STRICT_IDS = "what the strict pattern would reject is a lint warning, an error with `strict=True`."
UNKNOWN = "outside policies are a lint warning with their path (`strict=True`: an error)."
DUPLICATES = "Duplicate ids within an atlas are an error."
FILES = "a named file that is missing, outside the folder (`..`, absolute, a link that leaves it), not UTF-8"
MAPPING = "from a manifest file given by path, a missing file is a lint warning and injects nothing."
NO_ALLOW = "An atlas with actions and no allow policy gets a lint warning."
REMOTE = "a remote `$ref` is a load error"
INLINE = (
    "`context_blocks[]` with `context_id`, `name`, `priority`, `content`, `content_type`, `keywords[]`, `inject_mode`"
)
MODES = "(`always` | `on_match`, default `on_match`), `also_inject[]`, `inject_when[]`, `risk_tiers[]`, `conditions`."

ACTION = {"action_id": "shop.buy", "name": "Buy", "description": "Buys"}
BASE: dict[str, Any] = atlas([ACTION], [policy("allow")])
BLOCK = {"context_id": "help", "name": "Help", "content": "Read me"}
PACK = {"pack_id": "guide", "name": "Guide", "files": ["guide.md"]}
INVALID = error("INVALID_ATLAS_MANIFEST")
REFUSED = {"error": {"category": "validation"}}


def _action(**fields: Any) -> dict[str, Any]:
    return {"actions": [{**ACTION, **fields}]}


def _block(**fields: Any) -> dict[str, Any]:
    return {"context_blocks": [{**BLOCK, **fields}]}


# name, place in the schema, what it says there, fields that replace the base's
INVALID_BY_SCHEMA: list[tuple[str, str, str, dict[str, Any]]] = [
    *(
        (f"without-{name}", "", "required", {name: ABSENT})
        for name in ("atlas_version", "atlas_id", "version", "name", "description")
    ),
    ("id-of-one-part", "/properties/atlas_id", "pattern", {"atlas_id": "shop"}),
    ("id-upper-case", "/properties/atlas_id", "pattern", {"atlas_id": "com.Example"}),
    ("id-begins-with-a-digit", "/properties/atlas_id", "pattern", {"atlas_id": "1com.example"}),
    ("id-with-a-newline", "/properties/atlas_id", "pattern", {"atlas_id": "com.example\n"}),
    ("id-number", "/properties/atlas_id", "type", {"atlas_id": 7}),
    ("version-of-two-parts", "/properties/version", "pattern", {"version": "1.0"}),
    ("version-leading-zero", "/properties/version", "pattern", {"version": "01.0.0"}),
    ("version-with-v", "/properties/version", "pattern", {"version": "v1.0.0"}),
    ("version-empty-prerelease", "/properties/version", "pattern", {"version": "1.0.0-"}),
    ("version-prerelease-leading-zero", "/properties/version", "pattern", {"version": "1.0.0-01"}),
    ("name-empty", "/properties/name", "minLength", {"name": ""}),
    ("name-long", "/properties/name", "maxLength", {"name": "n" * 101}),
    ("description-long", "/properties/description", "maxLength", {"description": "d" * 1001}),
    ("actions-object", "/properties/actions", "type", {"actions": {}}),
    ("policies-object", "/properties/policies", "type", {"policies": {}}),
    ("capabilities-string", "/properties/capabilities", "type", {"capabilities": "all"}),
    ("domains-of-numbers", "/properties/domains/items", "type", {"domains": [1]}),
    ("metadata-list", "/properties/metadata", "type", {"metadata": []}),
    ("dependency-number", "/properties/dependencies/additionalProperties", "type", {"dependencies": {"com.a": 1}}),
    ("action-without-name", "/$defs/Action", "required", {"actions": [{"action_id": "a.b", "description": "x"}]}),
    ("action-without-description", "/$defs/Action", "required", {"actions": [{"action_id": "a.b", "name": "x"}]}),
    ("action-without-id", "/$defs/Action", "required", {"actions": [{"name": "x", "description": "x"}]}),
    ("action-risk-tier", "/$defs/Action/properties/risk_tier", "enum", _action(risk_tier="extreme")),
    ("action-idempotent", "/$defs/Action/properties/idempotent", "type", _action(idempotent="yes")),
    ("action-timeout-zero", "/$defs/Action/properties/timeout_seconds", "minimum", _action(timeout_seconds=0)),
    ("action-timeout-long", "/$defs/Action/properties/timeout_seconds", "maximum", _action(timeout_seconds=301)),
    ("action-parameters-list", "/$defs/Action/properties/parameters_schema", "type", _action(parameters_schema=[])),
    ("capability-without-name", "/$defs/Capability", "required", {"capabilities": [{"capability_id": "buying"}]}),
    ("pack-without-files", "/$defs/ContextPack", "required", {"context_packs": [{"pack_id": "a", "name": "A"}]}),
    ("pack-priority", "/$defs/ContextPack/properties/priority", "maximum", {"context_packs": [{**PACK, "priority": 1001}]}),
    ("pack-priority-negative", "/$defs/ContextPack/properties/priority", "minimum", {"context_packs": [{**PACK, "priority": -1}]}),
    ("pack-max-tokens", "/$defs/ContextPack/properties/max_tokens", "minimum", {"context_packs": [{**PACK, "max_tokens": -1}]}),
]  # fmt: skip

# name, sentence, fields
INVALID_BY_TEXT: list[tuple[str, str, dict[str, Any]]] = [
    ("action-id-empty", IDENTIFIERS, _action(action_id="")),
    ("action-id-space", IDENTIFIERS, _action(action_id="shop buy")),
    ("action-id-empty-part", IDENTIFIERS, _action(action_id="shop..buy")),
    ("action-id-trailing-dot", IDENTIFIERS, _action(action_id="shop.")),
    ("action-id-slash", IDENTIFIERS, _action(action_id="shop/buy")),
    ("action-id-accented", IDENTIFIERS, _action(action_id="shop.büy")),
    ("action-id-star", IDENTIFIERS, _action(action_id="shop.*")),
    ("action-id-newline", IDENTIFIERS, _action(action_id="shop.buy\n")),
    ("capability-id-space", IDENTIFIERS, {"capabilities": [{"capability_id": "a b", "name": "A"}]}),
    ("block-risk-tier", MODES, _block(risk_tiers=["extreme"])),
    ("block-keywords-string", INLINE, _block(keywords="help")),
    ("block-without-content", INLINE, {"context_blocks": [{"context_id": "a", "name": "A"}]}),
    ("block-content-number", INLINE, _block(content=7)),
    ("parameters-remote-ref", REMOTE, _action(parameters_schema={"$ref": "https://example.com/schema.json"})),
    ("parameters-remote-ref-inside", REMOTE, _action(parameters_schema={"properties": {"a": {"$ref": "http://e.com/s"}}})),
    ("returns-remote-ref", REMOTE, _action(returns_schema={"$ref": "https://example.com/schema.json"})),
    ("parameters-file-ref", REMOTE, _action(parameters_schema={"$ref": "file:///etc/passwd"})),
    ("parameters-no-schema", "parameters against `parameters_schema` (2020-12", _action(parameters_schema={"type": "thing"})),
]  # fmt: skip

# name, sentence, fields: things that are twice there
TWICE: list[tuple[str, dict[str, Any]]] = [
    ("actions", {"actions": [ACTION, ACTION]}),
    ("policies", {"policies": [policy("allow"), policy("deny", "allow")]}),
    ("capabilities", {"capabilities": [{"capability_id": "a", "name": "A"}, {"capability_id": "a", "name": "B"}]}),
    ("blocks", {"context_blocks": [BLOCK, {**BLOCK, "content": "other"}]}),
    ("packs", {"context_packs": [PACK, PACK]}),
]

# name, sentence, fields: legal
VALID: list[tuple[str, str, dict[str, Any]]] = [
    ("minimal", "Fields: see the schema.", {"actions": ABSENT, "policies": ABSENT}),
    ("full", "Fields: see the schema.", {"authors": ["a"], "license": "MIT", "domains": [], "metadata": {"x": [1]}}),
    ("version-prerelease", "Fields: see the schema.", {"version": "1.2.3-rc.1+build.5"}),
    ("id-with-hyphen", "Fields: see the schema.", {"atlas_id": "com.example.my-shop"}),
    ("action-id-underscore", IDENTIFIERS, _action(action_id="trace.edit_event")),
    ("action-id-hyphen", IDENTIFIERS, _action(action_id="get-issue")),
    ("action-id-single", IDENTIFIERS, _action(action_id="search")),
    ("action-id-upper-case", IDENTIFIERS, _action(action_id="getIssue.V2")),
    ("action-id-digit", IDENTIFIERS, _action(action_id="2fa")),
    ("inline-context", INLINE, _block(priority=7, content_type="text/plain", keywords=["a"], inject_mode="always")),
    ("inline-context-references", MODES, _block(also_inject=["help"], inject_when=["shop.buy"], risk_tiers=["high"])),
    ("inline-context-short", INLINE, _block()),
    ("local-ref", REMOTE, _action(parameters_schema={"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"})),
    ("requires-confirmation", "`requires_confirmation` is passed on to the agent and nothing else.", _action(requires_confirmation=True)),
    ("dependency", "Fields: see the schema.", {"dependencies": {}}),
]  # fmt: skip

# name, sentence, fields, the pointer of the warning
WARNED: list[tuple[str, str, dict[str, Any], str]] = [
    ("unknown-field", UNKNOWN, {"colour": "red"}, "/colour"),
    ("unknown-field-of-an-action", UNKNOWN, _action(colour="red"), "/actions/0/colour"),
    ("unknown-field-of-a-block", UNKNOWN, _block(colour="red"), "/context_blocks/0/colour"),
    ("unknown-field-of-a-capability", UNKNOWN, {"capabilities": [{"capability_id": "a", "name": "A", "x": 1}]}, "/capabilities/0/x"),
    ("unknown-field-escaped", UNKNOWN, {"a/b~c": 1}, "/a~1b~0c"),
    ("action-id-not-strict", STRICT_IDS, _action(action_id="trace.edit_event"), "/actions/0/action_id"),
    ("action-id-single-not-strict", STRICT_IDS, _action(action_id="search"), "/actions/0/action_id"),
    ("capability-id-not-strict", STRICT_IDS, {"capabilities": [{"capability_id": "A-b", "name": "A"}]}, "/capabilities/0/capability_id"),
]  # fmt: skip


def _changed(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**BASE, **fields}.items() if value is not ABSENT}


def groups() -> list[Group]:
    group = Group("atlas", "Atlas-Core")
    for name, place, keyword, fields in INVALID_BY_SCHEMA:
        question = {"manifest": _changed(fields)}
        group.add(f"invalid-{name}", keyword, "load_atlas", question, INVALID, section=f"{SCHEMA}#{place}")
    for name, sentence, fields in INVALID_BY_TEXT:
        question = {"manifest": _changed(fields)}
        group.add(f"invalid-{name}", sentence, "load_atlas", question, INVALID)
    for version in ("2.0", "1", "1.1", 1.0):
        question = {"manifest": _changed({"atlas_version": version})}
        place = f"{SCHEMA}#/properties/atlas_version"
        group.add(f"invalid-atlas-version-{version!r}", "const", "load_atlas", question, REFUSED, section=place)
    for name, thing in (("list", "[]"), ("string", '"x"'), ("null", "null")):
        group.add(f"invalid-{name}", "type", "load_atlas", {"files": {"atlas.json": thing}}, INVALID,
                  section=f"{SCHEMA}#")  # fmt: skip
    for name, fields in TWICE:
        group.add(f"twice-{name}", DUPLICATES, "load_atlas", {"manifest": _changed(fields)}, REFUSED)
    for name, sentence, fields in VALID:
        manifest = _changed(fields)
        actions = [action["action_id"] for action in manifest.get("actions", ())]
        expected = {"atlas_id": manifest["atlas_id"], "version": manifest["version"], "actions": actions}
        group.add(f"valid-{name}", sentence, "load_atlas", {"manifest": manifest}, expected)
    for name, sentence, fields, path in WARNED:
        loading: Any = {"manifest": _changed(fields)}
        group.add(f"warned-{name}", sentence, "load_atlas", loading, {"warnings": {"$contains": [path]}})
        group.add(f"strict-{name}", sentence, "load_atlas", {**loading, "strict": True}, REFUSED)
    strict = {"manifest": BASE, "strict": True}
    group.add("strict-valid", STRICT_IDS, "load_atlas", strict, {"warnings": []})
    question = {"manifest": atlas([ACTION], [policy("deny")])}
    group.add("warned-no-allow", NO_ALLOW, "load_atlas", question, {"codes": {"$contains": ["no_allow_policy"]}})  # fmt: skip
    _add_files(group)
    return [group]


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def _add_files(group: Group) -> None:
    def add(name: str, sentence: str, files: dict[str, Any], expected: Any, **more: Any) -> None:
        group.add(f"files-{name}", sentence, "load_atlas", {"files": files, **more}, expected)

    def folder(*names: str, **files: Any) -> dict[str, Any]:
        manifest = {**BASE, "context_packs": [{**PACK, "files": list(names)}]}
        return {"atlas.json": _json(manifest), **files}

    fine = {"atlas_id": BASE["atlas_id"]}
    add("present", FILES, folder("guide.md", **{"guide.md": "Read me"}), {**fine, "warnings": []})
    add("in-a-folder", FILES, folder("docs/guide.md", **{"docs/guide.md": "Read me"}), {**fine, "warnings": []})
    add("missing", FILES, folder("guide.md"), INVALID)
    add("outside", FILES, folder("../guide.md", **{"../guide.md": "Read me"}), INVALID)
    add("outside-by-detour", FILES, folder("docs/../../guide.md", **{"../guide.md": "x", "docs/a": "x"}), INVALID)
    add("absolute", FILES, folder("/etc/hostname"), INVALID)
    add("link-outside", FILES, folder("guide.md", **{"../g.md": "x", "guide.md": {"link": "../g.md"}}), INVALID)
    add("link-of-a-folder-outside", FILES, folder("docs/g.md", **{"../d/g.md": "x", "docs": {"link": "../d"}}), INVALID)
    add("link-inside", FILES, folder("guide.md", **{"g.md": "x", "guide.md": {"link": "g.md"}}), fine)
    add("not-utf-8", FILES, folder("guide.md", **{"guide.md": {"hex": "52e9"}}), INVALID)
    add("folder-as-file", FILES, folder("docs", **{"docs/guide.md": "x"}), INVALID)
    warned = {**fine, "warnings": {"$contains": ["/context_packs/0/files/0"]}}
    add("missing-by-manifest-path", MAPPING, folder("guide.md"), warned, path="atlas.json")
    mapping = {"manifest": {**BASE, "context_packs": [PACK]}}
    group.add("files-missing-in-a-mapping", MAPPING, "load_atlas", mapping, warned)
    add("no-json", "An atlas is a JSON manifest (`atlas.json`), alone or in a folder", {"atlas.json": "{"}, INVALID)
    add(
        "alone",
        "An atlas is a JSON manifest (`atlas.json`), alone or in a folder",
        {"a.json": _json(BASE)},
        fine,
        path="a.json",
    )
    twice = _json(BASE)[:-1] + ', "name": "Again"}'
    add("duplicate-member", DUPLICATES, {"atlas.json": twice}, INVALID)
