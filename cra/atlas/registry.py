"""The atlases a runtime has loaded: which there are, that their dependencies hold, and which of them are in memory.

Called by the resolver. Safe from any thread: atlases are read and checked outside the lock, and published in one step, so that a
reader sees the old state or the new one. It never decides anything about actions. PROTOCOL: Atlas/1.0.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from cra.atlas.dependencies import check_dependencies
from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas
from cra.errors import AtlasAlreadyLoaded, AtlasLoadError, AtlasNotFound, Conflict, CRAError

DEFAULT_CACHE_BYTES = 64 * 1024 * 1024
MAX_LOAD_THREADS = 8

Source = str | os.PathLike[str] | Mapping[str, Any] | Atlas


class AtlasInfo(msgspec.Struct, frozen=True):
    """One loaded atlas. `resident` says whether it is in memory now; where not, it is read again when it is needed."""

    atlas_id: str
    version: str
    name: str
    overlay: bool
    digest: str
    size_bytes: int
    resident: bool
    action_count: int


class _Entry:
    """One loaded atlas. `atlas` None: evicted. `origin` is where to read it again, None where it cannot be."""

    __slots__ = ("atlas", "dependencies", "info", "last_used", "origin", "overlay", "strict", "version")

    def __init__(self, atlas: Atlas, origin: str | None, *, overlay: bool, strict: bool) -> None:
        self.atlas: Atlas | None = atlas
        self.origin = origin
        self.overlay = overlay
        self.strict = strict
        self.version = atlas.version
        self.dependencies = atlas.dependencies
        self.info = AtlasInfo(
            atlas.atlas_id,
            atlas.version,
            atlas.name,
            overlay,
            atlas.digest,
            atlas.size_bytes,
            resident=True,
            action_count=len(atlas.actions),
        )
        self.last_used = 0

    def keep_overlay(self) -> None:
        """Take the place of an overlay: swapping its version must not lift what it governs."""
        self.overlay = True
        self.info = msgspec.structs.replace(self.info, overlay=True)


class AtlasRegistry:
    """Loaded atlases by id, with a cache that is bounded by bytes.

    Over `cache_bytes` the atlases that no session uses and that came from a file leave memory, least recently used first.
    What is in use stays, even beyond the bound; with `hard_limit` a load that does not fit is refused instead. `generation`
    rises whenever the set of atlases changes.
    """

    def __init__(self, cache_bytes: int = DEFAULT_CACHE_BYTES, hard_limit: bool = False) -> None:
        self._cache_bytes = cache_bytes
        self._hard_limit = hard_limit
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._pins: dict[str, int] = {}
        """How many sessions use an atlas, of those that do not use all of them."""
        self._pins_of_all = 0
        self._uses = 0
        self.generation = 0
        self.on_change: Callable[[], None] = lambda: None
        """Called, with the registry's lock held, after `generation` has risen."""
        self.on_evict: Callable[[], None] = lambda: None
        """Called, with the registry's lock held, when an atlas leaves memory; whoever compiled it should let go of it."""

    def load(self, source: Source, *, overlay: bool = False, replace: bool = False, strict: bool = False) -> Atlas:
        """Load an atlas, or take one that is loaded already.

        An `overlay` is part of every selection. With `replace` it takes the place of the one with its id in one step, and stays
        an overlay where that was one. Raises what `load_atlas` does, `AtlasAlreadyLoaded`, `AtlasNotFound` and
        `AtlasVersionMismatch` for dependencies, `InvalidAtlasManifest` for a cycle of them, `AtlasLoadError` where the hard limit
        is reached; then nothing has changed.
        """
        entry = _read(source, overlay=overlay, strict=strict)
        atlas = _content(entry)  # once published, another thread may evict it
        self._publish([entry], replace=replace)
        return atlas

    def load_many(self, sources: Sequence[Source], *, strict: bool = False) -> list[Atlas]:
        """Load all of `sources` or none, read in parallel; they may depend on each other in any order. Raises as `load` does."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(MAX_LOAD_THREADS) as pool:
            entries = list(pool.map(lambda source: _read(source, overlay=False, strict=strict), sources))
        atlases = [_content(entry) for entry in entries]
        self._publish(entries, replace=False)
        return atlases

    def unload(self, atlas_id: str) -> None:
        """Forget an atlas. Raises `AtlasNotFound`, and `Conflict` where others depend on it."""
        with self._lock:
            self._entry(atlas_id)
            users = sorted(name for name, entry in self._entries.items() if atlas_id in entry.dependencies)
            if users:
                raise Conflict(f"atlas {atlas_id!r} is needed by {', '.join(users)}; unload those first")
            self._entries = {name: entry for name, entry in self._entries.items() if name != atlas_id}
            self.generation += 1
            self.on_change()

    def get(self, atlas_id: str) -> Atlas:
        """A loaded atlas, read again where it was evicted. Raises `AtlasNotFound`; `AtlasLoadError` where it cannot be read
        again or is no longer what was loaded."""
        return self._contents([atlas_id])[0]

    def select(self, atlas_ids: frozenset[str] | None) -> tuple[Atlas, ...]:
        """The atlases named (None: all) and every overlay, by atlas id. Raises as `get` does."""
        return tuple(self._contents(atlas_ids, overlays=True))

    def infos(self) -> list[AtlasInfo]:
        """What is loaded, by atlas id."""
        with self._lock:
            return [
                msgspec.structs.replace(entry.info, resident=entry.atlas is not None)
                for _, entry in sorted(self._entries.items())
            ]

    def pin(self, atlas_ids: frozenset[str] | None) -> None:
        """A session uses these (None: all): they and the overlays stay in memory. Raises `AtlasNotFound`."""
        with self._lock:
            if atlas_ids is None:
                self._pins_of_all += 1
                return
            for atlas_id in sorted(atlas_ids):
                self._entry(atlas_id)
            for atlas_id in atlas_ids:
                self._pins[atlas_id] = self._pins.get(atlas_id, 0) + 1

    def unpin(self, atlas_ids: frozenset[str] | None) -> None:
        """The counterpart of `pin`, once for each."""
        with self._lock:
            if atlas_ids is None:
                self._pins_of_all -= 1
                return
            for atlas_id in atlas_ids:
                left = self._pins[atlas_id] - 1
                if left:
                    self._pins[atlas_id] = left
                else:
                    del self._pins[atlas_id]

    def _entry(self, atlas_id: str) -> _Entry:
        try:
            return self._entries[atlas_id]
        except KeyError:
            raise AtlasNotFound(f"atlas {atlas_id!r} is not loaded; load it first") from None

    def _publish(self, entries: Sequence[_Entry], *, replace: bool) -> None:
        with self._lock:
            candidate = dict(self._entries)
            for entry in entries:
                atlas_id = entry.info.atlas_id
                old = self._entries.get(atlas_id)
                if old is not None and not replace:
                    raise AtlasAlreadyLoaded(f"atlas {atlas_id!r} is loaded already; pass replace=True to swap it")
                if candidate.get(atlas_id) is not old:
                    raise AtlasAlreadyLoaded(f"atlas {atlas_id!r} is in two of the sources; name it once")
                if old is not None and old.overlay:
                    entry.keep_overlay()
                candidate[atlas_id] = entry
            check_dependencies({name: (e.version, e.dependencies) for name, e in candidate.items()})
            self._make_room(candidate, entries)
            self._entries = candidate
            self.generation += 1
            self.on_change()

    def _contents(self, atlas_ids: Collection[str] | None, *, overlays: bool = False) -> list[Atlas]:
        read: dict[_Entry, Atlas] = {}
        while True:
            with self._lock:
                entries = self._chosen(atlas_ids, overlays=overlays)
                absent = [entry for entry in entries if entry.atlas is None and entry not in read]
                if not absent:
                    self._make_room(self._entries, entries)
                    for entry in entries:
                        entry.atlas = entry.atlas or read[entry]
                    return [_content(entry) for entry in entries]
            read.update((entry, _read_again(entry)) for entry in absent)

    def _chosen(self, atlas_ids: Collection[str] | None, *, overlays: bool) -> list[_Entry]:
        if atlas_ids is None:
            names = set(self._entries)
        else:
            names = {self._entry(atlas_id).info.atlas_id for atlas_id in sorted(atlas_ids)}
            names.update(name for name, entry in self._entries.items() if overlays and entry.overlay)
        return [self._entries[name] for name in sorted(names)]

    def _make_room(self, entries: Mapping[str, _Entry], needed: Collection[_Entry]) -> None:
        """Evict until `needed` fit in; raises `AtlasLoadError`, having evicted nothing, where they must and cannot."""
        for entry in needed:
            self._uses += 1
            entry.last_used = self._uses
        total = sum(e.info.size_bytes for e in entries.values() if e.atlas is not None or e in needed)
        victims: list[_Entry] = []
        if total > self._cache_bytes:
            for entry in sorted(entries.values(), key=lambda e: e.last_used):
                if total > self._cache_bytes and entry not in needed and self._evictable(entry):
                    victims.append(entry)
                    total -= entry.info.size_bytes
        if self._hard_limit and total > self._cache_bytes:
            raise AtlasLoadError(
                f"the atlases in use need {total} bytes, and the cache holds {self._cache_bytes}; unload some, end sessions "
                "that use them, or raise the limit"
            )
        for entry in victims:
            entry.atlas = None
        if victims:
            self.on_evict()

    def _evictable(self, entry: _Entry) -> bool:
        if entry.atlas is None or entry.origin is None or self._pins_of_all:
            return False
        return entry.info.atlas_id not in self._pins and not (entry.overlay and self._pins)


def _read(source: Source, *, overlay: bool, strict: bool) -> _Entry:
    if isinstance(source, Atlas):
        return _Entry(source, None, overlay=overlay, strict=strict)
    atlas = load_atlas(source, strict=strict)
    return _Entry(atlas, atlas.source, overlay=overlay, strict=strict)


def _read_again(entry: _Entry) -> Atlas:
    assert entry.origin is not None
    advice = "load it again with replace=True"
    try:
        atlas = load_atlas(entry.origin, strict=entry.strict)
    except CRAError as error:
        raise AtlasLoadError(
            f"atlas {entry.info.atlas_id!r} had left memory and cannot be read again; {advice}: {error}"
        ) from error
    if atlas.digest != entry.info.digest:
        raise AtlasLoadError(
            f"atlas {entry.info.atlas_id!r} has changed since it was loaded, in {entry.origin}; {advice}"
        )
    return atlas


def _content(entry: _Entry) -> Atlas:
    assert entry.atlas is not None
    return entry.atlas
