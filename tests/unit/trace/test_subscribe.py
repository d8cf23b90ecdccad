"""The live stream: numbering, filters, bounds, and subscribers that misbehave."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.hotpath import canonical_json
from cra.testing import SeededIds, VirtualClock
from cra.trace.event import Event
from cra.trace.record import EventsRecord
from cra.trace.subscribe import Broadcaster, Delivery
from tests.support.chains import Chainer

MakeRecord = Callable[..., EventsRecord]
SECONDS = 60


@pytest.fixture
def broadcaster() -> Iterator[Broadcaster]:
    """A broadcaster without a recorder: the test publishes."""
    made = Broadcaster()
    yield made
    made.close(0)


@pytest.fixture
def events(record: MakeRecord) -> Callable[..., list[Event]]:
    """Sealed events numbered `n`, of the given session and type."""
    chainer = Chainer()

    def make(*numbers: int, **options: Any) -> list[Event]:
        return [event for n in numbers for event in chainer.events(record(n, **options))]

    return make


class Collector:
    """A callback that keeps what it gets, and can be made to wait or to raise."""

    def __init__(self) -> None:
        self.got: list[tuple[int, int]] = []
        self.called = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.error: BaseException | None = None

    def __call__(self, delivery: Delivery) -> None:
        self.got.append((delivery.number, delivery.event.payload["n"]))
        self.called.release()
        assert self.open.wait(SECONDS)
        if self.error is not None:
            raise self.error

    def wait(self, calls: int) -> list[tuple[int, int]]:
        """What it has got, after this many more calls."""
        for _ in range(calls):
            assert self.called.acquire(timeout=SECONDS)
        return self.got


def drain(target: queue.Queue[Delivery]) -> list[tuple[int, int]]:
    """Everything in a queue: numbers and events."""
    return [
        (d.number, d.event.payload["n"]) for d in iter(lambda: target.get_nowait() if target.qsize() else None, None)
    ]


def test_a_callback_gets_every_event_in_order_numbered_from_1(broadcaster: Broadcaster, events: Any) -> None:
    """Numbers count the deliveries of the subscription, over all batches."""
    collector = Collector()
    broadcaster.subscribe(collector)
    broadcaster.publish(events(10, 11))
    broadcaster.publish(events(12))
    assert [(1, 10), (2, 11), (3, 12)] == collector.wait(3)


def test_a_queue_gets_the_same_without_a_thread(broadcaster: Broadcaster, events: Any) -> None:
    """A `queue.Queue` is filled by the publisher itself."""
    target: queue.Queue[Delivery] = queue.Queue()
    broadcaster.subscribe(target)
    broadcaster.publish(events(10, 11))
    assert [(1, 10), (2, 11)] == drain(target)


def test_only_later_events_are_delivered(broadcaster: Broadcaster, events: Any) -> None:
    """A subscription begins when it is made and ends when it is closed; closing twice is harmless."""
    target: queue.Queue[Delivery] = queue.Queue()
    broadcaster.publish(events(1))
    subscription = broadcaster.subscribe(target)
    broadcaster.publish(events(2))
    subscription.close()
    subscription.close()
    broadcaster.publish(events(3))
    assert [(1, 2)] == drain(target)


def test_types_and_session_narrow_the_stream_and_its_numbers(
    broadcaster: Broadcaster, events: Any, header: Any
) -> None:
    """What a subscription did not ask for is not numbered."""
    by_type: queue.Queue[Delivery] = queue.Queue()
    by_session: queue.Queue[Delivery] = queue.Queue()
    by_both: queue.Queue[Delivery] = queue.Queue()
    broadcaster.subscribe(by_type, types=["action.denied"])
    broadcaster.subscribe(by_session, session_id=header(2).session_id)
    broadcaster.subscribe(by_both, types={"action.denied"}, session_id=header(2).session_id)
    broadcaster.publish(
        events(1, session=1)
        + events(2, session=2)
        + events(3, session=1, event_type="action.denied")
        + events(4, session=2, event_type="action.denied")
    )
    assert [(1, 3), (2, 4)] == drain(by_type)
    assert [(1, 2), (2, 4)] == drain(by_session)
    assert [(1, 4)] == drain(by_both)


def test_a_slow_callback_sees_gaps_and_holds_up_nobody(broadcaster: Broadcaster, events: Any) -> None:
    """Its buffer is bounded, what does not fit is counted, and the publisher and the others go on."""
    slow, quick = Collector(), Collector()
    slow.open.clear()
    slow_one = broadcaster.subscribe(slow, capacity=2)
    broadcaster.subscribe(quick)
    broadcaster.publish(events(1))
    slow.wait(1)
    broadcaster.publish(events(2, 3, 4, 5))
    assert [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)] == quick.wait(5)
    assert 2 == slow_one.dropped
    slow.open.set()
    slow.wait(2)
    assert slow_one.wait_idle(SECONDS)
    broadcaster.publish(events(6))
    assert [(1, 1), (2, 2), (3, 3), (6, 6)] == slow.wait(1)


@given(st.integers(1, 5), st.lists(st.integers(0, 4), max_size=20))
def test_numbers_are_never_reused_and_gaps_are_what_was_dropped(capacity: int, reads: list[int]) -> None:
    """Deliveries and drops together count the events; a reader finds every loss as a gap."""
    broadcaster, chainer = Broadcaster(), Chainer()
    ids, clock = SeededIds(1), VirtualClock()
    base = ids.draw(0)
    from cra.ids import format_uuid
    from cra.trace.record import SessionHeader

    session = SessionHeader(format_uuid(base), format_uuid(base + 1), format_uuid(base + 2))
    target: queue.Queue[Delivery] = queue.Queue()
    subscription = broadcaster.subscribe(target, capacity=capacity)
    got: list[int] = []
    published = 0
    for count in reads:
        for _ in range(3):
            published += 1
            broadcaster.publish(
                chainer.events(
                    EventsRecord(session, ids.draw(0), clock.now_ns(), (("a.b", canonical_json({"n": published})),))
                )
            )
        for _ in range(min(count, target.qsize())):
            delivery = target.get_nowait()
            assert delivery.number == delivery.event.payload["n"]
            got.append(delivery.number)
    got += [number for number, _ in drain(target)]
    assert sorted(set(got)) == got
    assert published == len(got) + subscription.dropped


def test_a_full_queue_drops_by_its_own_size_too(broadcaster: Broadcaster, events: Any) -> None:
    """A bounded queue is never waited for; an unbounded one is bounded by `capacity`."""
    small: queue.Queue[Delivery] = queue.Queue(maxsize=1)
    endless: queue.Queue[Delivery] = queue.Queue()
    first = broadcaster.subscribe(small)
    second = broadcaster.subscribe(endless, capacity=2)
    broadcaster.publish(events(1, 2, 3, 4))
    assert (3, 2) == (first.dropped, second.dropped)
    assert [(1, 1)] == drain(small)
    assert [(1, 1), (2, 2)] == drain(endless)


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(1), KeyboardInterrupt()])
def test_a_raising_callback_is_counted_and_called_again(
    error: BaseException, broadcaster: Broadcaster, events: Any
) -> None:
    """Whatever a callback raises is kept and counted; delivery goes on."""
    collector = Collector()
    collector.error = error
    subscription = broadcaster.subscribe(collector)
    broadcaster.publish(events(1, 2))
    collector.wait(2)
    assert subscription.wait_idle(SECONDS)
    assert (2, error) == (subscription.errors, subscription.last_error)
    assert error.__traceback__ is None


def test_a_raising_queue_is_counted_and_hurts_nobody(broadcaster: Broadcaster, events: Any) -> None:
    """A queue that cannot take a delivery (a priority queue cannot compare them) is its subscriber's problem."""
    target: queue.Queue[Delivery] = queue.PriorityQueue()
    subscription = broadcaster.subscribe(target)
    broadcaster.publish(events(1, 2))
    assert (1, 0) == (subscription.errors, subscription.dropped)
    assert isinstance(subscription.last_error, TypeError)


