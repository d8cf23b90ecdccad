"""What the tests of the whole runtime share: atlases in a line, and a runtime whose every trace is verified in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cra
from cra.storage.base import StorageBackend
from cra.storage.memory import MemoryStorage
from cra.testing import SeededIds, VirtualClock

Manifest = dict[str, Any]
ALLOW_ALL = {"policy_id": "all", "type": "allow", "actions": ["*"]}


class World:
    """A resolver on a clock that stands still and with ids that repeat, and the store that it fills."""

    def __init__(self, *atlases: Any, storage: StorageBackend | None = None, seed: int = 1, **options: Any) -> None:
        self.clock = options.pop("clock", None) or VirtualClock()
        self.storage = MemoryStorage() if storage is None else storage
        self.resolver = cra.Resolver(self.storage, clock=self.clock, ids=SeededIds(seed), **options)
        for atlas in atlases:
            self.resolver.load_atlas(atlas)

    def open(self, agent_id: str = "bot", goal: str = "work", **facts: Any) -> cra.Session:
        """A session."""
        return self.resolver.create_session(agent_id, goal, **facts)

    def trace(self, session: cra.Session | str, *, of: str | None = None) -> list[cra.Event]:
        """The events of a session, or those of a type that begins with `of`."""
        session_id = session if isinstance(session, str) else session.session_id
        return [event for event in self.resolver.trace(session_id) if event.event_type.startswith(of or "")]

    def payloads(self, session: cra.Session | str, of: str) -> list[dict[str, Any]]:
        """The payloads of a session's events of a type that begins with `of`."""
        return [event.payload for event in self.trace(session, of=of)]

    def types(self, session: cra.Session | str, *, of: str | None = None) -> list[str]:
        """The event types of a session, in order."""
        return [event.event_type for event in self.trace(session, of=of)]

    def check(self) -> None:
        """Close, and verify what is stored: a chain per session, with one beginning and at most one end."""
        self.resolver.close()
        for session_id in self.storage.sessions():
            events = list(self.storage.events(session_id))
            result = cra.verify_chain(events)
            assert (True, ()) == (result.valid, result.warnings), result
            types = [event.event_type for event in events]
            assert 1 == types.count("session.started")
            assert "session.ended" not in types[:-1]


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """A function that makes a `World` of atlases and options; in the end each is closed and all its traces are verified."""
    made: list[World] = []

    def make(*atlases: Any, **options: Any) -> World:
        made.append(World(*atlases, **options))
        return made[-1]

    yield make
    for world in made:
        world.check()


@pytest.fixture
def atlas() -> Callable[..., Manifest]:
    """A function that makes the manifest of an atlas: actions by id or as mappings, all allowed, with `rules` on top."""

    def make(
        *actions: str | Manifest,
        rules: list[Manifest] | None = None,
        atlas_id: str = "com.example.shop",
        version: str = "1.0.0",
        **fields: Any,
    ) -> Manifest:
        written = [{"action_id": each} if isinstance(each, str) else each for each in actions]
        return {
            "atlas_version": "1.0",
            "atlas_id": atlas_id,
            "version": version,
            "name": "Shop",
            "description": "A shop",
            "actions": [{"name": each["action_id"], "description": "Does it", **each} for each in written],
            "policies": [ALLOW_ALL, *(rules or [])],
            **fields,
        }

    return make


@pytest.fixture(params=["execute", "aexecute"])
def run(request: pytest.FixtureRequest) -> Callable[..., cra.Outcome]:
    """`Session.execute`, or `Session.aexecute` on an event loop of its own: every rule holds for both."""

    def call(session: cra.Session, *arguments: Any, **options: Any) -> cra.Outcome:
        if request.param == "execute":
            return session.execute(*arguments, **options)
        return asyncio.run(session.aexecute(*arguments, **options))

    return call
