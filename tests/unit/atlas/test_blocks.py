"""Context blocks from inline blocks and from files. PROTOCOL: Inline context, Context files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cra.atlas import blocks
from cra.atlas.loader import load_atlas
from cra.carp.conditions import Conditions
from cra.errors import InvalidAtlasManifest

Make = Callable[..., Any]


def pack(*files: str, **fields: Any) -> dict[str, Any]:
    """A pack of files."""
    return {"pack_id": "p", "name": "Pack", "files": list(files), **fields}


def block(**fields: Any) -> dict[str, Any]:
    """An inline block."""
    return {"context_id": "c", "name": "Block", "content": "text", **fields}


def test_a_pack_of_one_file_is_one_block(make_folder: Make) -> None:
    """Its id is that of the pack, and everything that the pack says holds for it."""
    source = make_folder(
        {"docs/a.md": "# Häuser"},
        context_packs=[pack("docs/a.md", priority=7, max_tokens=0, conditions={"agents": ["bot-*"]})],
    )
    (found,) = load_atlas(source).context_blocks
    assert ("p", "Pack", "# Häuser", "text/markdown", 7) == (
        found.block_id, found.name, found.content, found.content_type, found.priority,
    )  # fmt: skip
    assert Conditions(agents=("bot-*",)) == found.conditions
    assert ("p", 0) == (found.pack_id, found.max_tokens)
    assert 3 == found.token_estimate, "nine bytes of UTF-8"


def test_a_pack_of_several_files_is_a_block_each(make_folder: Make) -> None:
    """Their ids are `<pack>/<file>`, in the order of the pack; the suffix gives the type."""
    names = ["z.json", "a.MD", "b.txt", "md"]
    source = make_folder(dict.fromkeys(names, "{}"), context_packs=[pack(*names)])
    found = load_atlas(source).context_blocks
    assert ["p/z.json", "p/a.MD", "p/b.txt", "p/md"] == [item.block_id for item in found]
    assert ["application/json", "text/markdown", "text/plain", "text/plain"] == [item.content_type for item in found]
    assert {("p", None)} == {(item.pack_id, item.max_tokens) for item in found}


def test_inline_blocks_keep_every_field(make_manifest: Make) -> None:
    """Nothing that an inline block says is lost; the rest has its defaults."""
    full = block(
        content_type="application/json",
        priority=1000,
        keywords=["k"],
        inject_mode="always",
        also_inject=["d"],
        inject_when=["item.get"],
        risk_tiers=["high"],
        conditions={"risk_tiers": ["low"]},
    )
    one, two = load_atlas(make_manifest(context_blocks=[full, block(context_id="d")])).context_blocks
    assert ("c", "Block", "text", "application/json", 1000, "always") == (
        one.block_id, one.name, one.content, one.content_type, one.priority, one.inject_mode,
    )  # fmt: skip
    assert (("k",), ("d",), ("item.get",), ("high",)) == (
        one.keywords,
        one.also_inject,
        one.inject_when,
        one.risk_tiers,
    )
    assert Conditions(risk_tiers=("low",)) == one.conditions
    assert ("text/markdown", 100, "on_match", (), (), (), (), None, None, Conditions()) == (
        two.content_type, two.priority, two.inject_mode, two.keywords, two.also_inject, two.inject_when, two.risk_tiers,
        two.pack_id, two.max_tokens, two.conditions,
    )  # fmt: skip


def test_packs_come_before_inline_blocks(make_folder: Make) -> None:
    """Declaration order: the packs, then the blocks, wherever they stand in the file."""
    source = make_folder({"a.md": ""}, context_blocks=[block()], context_packs=[pack("a.md")])
    assert ["p", "c"] == [item.block_id for item in load_atlas(source).context_blocks]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"context_id": ""}, "/context_id"),
        ({"priority": 1001}, "/priority"),
        ({"priority": -1}, "/priority"),
        ({"priority": 1.5}, "/priority"),
        ({"content": None}, "/content"),
        ({"content_type": "text/html"}, "/content_type"),
        ({"keywords": [""]}, "/keywords/0"),
        ({"risk_tiers": ["low", "urgent"]}, "/risk_tiers/1"),
        ({"conditions": {"agents": []}}, "/conditions/agents"),
        ({"conditions": {"time_window": {"start": "25:00"}}}, "/conditions/time_window/start"),
    ],
)
def test_a_wrong_field_of_a_block_is_refused(make_manifest: Make, fields: dict[str, Any], path: str) -> None:
    """InvalidAtlasManifest with the place."""
    with pytest.raises(InvalidAtlasManifest) as caught:
        load_atlas(make_manifest(context_blocks=[block(**fields)]))
    assert f"/context_blocks/0{path}" == caught.value.path


@pytest.mark.parametrize(
    ("conditions", "path"),
    [
        ({"file_pattern": "x"}, "/conditions/file_pattern"),
        ({"parameters": {}}, "/conditions/parameters"),
        ({"time_window": {"until": "12:00"}}, "/conditions/time_window/until"),
        ({"time.of": 1}, "/conditions/time.of"),
    ],
)
def test_an_unknown_condition_is_kept_and_found(make_manifest: Make, conditions: dict[str, Any], path: str) -> None:
    """The block stays, never to be injected; lint says so at the place, and strict refuses it."""
    manifest = make_manifest(context_blocks=[block(conditions=conditions)])
    atlas = load_atlas(manifest)
    assert [("unknown_condition", f"/context_blocks/0{path}")] == [(f.code, f.path) for f in atlas.findings]
    assert atlas.context_blocks[0].conditions.unknown
    with pytest.raises(InvalidAtlasManifest):
        load_atlas(manifest, strict=True)


def test_a_file_that_a_folder_lacks_is_an_error(make_folder: Make) -> None:
    """A folder has to be complete; the error names the field."""
    with pytest.raises(InvalidAtlasManifest) as caught:
        load_atlas(make_folder({"a.md": ""}, context_packs=[pack("a.md", "b.md")]))
    assert "/context_packs/0/files/1" == caught.value.path
    assert "there is no context file 'b.md'" in caught.value.message


def test_a_file_that_stands_beside_a_manifest_is_read(make_folder: Make) -> None:
    """Of a manifest given by its path: what is there is read, what is not is a finding and injects nothing."""
    source: Path = make_folder({"a.md": "alpha"}, context_packs=[pack("a.md", "b.md")]) / "atlas.json"
    for strict in (False, True):
        atlas = load_atlas(source, strict=strict)
        assert [("p/a.md", "alpha")] == [(item.block_id, item.content) for item in atlas.context_blocks]
        assert [("missing_context_file", "/context_packs/0/files/1")] == [(f.code, f.path) for f in atlas.findings]


def test_the_files_of_a_mapping_are_all_missing(
    make_manifest: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapping stands nowhere: nothing is read for it, not even from the current folder."""
    (tmp_path / "a.md").write_text("alpha")
    monkeypatch.chdir(tmp_path)
    atlas = load_atlas(make_manifest(context_packs=[pack("a.md", "../b.md")]))
    assert () == atlas.context_blocks
    assert ["missing_context_file"] * 2 == [finding.code for finding in atlas.findings]


