"""The registry: what is loaded, that it fits together, and what stays in memory. PROTOCOL: Atlas/1.0."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cra.atlas import registry as registry_module
from cra.atlas.loader import load_atlas
from cra.atlas.registry import AtlasInfo, AtlasRegistry
from cra.errors import (
    AtlasAlreadyLoaded,
    AtlasLoadError,
    AtlasNotFound,
    AtlasVersionMismatch,
    Conflict,
    CRAError,
    InvalidAtlasManifest,
)

Make = Callable[..., Any]
NAMES = ("com.example.a", "com.example.b", "com.example.c", "com.example.d")
A, B, C, D = NAMES


def manifest(atlas_id: str = A, version: str = "1.0.0", **fields: Any) -> dict[str, Any]:
    """A minimal manifest."""
    return {"atlas_version": "1.0", "atlas_id": atlas_id, "version": version, "name": "N", "description": "", **fields}


def write(folder: Path, atlas_id: str = A, version: str = "1.0.0", **fields: Any) -> Path:
    """A manifest file, named after the atlas."""
    path = folder / f"{atlas_id}.json"
    path.write_text(json.dumps(manifest(atlas_id, version, **fields)))
    return path


def loaded(registry: AtlasRegistry) -> dict[str, bool]:
    """What is loaded, and whether it is in memory."""
    return {info.atlas_id: info.resident for info in registry.infos()}


@pytest.fixture
def size(tmp_path: Path) -> int:
    """The size of one minimal atlas; those of `NAMES` are all as large."""
    return load_atlas(manifest()).size_bytes


# Loading and unloading


def test_what_is_loaded_can_be_had_and_listed(tmp_path: Path) -> None:
    """`load` returns the atlas, `get` and `select` give the same one, `infos` describes it."""
    registry = AtlasRegistry()
    atlas = registry.load(write(tmp_path, actions=[{"action_id": "x.y", "name": "X", "description": ""}]), overlay=True)
    assert atlas is registry.get(A)
    assert (atlas,) == registry.select(None)
    assert [AtlasInfo(A, "1.0.0", "N", True, atlas.digest, atlas.size_bytes, True, 1)] == registry.infos()


def test_an_atlas_can_be_handed_over(tmp_path: Path) -> None:
    """A source may be an Atlas already; it is kept as it is."""
    atlas = load_atlas(manifest())
    assert atlas is AtlasRegistry().load(atlas)


def test_loading_twice_is_refused(tmp_path: Path) -> None:
    """AtlasAlreadyLoaded says how to swap, and nothing changes."""
    registry = AtlasRegistry()
    first = registry.load(manifest())
    with pytest.raises(AtlasAlreadyLoaded, match=r"'com\.example\.a' is loaded already; pass replace=True to swap it"):
        registry.load(manifest(version="2.0.0"))
    assert first is registry.get(A)
    assert 1 == registry.generation


def test_a_source_that_cannot_be_loaded_changes_nothing(tmp_path: Path) -> None:
    """Errors of loading pass through; nothing is half loaded."""
    registry = AtlasRegistry()
    with pytest.raises(InvalidAtlasManifest):
        registry.load(manifest(version="1"))
    with pytest.raises(InvalidAtlasManifest, match="/surprise"):
        registry.load(manifest(surprise=1), strict=True)
    assert ([], 0) == (registry.infos(), registry.generation)


def test_replace_swaps_and_loads(tmp_path: Path) -> None:
    """With replace a new version takes the place of the old; where there was none it is a load like any other."""
    registry = AtlasRegistry()
    registry.load(manifest(version="1.0.0"), replace=True)
    registry.load(manifest(version="2.0.0"), replace=True)
    assert ["2.0.0"] == [info.version for info in registry.infos()]
    assert 2 == registry.generation


def test_a_replaced_overlay_stays_one() -> None:
    """Swapping the version of an overlay does not lift what it governs; unloading it does."""
    registry = AtlasRegistry()
    registry.load(manifest(), overlay=True)
    registry.load(manifest(version="2.0.0"), replace=True)
    assert registry.infos()[0].overlay
    registry.unload(A)
    registry.load(manifest(version="2.0.0"))
    assert not registry.infos()[0].overlay


def test_replacing_can_make_an_overlay() -> None:
    """The other way round is a wish like any other."""
    registry = AtlasRegistry()
    registry.load(manifest())
    registry.load(manifest(), overlay=True, replace=True)
    assert registry.infos()[0].overlay


def test_unload_forgets(tmp_path: Path) -> None:
    """An unloaded atlas is gone; one that is not there cannot be unloaded."""
    registry = AtlasRegistry()
    registry.load(manifest())
    registry.unload(A)
    assert ((), 2) == (registry.select(None), registry.generation)
    for ask in (registry.get, registry.unload):
        with pytest.raises(AtlasNotFound, match=r"'com\.example\.a' is not loaded; load it first"):
            ask(A)


def test_select_gives_what_is_named_and_every_overlay() -> None:
    """None is all; overlays are part of every selection; the order is that of the ids."""
    registry = AtlasRegistry()
    for name in (C, A, B):
        registry.load(manifest(name), overlay=name == B)
    assert [A, B, C] == [atlas.atlas_id for atlas in registry.select(None)]
    assert [B, C] == [atlas.atlas_id for atlas in registry.select(frozenset({C}))]
    assert [B] == [atlas.atlas_id for atlas in registry.select(frozenset())]
    with pytest.raises(AtlasNotFound, match=r"com\.example\.d"):
        registry.select(frozenset({A, D}))


# Dependencies


def test_dependencies_have_to_be_loaded_first() -> None:
    """Missing, or in another version: an error that names it, and nothing is loaded."""
    registry = AtlasRegistry()
    needs_b = manifest(dependencies={B: "^1.2.0"})
    with pytest.raises(AtlasNotFound, match=r"needs 'com\.example\.b' \^1\.2\.0; load that first"):
        registry.load(needs_b)
    registry.load(manifest(B, "1.1.0"))
    with pytest.raises(AtlasVersionMismatch, match=r"and this is 1\.1\.0"):
        registry.load(needs_b)
    registry.load(manifest(B, "1.3.0"), replace=True)
    registry.load(needs_b)
    assert {A: True, B: True} == loaded(registry)


def test_what_others_need_can_neither_go_nor_change_too_far() -> None:
    """Unloading it is a Conflict that names who needs it; replacing it needs a version in their ranges."""
    registry = AtlasRegistry()
    registry.load(manifest(B))
    registry.load(manifest(C, dependencies={B: "^1.0.0"}))
    registry.load(manifest(A, dependencies={B: "*"}))
    with pytest.raises(Conflict, match=r"is needed by com\.example\.a, com\.example\.c; unload those first"):
        registry.unload(B)
    with pytest.raises(
        AtlasVersionMismatch, match=r"'com\.example\.c' needs 'com\.example\.b' \^1\.0\.0, and this is 2"
    ):
        registry.load(manifest(B, "2.0.0"), replace=True)
    registry.load(manifest(B, "1.1.0"), replace=True)
    assert "1.1.0" == registry.get(B).version


def test_a_circle_by_way_of_replace_is_refused() -> None:
    """No new version may depend on what depends on it."""
    registry = AtlasRegistry()
    registry.load(manifest(B))
    registry.load(manifest(A, dependencies={B: "*"}))
    with pytest.raises(InvalidAtlasManifest, match="in a circle"):
        registry.load(manifest(B, dependencies={A: "*"}), replace=True)
    assert {} == registry.get(B).dependencies


# Several at once


def test_load_many_takes_them_in_any_order(tmp_path: Path) -> None:
    """They may depend on each other; the result is in the order of the sources, and it is one change."""
    registry = AtlasRegistry()
    sources = [write(tmp_path, A, dependencies={B: "1"}), manifest(B, dependencies={C: "1"}), load_atlas(manifest(C))]
    assert [A, B, C] == [atlas.atlas_id for atlas in registry.load_many(sources)]
    assert ({A: True, B: True, C: True}, 1) == (loaded(registry), registry.generation)


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (manifest(C, version="x"), InvalidAtlasManifest),
        (manifest(B), AtlasAlreadyLoaded),
        (manifest(D), AtlasAlreadyLoaded),
        (manifest(C, dependencies={"com.example.none": "*"}), AtlasNotFound),
        ("/nonexistent/atlas.json", AtlasNotFound),
    ],
)
def test_load_many_is_all_or_nothing(last: Any, error: type[CRAError]) -> None:
    """One that is invalid, twice in the sources, loaded already, incomplete or missing: none is loaded."""
    registry = AtlasRegistry()
    registry.load(manifest(D))
    with pytest.raises(error):
        registry.load_many([manifest(A), manifest(B), last])
    assert ({D: True}, 1) == (loaded(registry), registry.generation)


def test_load_many_refuses_a_circle() -> None:
    """A circle among the sources is refused as a whole."""
    with pytest.raises(InvalidAtlasManifest, match="in a circle"):
        AtlasRegistry().load_many([manifest(A, dependencies={B: "*"}), manifest(B, dependencies={A: "*"})])


def test_load_many_of_nothing_is_nothing() -> None:
    """No sources, no atlases."""
    assert [] == AtlasRegistry().load_many([])


def test_load_many_reads_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sources are being read at the same time: each waits until the other one is, too."""
    together = threading.Barrier(2, timeout=60)

    def load(source: Any, **options: Any) -> Any:
        together.wait()
        return load_atlas(source, **options)

    monkeypatch.setattr(registry_module, "load_atlas", load)
    assert 2 == len(AtlasRegistry().load_many([manifest(A), manifest(B)]))


