"""A journal behind a resolver, as a user has it."""

from __future__ import annotations

from pathlib import Path

import cra
from cra.storage.journal.backend import JournalStorage

GOLDEN = Path(__file__).parents[3] / "data/golden/simple-resolve/atlas.json"


def test_what_is_left_of_a_resolver_is_the_trace(tmp_path: Path) -> None:
    """Through the front door: ring, series and journal; the same events as in memory, in another process as well."""
    with cra.Resolver(storage=[f"journal:///{tmp_path}/j", "memory:"]) as resolver:
        resolver.load_atlas(GOLDEN)
        session = resolver.create_session(agent_id="bot", goal="work")
        for _ in range(20):
            session.resolve("Manage resources in the test environment")
        resolver.flush("stored")
        trace = resolver.trace(session.session_id)
        memory = resolver._backends[1]
        assert trace == list(memory.events(session.session_id))
        (segment,) = (tmp_path / "j").glob("*.segment")
        (ring,) = (tmp_path / "j.ring").glob("*.ring")
        assert ring.stem == segment.name.partition(".")[0]
        session.end()
    reopened = JournalStorage(tmp_path / "j")
    assert list(memory.events(session.session_id)) == list(reopened.events(session.session_id))
    assert [] == list((tmp_path / "j").glob("*.lock"))
    reopened.close()