@pytest.mark.parametrize("given_as", ["", "atlas.json"])
@pytest.mark.parametrize("name", ["../outside.md", "/etc/passwd", "link.md"])
def test_a_file_outside_the_folder_is_always_an_error(
    make_folder: Make, tmp_path: Path, name: str, given_as: str
) -> None:
    """`..`, an absolute path and a link that leaves the folder, whether the folder or the manifest was given."""
    (tmp_path / "outside.md").write_text("secret")
    root: Path = make_folder(context_packs=[pack(name)])
    (root / "link.md").symlink_to(tmp_path / "outside.md")
    with pytest.raises(InvalidAtlasManifest) as caught:
        load_atlas(root / given_as)
    assert "/context_packs/0/files/0" == caught.value.path
    assert "secret" not in caught.value.message


def test_a_file_that_is_not_utf8_is_refused(make_folder: Make) -> None:
    """The error names the field and the byte."""
    with pytest.raises(InvalidAtlasManifest) as caught:
        load_atlas(make_folder({"a.md": b"ok \xff"}, context_packs=[pack("a.md")]))
    assert "/context_packs/0/files/0" == caught.value.path
    assert "is not UTF-8 at byte 3" in caught.value.message


def test_a_file_over_the_limit_is_refused(make_folder: Make) -> None:
    """One megabyte is read, one byte more is not."""
    limit = blocks.read_context_file.__globals__["MAX_CONTEXT_FILE_BYTES"]
    load_atlas(make_folder({"a.md": "x" * limit}, context_packs=[pack("a.md")]))
    with pytest.raises(InvalidAtlasManifest, match="larger than 1 MB"):
        load_atlas(make_folder({"a.md": "x" * (limit + 1)}, context_packs=[pack("a.md")]))


def test_files_over_the_limit_together_are_refused(make_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file over the sum is refused; a file that two packs share counts once."""
    monkeypatch.setattr(blocks, "MAX_CONTEXT_BYTES", 10)
    files = {"a.md": "x" * 5, "b.md": "x" * 5, "c.md": "x"}
    load_atlas(make_folder(files, context_packs=[pack("a.md", "b.md"), pack("a.md", pack_id="q")]))
    with pytest.raises(InvalidAtlasManifest, match="together they are larger than 64 MB") as caught:
        load_atlas(make_folder(files, context_packs=[pack("a.md", "b.md", "c.md")]))
    assert "/context_packs/0/files/2" == caught.value.path


def test_too_many_files_are_refused_before_any_is_looked_for(
    make_manifest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of files that all packs name together is bounded, since each costs a look at the disk."""
    monkeypatch.setattr(blocks, "MAX_CONTEXT_FILES", 3)
    two = [pack("a.md", "b.md"), pack("a.md", pack_id="q")]
    assert 3 == len(load_atlas(make_manifest(context_packs=two)).findings)
    with pytest.raises(InvalidAtlasManifest, match="name more than 3 files") as caught:
        load_atlas(make_manifest(context_packs=[*two, pack("c.md", pack_id="r")]))
    assert "/context_packs/2/files" == caught.value.path
