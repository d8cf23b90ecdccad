"""Limits that processes share, on a Redis server that the tests start, stop, kill and hang. PROTOCOL: Limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cra
from cra.carp.policy import Limit
from cra.shared.limits import CannotCount, SharedLimits, SharedLimitsAway
from cra.shared.redis import RedisLimits
from cra.timing.rate_limit import Charge, LimitReached, SlidingWindows
from tests.support.redis_server import RedisServer, own_server

SECOND = 10**9
HOUR = 3600 * SECOND


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the tests that leave it alone; each has a namespace of its own."""
    server = own_server(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own."""
    own = own_server(tmp_path)
    own.start()
    yield own
    own.stop()


@pytest.fixture
def limits(running: RedisServer, request: pytest.FixtureRequest) -> Iterator[RedisLimits]:
    """Fresh limits that are open."""
    made = RedisLimits(running.url, namespace=request.node.name)
    assert made.start()
    yield made
    made.close()


def calls(amount: int, window_ns: int = HOUR) -> Limit:
    return Limit(kind="rate_limit", amount=Fraction(amount), window_ns=window_ns, key="global")


def budget(amount: str, window_ns: int | None = HOUR) -> Limit:
    return Limit(kind="budget", amount=Fraction(amount), window_ns=window_ns, key="global")


def charge(limit: Limit, cost: str = "1", key: str = "k", enforced: bool = True) -> Charge:
    return Charge(key=("atlas", "policy", "global", key), limit=limit, cost=Fraction(cost), enforced=enforced)


def pass_time(limits: RedisLimits, ns: int) -> None:
    """Have so much time pass for the server: it takes the latest time that it has seen for the time that it is."""
    seconds, us = limits._server.client.time()
    epoch = limits._prefix + "epoch"
    now = max(seconds * 10**6 + us, int(limits._server.client.hget(epoch, "now")))
    limits._server.client.hset(epoch, "now", str(now + ns // 1000))


def key_names(limits: RedisLimits, counted: Charge) -> tuple[str, str]:
    """Where the entries and the total of a charge are."""
    return limits._keys(counted)


def atlas(amount: int = 3, window: float = 3600, kind: str = "rate_limit", key: str = "global") -> dict[str, Any]:
    """An atlas with one action and one limit."""
    most = {"max_calls": amount} if kind == "rate_limit" else {"max_cost": amount, "cost": 1}
    return {
        "atlas_version": "1.0",
        "atlas_id": "com.example.shop",
        "version": "1.0.0",
        "name": "Shop",
        "description": "An example",
        "actions": [{"action_id": "shop.buy", "name": "Buy", "description": "Buys"}],
        "policies": [
            {"policy_id": "allow", "type": "allow", "actions": ["*"]},
            {
                "policy_id": "limit",
                "type": kind,
                "actions": ["*"],
                "parameters": most | {"window_seconds": window, "key": key},
            },
        ],
    }


def make_resolver(spec: Any, *, manifest: dict[str, Any] | None = None, **options: Any) -> cra.Resolver:
    resolver = cra.Resolver(shared_limits=spec, **options)
    resolver.load_atlas(manifest or atlas())
    resolver.register("shop.buy", lambda: "bought", inline=True)
    return resolver


def buy(resolver: cra.Resolver, session: cra.Session | None = None) -> str:
    """One execution: `success`, or the code of what refused it."""
    own = resolver.create_session("bot", "x") if session is None else session
    try:
        return own.execute("shop.buy", resolution=own.resolve("buy")).status
    except cra.CRAError as error:
        return error.code


class TestCounting:
    """The script against the rules of the process's own windows."""

    def test_it_is_a_shared_limits(self, limits: RedisLimits) -> None:
        """Every part of the protocol is there."""
        assert isinstance(limits, SharedLimits)

    def test_it_admits_the_amount_and_says_when_there_is_room(self, limits: RedisLimits) -> None:
        """The next one waits until the oldest leaves."""
        answers = [limits.reserve([charge(calls(3))]) for _ in range(4)]
        assert [None, None, None, 0] == [answer.refused for answer in answers]
        assert [1, 2, 3, 3] == [answer.standings[0].used for answer in answers]
        retry = answers[-1].retry_after_ns
        assert retry is not None
        assert HOUR - 60 * SECOND < retry <= HOUR
        assert answers[-1].token is None

    def test_the_charges_of_a_call_count_together_or_not_at_all(self, limits: RedisLimits) -> None:
        """One that does not fit leaves the others uncounted."""
        limits.reserve([charge(calls(1), key="full")])
        answer = limits.reserve([charge(calls(5), key="free"), charge(calls(1), key="full")])
        assert 1 == answer.refused
        assert 1 == limits.reserve([charge(calls(5), key="free")]).standings[0].used

    def test_what_is_given_back_is_free_again(self, limits: RedisLimits) -> None:
        """Once; a second time gives back nothing more."""
        first = limits.reserve([charge(calls(1)), charge(budget("1.5", None), "1.5", key="b")])
        limits.release(first.token)
        limits.release(first.token)
        second = limits.reserve([charge(calls(1))])
        assert second.refused is None
        assert 1 == second.standings[0].used

    def test_budgets_are_exact_to_a_millionth(self, limits: RedisLimits) -> None:
        """Ten times a tenth is one; a cost between two units counts as the larger."""
        tenths = [limits.reserve([charge(budget("1"), "0.1")]).refused for _ in range(11)]
        assert [None] * 10 + [0] == tenths
        tiny = limits.reserve([charge(budget("1"), "0.0000001", key="tiny")])
        assert Fraction(1, 10**6) == limits.used(charge(budget("1")), tiny.standings[0])

    def test_what_it_cannot_hold_exactly_is_refused(self, limits: RedisLimits) -> None:
        """Rather than counted wrongly."""
        with pytest.raises(CannotCount):
            limits.reserve([charge(budget(str(2**53)))])

    def test_a_shadow_limit_counts_what_it_would_admit_and_refuses_nothing(self, limits: RedisLimits) -> None:
        """As in a process."""
        answers = [limits.reserve([charge(calls(2), enforced=False)]) for _ in range(3)]
        assert [None] * 3 == [answer.refused for answer in answers]
        assert 2 == answers[-1].standings[0].used

    def test_what_leaves_the_window_is_free(self, limits: RedisLimits) -> None:
        """A smoke test in real time: refused within the window, admitted after it."""
        short = calls(2, SECOND // 5)
        answers = [limits.reserve([charge(short)]) for _ in range(3)]
        retry = answers[2].retry_after_ns
        assert answers[2].refused == 0
        assert retry is not None
        time.sleep(retry / 1e9)
        again = limits.reserve([charge(short)])
        assert (None, 1) >= (again.refused, 0)
        assert again.refused is None

    def test_a_server_clock_that_goes_back_admits_nothing(self, limits: RedisLimits, running: RedisServer) -> None:
        """Time stands still until it has caught up."""
        limits.reserve([charge(calls(1, SECOND))])
        limits._server.client.hincrby(limits._prefix + "epoch", "now", 10 * 10**6)
        limits.reserve([charge(calls(1), key="other")])
        admitted = [limits.reserve([charge(calls(1, SECOND), key="later")]).refused for _ in range(3)]
        assert [None, 0, 0] == admitted

    @settings(max_examples=60)
    @given(
        steps=st.lists(
            st.one_of(
                st.tuples(
                    st.just("reserve"),
                    st.lists(
                        st.tuples(
                            st.sampled_from("abc"),
                            st.sampled_from(["0", "1", "0.5", "2", "7"]),
                            st.sampled_from([True, True, False]),
                        ),
                        min_size=1,
                        max_size=3,
                        unique_by=lambda each: each[0],
                    ),
                ),
                st.tuples(st.just("release"), st.integers(0, 9)),
                st.tuples(st.just("move"), st.integers(1, 12)),
            ),
            max_size=25,
        )
    )
    def test_any_schedule_is_answered_as_in_a_process(self, running: RedisServer, steps: list[Any]) -> None:
        """Against `SlidingWindows`, with the time told: who is refused and until when, what is counted, what is given back."""
        limits = RedisLimits(running.url, namespace=f"model-{time.monotonic_ns()}")
        limits.start()
        limits._server.client.hincrby(
            limits._prefix + "epoch", "now", 10 * HOUR // 1000
        )  # the server's own stands still
        of = {"a": calls(3, 10_000), "b": budget("4", 7_000), "c": budget("3", None)}
        model = SlidingWindows()
        held: list[tuple[Any, Any]] = []
        now = 0
        for kind, what in steps:
            if kind == "move":
                now += what * 1000
                limits._server.client.hincrby(limits._prefix + "epoch", "now", what)
                continue
            if kind == "release":
                if what < len(held):
                    token, reservation = held[what]
                    limits.release(token)
                    model.release(reservation)
                continue
            charged = [charge(of[key], "1" if key == "a" else cost, key, enforced) for key, cost, enforced in what]
            answer = limits.reserve(charged)
            refused, retry, reservation = None, None, None
            try:
                reservation = model.reserve(charged, now)
            except LimitReached as reached:
                refused, retry = charged.index(reached.charge), reached.retry_after_ns
            assert (refused, retry) == (answer.refused, answer.retry_after_ns)
            for each, standing in zip(charged, answer.standings):
                state = model.peek(each.key, each.limit, now)
                assert (state.used, state.reset_after_ns) == (limits.used(each, standing), standing.leaves_ns)
            if reservation is not None:
                held.append((answer.token, reservation))
        limits.close()


class TestKeys:
    """What is kept on the server: entries and their total say the same, and nothing outlives what it counts."""

    def test_no_counter_of_a_window_is_kept_for_ever(self, limits: RedisLimits) -> None:
        """Not where the last one to come found old calls that had left, and was refused, either."""
        short = budget("5", SECOND // 5)
        limits.reserve([charge(short, "3")])
        pass_time(limits, SECOND // 10)
        limits.reserve([charge(short, "2")])
        pass_time(limits, SECOND // 8)
        assert 0 == limits.reserve([charge(short, "4")]).refused
        client = limits._server.client
        kept = [client.pttl(name) for name in key_names(limits, charge(short))]
        assert all(life > 0 for life in kept), kept

    @pytest.mark.parametrize("gone", ["entries", "total"])
    def test_a_total_without_entries_and_entries_without_a_total_count_for_a_window(
        self, limits: RedisLimits, gone: str
    ) -> None:
        """Half of it may have been deleted: nothing is admitted for that, and nothing is closed for good."""
        limits.reserve([charge(calls(2))])
        limits.reserve([charge(calls(2))])
        limits._server.client.delete(key_names(limits, charge(calls(2)))[gone == "total"])
        answer = limits.reserve([charge(calls(2))])
        assert (0, 2) == (answer.refused, answer.standings[0].used)
        pass_time(limits, HOUR)
        assert 1 == limits.reserve([charge(calls(2))]).standings[0].used

    def test_a_budget_that_is_given_a_window_keeps_its_count_for_one(self, limits: RedisLimits) -> None:
        """As in a process: what is counted then counts as of now."""
        old, new = budget("5", None), budget("5")
        token = limits.reserve([charge(old, "5")]).token
        answer = limits.reserve([charge(new)])
        assert (0, HOUR) == (answer.refused, answer.retry_after_ns)
        limits.release(token)
        assert 5 == limits.used(charge(new), limits.reserve([charge(new)]).standings[0])
        pass_time(limits, HOUR)
        assert limits.reserve([charge(new, "5")]).refused is None
        limits.release(token)
        assert 0 == limits.reserve([charge(new)]).refused

    def test_a_budget_that_loses_its_window_keeps_its_count(self, limits: RedisLimits) -> None:
        """Whether the next call fits or not, what is counted does not expire with a window that is no more."""
        limits.reserve([charge(budget("5"), "3")])
        assert 0 == limits.reserve([charge(budget("5", None), "4")]).refused
        total = key_names(limits, charge(budget("5")))[1]
        assert -1 == limits._server.client.pttl(total)

    def test_the_largest_budget_is_exact(self, limits: RedisLimits) -> None:
        """Not a millionth more, where the numbers of the server's scripts end."""
        largest = budget("9007199254.740992", None)
        assert limits.reserve([charge(largest, "9007199254.740992")]).refused is None
        assert 0 == limits.reserve([charge(largest, "0.000001")]).refused

    def test_what_was_counted_before_a_loss_is_not_given_back_after_it(self, limits: RedisLimits) -> None:
        """It is not among what is counted now: a budget would be larger for it."""
        life = budget("5", None)
        token = limits.reserve([charge(life, "5")]).token
        limits._server.client.delete(*key_names(limits, charge(life)), limits._prefix + "epoch")
        assert limits.start()
        limits.release(token)
        assert 0 == limits.reserve([charge(life, "6")]).refused
        assert limits.reserve([charge(life, "5")]).refused is None

    def test_limits_that_were_made_before_a_fork_count_every_call_of_parent_and_child(
        self, limits: RedisLimits
    ) -> None:
        """Both would go on with the same number: an entry each all the same."""
        child = os.fork()
        if not child:  # pragma: no cover - in the child
            try:
                limits.reserve([charge(calls(5))])
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        limits.reserve([charge(calls(5))])
        entries, total = key_names(limits, charge(calls(5)))
        assert (2, "2") == (limits._server.client.zcard(entries), limits._server.client.get(total))

    def test_a_rate_limit_may_have_more_entries_than_a_budget(
        self, limits: RedisLimits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It admits its amount, whatever that is; a budget is bounded, as in a process."""
        monkeypatch.setattr("cra.shared.redis.limits.MAX_BUDGET_ENTRIES", 2)
        several = [
            limits.reserve([charge(each, key=each.kind)]).refused for each in (calls(3), budget("9")) for _ in range(3)
        ]
        assert [None, None, None, None, None, 0] == several


class TestEpoch:
    """A server that has forgotten what it admitted: closed for a full window."""

    def test_a_server_that_knows_nothing_is_closed_for_a_window(self, running: RedisServer) -> None:
        """It may have been restarted a moment ago: nobody can tell, but the operator with `start`."""
        limits = RedisLimits(running.url, namespace="never-started")
        answer = limits.reserve([charge(calls(5))])
        assert answer.closed
        assert 0 == answer.refused
        assert answer.retry_after_ns is not None
        assert HOUR - 60 * SECOND < answer.retry_after_ns <= HOUR
        assert limits.reserve([charge(budget("1", None), key="b")]).retry_after_ns is None
        assert not limits.start()
        assert limits.start(force=True)
        assert limits.reserve([charge(calls(5))]).refused is None

    def test_it_opens_by_itself_after_a_window(self, running: RedisServer) -> None:
        """In real time, with a window of a fifth of a second."""
        limits = RedisLimits(running.url, namespace="opens")
        answer = limits.reserve([charge(calls(5, SECOND // 5))])
        assert answer.retry_after_ns is not None
        time.sleep(answer.retry_after_ns / 1e9)
        assert limits.reserve([charge(calls(5, SECOND // 5))]).refused is None

    def test_a_restart_closes(self, server: RedisServer) -> None:
        """The epoch is bound to the server's run."""
        limits = RedisLimits(server.url)
        limits.start()
        before = limits.reserve([charge(calls(5))])
        server.kill()
        server.start()
        after = limits.reserve([charge(calls(5))])
        assert (False, True) == (before.closed, after.closed)
        assert after.epoch > before.epoch

    def test_a_server_that_was_emptied_closes(self, limits: RedisLimits) -> None:
        """FLUSHALL, or an eviction."""
        limits.reserve([charge(calls(5))])
        limits._server.client.delete(limits._prefix + "epoch")
        assert limits.reserve([charge(calls(5))]).closed

    def test_a_state_older_than_somebody_knows_closes(self, limits: RedisLimits) -> None:
        """Restored from a backup, under the same run."""
        known = limits.reserve([charge(calls(5))]).epoch
        limits._server.client.hset(limits._prefix + "epoch", "since", str(known - 10**6))
        answer = limits.reserve([charge(calls(5))])
        assert answer.closed
        assert answer.epoch > known


class TestRuntime:
    """What an execution and a resolve see of it."""

    def test_two_runtimes_share_a_limit(self, limits: RedisLimits, running: RedisServer) -> None:
        """And the one that is refused knows when to come again."""
        url = f"{running.url}?namespace={limits._prefix[1:-2]}"
        with make_resolver(url) as first, make_resolver(url) as second:
            assert ["success", "success", "success"] == [buy(first), buy(second), buy(first)]
            session = second.create_session("bot", "x")
            with pytest.raises(cra.RateLimitExceeded) as refused:
                session.execute("shop.buy", resolution=session.resolve("buy"))
            assert refused.value.retry_after is not None
            assert 3500 < refused.value.retry_after <= 3600
            assert "rate_limit_exceeded" == second.trace(session.session_id)[-1].payload["reason"]

    def test_a_budget_that_cannot_be_counted_exactly_refuses(self, limits: RedisLimits, running: RedisServer) -> None:
        """Before the executor is called, and the trace says why."""
        url = f"{running.url}?namespace={limits._prefix[1:-2]}"
        with make_resolver(url, manifest=atlas(2**53, kind="budget")) as resolver:
            session = resolver.create_session("bot", "x")
            with pytest.raises(cra.InvalidParameters, match="more than a shared budget can count exactly"):
                session.execute("shop.buy", resolution=session.resolve("buy"))
            closing = resolver.trace(session.session_id)[-1]
            assert ("action.denied", "budget_too_large") == (closing.event_type, closing.payload["reason"])

    def test_limits_of_a_session_stay_in_the_process(self, server: RedisServer) -> None:
        """Nothing is asked for them."""
        server.kill()
        with make_resolver(server.url, manifest=atlas(key="session")) as resolver:
            session = resolver.create_session("bot", "x")
            assert ["success"] * 3 + ["RATE_LIMIT_EXCEEDED"] == [buy(resolver, session) for _ in range(4)]

    def test_a_resolve_shows_what_this_process_last_knew(self, limits: RedisLimits, running: RedisServer) -> None:
        """With the time of that; before it has asked it knows nothing. Published and typed forms agree."""
        url = f"{running.url}?namespace={limits._prefix[1:-2]}"
        with make_resolver(url) as first, make_resolver(url) as second:
            session = second.create_session("bot", "x")

            def constraint() -> dict[str, Any]:
                resolution = session.resolve("buy")
                assert resolution.to_dict() == json.loads(resolution.to_json())
                found: dict[str, Any] = resolution.to_dict()["constraints"][0]["parameters"]
                return found

            assert "as_of" not in constraint()
            buy(first)
            assert 3 == constraint()["remaining"]
            buy(second, session)
            known = constraint()
            assert 1 == known["remaining"]
            assert 3500 < known["reset_after"] <= 3600
            assert known["as_of"] <= session.resolve("buy").timestamp
            buy(second, session)
            assert "deny" == session.resolve("buy").decision.type
            events = second.trace(session.session_id)
            assert cra.verify_chain(events).valid

    def test_a_resolve_asks_nobody(self, server: RedisServer) -> None:
        """Not even a server that hangs holds it up."""
        limits = RedisLimits(server.url)
        limits.start()
        with make_resolver(limits) as resolver:
            session = resolver.create_session("bot", "x")
            server.hang()
            before = time.monotonic()
            for _ in range(1000):
                assert session.resolve("buy").is_allowed("shop.buy")
            assert time.monotonic() - before < limits._server.timeout

    def test_away_it_refuses(self, server: RedisServer) -> None:
        """`fail_closed`: a refusal to try again, in the trace as `limits_unavailable`; back, it goes on counting."""
        limits = RedisLimits(server.url)
        limits.start()
        with make_resolver(limits) as resolver:
            session = resolver.create_session("bot", "x")
            assert "success" == buy(resolver, session)
            server.kill()
            assert ["RATE_LIMIT_EXCEEDED"] * 2 == [buy(resolver, session) for _ in range(2)]
            assert "limits_unavailable" == resolver.trace(session.session_id)[-1].payload["reason"]
            server.start()
            limits._server.forget_failure()
            limits.start()
            assert "success" == buy(resolver, session)

    def test_away_it_counts_in_the_process_where_that_was_chosen(self, server: RedisServer) -> None:
        """`local`: what this process spent before counts, and two events say when it began and ended."""
        limits = RedisLimits(server.url, when_away="local")
        limits.start()
        with make_resolver(limits) as resolver:
            assert "success" == buy(resolver)
            server.kill()
            assert ["success", "success", "RATE_LIMIT_EXCEEDED"] == [buy(resolver) for _ in range(3)]
            server.start()
            limits._server.forget_failure()
            assert "RATE_LIMIT_EXCEEDED" == buy(resolver)
            events = [
                (event.event_type, event.payload.get("local"))
                for event in resolver.trace(resolver.session_id)
                if event.event_type.startswith("runtime.limits")
            ]
            assert [
                ("runtime.limits_local", True),
                ("runtime.limits_local", False),
                ("runtime.limits_closed", None),
            ] == events

    def test_a_dead_server_is_not_waited_for_by_every_call(self, server: RedisServer) -> None:
        """The first waits for the timeout; those of the next second are refused at once."""
        limits = RedisLimits(server.url, timeout=0.3)
        server.hang()
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(SharedLimitsAway):
                limits.reserve([charge(calls(1))])
        assert time.monotonic() - began < 20 * 0.3

    def test_an_event_loop_is_not_held_up(self, server: RedisServer) -> None:
        """`aexecute` asks from a thread."""
        import asyncio

        limits = RedisLimits(server.url, timeout=2.0)
        limits.start()
        with make_resolver(limits) as resolver:

            async def main() -> int:
                session = resolver.create_session("bot", "x")
                resolution = session.resolve("buy")
                server.hang()
                task = asyncio.ensure_future(session.aexecute("shop.buy", resolution=resolution))
                turns = 0
                while turns < 100:
                    await asyncio.sleep(0)
                    turns += 1
                assert not task.done()
                server.hang(on=False)
                assert "success" == (await task).status
                return turns

            assert 100 == asyncio.run(main())

    def test_a_refused_execution_gives_everything_back(self, limits: RedisLimits) -> None:
        """The executor was never called: an approval that is missing spends nothing, nor does a lack of room."""
        with make_resolver(limits, overflow="fail") as resolver:
            session = resolver.create_session("bot", "x")
            resolution = session.resolve("buy")
            reserve = resolver._runtime.reserve
            resolver._runtime.reserve = lambda: (_ for _ in ()).throw(cra.TraceBackpressure("full"))  # type: ignore[method-assign]
            with pytest.raises(cra.TraceBackpressure):
                session.execute("shop.buy", resolution=resolution)
            resolver._runtime.reserve = reserve
            assert ["success"] * 3 == [buy(resolver, session) for _ in range(3)]


class TestOptions:
    """Bad input is one clear error, and nothing is ignored."""

    @pytest.mark.parametrize(
        "url",
        [
            "http://localhost",
            "redis://localhost?when_away=maybe",
            "redis://localhost?timeout=no",
            "redis://localhost?timeout=-1",
            "redis://localhost?namespace=",
            "redis://localhost?namespace=a{b",
            "redis://localhost?no_such_option=1",
            "redis://localhost:port",
            "redis://[localhost",
        ],
    )
    def test_a_bad_url_is_refused(self, url: str) -> None:
        """Before anything is connected."""
        with pytest.raises(cra.StorageError):
            RedisLimits(url)

    def test_no_password_is_shown(self) -> None:
        """Neither in the name, nor in a representation, nor in what is raised."""
        limits = RedisLimits("redis://user:secret@localhost:1/3", timeout=0.2)
        with pytest.raises(SharedLimitsAway) as away:
            limits.reserve([charge(calls(1))])
        for text in (limits.name, repr(limits), str(away.value)):
            assert "secret" not in text
        assert "redis://localhost:1/3" == limits.name

    @pytest.mark.parametrize("secret", ["se/cret", "se#cret", "se?cret", "se[cret"])
    def test_a_password_that_should_have_been_encoded_is_not_shown(self, secret: str) -> None:
        """A URL cannot have it as it is; what is raised says so, and no part of it, not as a cause either."""
        with pytest.raises(cra.StorageError) as refused:
            RedisLimits(f"redis://:{secret}@localhost:6379/0")
        shown = "".join(traceback.format_exception(refused.value)[-1:]) + repr(refused.value.__cause__)
        assert "'se'" not in shown
        assert "cret" not in shown
        assert "%" in str(refused.value)

    def test_what_is_no_shared_limits_is_refused(self) -> None:
        """With what it has to be."""
        with pytest.raises(ValueError, match="shared_limits"):
            cra.Resolver(shared_limits=5)  # type: ignore[arg-type]


WORKER = """
import json, os, sys, time
import cra

url, manifest, stop = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
resolver = cra.Resolver(shared_limits=url)
resolver.load_atlas(manifest)
resolver.register("shop.buy", lambda: "bought", inline=True)
session = resolver.create_session("bot-" + sys.argv[4], "x")
resolution = session.resolve("buy")
print("ready", flush=True)
sys.stdin.readline()
admitted, refused = [], 0
while not os.path.exists(stop):
    try:
        session.execute("shop.buy", resolution=resolution)
        admitted.append(time.time())
    except cra.CRAError:
        refused += 1
        time.sleep(0.001)
closed = [e.payload for e in resolver.iter_trace(resolver.session_id) if e.event_type == "runtime.limits_closed"]
print(json.dumps([admitted, refused, closed]), flush=True)
resolver.close()
"""


def hammer(server: RedisServer, manifest: dict[str, Any], stop: Path, meanwhile: Callable[[], object]) -> list[Any]:
    """Eight processes that execute as fast as they can until `meanwhile` returns; what each admitted (wall clock), refused, and
    was told."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, server.url, json.dumps(manifest), str(stop), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert "ready\n" == worker.stdout.readline()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        meanwhile()
        stop.touch()
        answers = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert [0] * 8 == [worker.returncode for worker in workers]
    return answers


def test_eight_processes_admit_exactly_the_limit(server: RedisServer, tmp_path: Path) -> None:
    """A thousand within an hour, however they hammer."""
    limits = RedisLimits(server.url)
    limits.start()

    def exhaust() -> None:
        """Until nothing is left, and a moment more."""
        nothing = Charge(("com.example.shop", "limit", "global"), calls(1000), Fraction(0))
        while limits.reserve([nothing]).standings[0].used < 1000:
            time.sleep(0.05)
        time.sleep(0.5)

    answers = hammer(server, atlas(1000), tmp_path / "stop", exhaust)
    assert 1000 == sum(len(admitted) for admitted, _, _ in answers)
    assert all(refused for _, refused, _ in answers)


def test_a_server_killed_in_the_middle_never_admits_more(server: RedisServer, tmp_path: Path) -> None:
    """Killed and started again, empty: no window of two seconds ever has more than the limit, in all processes together, and
    every one of them says that the limits were closed; after a full window they are open again."""
    RedisLimits(server.url).start()
    window, amount = 2.0, 200
    times: list[float] = []

    def restart() -> None:
        time.sleep(0.7)
        server.kill()
        times.append(time.time())
        server.start()
        times.append(time.time())
        with make_resolver(server.url, manifest=atlas(amount, window)) as resolver:
            while buy(resolver) != "success":
                time.sleep(0.05)
        time.sleep(1)

    answers = hammer(server, atlas(amount, window), tmp_path / "stop", restart)
    admitted = sorted(moment for moments, _, _ in answers for moment in moments)
    killed, started = times
    assert any(moment < killed for moment in admitted)
    assert any(moment > started + window for moment in admitted)
    # A worker notes the time after the server did: a little later, never earlier.
    slack = 0.25
    for first, moment in enumerate(admitted):
        within = [each for each in admitted[first:] if each < moment + window - slack]
        assert len(within) <= amount
    assert not [moment for moment in admitted if started + slack < moment < started + window - slack]
    assert all(closed for _, _, closed in answers)


def test_threads_admit_exactly_the_limit(limits: RedisLimits) -> None:
    """A burst of threads in one process."""
    with make_resolver(limits, manifest=atlas(100)) as resolver:
        results: list[str] = []

        def work() -> None:
            session = resolver.create_session("bot", "x")
            resolution = session.resolve("buy")
            for _ in range(40):
                try:
                    results.append(session.execute("shop.buy", resolution=resolution).status)
                except cra.RateLimitExceeded:
                    results.append("refused")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (100, 220) == (results.count("success"), results.count("refused"))
