"""The live stream: every event, once stored, handed to whoever subscribed.

The recorder calls `publish` from one place at a time; each subscription has its own buffer and its own thread, so that a slow
or raising subscriber holds up neither the recorder nor another subscriber. What does not fit is dropped and counted, and shows
as a gap in the numbers of the deliveries. It stores nothing and never raises over what a subscriber does.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence

import msgspec

from cra.timing.clock import NS_PER_SECOND, SystemClock
from cra.trace.event import Event
from cra.trace.worker import Worker

DEFAULT_CAPACITY = 10_000


class Delivery(msgspec.Struct, frozen=True):
    """An event for one subscription. `number` counts its events from 1, dropped ones included, and is never used twice."""

    number: int
    event: Event


Target = Callable[[Delivery], object] | queue.Queue[Delivery]


class Subscription:
    """One subscriber (`Broadcaster.subscribe`). Deliveries come in order, one at a time.

    `dropped` counts the events that found no room, `errors` the calls that raised, `last_error` is what the last one raised.
    """

    def __init__(
        self,
        target: Target,
        types: frozenset[str] | None,
        session_id: str | None,
        capacity: int,
        leave: Callable[[Subscription], None],
    ) -> None:
        self._target = target
        self._types = types
        self._session_id = session_id
        self._capacity = capacity
        self._leave = leave
        self._buffer: deque[Delivery] = deque()
        self._lock = threading.Lock()  # for `_idle` to agree with the buffer; never held during a call
        self._idle = threading.Event()
        self._idle.set()
        self._closed = False
        self._number = 0
        self.dropped = 0
        self.errors = 0
        self.last_error: BaseException | None = None
        self._worker = Worker(self._deliver, "cra-subscriber")

    @property
    def is_closed(self) -> bool:
        """Whether nothing is delivered any more."""
        return self._closed

    def close(self) -> None:
        """Stop. What is still buffered is not delivered; a call in progress ends by itself. Harmless when repeated."""
        self._closed = True
        self._leave(self)
        self._buffer.clear()
        self._worker.stop()
        self._idle.set()

    def finish(self, end: int) -> None:
        """Close once everything buffered was delivered, or at `end` (monotonic, ns). Does it here where no thread could start."""
        if self._worker.take_over():
            while SystemClock.monotonic_ns() < end and (delivery := self._next()) is not None:
                self._call(delivery)
        else:
            self.wait_idle(max(0, end - SystemClock.monotonic_ns()) / NS_PER_SECOND)
        self.close()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until everything buffered was delivered; False when that takes longer than `timeout` seconds."""
        return self._closed or self._idle.wait(timeout)

    def offer(self, batch: Sequence[Event]) -> None:
        """Hand over or buffer what this subscriber asked for. Called by the broadcaster alone; never waits, never raises."""
        for event in batch:
            if self._types is not None and event.event_type not in self._types:
                continue
            if self._session_id is not None and event.session_id != self._session_id:
                continue
            self._number += 1
            delivery = Delivery(self._number, event)
            if isinstance(self._target, queue.Queue):
                self._put(self._target, delivery)
            else:
                self._buffer_up(delivery)
        if self._buffer:
            self._worker.wake()

    def _put(self, target: queue.Queue[Delivery], delivery: Delivery) -> None:
        try:
            if target.qsize() >= self._capacity:
                raise queue.Full
            target.put_nowait(delivery)
        except queue.Full:
            self.dropped += 1
        except Exception as error:
            self._note(error)

    def _buffer_up(self, delivery: Delivery) -> None:
        with self._lock:
            if len(self._buffer) >= self._capacity:
                self.dropped += 1
            elif not self._closed:
                self._idle.clear()
                self._buffer.append(delivery)

    def _deliver(self) -> float | None:
        """Empty the buffer into the callback; the worker's step."""
        while (delivery := self._next()) is not None:
            self._call(delivery)
        return None

    def _call(self, delivery: Delivery) -> None:
        try:
            assert callable(self._target)
            self._target(delivery)
        except BaseException as error:  # SystemExit, too: it would end this thread and nothing else
            self._note(error)

    def _next(self) -> Delivery | None:
        with self._lock:
            if self._buffer:
                return self._buffer.popleft()
            self._idle.set()
            return None

    def _note(self, error: BaseException) -> None:
        self.errors += 1
        self.last_error = error.with_traceback(None)  # its frames would keep the subscriber's variables alive


class Broadcaster:
    """All subscriptions of a runtime. `publish` is what the recorder is given."""

    def __init__(self) -> None:
        self._subscriptions: dict[Subscription, None] = {}  # read and changed in single atomic steps, so without a lock

    def subscribe(
        self,
        target: Target,
        *,
        types: Collection[str] | None = None,
        session_id: str | None = None,
        capacity: int = DEFAULT_CAPACITY,
    ) -> Subscription:
        """Deliver the events from now on to `target`: a function, called in a thread of its own, or a `queue.Queue`.

        `types` and `session_id` narrow it down. At most `capacity` deliveries wait (a queue also has its own `maxsize`); further
        ones are dropped and counted. Raises `TypeError` for another target and `ValueError` for a capacity below 1.
        """
        if not callable(target) and not isinstance(target, queue.Queue):
            raise TypeError(
                f"an object of type {type(target).__name__} cannot subscribe; pass a function of one Delivery, or a queue.Queue"
            )
        if isinstance(types, str):
            raise TypeError("types is a collection of event types; put the one type into a list")
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; a subscriber needs room for at least one delivery")
        narrowed = None if types is None else frozenset(types)
        subscription = Subscription(target, narrowed, session_id, capacity, self._leave)
        self._subscriptions[subscription] = None
        return subscription

    @property
    def has_subscribers(self) -> bool:
        return bool(self._subscriptions)

    def publish(self, batch: Sequence[Event]) -> None:
        """Offer a batch to every subscriber. Called from one place at a time; never waits, never raises."""
        for subscription in list(self._subscriptions):
            subscription.offer(batch)

    def close(self, timeout: float = 1.0) -> None:
        """Let the subscribers have what is buffered, as far as they take it within `timeout` seconds, then close them all."""
        end = SystemClock.monotonic_ns() + int(timeout * NS_PER_SECOND)
        for subscription in list(self._subscriptions):
            subscription.finish(end)

    def _leave(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)
