"""A reference object and its compiled twin, driven as one: every call goes to both, and both have to come to the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.twins import BUILT

built = pytest.mark.skipif(not BUILT, reason="cra has no compiled half here")


def outcome(action: Callable[[], Any]) -> Any:
    """What a call comes to: its value, or the type and the words of what it raised."""
    try:
        return action()
    except Exception as error:
        return type(error), str(error)


class Pair:
    """`reference` and `compiled`, of the same name and with the same methods."""

    def __init__(self, reference: Any, compiled: Any) -> None:
        self.both = (reference, compiled)

    def call(self, name: str, *arguments: Any) -> Any:
        """What the method of both comes to."""
        return self.each(lambda one: getattr(one, name)(*arguments))

    def get(self, name: str) -> Any:
        """The attribute that both have."""
        return self.each(lambda one: getattr(one, name))

    def each(self, action: Callable[[Any], Any]) -> Any:
        """What `action` comes to with either of them."""
        expected, found = (outcome(lambda one=one: action(one)) for one in self.both)
        assert repr(expected) == repr(found)
        return expected
