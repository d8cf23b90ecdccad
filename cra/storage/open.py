"""From what a user writes for `storage=` to the backends: URLs, backends, or a list of either.

URLs are read as SQLAlchemy reads them: three slashes are followed by a relative path, four by an absolute one. Nothing in a
URL is ignored, and no URL is repeated in a message beyond its scheme, since it may hold a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import TypeGuard, cast

from cra.errors import StorageError
from cra.storage.base import AsyncStorageBackend, StorageBackend

Storage = str | StorageBackend | AsyncStorageBackend
StorageSpec = Storage | Sequence[Storage]
_PARTS = tuple(StorageBackend.__annotations__) + tuple(
    name for name, part in vars(StorageBackend).items() if callable(part) and not name.startswith("_")
)
_USE = "use memory:, journal:, jsonl:, sqlite:, postgresql: or null:"


def open_storage(spec: StorageSpec) -> list[StorageBackend]:
    """Open the storage that `spec` names: one backend per URL, backends as they are (`AsyncStorageBackend` behind an adapter), in
    the order given.

    Raises `StorageError` for what cannot be opened; backends opened here are closed again then.
    """
    items: object = [spec] if isinstance(spec, str) or _is_backend(spec) else spec
    if not isinstance(items, Sequence) or not items:
        raise StorageError(f"storage is a URL, a StorageBackend or a list of them, with at least one; {_USE}")
    backends: list[StorageBackend] = []
    try:
        for item in items:
            if not _is_backend(item):
                backends.append(_open_url(item))
            elif sum(item is other for other in items) > 1:
                raise StorageError(f"storage '{item.name}' is given twice; give each backend once")
            else:
                backends.append(_adapted(item))
    except BaseException:
        for item, backend in zip(items, backends):
            if isinstance(item, str):
                backend.close()
        raise
    return backends


def _is_backend(value: object) -> TypeGuard[StorageBackend]:
    """Whether it has all parts. `isinstance` does not see those that a proxy has by its `__getattr__`, from Python 3.12 on."""
    return not isinstance(value, type) and all(hasattr(value, name) for name in _PARTS)


def _adapted(backend: StorageBackend) -> StorageBackend:
    # At run time, a protocol tells methods by their names only.
    if not iscoroutinefunction(backend.append):
        return backend
    from cra.storage.from_async import FromAsync

    return FromAsync(cast("AsyncStorageBackend", backend))


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
    if scheme == "postgresql":
        from cra.storage.postgresql import PostgreSQLStorage

        return PostgreSQLStorage(url)
    if scheme == "postgres" or scheme.startswith("postgresql+"):
        raise StorageError(f"storage '{scheme}:' is written as postgresql: here; put postgresql: before the //")
    if scheme == "jsonl":
        from cra.storage.jsonl import JsonlStorage

        return JsonlStorage(_path("jsonl", "folder", "dir", rest))
    if scheme == "journal":
        from cra.storage.journal.backend import JournalStorage

        return JournalStorage(_path("journal", "folder", "dir", rest))
    if scheme == "sqlite":
        from cra.storage.sqlite import SqliteStorage

        return SqliteStorage(_path("sqlite", "file", "audit.db", rest))
    if scheme not in ("memory", "null"):
        raise StorageError(f"storage '{scheme}:' is not known; {_USE}")
    if rest:
        raise StorageError(f"storage '{scheme}:' takes nothing after the colon; write {scheme}:")
    if scheme == "memory":
        from cra.storage.memory import MemoryStorage

        return MemoryStorage()
    from cra.storage.null import NullStorage

    return NullStorage()


def _path(scheme: str, kind: str, example: str, rest: str) -> str:
    """The path after the colon of a URL."""
    path = rest.removeprefix("///")
    if path == rest or not path or path.startswith("//"):
        raise StorageError(
            f"storage '{scheme}:' names a {kind}: write {scheme}:///{example}, or {scheme}:////{example} from the root"
        )
    if "?" in path or "#" in path:
        raise StorageError(f"storage '{scheme}:' takes no options: leave out everything from the ? or # on")
    if scheme == "sqlite" and path == ":memory:":
        raise StorageError("storage 'sqlite:' is a file here; for a store in memory write memory:")
    return path
