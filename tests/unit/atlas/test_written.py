"""The written form of a manifest has the fields of the schema, the published one included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cra import schemas
from cra.atlas import written
from cra.atlas.written import one_of, read_written, unknown_fields
from cra.errors import InvalidAtlasManifest

STRUCTS = {
    "Capability": written.WrittenCapability,
    "ContextPack": written.WrittenPack,
    "ContextBlock": written.WrittenBlock,
    "Action": written.WrittenAction,
}


def shape(definition: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The fields and the required fields of a schema."""
    return set(definition["properties"]), set(definition.get("required", ()))


def written_shape(kind: type[msgspec.Struct]) -> tuple[set[str], set[str]]:
    """The same of a struct."""
    fields = msgspec.structs.fields(kind)
    return {field.name for field in fields}, {field.name for field in fields if field.required}


@pytest.mark.parametrize("name", STRUCTS)
def test_the_structs_have_the_fields_of_the_schema(name: str) -> None:
    """Names and required names agree with the project's schema, so that neither drifts."""
    definition = schemas.load("atlas-manifest")["$defs"][name]
    assert shape(definition) == written_shape(STRUCTS[name])


def test_the_manifest_has_the_fields_of_the_schema() -> None:
    """The same at the top level."""
    assert shape(schemas.load("atlas-manifest")) == written_shape(written.WrittenManifest)


def test_every_published_field_is_read(data: Path) -> None:
    """Whatever the published schema knows is known here."""
    published = json.loads((data / "spec" / "atlas-manifest.schema.json").read_text())
    assert set(published["properties"]) <= set(written.WrittenManifest.__struct_fields__)
    for name in STRUCTS.keys() & published["$defs"].keys():
        assert set(published["$defs"][name]["properties"]) <= set(STRUCTS[name].__struct_fields__)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 1}, "/name: expected `string`, got `integer`; see schema atlas-manifest"),
        ({"actions": [{"action_id": True}]}, "/actions/0/action_id: expected `string`, got `boolean`; "),
        ({"context_blocks": [{"context_id": ""}]}, "/context_blocks/0/context_id: expected `string` of length >= 1; "),
        ({"atlas_version": None}, "/atlas_version: expected `string`, got `null`; "),
    ],
)  # fmt: skip
def test_errors_speak_of_json(fields: dict[str, Any], message: str) -> None:
    """The sentence uses the type names of JSON and a JSON pointer."""
    manifest = {"atlas_version": "1.0", "atlas_id": "a.a", "version": "1.0.0", "name": "A", "description": "", **fields}
    with pytest.raises(InvalidAtlasManifest) as caught:
        read_written(manifest)
    assert caught.value.message.startswith(message)


def test_known_fields_are_not_unknown(data: Path) -> None:
    """The golden atlas has none."""
    raw = json.loads((data / "golden" / "simple-resolve" / "atlas.json").read_text())
    assert [] == list(unknown_fields(raw))


def test_one_of_lists_the_options() -> None:
    """A value among the options is returned; another one is refused with all of them."""
    assert "b" == one_of(("a", "b"), "b", "/x")
    with pytest.raises(InvalidAtlasManifest) as caught:
        one_of(("a", "b"), "c", "/x")
    assert "/x: 'c' is not one of a, b; use one of these" == caught.value.message