# The cache


def test_the_least_recently_used_leaves_memory(tmp_path: Path, size: int) -> None:
    """Over the bound the one that was not used for longest is evicted, and read again when it is needed."""
    registry = AtlasRegistry(cache_bytes=2 * size)
    first = registry.load(write(tmp_path, A))
    registry.load(write(tmp_path, B))
    registry.get(A)
    registry.load(write(tmp_path, C))
    assert {A: True, B: False, C: True} == loaded(registry)
    generation = registry.generation
    assert B == registry.get(B).atlas_id
    assert {A: False, B: True, C: True} == loaded(registry)
    again = registry.get(A)
    assert first == again
    assert first is not again
    assert generation == registry.generation, "eviction and reading again are no change"


def test_eviction_is_announced(tmp_path: Path) -> None:
    """`on_evict` is called when an atlas leaves memory, and only then, so that what was compiled of it can go too."""
    registry = AtlasRegistry(cache_bytes=1)
    called: list[dict[str, bool]] = []
    registry.on_evict = lambda: called.append(
        {name: entry.atlas is not None for name, entry in registry._entries.items()}
    )
    registry.load(write(tmp_path, A))
    registry.get(A)
    assert [] == called
    registry.load(write(tmp_path, B))
    assert [{A: False}] == called, "before the new one is published"


