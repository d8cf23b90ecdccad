"""What the tests of what decides share besides `tests.support.decisions`: sessions whose runtime is closed in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cra
from tests.support.decisions import ALLOW_ALL, Document, manifest, runtime


@pytest.fixture
def opened() -> Iterator[dict[str, cra.Resolver]]:
    """The runtimes of the sessions that `open_session` has opened, by session id; closed in the end."""
    resolvers: dict[str, cra.Resolver] = {}
    yield resolvers
    for resolver in resolvers.values():
        resolver.close()


@pytest.fixture
def open_session(opened: dict[str, cra.Resolver]) -> Callable[..., cra.Session]:
    """A function that opens a session of a runtime of its own: actions that are all allowed, with rules on top.

    `fields` are of the manifest; `options` of the runtime, `host` of the session.
    """

    def make(
        *rules: Document,
        actions: tuple[str | Document, ...] = ("a", "b"),
        fields: Document | None = None,
        host: Document | None = None,
        **options: Any,
    ) -> cra.Session:
        resolver = runtime(manifest(*actions, rules=[ALLOW_ALL, *rules], **(fields or {})), **options)
        session = resolver.create_session(**{"agent_id": "bot", "goal": "work", **(host or {})})
        opened[session.session_id] = resolver
        return session

    return make


@pytest.fixture
def trace(opened: dict[str, cra.Resolver]) -> Callable[[cra.Session], list[cra.Event]]:
    """A function that gives the events of a session."""
    return lambda session: opened[session.session_id].trace(session.session_id)
