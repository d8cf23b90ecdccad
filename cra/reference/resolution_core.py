"""The fields of a resolution: small, made in one step by the resolve path, and safe to keep by the million.

What the published schema shows is made of them by `cra.carp.resolution.Resolution` when somebody looks. The compiled twin is not
tracked by the cycle collector: nothing that a resolution holds refers back to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cra.ids import format_uuid
from cra.timing.clock import format_timestamp

if TYPE_CHECKING:
    from typing_extensions import Self

    from cra.carp.plan import Plan, Ruling
    from cra.carp.request import Ask
    from cra.timing.rate_limit import LimitState
    from cra.trace.record import SessionHeader

Value = TypeVar("Value")
Core = TypeVar("Core", bound="ResolutionCore")
_REQUEST = 1
_RESOLUTION = 2


class ResolutionCore:
    """`base` is the draw that the ids derive from. Times are ns: `time_ns` on the wall clock, `expires_ns` on the monotonic one.

    `given_request_id` None: the request had none, and got one with the draw. `asked` is what was asked, or the goal where it was
    nothing else.
    """

    __slots__ = (
        "header",
        "base",
        "given_request_id",
        "time_ns",
        "expires_ns",
        "ttl_seconds",
        "plan",
        "ruling",
        "injected",
        "limit_states",
        "asked",
        "_cache",
    )

    header: SessionHeader
    base: int
    given_request_id: str | None
    time_ns: int
    expires_ns: int
    ttl_seconds: int
    plan: Plan
    ruling: Ruling
    injected: tuple[int, ...]
    limit_states: tuple[LimitState, ...]
    asked: Ask | str
    _cache: dict[str, object] | None

    def __init__(
        self,
        *,
        header: SessionHeader,
        base: int,
        request_id: str | None,
        time_ns: int,
        expires_ns: int,
        ttl_seconds: int,
        plan: Plan,
        ruling: Ruling,
        injected: tuple[int, ...],
        limit_states: tuple[LimitState, ...],
        ask: Ask | str,
    ) -> None:
        put = object.__setattr__
        put(self, "header", header)
        put(self, "base", base)
        put(self, "given_request_id", request_id)
        put(self, "time_ns", time_ns)
        put(self, "expires_ns", expires_ns)
        put(self, "ttl_seconds", ttl_seconds)
        put(self, "plan", plan)
        put(self, "ruling", ruling)
        put(self, "injected", injected)
        put(self, "limit_states", limit_states)
        put(self, "asked", ask)
        put(self, "_cache", None)

    @classmethod
    def restore(cls, *fields: Any) -> Self:
        """One from its `fields`, which are the same whatever implementation it is of."""
        names = ("header", "base", "request_id", "time_ns", "expires_ns", "ttl_seconds", "plan", "ruling", "injected")
        return cls(**dict(zip((*names, "limit_states", "ask"), fields, strict=True)))

    def fields(self) -> tuple[Any, ...]:
        """What it consists of."""
        return tuple(getattr(self, name) for name in ResolutionCore.__slots__[:-1])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a resolution cannot be changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a resolution cannot be changed: {name}")

    @property
    def resolution_id(self) -> str:
        return format_uuid(self.base + _RESOLUTION)

    @property
    def request_id(self) -> str:
        """The request's own, or the one that was made for it."""
        return format_uuid(self.base + _REQUEST) if self.given_request_id is None else self.given_request_id

    @property
    def timestamp(self) -> str:
        """When it was made, as TRACE writes it."""
        return format_timestamp(self.time_ns)

    def kept(self, name: str, make: Callable[[], Value]) -> Value:
        """What `make` made the first time that this was asked for by `name`."""
        if self._cache is None:
            object.__setattr__(self, "_cache", {})
        cache: dict[str, Value] = self._cache  # type: ignore[assignment]
        if name not in cache:
            cache[name] = make()
        return cache[name]


def untracked(cls: type[Core]) -> type[Core]:
    """The decorator of a class that adds no field to a `ResolutionCore`: like it, it needs no cycle collector.

    Here it changes nothing, since Python keeps track of all that is written in it. Raises `TypeError` for any other class.
    """
    if not issubclass(cls, ResolutionCore):
        raise TypeError("only a resolution is known to be in no cycle")
    return cls
