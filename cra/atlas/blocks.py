"""Context blocks, made from inline `context_blocks` and from the files of `context_packs`: in the end the same thing.

Called by the loader only. It never decides what is injected; that is `cra.carp.context`. PROTOCOL: Inline context, Context files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from posixpath import splitext
from typing import Any, NamedTuple, get_args

import msgspec

from cra.atlas.files import MAX_CONTEXT_BYTES, ManifestFile, MissingFile, UnusableFile, read_context_file
from cra.atlas.manifest import ContentType, ContextBlock, Finding
from cra.atlas.written import WrittenBlock, WrittenManifest, WrittenPack, one_of
from cra.carp.conditions import RISK_TIERS, Conditions, parse_conditions
from cra.errors import InvalidAtlasManifest
from cra.pointer import pointer
from cra.strictjson import shorten

MAX_CONTEXT_FILES = 10_000
CONTENT_TYPES: tuple[ContentType, ...] = get_args(ContentType)
_BY_SUFFIX: dict[str, ContentType] = {".md": "text/markdown", ".json": "application/json"}


class ContextFile(NamedTuple):
    content: str
    digest: str


class ContextFiles:
    """The context files of one atlas, each read once; together at most 64 MB.

    `file` is the manifest they stand beside, None for a mapping, which has no files.
    """

    def __init__(self, file: ManifestFile | None) -> None:
        self._file = file
        self._read: dict[str, ContextFile] = {}
        self.size_bytes = 0

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 (hex) of the bytes of every file read, by its name."""
        return {name: file.digest for name, file in self._read.items()}

    def read(self, name: str, path: str, findings: list[Finding]) -> str | None:
        """The content of a file named at `path`; None, and a finding, where it is missing and need not be there.

        Raises `InvalidAtlasManifest` at `path` where it is missing from a folder, or may not be read, or is not UTF-8.
        """
        if name not in self._read:
            try:
                if self._file is None:
                    raise MissingFile
                self._read[name] = self._fetch(self._file.folder, name)
            except MissingFile:
                message = f"there is no context file {shorten(name)}; add it, or remove the name"
                if self._file is not None and self._file.is_folder:
                    raise InvalidAtlasManifest(message, path=path) from None
                findings.append(Finding("missing_context_file", path, f"{message}; nothing is injected for it"))
                return None
            except UnusableFile as error:
                raise InvalidAtlasManifest(f"context file {shorten(name)} {error}", path=path) from None
        return self._read[name].content

    def _fetch(self, folder: str, name: str) -> ContextFile:
        data = read_context_file(folder, name)
        self.size_bytes += len(data)
        if self.size_bytes > MAX_CONTEXT_BYTES:
            raise UnusableFile("is one too many: together they are larger than 64 MB; shorten them")
        try:
            content = data.decode()
        except UnicodeDecodeError as error:
            raise UnusableFile(f"is not UTF-8 at byte {error.start}; save it as UTF-8") from None
        return ContextFile(content, hashlib.sha256(data).hexdigest())


def build_blocks(written: WrittenManifest, files: ContextFiles, findings: list[Finding]) -> tuple[ContextBlock, ...]:
    """All blocks, packs first, in declaration order; what deserves a warning is appended to `findings`.

    Raises `InvalidAtlasManifest` with the pointer of the first field that is wrong.
    """
    blocks: list[ContextBlock] = []
    named = 0
    for index, pack in enumerate(written.context_packs):
        named += len(pack.files)
        if named > MAX_CONTEXT_FILES:
            raise InvalidAtlasManifest(
                f"the packs up to this one name more than {MAX_CONTEXT_FILES:,} files, the most that is read; join some",
                path=pointer("", "context_packs", index, "files"),
            )
        blocks += _pack_blocks(pack, pointer("", "context_packs", index), files, findings)
    for index, block in enumerate(written.context_blocks):
        blocks.append(_inline_block(block, pointer("", "context_blocks", index), findings))
    return tuple(blocks)


def block_names(written: WrittenManifest) -> Iterator[tuple[str, str]]:
    """Every name that a block goes by, with its pointer: no two may be the same."""
    for index, pack in enumerate(written.context_packs):
        path = pointer("", "context_packs", index)
        yield pack.pack_id, pointer(path, "pack_id")
        if len(pack.files) > 1:
            for number, name in enumerate(pack.files):
                yield f"{pack.pack_id}/{name}", pointer(path, "files", number)
    for index, block in enumerate(written.context_blocks):
        yield block.context_id, pointer("", "context_blocks", index, "context_id")


def _pack_blocks(pack: WrittenPack, path: str, files: ContextFiles, findings: list[Finding]) -> Iterable[ContextBlock]:
    conditions = _conditions(pack.conditions, path, findings)
    for number, name in enumerate(pack.files):
        content = files.read(name, pointer(path, "files", number), findings)
        if content is not None:
            yield ContextBlock(
                block_id=pack.pack_id if len(pack.files) == 1 else f"{pack.pack_id}/{name}",
                name=pack.name,
                content=content,
                content_type=_BY_SUFFIX.get(splitext(name)[1].lower(), "text/plain"),
                priority=pack.priority,
                conditions=conditions,
                pack_id=pack.pack_id,
                max_tokens=None if pack.max_tokens is msgspec.UNSET else pack.max_tokens,
            )


def _inline_block(block: WrittenBlock, path: str, findings: list[Finding]) -> ContextBlock:
    if block.inject_mode not in ("always", "on_match"):
        findings.append(
            Finding(
                "unknown_inject_mode",
                pointer(path, "inject_mode"),
                f"{shorten(block.inject_mode)} is no inject_mode and counts as on_match; write always or on_match",
            )
        )
    return ContextBlock(
        block_id=block.context_id,
        name=block.name,
        content=block.content,
        content_type=one_of(CONTENT_TYPES, block.content_type, pointer(path, "content_type")),
        priority=block.priority,
        conditions=_conditions(block.conditions, path, findings),
        inject_mode="always" if block.inject_mode == "always" else "on_match",
        keywords=block.keywords,
        also_inject=block.also_inject,
        inject_when=block.inject_when,
        risk_tiers=tuple(
            one_of(RISK_TIERS, tier, pointer(path, "risk_tiers", number))
            for number, tier in enumerate(block.risk_tiers)
        ),
    )


def _conditions(raw: dict[str, Any], path: str, findings: list[Finding]) -> Conditions:
    path = pointer(path, "conditions")
    conditions = parse_conditions(raw, path, error=InvalidAtlasManifest, context=True)
    for key in conditions.unknown:
        steps = key.split(".", 1) if key.startswith("time_window.") else [key]
        findings.append(
            Finding(
                "unknown_condition",
                pointer(path, *steps),
                "this condition is not known, so it never holds and the context is never injected; remove or correct it",
            )
        )
    return conditions
