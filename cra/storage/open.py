"""From what a user writes for `storage=` to the backends: URLs, backends, or a list of either.

URLs are read as SQLAlchemy reads them: three slashes are followed by a relative path, four by an absolute one. Nothing in a
URL is ignored, and no URL is repeated in a message beyond its scheme, since it may hold a password.
"""

from __future__ import annotations

from collections.abc import Sequence

from cra.errors import StorageError
from cra.storage.base import StorageBackend

StorageSpec = str | StorageBackend | Sequence[str | StorageBackend]
_LATER = ("sqlite", "postgresql")
_USE = "use memory:, journal:, jsonl: or null:"


def open_storage(spec: StorageSpec) -> list[StorageBackend]:
    """Open the storage that `spec` names: one backend per URL, backends as they are, in the order given.

    Raises `StorageError` for what cannot be opened; backends opened here are closed again then.
    """
    items = [spec] if isinstance(spec, str | StorageBackend) else spec
    if not isinstance(items, Sequence) or not items:
        raise StorageError(f"storage is a URL, a StorageBackend or a list of them, with at least one; {_USE}")
    backends: list[StorageBackend] = []
    try:
        for item in items:
            backend = item if isinstance(item, StorageBackend) else _open_url(item)
            if any(backend is other for other in backends):
                raise StorageError(f"storage '{backend.name}' is given twice; give each backend once")
            backends.append(backend)
    except BaseException:
        for item, backend in zip(items, backends):
            if isinstance(item, str):
                backend.close()
        raise
    return backends


def _open_url(url: object) -> StorageBackend:
    if not isinstance(url, str):
        raise StorageError(
            f"an object of type {type(url).__name__} is no storage: part of StorageBackend is missing; {_USE}"
        )
    scheme, colon, rest = url.partition(":")
    if not colon or "/" in scheme:
        raise StorageError(
            f"storage is a URL, not a path: for a folder write jsonl:///dir, or jsonl:////dir from the root; {_USE}"
        )
    dialect = scheme.partition("+")[0]
    if dialect in _LATER:
        raise StorageError(f"storage '{dialect}:' is not available in this version; {_USE}")
    if scheme == "jsonl":
        from cra.storage.jsonl import JsonlStorage

        return JsonlStorage(_folder(scheme, rest))
    if scheme == "journal":
        from cra.storage.journal.backend import JournalStorage

        return JournalStorage(_folder(scheme, rest))
    if scheme not in ("memory", "null"):
        raise StorageError(f"storage '{scheme}:' is not known; {_USE}")
    if rest:
        raise StorageError(f"storage '{scheme}:' takes nothing after the colon; write {scheme}:")
    if scheme == "memory":
        from cra.storage.memory import MemoryStorage

        return MemoryStorage()
    from cra.storage.null import NullStorage

    return NullStorage()


def _folder(scheme: str, rest: str) -> str:
    folder = rest.removeprefix("///")
    if folder == rest or not folder or folder.startswith("//"):
        raise StorageError(
            f"storage '{scheme}:' names a folder: write {scheme}:///dir, or {scheme}:////dir from the root"
        )
    if "?" in folder or "#" in folder:
        raise StorageError(f"storage '{scheme}:' takes no options: leave out everything from the ? or # on")
    return folder
