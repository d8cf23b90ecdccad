"""Reading files: nothing but regular files of a sane size, and nothing outside the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cra.atlas import files
from cra.atlas.files import (
    MAX_CONTEXT_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    ManifestFile,
    MissingFile,
    UnusableFile,
    read_context_file,
    read_manifest,
)
from cra.errors import AtlasLoadError, AtlasNotFound, InvalidAtlasManifest


def test_a_folder_and_its_manifest_are_read_alike(tmp_path: Path) -> None:
    """A folder stands for its atlas.json; only the source and the promise to be complete differ."""
    (tmp_path / "atlas.json").write_bytes(b"{}")
    path = tmp_path / "atlas.json"
    assert ManifestFile(str(tmp_path), str(tmp_path), True, b"{}") == read_manifest(tmp_path)
    assert ManifestFile(str(path), str(tmp_path), False, b"{}") == read_manifest(str(path))


def test_a_source_is_remembered_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path still leads to the file after the process has changed its folder."""
    (tmp_path / "atlas.json").write_bytes(b"{}")
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "atlas.json") == read_manifest("atlas.json").source


@pytest.mark.parametrize("name", ["missing.json", "file/atlas.json", "x" * 300, "nul\0"])
def test_a_path_that_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    """AtlasNotFound says what can be given, whatever the reason that there is no such file."""
    (tmp_path / "file").touch()
    with pytest.raises(AtlasNotFound, match="give a manifest file or a folder"):
        read_manifest(f"{tmp_path}/{name}")


def test_a_folder_without_a_manifest_is_not_found(tmp_path: Path) -> None:
    """AtlasNotFound names the file that the folder lacks."""
    with pytest.raises(AtlasNotFound, match=r"the folder has no atlas\.json"):
        read_manifest(tmp_path)


def test_a_huge_manifest_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 MB are refused by their size alone: the file is not even opened."""
    path = tmp_path / "atlas.json"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)

    def opened(*args: object, **kwargs: object) -> int:
        raise AssertionError("opened")

    monkeypatch.setattr(files.os, "open", opened)
    with pytest.raises(InvalidAtlasManifest, match=r"larger than 16 MB, the most that is read"):
        read_manifest(path)


def test_a_manifest_of_the_largest_size_is_read(tmp_path: Path) -> None:
    """The bound itself is inside."""
    path = tmp_path / "atlas.json"
    with path.open("wb") as file:
        file.truncate(MAX_MANIFEST_BYTES)
    assert MAX_MANIFEST_BYTES == len(read_manifest(path).data)


def test_a_file_that_says_too_little_of_its_size_is_bounded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What grows while it is read, or has no size, is read up to the bound and no further."""
    (tmp_path / "grown.md").write_bytes(b"x" * (MAX_CONTEXT_FILE_BYTES + 5))
    monkeypatch.setattr(files, "_check_regular", lambda status, limit: None)
    with pytest.raises(UnusableFile, match="larger than 1 MB"):
        read_context_file(str(tmp_path), "grown.md")


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    """A FIFO, as a manifest or as context, is no regular file, and nobody waits for its writer."""
    os.mkfifo(tmp_path / "atlas.json")
    with pytest.raises(InvalidAtlasManifest, match="is not a regular file"):
        read_manifest(tmp_path)
    with pytest.raises(UnusableFile, match="is not a regular file"):
        read_context_file(str(tmp_path), "atlas.json")


def test_a_device_is_refused() -> None:
    """A device would never end."""
    with pytest.raises(InvalidAtlasManifest, match="is not a regular file"):
        read_manifest("/dev/zero")


def test_what_the_system_refuses_is_a_load_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A permission problem names the file and what to check, for manifests and for context files."""
    (tmp_path / "atlas.json").write_bytes(b"{}")

    def refuse(*args: object, **kwargs: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(AtlasLoadError, match=r"cannot read .*atlas\.json: Permission denied; check its permissions"):
        read_manifest(tmp_path)
    with pytest.raises(AtlasLoadError, match=r"cannot read context file 'a\.md': Permission denied"):
        read_context_file(str(tmp_path), "a.md")


def test_context_files_are_read_from_folders_below(tmp_path: Path) -> None:
    """A relative path with `/`, `.` or doubled separators leads to the file."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.md").write_bytes(b"text")
    for name in ("a/b/c.md", "./a/b/c.md", "a//b/c.md"):
        assert b"text" == read_context_file(str(tmp_path), name)


