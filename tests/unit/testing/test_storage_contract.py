"""The contract for storage backends: what it lets pass, and that it catches what breaks a rule."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from unittest import SkipTest

import pytest

from cra.errors import StorageError
from cra.storage.base import StorageBackend, StorageHealth
from cra.storage.chunks import chunks_of
from cra.storage.memory import MemoryStorage
from cra.storage.null import NullStorage
from cra.testing.storage_contract import StorageContract
from cra.trace.event import Event

RULES = sorted(name for name in vars(StorageContract) if name.startswith("test_"))


class Shelf(MemoryStorage):
    """Memory that a test can share between two backends, as a disk does."""

    def __init__(self, other: Shelf | None = None) -> None:
        super().__init__()
        if other is not None:
            self._traces = other._traces


class Unordered(Shelf):
    def append(self, batch: Sequence[Event]) -> None:
        super().append(list(batch)[::-1])


class Half(Shelf):
    def append(self, batch: Sequence[Event]) -> None:
        for chunk in groups(batch):
            super().append(chunk)


class Careless(Shelf):
    """Takes lists only."""

    def append(self, batch: Sequence[Event]) -> None:
        if not isinstance(batch, list):
            raise StorageError("no list")
        super().append(batch)


class From(Shelf):
    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        return super().events(session_id, after=after - 1, types=types)


class AnyType(Shelf):
    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        return super().events(session_id, after=after, types=types or None)


class Live(Shelf):
    """An iterator sees what is appended later."""

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        while found := list(super().events(session_id, after=after, types=types)):
            yield found[0]
            after = found[0].sequence


class Newest(Shelf):
    def sessions(self) -> list[str]:
        return super().sessions()[::-1]


class Backwards(Shelf):
    def last(self, session_id: str, n: int) -> list[Event]:
        return super().last(session_id, n)[::-1]


class AllCounted(Shelf):
    def count(self, session_id: str | None = None) -> int:
        return super().count()


class Silent(Shelf):
    def delete_session(self, session_id: str) -> int:
        super().delete_session(session_id)
        return 0


class Strict(Shelf):
    def last(self, session_id: str, n: int) -> list[Event]:
        if session_id not in self.sessions():
            raise StorageError("unknown")
        return super().last(session_id, n)


class Boasting(Shelf):
    def flush(self, durable: bool) -> None:
        pass


class Promising(Shelf):
    durable = True


class Ill(Shelf):
    def health(self) -> StorageHealth:
        raise StorageError("ill")


class Open(Shelf):
    def close(self) -> None:
        pass


class Once(Shelf):
    def close(self) -> None:
        if self._closed:
            raise StorageError("closed")
        super().close()


class Forgetful(Shelf):
    def __init__(self, other: Shelf | None = None) -> None:
        super().__init__()


class Empty(NullStorage):
    """Says nothing where it cannot be read."""

    def sessions(self) -> list[str]:
        return []


class Racing(Shelf):
    """Loses events while somebody reads."""

    def events(self, session_id: str, *, after: int = -1, types: Collection[str] | None = None) -> Iterator[Event]:
        return iter([event for event in super().events(session_id, after=after, types=types) if event.sequence != 1])


def groups(batch: Sequence[Event]) -> Iterator[list[Event]]:
    """The events of a batch one by one."""
    for event in batch:
        yield [event]


def broken(make: Callable[[], StorageBackend], again: Callable[[StorageBackend], StorageBackend]) -> set[str]:
    """The rules that a backend breaks."""

    class Contract(StorageContract):
        def open(self) -> StorageBackend:
            return again(self._opened[-1]) if self._opened else make()

    found = set()
    for rule in RULES:
        contract = Contract()
        contract.setup_method()
        try:
            getattr(contract, rule)()
        except SkipTest:
            pass
        except Exception:
            found.add(rule.removeprefix("test_"))
    return found


def test_what_keeps_every_rule_passes() -> None:
    """The contract asks for nothing that a plain backend does not do."""
    assert set() == broken(Shelf, lambda other: Shelf(other))


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Unordered, "events_come_back_as_they_were_given"),
        (Half, "a_batch_is_stored_whole_or_not_at_all"),
        (Careless, "a_batch_of_lines_is_stored_like_a_list"),
        (From, "after_and_types_select"),
        (AnyType, "after_and_types_select"),
        (Live, "reading_sees_the_events_of_the_moment"),
        (Newest, "sessions_are_oldest_first"),
        (Backwards, "last_gives_the_end_of_a_session"),
        (AllCounted, "count_and_delete"),
        (Silent, "count_and_delete"),
        (Strict, "an_unknown_session_is_empty"),
        (Boasting, "a_flush_makes_durable_what_it_can"),
        (Promising, "a_flush_makes_durable_what_it_can"),
        (Ill, "health_never_raises"),
        (Open, "close_may_be_repeated"),
        (Forgetful, "what_is_opened_again_has_everything"),
        (Racing, "reading_while_appending_gives_a_prefix"),
    ],
)
def test_a_broken_rule_is_found(kind: type[Shelf], rule: str) -> None:
    """Each of these backends does one thing wrong."""
    assert rule in broken(kind, lambda other: kind(other if isinstance(other, Shelf) else None))


def test_closing_twice_and_reading_what_cannot_be_read_are_found() -> None:
    """The rules whose mutants have no disk."""
    assert "close_may_be_repeated" in broken(Once, lambda other: other)
    assert "what_cannot_be_read_says_so" in broken(Empty, lambda other: other)


def test_half_a_batch_after_a_failure_is_found() -> None:
    """A backend that fails in the middle of a batch and keeps its beginning."""

    class Failing(StorageContract):
        full = False

        def open(self) -> StorageBackend:
            return Filling(self)

        def failing(self, backend: StorageBackend) -> Fault:
            return Fault(self)

    class Filling(MemoryStorage):
        def __init__(self, contract: Failing) -> None:
            super().__init__()
            self._contract = contract

        def append(self, batch: Sequence[Event]) -> None:
            if self._contract.full:
                super().append(list(batch)[:1])
                raise StorageError("full")
            super().append(batch)

    class Fault:
        def __init__(self, contract: Failing) -> None:
            self._contract = contract

        def __enter__(self) -> None:
            self._contract.full = True

        def __exit__(self, *_: object) -> None:
            self._contract.full = False

    contract = Failing()
    contract.setup_method()
    with pytest.raises(AssertionError, match="nothing of a refused batch is stored"):
        contract.test_a_refused_batch_is_taken_when_it_comes_again()
    contract.teardown_method()


def test_an_error_shows_both_sides() -> None:
    """What was expected and what was found, in one message, whatever rewrites assertions."""

    class Contract(StorageContract):
        def open(self) -> StorageBackend:
            return AllCounted()

    contract = Contract()
    contract.setup_method()
    with pytest.raises(AssertionError, match=r"counts\nexpected: \(5, 3, 2\)\nfound:    \(5, 5, 5\)"):
        contract.test_count_and_delete()


def test_the_contract_needs_no_pytest() -> None:
    """It is part of the package, which does not depend on pytest."""
    code = "import sys, cra.testing.storage_contract; sys.exit('pytest' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode


def test_chunks_of_a_batch_of_the_contract() -> None:
    """Its batches are those of the recorder: the same chunks as those of their events."""
    from cra.testing.storage_contract import _batch, _trace

    events = [*_trace(1, 2), *_trace(2, 3), *_trace(1, 2)]
    assert list(chunks_of(events)) == list(chunks_of(_batch(events)))
