"""Writing an imported atlas as a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cra.atlas.importers import folder
from cra.atlas.importers.folder import write_atlas_folder
from cra.atlas.importers.mcp import import_mcp
from cra.atlas.lint import lint_atlas
from cra.atlas.loader import load_atlas
from cra.errors import Conflict, InvalidAtlasManifest, StorageError


@pytest.fixture
def manifest() -> dict[str, Any]:
    """An import with a tool of every risk tier."""
    hints = {"find": {"readOnlyHint": True}, "put": {}, "drop": {"destructiveHint": True}}
    tools = [
        {"name": name, "description": "Größe", "inputSchema": {"type": "object"}, "annotations": annotations}
        for name, annotations in hints.items()
    ]
    return import_mcp(tools, "com.example.store", name="Store")


def test_folder_is_complete_and_loads(manifest: dict[str, Any], tmp_path: Path) -> None:
    """Manifest, context and the page on the policies are there, and the atlas loads strictly without a finding."""
    out = write_atlas_folder(manifest, tmp_path / "new" / "store")

    assert ["POLICIES.md", "atlas.json", "context", "tests"] == sorted(os.listdir(out))
    assert ["overview"] == [block.block_id for block in load_atlas(out, strict=True).context_blocks]
    assert () == lint_atlas(out)
    assert [out] == list(out.parent.iterdir())


def test_manifest_is_readable(manifest: dict[str, Any], tmp_path: Path) -> None:
    """The JSON is indented, keeps letters as they are, and holds what was imported plus the context pack."""
    text = (write_atlas_folder(manifest, tmp_path / "store") / "atlas.json").read_text("utf-8")
    written = json.loads(text)

    assert '\n  "name": "Store",\n' in text
    assert "Größe" in text
    assert manifest == {key: value for key, value in written.items() if key != "context_packs"}


def test_pages_name_what_is_there(manifest: dict[str, Any], tmp_path: Path) -> None:
    """The overview lists the actions by tier; POLICIES.md explains every policy and says which do not count yet."""
    out = write_atlas_folder(manifest, tmp_path / "store")
    overview = (out / "context" / "overview.md").read_text("utf-8")
    page = (out / "POLICIES.md").read_text("utf-8")

    assert all(f"- `store.{name}`" in overview for name in ("find", "put", "drop"))
    assert all(f"## {policy['policy_id']}: " in page for policy in manifest["policies"])
    assert "`deny`, enforced, 1 action." in page
    assert "`rate_limit`, in shadow mode, 1 action." in page


def test_overview_names_no_empty_tier(tmp_path: Path) -> None:
    """A tier without actions is not mentioned, and several actions are counted as such."""
    tools = [{"name": n, "inputSchema": {}, "annotations": {"readOnlyHint": True}} for n in ("a", "b")]
    out = write_atlas_folder(import_mcp(tools, "com.example.store"), tmp_path / "store")

    assert "destroy" not in (out / "context" / "overview.md").read_text("utf-8")
    assert "`allow`, enforced, 2 actions." in (out / "POLICIES.md").read_text("utf-8")


def test_pages_list_what_a_person_has_to_check(tmp_path: Path) -> None:
    """A tool that says that it only reads, and is named after what it destroys, is listed on both pages, by itself."""
    hints = {"readOnlyHint": True}
    tools = [{"name": name, "inputSchema": {}, "annotations": hints} for name in ("get", "delete_all", "purge")]
    out = write_atlas_folder(import_mcp(tools, "com.example.store"), tmp_path / "store")
    overview = (out / "context" / "overview.md").read_text("utf-8")
    page = (out / "POLICIES.md").read_text("utf-8")

    assert "These actions only read:\n\n- `store.get`\n\nThese actions are said to only read" in overview
    assert "names say otherwise:\n\n- `store.delete_all`\n- `store.purge`\n" in overview
    assert "`allow`, enforced, 1 action. The import took these" in page
    assert "## check-reads: Claims to be read-only, please check\n\n`allow`, in shadow mode, 2 actions." in page
    assert "\n\n- `store.delete_all`\n- `store.purge`\n" in page
    assert "A server can be wrong, and it can lie: review" in page


def test_an_empty_folder_is_filled(manifest: dict[str, Any], tmp_path: Path) -> None:
    """A folder without anything in it is as good as none."""
    assert tmp_path.resolve() == write_atlas_folder(manifest, tmp_path)
    assert (tmp_path / "atlas.json").exists()


def test_nothing_is_overwritten(manifest: dict[str, Any], tmp_path: Path) -> None:
    """A folder with content, or a file, stays as it is, and the error says what to do."""
    (tmp_path / "mine").write_text("keep")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(Conflict, match="already exists; choose another folder"):
            write_atlas_folder(manifest, out)

    assert ["mine"] == os.listdir(tmp_path)


def test_a_manifest_that_does_not_load_leaves_nothing(manifest: dict[str, Any], tmp_path: Path) -> None:
    """What `load_atlas` refuses is never put in place."""
    with pytest.raises(InvalidAtlasManifest):
        write_atlas_folder(manifest | {"version": "one"}, tmp_path / "store")

    assert [] == os.listdir(tmp_path)


def test_a_failing_disk_leaves_nothing(
    manifest: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the system, here in the last step, is a StorageError and leaves nothing behind."""
    failed = []

    def rename(source: object, target: object) -> None:
        failed.append(target)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.os, "rename", rename)
    with pytest.raises(StorageError, match="No space left on device"):
        write_atlas_folder(manifest, tmp_path / "store")

    assert [tmp_path / "store"] == failed
    assert [] == os.listdir(tmp_path)


def test_a_place_that_cannot_be_written(manifest: dict[str, Any], tmp_path: Path) -> None:
    """A parent that is no folder is a StorageError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another folder"):
        write_atlas_folder(manifest, tmp_path / "file" / "store")
