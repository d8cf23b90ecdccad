"""From what a user writes for `storage=` to the backends: URLs, backends, or a list of either.

URLs are read as SQLAlchemy reads them: three slashes are followed by a relative path, four by an absolute one. Nothing in a
URL is ignored, and no URL is repeated in a message beyond its scheme, since it may hold a password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Any, TypeGuard, cast

from cra.errors import StorageError
from cra.storage.base import AsyncStorageBackend, StorageBackend
from cra.storage.options import FLAG, SIZE, Option, duration, flag, number, one_of, parse_options, size

Storage = str | StorageBackend | AsyncStorageBackend
StorageSpec = Storage | Sequence[Storage]
_PARTS = tuple(StorageBackend.__annotations__) + tuple(
    name for name, part in vars(StorageBackend).items() if callable(part) and not name.startswith("_")
)
_JSONL: Mapping[str, Option] = {"files": one_of("session", "day"), "max_open": (number, "64")}
_JOURNAL: Mapping[str, Option] = {
    "segment_bytes": (size, SIZE),
    "segment_age": (duration, "1h"),
    "retention_bytes": (size, "10GB"),
    "retention_age": (duration, "90d"),
    "compress": (flag, FLAG),
}
_MEMORY: Mapping[str, Option] = {"bytes": (size, SIZE)}
_PATHS: Mapping[str, tuple[str, str, Mapping[str, Option]]] = {
    "journal": ("folder", "dir", _JOURNAL),
    "jsonl": ("folder", "dir", _JSONL),
    "sqlite": ("file", "audit.db", {}),
}
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
        path, options = _split("jsonl", "folder", "dir", rest, _JSONL)
        if options.pop("files", "session") == "day":
            from cra.storage.jsonl_days import DailyJsonlStorage

            if options:
                raise StorageError("storage 'jsonl:': max_open is for files=session; leave it out")
            return DailyJsonlStorage(path)
        from cra.storage.jsonl import JsonlStorage

        return JsonlStorage(path, **options)
    if scheme == "journal":
        return _open_journal(*_split("journal", "folder", "dir", rest, _JOURNAL))
    if scheme == "sqlite":
        from cra.storage.sqlite import SqliteStorage

        return SqliteStorage(_split("sqlite", "file", "audit.db", rest, {})[0])
    if scheme not in ("memory", "null"):
        raise StorageError(f"storage '{scheme}:' is not known; {_USE}")
    if scheme == "memory":
        from cra.storage.memory import DEFAULT_MAX_BYTES, MemoryStorage

        nothing, mark, query = rest.partition("?")
        if nothing:
            raise StorageError("storage 'memory:' takes nothing after the colon but options; write memory:?bytes=64MB")
        return MemoryStorage(
            parse_options("memory", query, _MEMORY).get("bytes", DEFAULT_MAX_BYTES) if mark else DEFAULT_MAX_BYTES
        )
    if rest:
        raise StorageError("storage 'null:' takes nothing after the colon; write null:")
    from cra.storage.null import NullStorage

    return NullStorage()


def split_url(url: str) -> tuple[str, str]:
    """The scheme of a URL that names a path, and the path, without options. Raises `StorageError` as `open_storage` does."""
    scheme, _, rest = url.partition(":")
    kind, example, options = _PATHS[scheme]
    return scheme, _split(scheme, kind, example, rest, options)[0]


def names_path(url: str) -> bool:
    """Whether this is the URL of a store on disk."""
    scheme, colon, rest = url.partition(":")
    return bool(colon) and scheme in _PATHS and rest.startswith("///")


def _open_journal(path: str, options: dict[str, Any]) -> StorageBackend:
    from cra.storage.journal.backend import JournalStorage
    from cra.storage.journal.retention import Retention
    from cra.storage.journal.series import Rotation

    usual = Rotation()
    return JournalStorage(
        path,
        rotation=Rotation(
            max_bytes=options.get("segment_bytes", usual.max_bytes),
            max_seconds=options.get("segment_age", usual.max_seconds),
        ),
        retention=Retention(max_bytes=options.get("retention_bytes"), max_seconds=options.get("retention_age"))
        if options.keys() & {"retention_bytes", "retention_age"}
        else None,
        compress=options.get("compress", False),
    )


def _split(scheme: str, kind: str, example: str, rest: str, known: Mapping[str, Option]) -> tuple[str, dict[str, Any]]:
    """The path after the colon of a URL, and its options."""
    rest, mark, query = rest.partition("?")
    path = rest.removeprefix("///")
    if path == rest or not path or path.startswith("//"):
        raise StorageError(
            f"storage '{scheme}:' names a {kind}: write {scheme}:///{example}, or {scheme}:////{example} from the root"
        )
    if "#" in path or (mark and not known):
        raise StorageError(
            f"storage '{scheme}:' takes no {'# part' if known else 'options'}: leave out everything from the ? or # on"
        )
    if scheme == "sqlite" and path == ":memory:":
        raise StorageError("storage 'sqlite:' is a file here; for a store in memory write memory:")
    return path, parse_options(scheme, query, known) if mark else {}