def test_a_link_that_stays_in_the_folder_is_followed(tmp_path: Path) -> None:
    """Links are fine as long as what they lead to is inside; the folder itself may be one."""
    root = tmp_path / "real"
    (root / "docs").mkdir(parents=True)
    (root / "docs" / "a.md").write_bytes(b"text")
    (root / "link.md").symlink_to("docs/a.md")
    (root / "linked").symlink_to(root / "docs")
    (tmp_path / "root").symlink_to(root)
    assert b"text" == read_context_file(str(tmp_path / "root"), "link.md")
    assert b"text" == read_context_file(str(tmp_path / "root"), "linked/a.md")


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.md", "docs/../../secret.md", "docs/.."])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    """Absolute names and `..` are refused whether or not there is such a file."""
    with pytest.raises(UnusableFile, match="is outside the folder of the atlas"):
        read_context_file(str(tmp_path), name)


@pytest.mark.parametrize("name", ["", "a\\b.md", "nul\0.md"])
def test_a_name_that_is_no_portable_path_is_refused(tmp_path: Path, name: str) -> None:
    """An empty name, a backslash and a NUL are refused."""
    with pytest.raises(UnusableFile, match="is no relative path"):
        read_context_file(str(tmp_path), name)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    """A link to a file or a folder outside is refused, even where it leads nowhere, and by a name that begins alike."""
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas-secret.md").write_text("secret")
    (tmp_path / "atlas" / "file.md").symlink_to("../atlas-secret.md")
    (tmp_path / "atlas" / "folder").symlink_to(tmp_path)
    (tmp_path / "atlas" / "nowhere.md").symlink_to("/nonexistent/x")
    for name in ("file.md", "folder/atlas-secret.md", "nowhere.md"):
        with pytest.raises(UnusableFile, match="is a link that leaves the folder"):
            read_context_file(str(tmp_path / "atlas"), name)


@pytest.mark.parametrize("swapped", ["docs", "docs/a.md"])
def test_a_link_put_there_after_the_check_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    """The race between looking and opening: what was resolved is opened part by part, without following links."""
    root, outside = tmp_path / "atlas", tmp_path / "outside"
    for folder in (root / "docs", outside):
        folder.mkdir(parents=True)
        (folder / "a.md").write_text(folder.name)
    resolve = os.path.realpath

    def resolve_then_swap(path: str) -> str:
        resolved = resolve(path)
        if resolved.endswith("a.md"):
            (root / swapped).rename(tmp_path / "away")
            (root / swapped).symlink_to(outside if swapped == "docs" else outside / "a.md")
        return resolved

    monkeypatch.setattr(files.os.path, "realpath", resolve_then_swap)
    with pytest.raises(MissingFile):
        read_context_file(str(root), "docs/a.md")
    assert (root / swapped).is_symlink(), "the fault was not put in place"


@pytest.mark.parametrize("name", ["missing.md", "docs/missing.md", "file.md/x.md", "x" * 300, "loop.md"])
def test_a_file_that_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    """Absent, below a file, too long to exist, or a link to itself: there is no such file."""
    (tmp_path / "file.md").touch()
    (tmp_path / "loop.md").symlink_to("loop.md")
    with pytest.raises(MissingFile):
        read_context_file(str(tmp_path), name)


@pytest.mark.parametrize("name", [".", "docs"])
def test_a_folder_is_no_context_file(tmp_path: Path, name: str) -> None:
    """Only regular files have content."""
    (tmp_path / "docs").mkdir()
    with pytest.raises(UnusableFile, match="is not a regular file"):
        read_context_file(str(tmp_path), name)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Reading, refusing and missing close what they have opened."""
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "deep" / "a.md").touch()
    (tmp_path / "big.md").write_bytes(b"x" * (MAX_CONTEXT_FILE_BYTES + 1))
    before = len(os.listdir("/dev/fd"))
    for name in ("docs/deep/a.md", "docs", "docs/none/x", "big.md") * 5:
        try:
            read_context_file(str(tmp_path), name)
        except (UnusableFile, MissingFile):
            continue
    assert before == len(os.listdir("/dev/fd"))