def test_an_atlas_evicted_at_once_is_returned_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may load, and evict, between the end of a load and its return."""
    registry = AtlasRegistry(cache_bytes=1)
    publish = registry._publish

    def publish_and_crowd_out(entries: Any, *, replace: bool) -> None:
        publish(entries, replace=replace)
        monkeypatch.setattr(registry, "_publish", publish)
        registry.load(write(tmp_path, C))

    for load in (registry.load, lambda source: registry.load_many([source])[0]):
        monkeypatch.setattr(registry, "_publish", publish_and_crowd_out)
        assert A == load(write(tmp_path, A)).atlas_id
        assert {A: False, C: True} == loaded(registry), "the fault was not put in place"
        registry.unload(A)
        registry.unload(C)


def test_all_of_a_selection_is_in_memory_together(tmp_path: Path, size: int) -> None:
    """The limit is soft: what is asked for at once is there at once."""
    registry = AtlasRegistry(cache_bytes=size)
    for name in (A, B, C):
        registry.load(write(tmp_path, name))
    assert {A: False, B: False, C: True} == loaded(registry)
    assert 3 == len(registry.select(None))
    assert {A: True, B: True, C: True} == loaded(registry)


def test_a_source_with_nowhere_to_read_again_stays(tmp_path: Path, size: int) -> None:
    """Mappings and atlases handed over are never evicted."""
    registry = AtlasRegistry(cache_bytes=1)
    registry.load(manifest(A))
    registry.load(load_atlas(write(tmp_path, B)))
    registry.load(write(tmp_path, C))
    registry.load(write(tmp_path, D))
    assert {A: True, B: True, C: False, D: True} == loaded(registry)


def test_what_sessions_use_stays(tmp_path: Path) -> None:
    """A pinned atlas is not evicted, nor an overlay while any session runs; afterwards they are like the others."""
    registry = AtlasRegistry(cache_bytes=1)
    registry.load(write(tmp_path, A))
    registry.load(write(tmp_path, B), overlay=True)
    registry.pin(frozenset({A}))
    registry.pin(frozenset({A}))
    assert (A, B) == tuple(atlas.atlas_id for atlas in registry.select(frozenset({A})))
    registry.load(write(tmp_path, C))
    registry.unpin(frozenset({A}))
    registry.load(write(tmp_path, D))
    assert {A: True, B: True, C: False, D: True} == loaded(registry)
    registry.unpin(frozenset({A}))
    registry.get(C)
    assert {A: False, B: False, C: True, D: False} == loaded(registry)


def test_a_session_without_a_selection_uses_everything(tmp_path: Path) -> None:
    """Pinning None keeps all that is loaded, now and later."""
    registry = AtlasRegistry(cache_bytes=1)
    registry.load(write(tmp_path, A))
    registry.pin(None)
    registry.load(write(tmp_path, B))
    registry.load(write(tmp_path, C))
    assert {A: True, B: True, C: True} == loaded(registry)
    registry.unpin(None)
    registry.get(A)
    assert {A: True, B: False, C: False} == loaded(registry)


def test_only_what_is_loaded_can_be_pinned() -> None:
    """AtlasNotFound, and nothing of the selection is pinned; unpinning what has been unloaded since is no error."""
    registry = AtlasRegistry()
    registry.load(manifest(A))
    with pytest.raises(AtlasNotFound):
        registry.pin(frozenset({A, B}))
    registry.pin(frozenset({A}))
    registry.unload(A)
    registry.unpin(frozenset({A}))


def test_a_hard_limit_refuses_what_does_not_fit(tmp_path: Path, size: int) -> None:
    """Where eviction does not make enough room the load fails, nothing is evicted, and the error has the numbers."""
    registry = AtlasRegistry(cache_bytes=2 * size, hard_limit=True)
    registry.load(write(tmp_path, A))
    registry.load(write(tmp_path, B))
    registry.pin(frozenset({A}))
    with pytest.raises(AtlasLoadError, match=rf"and the cache holds {2 * size}; unload some"):
        registry.load(write(tmp_path, C, description="x" * size))
    assert ({A: True, B: True}, 2) == (loaded(registry), registry.generation)
    registry.load(write(tmp_path, C))
    assert {A: True, B: False, C: True} == loaded(registry)


def test_a_hard_limit_holds_for_reading_again(tmp_path: Path, size: int) -> None:
    """A selection that does not fit as a whole is refused; its parts are still to be had."""
    registry = AtlasRegistry(cache_bytes=size, hard_limit=True)
    registry.load(write(tmp_path, A))
    registry.load(write(tmp_path, B))
    with pytest.raises(AtlasLoadError, match="the cache holds"):
        registry.select(None)
    assert A == registry.get(A).atlas_id
    assert {A: True, B: False} == loaded(registry)


def test_an_evicted_atlas_that_has_changed_is_refused(tmp_path: Path) -> None:
    """What is read again has to be what was loaded; replace=True takes the new content."""
    registry = AtlasRegistry(cache_bytes=1)
    path = write(tmp_path, A)
    registry.load(path)
    registry.load(write(tmp_path, B))
    write(tmp_path, A, description="changed")
    with pytest.raises(
        AtlasLoadError, match=r"has changed since it was loaded, in .*; load it again with replace=True"
    ):
        registry.get(A)
    registry.load(path, replace=True)
    assert "changed" == registry.get(A).description


def test_an_evicted_atlas_that_is_gone_is_refused(tmp_path: Path) -> None:
    """A file that is no longer there, or no atlas any more, is a load error with its cause; the others still work."""
    registry = AtlasRegistry(cache_bytes=1)
    path = write(tmp_path, A)
    registry.load(path)
    registry.load(write(tmp_path, B))
    path.unlink()
    with pytest.raises(
        AtlasLoadError, match=r"cannot be read again; load it again with replace=True: there is no file"
    ):
        registry.get(A)
    assert B == registry.get(B).atlas_id


def test_a_strict_atlas_is_read_again_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for at load holds for every later reading."""
    asked: list[object] = []

    def load(source: Any, *, strict: bool) -> Any:
        asked.append(strict)
        return load_atlas(source, strict=strict)

    monkeypatch.setattr(registry_module, "load_atlas", load)
    registry = AtlasRegistry(cache_bytes=1)
    registry.load(write(tmp_path, A), strict=True)
    registry.load(write(tmp_path, B))
    registry.get(A)
    assert [True, False, True] == asked