def test_a_closed_subscription_delivers_nothing_of_its_buffer(broadcaster: Broadcaster, events: Any) -> None:
    """`close` takes effect at once, except for the call in progress; also from within that call."""
    collector = Collector()
    collector.open.clear()
    subscription = broadcaster.subscribe(collector)
    broadcaster.publish(events(1, 2, 3))
    collector.wait(1)
    subscription.close()
    assert subscription.wait_idle(0)
    subscription.offer(events(4))  # a publisher that had the subscription in its hands
    collector.open.set()
    assert [(1, 1)] == collector.got
    assert not subscription._buffer


def test_a_callback_may_close_its_own_subscription(broadcaster: Broadcaster, events: Any) -> None:
    """No deadlock, and nothing is delivered afterwards."""
    got: list[int] = []
    ended = threading.Event()

    def once(delivery: Delivery) -> None:
        got.append(delivery.number)
        subscription.close()
        ended.set()

    subscription = broadcaster.subscribe(once)
    broadcaster.publish(events(1, 2, 3))
    assert ended.wait(SECONDS)
    assert [1] == got


def test_closing_the_broadcaster_delivers_what_is_buffered(broadcaster: Broadcaster, events: Any) -> None:
    """A subscriber that keeps up has everything when the runtime is closed."""
    collector = Collector()
    broadcaster.subscribe(collector)
    broadcaster.publish(events(*range(100)))
    broadcaster.close(SECONDS)
    assert 100 == len(collector.got)


