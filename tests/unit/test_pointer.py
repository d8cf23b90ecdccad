"""JSON pointers."""

from __future__ import annotations

import pytest

from cra.pointer import pointer


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), "/policies"),
        ((3, "type"), "/policies/3/type"),
        (("a/b", "c~d", "~1"), "/policies/a~1b/c~0d/~01"),
        (("",), "/policies/"),
    ],
)
def test_parts_are_escaped_as_rfc_6901_says(parts: tuple[str | int, ...], expected: str) -> None:
    """`~` becomes `~0` and `/` becomes `~1`, in this order, so that no two paths have one pointer."""
    assert expected == pointer("/policies", *parts)
