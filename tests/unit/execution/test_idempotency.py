"""Idempotency keys: one execution, one outcome, for all who ask. PROTOCOL: Idempotency."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cra.errors import ActionRequiresApproval, Conflict, ExecutionError, InvalidParameters, SchemaValidationError
from cra.execution.idempotency import Entry, IdempotencyStore, Settled


@pytest.fixture
def store() -> IdempotencyStore:
    return IdempotencyStore()


def begin(store: IdempotencyStore, action_id: str = "pay", key: str = "k", parameters_hash: str = "h") -> Entry:
    """A fresh entry, owned by this caller."""
    entry, is_owner = store.begin(action_id, key, parameters_hash)
    assert is_owner
    return entry


class TestBegin:
    """Who owns a key."""

    def test_first_caller_owns_the_key_and_later_ones_share_the_entry(self, store: IdempotencyStore) -> None:
        """In flight or finished, there is one entry."""
        entry = begin(store)
        assert (entry, False) == store.begin("pay", "k", "h")
        store.succeed(entry, None, 4)
        assert (entry, False) == store.begin("pay", "k", "h")

    def test_a_key_belongs_to_its_action(self, store: IdempotencyStore) -> None:
        """The scope is session × action × key."""
        assert begin(store, "pay") is not begin(store, "refund")

    @pytest.mark.parametrize("finished", [False, True])
    def test_other_parameters_are_a_conflict(self, store: IdempotencyStore, finished: bool) -> None:
        """A key that comes with other parameters is a mistake of the caller, in flight or afterwards."""
        entry = begin(store)
        if finished:
            store.succeed(entry, None, 4)
        with pytest.raises(
            Conflict, match=r"^this idempotency key was used for pay with other parameters; use a new key"
        ):
            store.begin("pay", "k", "other")

    def test_one_of_many_threads_owns_it(self, store: IdempotencyStore) -> None:
        """A burst with one key executes once, and all get that outcome."""
        start = threading.Barrier(8)
        executed: list[int] = []

        def call(number: int) -> object:
            start.wait()
            entry, is_owner = store.begin("pay", "k", "h")
            if is_owner:
                executed.append(number)
                store.succeed(entry, {"by": number}, 8)
            return entry.wait(60).result

        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(call, range(8)))
        assert 1 == len(executed)
        assert [{"by": executed[0]}] * 8 == results


class TestOutcome:
    """What those who ask get."""

    def test_success_is_a_copy_for_each(self, store: IdempotencyStore) -> None:
        """What the owner or one caller does to his result changes nobody else's."""
        entry, result = begin(store), {"items": [1]}
        store.succeed(entry, result, 13)
        result["items"].append(2)
        first = entry.wait()
        first.result["items"].append(3)
        assert Settled("succeeded", {"items": [1]}) == entry.wait()

    def test_failure_is_a_fresh_error_for_each(self, store: IdempotencyStore) -> None:
        """Type, message and fields are the same; traceback and cause are not handed around."""
        entry = begin(store)
        original = ExecutionError("timed out after 3 s", execution_id="e1", effect="unknown")
        try:
            raise original from ValueError("cause")
        except ExecutionError as error:
            store.fail(entry, error)
        first, second = entry.wait().error, entry.wait().error
        assert 3 == len({id(original), id(first), id(second)})
        for kept in (first, second):
            assert isinstance(kept, ExecutionError)
            assert (original.args, vars(original)) == (kept.args, vars(kept))
            assert (None, None) == (kept.__traceback__, kept.__cause__)

    @pytest.mark.parametrize(
        "error",
        [SchemaValidationError("wrong", path="/a"), ActionRequiresApproval("wait", approval_id="x")],
        ids=lambda error: type(error).__name__,
    )
    def test_any_error_of_the_tree_can_be_kept(
        self, store: IdempotencyStore, error: SchemaValidationError | ActionRequiresApproval
    ) -> None:
        """Also those whose constructors want more than a message."""
        entry = begin(store)
        store.fail(entry, error)
        kept = entry.wait().error
        assert (type(error), error.args, vars(error)) == (type(kept), kept and kept.args, vars(kept))

    def test_abandoned_key_is_free_again(self, store: IdempotencyStore) -> None:
        """Refused before the executor: waiters are told, one of them becomes the owner, with other parameters if need be."""
        entry = begin(store)
        waiter, _ = store.begin("pay", "k", "h")
        store.abandon(entry)
        assert Settled("abandoned") == waiter.wait()
        assert begin(store, parameters_hash="other") is not entry

    def test_result_that_is_no_json_leaves_the_entry_to_its_owner(self, store: IdempotencyStore) -> None:
        """It can not be stored, so the owner settles the entry as failed."""
        entry = begin(store)
        with pytest.raises(InvalidParameters):
            store.succeed(entry, object(), 2)
        store.fail(entry, ExecutionError("no JSON"))
        assert "failed" == entry.wait().kind