def test_closing_the_broadcaster_does_not_wait_for_ever(broadcaster: Broadcaster, events: Any) -> None:
    """Subscribers that hang cost its timeout once, not each."""
    collectors = [Collector() for _ in range(3)]
    for collector in collectors:
        collector.open.clear()
        broadcaster.subscribe(collector)
    broadcaster.publish(events(1, 2))
    for collector in collectors:
        collector.wait(1)
    broadcaster.close(0.01)
    for collector in collectors:
        collector.open.set()
        assert [(1, 1)] == collector.got


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"target": 42},
            TypeError,
            "an object of type int cannot subscribe; pass a function of one Delivery, or a queue.Queue",
        ),
        ({"target": print, "types": "action.denied"}, TypeError, "put the one type into a list"),
        ({"target": print, "capacity": 0}, ValueError, "room for at least one delivery"),
    ],
)
def test_what_cannot_subscribe_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str, broadcaster: Broadcaster
) -> None:
    """Mistakes are told at once, not when the first event comes."""
    with pytest.raises(error, match=message):
        broadcaster.subscribe(**arguments)


def test_publishing_nothing_wakes_nobody(broadcaster: Broadcaster) -> None:
    """No thread is started for a subscription without events."""
    empty: Sequence[Event] = ()
    subscription = broadcaster.subscribe(print)
    broadcaster.publish(empty)
    assert not subscription._worker.running


def refuse(thread: threading.Thread) -> None:
    """What Python says once the interpreter is about to end."""
    raise RuntimeError("can't create new thread at interpreter shutdown")


def test_closing_delivers_what_is_buffered_where_no_thread_can_be_started(
    broadcaster: Broadcaster, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that ends before a subscriber's thread has begun: the subscriber has its events, and nobody waits for it."""
    monkeypatch.setattr(threading.Thread, "start", refuse)
    collector, other = Collector(), Collector()
    collector.error = ValueError("no")
    subscription = broadcaster.subscribe(collector)
    broadcaster.subscribe(other)
    broadcaster.publish(events(1, 2))
    broadcaster.publish(events(3))
    assert [] == collector.got
    broadcaster.close(SECONDS)
    assert [(1, 1), (2, 2), (3, 3)] == collector.got == other.got
    assert (3, 0) == (subscription.errors, subscription.dropped)
    broadcaster.publish(events(4))
    assert 3 == len(other.got)


def test_closing_delivers_no_longer_than_it_may(
    broadcaster: Broadcaster, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber that takes its time holds up the end of a program by the call it is in."""
    monkeypatch.setattr(threading.Thread, "start", refuse)
    now = [0]
    monkeypatch.setattr("cra.trace.subscribe.SystemClock.monotonic_ns", lambda: now[0])
    collector = Collector()

    def slow(delivery: Delivery) -> None:
        collector(delivery)
        now[0] += 600_000_000

    broadcaster.subscribe(slow)
    broadcaster.publish(events(1, 2, 3))
    broadcaster.close(1.0)
    assert [(1, 1), (2, 2)] == collector.got
