"""Sets of atlases that can, or cannot, stand together."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.atlas.dependencies import check_dependencies
from cra.errors import AtlasNotFound, AtlasVersionMismatch, InvalidAtlasManifest


def test_a_set_that_fits_is_accepted() -> None:
    """Every dependency is there in a version of its range: nothing is raised."""
    check_dependencies(
        {"a.a": ("1.0.0", {"b.b": "^2.0.0", "c.c": "*"}), "b.b": ("2.1.0", {"c.c": "1"}), "c.c": ("1.0.0", {})}
    )


def test_a_missing_dependency_is_named_with_who_needs_it() -> None:
    """AtlasNotFound says what to load first."""
    with pytest.raises(AtlasNotFound) as caught:
        check_dependencies({"a.a": ("1.0.0", {"b.b": "^2.0.0"})})
    assert "/dependencies/b.b: atlas 'a.a' needs 'b.b' ^2.0.0; load that first" == caught.value.message


def test_a_version_out_of_range_is_named_with_the_range() -> None:
    """AtlasVersionMismatch names both atlases, the range, and the version that is there."""
    with pytest.raises(AtlasVersionMismatch) as caught:
        check_dependencies({"a.a": ("1.0.0", {"b.b": "^2.0.0"}), "b.b": ("1.9.0", {})})
    assert "/dependencies/b.b" == caught.value.path
    assert "'a.a' needs 'b.b' ^2.0.0, and this is 1.9.0" in caught.value.message


def test_a_circle_is_refused_with_the_way_round() -> None:
    """InvalidAtlasManifest shows the circle, without those that merely lead into it."""
    with pytest.raises(InvalidAtlasManifest) as caught:
        check_dependencies(
            {
                "a.a": ("1.0.0", {"b.b": "*"}),
                "b.b": ("1.0.0", {"c.c": "*"}),
                "c.c": ("1.0.0", {"b.b": "*", "d.d": "*"}),
                "d.d": ("1.0.0", {}),
            }
        )
    assert "in a circle: b.b → c.c → b.b;" in caught.value.message
    assert "/dependencies/c.c" == caught.value.path


@given(st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7), max_size=3), max_size=8))
def test_circles_are_found_exactly_where_there_is_no_order(edges: dict[int, set[int]]) -> None:
    """A set is refused for a circle exactly when the standard library finds no order for it."""
    graph = {node: edges.get(node, set()) for node in range(8)}
    atlases = {f"a.a{node}": ("1.0.0", {f"a.a{other}": "*" for other in others}) for node, others in graph.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        with pytest.raises(InvalidAtlasManifest, match="in a circle"):
            check_dependencies(atlases)
    else:
        check_dependencies(atlases)


def test_a_long_chain_takes_no_recursion() -> None:
    """Ten thousand atlases in a row are checked like any other set."""
    size = 10_000
    check_dependencies({f"a.a{i}": ("1.0.0", {f"a.a{i + 1}": "*"} if i < size else {}) for i in range(size + 1)})