class TestWait:
    """Waiting for the owner."""

    def test_thread_gives_up_after_its_timeout(self, store: IdempotencyStore) -> None:
        """The wait ends; the outcome is still there for others, later."""
        entry = begin(store)
        assert entry.wait(0.01) is None
        store.succeed(entry, 1, 1)
        assert 1 == entry.wait().result

    def test_coroutine_waits_without_blocking_its_loop(self, store: IdempotencyStore) -> None:
        """The owner can be a task of the same loop."""

        async def main() -> tuple[Settled, Settled]:
            entry = begin(store)
            waiters = asyncio.gather(entry.wait_async(), entry.wait_async())
            await asyncio.sleep(0)
            store.succeed(entry, [1], 3)
            first, second = await waiters
            return first, second

        first, second = asyncio.run(main())
        assert ([1], [1]) == (first.result, second.result)
        assert first.result is not second.result

    def test_cancelled_waiter_cancels_nothing_else(self, store: IdempotencyStore) -> None:
        """One impatient caller does not take the outcome from the owner or the others."""

        async def main() -> Settled:
            entry = begin(store)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(entry.wait_async(), 0.01)
            store.succeed(entry, 1, 1)
            return await entry.wait_async()

        assert 1 == asyncio.run(main()).result


class TestBounds:
    """At most so many keys and bytes, then new keys are refused."""

    def test_keys(self) -> None:
        """Known keys go on to work, a freed one makes room."""
        store = IdempotencyStore(max_keys=2)
        first, second = begin(store, key="a"), begin(store, key="b")
        with pytest.raises(
            Conflict,
            match=r"remembers 2 idempotency keys and 2 bytes of their results, .*; open a new session, .* without a key$",
        ):
            store.begin("pay", "c", "h")
        assert (first, False) == store.begin("pay", "a", "h")
        store.abandon(second)
        begin(store, key="c")

    @pytest.mark.parametrize("failed", [False, True])
    def test_bytes_of_outcomes(self, failed: bool) -> None:
        """An outcome that fills the store is kept; the next key is refused."""
        store = IdempotencyStore(max_bytes=20)
        entry = begin(store, key="a")
        if failed:
            store.fail(entry, ExecutionError("x" * 19))
        else:
            store.succeed(entry, "x" * 17, 19)
        with pytest.raises(Conflict, match="remembers 1 idempotency keys and 20 bytes"):
            store.begin("pay", "b", "h")
        assert ("failed" if failed else "succeeded") == entry.wait().kind

    def test_bytes_of_keys(self) -> None:
        """A key counts with its own length, as long as it is used."""
        store = IdempotencyStore(max_bytes=10)
        with pytest.raises(Conflict):
            store.begin("pay", "k" * 11, "h")
        store.abandon(begin(store, key="é" * 5))
        begin(store, key="k" * 10)