def test_an_atlas_replaced_while_it_is_read_again_is_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader that was reading the old file gets the new version, not the old one and not none."""
    registry = AtlasRegistry(cache_bytes=1)
    registry.load(write(tmp_path, A))
    registry.load(write(tmp_path, B))
    swapped: list[bool] = []

    def load(source: Any, *, strict: bool) -> Any:
        if not swapped:
            swapped.append(True)
            registry.load(load_atlas(manifest(A, "2.0.0")), replace=True)
        return load_atlas(source, strict=strict)

    monkeypatch.setattr(registry_module, "load_atlas", load)
    assert "2.0.0" == registry.get(A).version
    assert swapped


def test_two_readers_of_an_evicted_atlas_get_the_same_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both read the file; the first to be done decides which object it is."""
    registry = AtlasRegistry(cache_bytes=1)
    registry.load(write(tmp_path, A))
    registry.load(write(tmp_path, B))
    both = threading.Barrier(2, timeout=60)

    def load(source: Any, *, strict: bool) -> Any:
        both.wait()
        return load_atlas(source, strict=strict)

    monkeypatch.setattr(registry_module, "load_atlas", load)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(registry.get(A))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 == len(found)
    assert found[0] is found[1]


def test_readers_see_the_old_or_the_new(tmp_path: Path) -> None:
    """While one thread replaces, evicts and reloads, every selection of another has each atlas exactly once."""
    registry = AtlasRegistry(cache_bytes=1)
    path = write(tmp_path, A)  # once: a file that is being written is no atlas
    registry.load(path)
    registry.load(write(tmp_path, B))
    done = threading.Event()
    problems: list[object] = []

    def read() -> None:
        while not done.is_set():
            try:
                found = [atlas.atlas_id for atlas in registry.select(frozenset({A, B}))]
            except Exception as error:
                problems.append(error)
                return
            if found != [A, B]:
                problems.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(200):
        registry.load(manifest(A, f"1.0.{number}") if number % 2 else path, replace=True)
    done.set()
    for reader in readers:
        reader.join()
    assert [] == problems


