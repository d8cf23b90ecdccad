"""For callers on an event loop: decisions, streams and room are awaited, and nothing blocks the loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import cra
from cra.execution.approvals import ApprovalBook
from cra.testing import VirtualClock, VirtualTimers

HOLD = {"policy_id": "hold", "type": "require_approval", "actions": ["*"]}


@pytest.fixture
def world(make_world: Any, atlas: Any) -> Any:
    """A world whose only action waits for a person."""
    made = make_world(atlas("a.b", rules=[HOLD]))
    made.resolver.register("a.b", lambda: "done", inline=True)
    return made


def held(world: Any, session: cra.Session) -> str:
    """The id of an approval that is pending."""
    approval_id: str = session.resolve("x").decision.approval_id
    session.request_approval(approval_id)
    return approval_id


class TestApprovals:
    """PROTOCOL: Approvals."""

    def test_a_decision_wakes_who_waits_for_it(self, world: Any) -> None:
        """Granted and rejected, from another thread, for a thread and for a coroutine."""
        session = world.open()
        approval_id = held(world, session)

        async def main() -> cra.Approval:
            waiting = asyncio.ensure_future(world.resolver.await_for_approval(approval_id))
            await asyncio.sleep(0)
            assert not waiting.done()
            await asyncio.to_thread(world.resolver.approve, approval_id, by="alice", reason="fine")
            return await asyncio.wait_for(waiting, 30)

        assert ("granted", "alice") == (
            asyncio.run(main()).status,
            world.resolver.wait_for_approval(approval_id).decided_by,
        )

        other = world.open()
        rejected = held(world, other)
        threading.Timer(0.01, world.resolver.reject, (rejected,), {"by": "bob", "reason": "no"}).start()
        assert "rejected" == world.resolver.wait_for_approval(rejected, 30).status

    def test_a_timeout_gives_the_approval_as_it_stands(self, world: Any) -> None:
        """Pending: whoever waited goes on with something else."""
        approval_id = held(world, world.open())
        assert "pending" == world.resolver.wait_for_approval(approval_id, 0.001).status
        assert "pending" == asyncio.run(world.resolver.await_for_approval(approval_id, 0.001)).status
        assert {} == world.resolver._runtime.approvals._watchers

    def test_an_end_of_the_session_wakes_who_waits(self, world: Any) -> None:
        """There is nothing left to wait for."""
        session = world.open()
        approval_id = held(world, session)

        async def main() -> None:
            waiting = asyncio.ensure_future(world.resolver.await_for_approval(approval_id))
            await asyncio.sleep(0)
            session.end()
            await asyncio.wait_for(waiting, 30)

        with pytest.raises(cra.ApprovalNotFound):
            asyncio.run(main())

    def test_one_that_was_never_requested_is_not_waited_for(self, world: Any) -> None:
        """Whoever only read its id in a resolution would wait for ever."""
        announced = world.open().resolve("x").decision.approval_id
        with pytest.raises(cra.ApprovalNotFound):
            world.resolver.wait_for_approval(announced, 30)
        with pytest.raises(cra.ApprovalNotFound):
            asyncio.run(world.resolver.await_for_approval(announced, 30))

    def test_an_expiry_by_the_clock_wakes_who_waits(self, make_world: Any, atlas: Any) -> None:
        """And is recorded, though nobody calls the runtime."""
        clock = VirtualClock()
        world = make_world(
            atlas("a.b", rules=[HOLD]),
            clock=clock,
            timers=VirtualTimers(clock),
            timing=cra.Timing(heartbeat_seconds=None),
            idle_seconds=10**7,
            life_seconds=10**7,
        )
        session = world.open()
        approval_id = held(world, session)

        async def main() -> None:
            waiting = asyncio.ensure_future(world.resolver.await_for_approval(approval_id))
            await asyncio.sleep(0)
            clock.advance(86_400)
            await asyncio.wait_for(waiting, 30)

        with pytest.raises(cra.ApprovalNotFound):
            asyncio.run(main())
        assert "approval.expired" == world.trace(session)[-1].event_type

    def test_a_loop_that_was_closed_does_not_keep_others_from_deciding(self, world: Any) -> None:
        """Who waited on it is gone, and the decision counts and is recorded all the same."""
        session = world.open()
        approval_id = held(world, session)
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(world.resolver.await_for_approval(approval_id))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        assert "granted" == world.resolver.approve(approval_id, by="alice").status
        assert "approval.granted" == world.trace(session)[-1].event_type
        waiting.get_coro().close()
        waiting._log_destroy_pending = False

    def test_a_wait_may_be_given_up_by_the_collector(self) -> None:
        """Which comes at any time, also while its thread has the book in its hands: it must not wait for itself."""
        book = ApprovalBook(VirtualClock())
        give_up = book.watch("an approval", lambda: None)

        def collect() -> None:
            with book._lock:
                give_up()

        thread = threading.Thread(target=collect, daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()

    def test_a_thousand_coroutines_wait_without_a_thread_each(self, world: Any) -> None:
        """The loop does the waiting."""

        async def main() -> list[str]:
            session = world.open()
            approval_id = held(world, session)
            waiting = [asyncio.ensure_future(world.resolver.await_for_approval(approval_id)) for _ in range(1000)]
            await asyncio.sleep(0)
            threads = threading.active_count()
            world.resolver.approve(approval_id, by="alice")
            statuses = [each.status for each in await asyncio.gather(*waiting)]
            assert threads <= threading.active_count()
            return statuses

        before = threading.active_count()
        assert ["granted"] * 1000 == asyncio.run(main())
        assert threading.active_count() <= before + 2


class TestStream:
    """`async for event in resolver.stream(session_id)`."""

    def test_it_has_what_is_stored_and_what_comes(self, world: Any) -> None:
        """In order, each once, until the session ends: the same as its trace."""
        session = world.open()
        session.resolve("before")

        async def main() -> list[cra.Event]:
            seen = []
            async for event in world.resolver.stream(session.session_id):
                seen.append(event)
                if len(seen) == 3:
                    for _ in range(50):
                        session.resolve("after")
                    session.end()
            return seen

        seen = asyncio.run(main())
        assert world.trace(session) == seen
        assert "session.ended" == seen[-1].event_type

    def test_types_and_after_narrow_it(self, world: Any) -> None:
        """It ends with the session all the same."""
        session = world.open()
        session.resolve("x")
        session.end()

        async def collect(**narrow: Any) -> list[cra.Event]:
            return [event async for event in world.resolver.stream(session.session_id, **narrow)]

        trace = world.trace(session)
        assert trace[2:] == asyncio.run(collect(after=1))
        wanted = [event for event in trace if event.event_type == "policy.evaluated"]
        assert wanted == asyncio.run(collect(types=["policy.evaluated"]))

    def test_a_slow_consumer_misses_nothing(self, world: Any) -> None:
        """Far more events come meanwhile than are read at once or buffered."""
        session = world.open()

        async def main() -> int:
            count = 0
            async for event in world.resolver.stream(session.session_id):
                assert count == event.sequence
                count += 1
                if count == 1:
                    for _ in range(1500):
                        session.resolve("x")
                    session.end()
            return count

        assert 2 + 1500 * 3 == asyncio.run(main())

    def test_it_ends_when_the_resolver_is_closed(self, make_world: Any, atlas: Any) -> None:
        """The runtime's own session, whose last event comes with the close, is streamed to its end."""
        resolver = cra.Resolver()

        async def main() -> list[str]:
            seen = []
            async for event in resolver.stream(resolver.session_id):
                seen.append(event.event_type)
                if event.event_type == "runtime.started":
                    await asyncio.to_thread(resolver.close)
            return seen

        assert "runtime.started" in asyncio.run(asyncio.wait_for(main(), 60))

    def test_an_unknown_session_and_a_store_that_keeps_nothing(self, world: Any) -> None:
        """As `trace` answers."""

        async def first(resolver: cra.Resolver) -> None:
            async for _ in resolver.stream("00000000-0000-7000-8000-000000000000"):
                return

        with pytest.raises(cra.SessionNotFound):
            asyncio.run(first(world.resolver))
        with cra.Resolver("null:") as resolver, pytest.raises(cra.StorageError):
            asyncio.run(first(resolver))

    def test_leaving_it_ends_its_subscription(self, world: Any) -> None:
        """A consumer that has seen enough costs nothing any more."""
        session = world.open()

        async def main() -> None:
            events = world.resolver.stream(session.session_id)
            await events.__anext__()
            assert world.resolver._runtime.recorder._broadcaster.has_subscribers
            await events.aclose()

        asyncio.run(main())
        assert not world.resolver._runtime.recorder._broadcaster.has_subscribers


class TestBackpressure:
    """A store that is slower than its producers."""

    def test_a_producer_on_a_loop_waits_for_room(self) -> None:
        """Refused at once instead of held up, it awaits room and goes on: nothing is lost."""
        from cra.storage.memory import MemoryStorage

        class Slow(MemoryStorage):
            gate = threading.Event()

            def append(self, batch: Any) -> None:
                self.gate.wait(60)
                super().append(batch)

        store = Slow()
        with cra.Resolver(store, overflow="fail") as resolver:
            session = resolver.create_session("bot", "x")

            async def main() -> tuple[int, int]:
                done = refused = 0
                while refused < 1 or done < 10:
                    try:
                        session.resolve("x" * 5000)
                        done += 1
                    except cra.TraceBackpressure:
                        refused += 1
                        assert not await resolver.await_for_room(0.001)
                        store.gate.set()
                        assert await resolver.await_for_room(60)
                return done, refused

            done, refused = asyncio.run(main())
            assert refused >= 1
            session.end()
            assert done == sum(
                event.event_type == "carp.resolution.completed" for event in resolver.trace(session.session_id)
            )
