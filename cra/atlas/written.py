"""A manifest as it is written: field names, types and bounds, checked before anything is made of them.

Called by the loader only. It checks shapes; what the fields mean (identifiers, schemas, policies, files) is the loader's.
PROTOCOL: Atlas/1.0; schema: atlas-manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from cra.errors import InvalidAtlasManifest
from cra.pointer import pointer
from cra.strictjson import shorten
from cra.structs import learn, shape_problem

Shape = TypeVar("Shape", bound=Struct)
Option = TypeVar("Option", bound=str)
Text = Annotated[str, Meta(min_length=1)]
Priority = Annotated[int, Meta(ge=0, le=1000)]


class WrittenCapability(Struct, frozen=True):
    capability_id: str
    name: str
    description: str = ""
    actions: tuple[str, ...] = ()
    context_packs: tuple[str, ...] = ()


class WrittenPack(Struct, frozen=True):
    pack_id: Text
    name: str
    files: tuple[str, ...]
    description: str = ""
    priority: Priority = 100
    conditions: dict[str, Any] = {}
    max_tokens: Annotated[int, Meta(ge=0)] | msgspec.UnsetType = msgspec.UNSET


class WrittenBlock(Struct, frozen=True):
    context_id: Text
    name: str
    content: str
    content_type: str = "text/markdown"
    priority: Priority = 100
    keywords: tuple[Text, ...] = ()
    inject_mode: str = "on_match"
    also_inject: tuple[Text, ...] = ()
    inject_when: tuple[Text, ...] = ()
    risk_tiers: tuple[str, ...] = ()
    conditions: dict[str, Any] = {}


class WrittenExample(Struct, frozen=True):
    """Checked for its types only: an action keeps its examples as they are written."""

    name: str = ""
    parameters: dict[str, Any] = {}
    expected_result: dict[str, Any] = {}


class WrittenAction(Struct, frozen=True):
    action_id: str
    name: str
    description: str
    parameters_schema: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    returns_schema: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    risk_tier: str = "low"
    idempotent: bool = False
    requires_confirmation: bool = False
    executor: str | msgspec.UnsetType = msgspec.UNSET
    timeout_seconds: Annotated[int, Meta(ge=1, le=300)] = 30
    rate_limit: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    examples: tuple[WrittenExample, ...] = ()


class WrittenAdapter(Struct, frozen=True):
    enabled: bool = True
    settings: dict[str, Any] = {}


class WrittenManifest(Struct, frozen=True):
    """`policies` and `dependencies` are read by parsers of their own, and `adapters` one by one, so they are not typed here."""

    atlas_version: str
    atlas_id: str
    version: str
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    description: Annotated[str, Meta(max_length=1000)]
    authors: tuple[str, ...] = ()
    license: str = ""
    homepage: str = ""
    repository: str = ""
    domains: tuple[str, ...] = ()
    capabilities: tuple[WrittenCapability, ...] = ()
    context_packs: tuple[WrittenPack, ...] = ()
    context_blocks: tuple[WrittenBlock, ...] = ()
    policies: tuple[Any, ...] = ()
    actions: tuple[WrittenAction, ...] = ()
    adapters: dict[str, Any] = {}
    dependencies: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


_CLOSED: dict[str, type[Struct]] = {
    "capabilities": WrittenCapability,
    "context_packs": WrittenPack,
    "context_blocks": WrittenBlock,
    "actions": WrittenAction,
}
"""The lists whose members have no other fields than these."""


learn(WrittenManifest, WrittenAction, WrittenBlock, WrittenPack, WrittenCapability, WrittenAdapter, WrittenExample)


def read_written(raw: Mapping[str, Any]) -> WrittenManifest:
    """The typed form of a manifest; raises `InvalidAtlasManifest` with the pointer of the first field of a wrong shape."""
    written = _convert(raw, WrittenManifest, "")
    for name, adapter in written.adapters.items():
        _convert(adapter, WrittenAdapter, pointer("", "adapters", name))
    return written


def _convert(raw: object, kind: type[Shape], path: str) -> Shape:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        message, place = shape_problem(error)
    raise InvalidAtlasManifest(f"{message}; see schema atlas-manifest", path=path + place)


def unknown_fields(raw: Mapping[str, Any]) -> Iterator[str]:
    """The pointers of fields that no version of the manifest defines, policies and conditions aside; `raw` has the shape."""
    yield from _unknown(raw, WrittenManifest, "")
    for name, kind in _CLOSED.items():
        for index, member in enumerate(raw.get(name, ())):
            yield from _unknown(member, kind, pointer("", name, index))


def _unknown(members: Mapping[str, Any], kind: type[Struct], path: str) -> Iterator[str]:
    return (pointer(path, name) for name in members if name not in kind.__struct_fields__)


def one_of(options: tuple[Option, ...], value: str, path: str) -> Option:
    """`value` as one of `options`; raises `InvalidAtlasManifest` that lists them."""
    for option in options:
        if option == value:
            return option
    raise InvalidAtlasManifest(f"{shorten(value)} is not one of {', '.join(options)}; use one of these", path=path)