class Registry(RuleBasedStateMachine):
    """Any sequence of operations, against a model that knows only what is loaded, in which version, and what is pinned."""

    files: Path
    names = st.sampled_from(NAMES)
    selections = st.none() | st.frozensets(st.sampled_from(NAMES), max_size=3)

    def __init__(self) -> None:
        super().__init__()
        self.size = load_atlas(manifest()).size_bytes
        self.registry = AtlasRegistry(cache_bytes=2 * self.size)
        self.model: dict[str, str] = {}
        self.pins: list[frozenset[str] | None] = []

    def source(self, name: str, version: str) -> Path:
        """A file that is always the same for a name and version."""
        path = self.files / version
        path.mkdir(exist_ok=True)
        return write(path, name, version)

    @rule(name=names, version=st.sampled_from(["1.0.0", "2.0.0"]), replace=st.booleans())
    def load(self, name: str, version: str, replace: bool) -> None:
        """Loads what is not loaded, or replaces it."""
        if name in self.model and not replace:
            with pytest.raises(AtlasAlreadyLoaded):
                self.registry.load(self.source(name, version))
            return
        assert version == self.registry.load(self.source(name, version), replace=replace).version
        self.model[name] = version
        resident = {info.atlas_id for info in self.registry.infos() if info.resident}
        in_use = frozenset().union(*(self.model if pinned is None else pinned for pinned in self.pins))
        assert len(resident) <= 2 or resident <= in_use | {name}, "over the bound, and something idle is in memory"

    @rule(name=names)
    def unload(self, name: str) -> None:
        """Unloads what is loaded."""
        if name in self.model:
            self.registry.unload(name)
            del self.model[name]
        else:
            with pytest.raises(AtlasNotFound):
                self.registry.unload(name)

    @rule(selection=selections)
    def select(self, selection: frozenset[str] | None) -> None:
        """Gives exactly what is selected, in the version that is loaded."""
        if selection is not None and not selection <= self.model.keys():
            with pytest.raises(AtlasNotFound):
                self.registry.select(selection)
            return
        expected = {name: version for name, version in self.model.items() if selection is None or name in selection}
        assert expected == {atlas.atlas_id: atlas.version for atlas in self.registry.select(selection)}

    @rule(selection=selections)
    def pin(self, selection: frozenset[str] | None) -> None:
        """A session begins."""
        if selection is None or selection <= self.model.keys():
            self.registry.select(selection)
            self.registry.pin(selection)
            self.pins.append(selection)

    @precondition(lambda self: self.pins)
    @rule(index=st.integers(0, 50))
    def unpin(self, index: int) -> None:
        """A session ends."""
        self.registry.unpin(self.pins.pop(index % len(self.pins)))

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        """The loaded set is the model's."""
        assert self.model == {info.atlas_id: info.version for info in self.registry.infos()}


@pytest.fixture(autouse=True, scope="module")
def _files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where the machine writes its atlases."""
    Registry.files = tmp_path_factory.mktemp("registry")


TestRegistryAgainstAModel = Registry.TestCase
