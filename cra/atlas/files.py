"""Reads the bytes an atlas is made of: its manifest, and context files that must not lie outside its folder.

Called by the loader, and by the importers for their documents. It opens nothing but regular files, reads nothing before it has
seen the size, and follows no link out of the folder. It knows nothing of what the bytes mean. PROTOCOL: Context files.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from cra.errors import AtlasLoadError, AtlasNotFound, InvalidAtlasManifest

MANIFEST_NAME = "atlas.json"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
MAX_CONTEXT_FILE_BYTES = 1024 * 1024
MAX_CONTEXT_BYTES = 64 * 1024 * 1024

_READ = os.O_RDONLY | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for a writer.
_REGULAR = _READ | os.O_NONBLOCK | os.O_NOCTTY
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})


class ManifestFile(NamedTuple):
    """The manifest as read. `source` is the absolute path that was given, `folder` where its context files are; `is_folder` says
    that the folder was given, so that it has to be complete."""

    source: str
    folder: str
    is_folder: bool
    data: bytes

    @property
    def path(self) -> str:
        """The absolute path of the manifest itself."""
        return os.path.join(self.source, MANIFEST_NAME) if self.is_folder else self.source


class MissingFile(Exception):
    """There is no such file in the folder."""


class UnusableFile(Exception):
    """The file may not be read; the message is a sentence that says why."""


def read_manifest(source: str | os.PathLike[str]) -> ManifestFile:
    """The bytes of `source`, a manifest file or a folder with an `atlas.json`.

    Raises `AtlasNotFound` where there is none, `InvalidAtlasManifest` where it is no regular file or over 16 MB (nothing is read
    then), `AtlasLoadError` where the system refuses.
    """
    given = os.path.abspath(os.fsdecode(source))
    is_folder = os.path.isdir(given)
    path = os.path.join(given, MANIFEST_NAME) if is_folder else given
    try:
        data = read_regular_file(path, MAX_MANIFEST_BYTES)
    except UnusableFile as error:
        raise InvalidAtlasManifest(f"{path} {error}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in _ABSENT:
            raise AtlasLoadError(f"cannot read {path}: {error.strerror}; check its permissions") from error
        advice = (
            f"the folder has no {MANIFEST_NAME}" if is_folder else "give a manifest file or a folder with an atlas.json"
        )
        raise AtlasNotFound(f"there is no file {path!r}; {advice}") from None
    return ManifestFile(given, os.path.dirname(path), is_folder, data)


def read_context_file(folder: str, name: str) -> bytes:
    """The bytes of the file that a context pack names, relative to the folder of the manifest, with `/` between parts.

    Raises `MissingFile`, or `UnusableFile` where the name or a link leaves the folder, or where it is no regular
    file, or over 1 MB; `AtlasLoadError` where the system refuses.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise UnusableFile("is outside the folder of the atlas; name a file inside it by its relative path")
    if not name or "\\" in name or "\0" in name:
        raise UnusableFile("is no relative path; name a file inside the folder of the atlas, with / between parts")
    root = os.path.realpath(folder)
    resolved = os.path.realpath(os.path.join(root, *parts))
    if os.path.commonpath((root, resolved)) != root:
        raise UnusableFile("is a link that leaves the folder of the atlas; put the file itself there")
    try:
        return _read_regular(_open_beneath(root, os.path.relpath(resolved, root)), MAX_CONTEXT_FILE_BYTES)
    except OSError as error:
        if error.errno in _ABSENT:
            raise MissingFile from None
        raise AtlasLoadError(f"cannot read context file {name!r}: {error.strerror}; check its permissions") from error


def _open_beneath(root: str, relative: str) -> int:
    """Open a path that holds no link, one part at a time, so that a link put there since it was resolved is not followed."""
    *folders, name = relative.split(os.sep)
    held = os.open(root, _READ | os.O_DIRECTORY)
    try:
        for part in folders:
            inner = os.open(part, _READ | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
            os.close(held)
            held = inner
        return os.open(name, _REGULAR | os.O_NOFOLLOW, dir_fd=held)
    finally:
        os.close(held)


def read_regular_file(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises `UnusableFile` for any other, and `OSError`."""
    # A device may act on being opened, so look first; the descriptor is looked at again, since the name may change.
    _check_regular(os.stat(path), limit)
    return _read_regular(os.open(path, _REGULAR), limit)


def _read_regular(descriptor: int, limit: int) -> bytes:
    """Read and close; at most `limit` bytes, whatever the file says of its size."""
    try:
        _check_regular(os.fstat(descriptor), limit)
        chunks: list[bytes] = []
        left = limit + 1
        while left and (chunk := os.read(descriptor, left)):
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(descriptor)
    if not left:
        raise UnusableFile(_too_large(limit))
    return b"".join(chunks)


def _check_regular(status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFile("is not a regular file; give a file with content of its own")
    if status.st_size > limit:
        raise UnusableFile(_too_large(limit))


def _too_large(limit: int) -> str:
    return f"is larger than {limit // (1024 * 1024)} MB, the most that is read; split it or shorten it"
