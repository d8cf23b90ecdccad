"""Requests: what an agent asks. A full CARP request, validated; and the part of it that a resolve depends on.

PROTOCOL: Requests; schema: carp-request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from cra.carp.conditions import RISK_TIERS, RiskTier
from cra.errors import InvalidCARPRequest
from cra.hotpath import canonical_json, lower_uuid, plain_copy, timestamp_ns
from cra.reference.session_core import MAX_GOAL
from cra.strictjson import JSONProblem
from cra.structs import learn

MAX_LISTED = 100
_Part = TypeVar("_Part", bound=msgspec.Struct)
_NO_MAPPING = "a mapping of names to JSON values is needed"
_SURROGATE = "a string holds a lone surrogate, which is no character; replace it"
MAX_NAME = 255
MAX_CONTEXT = 64 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# A year before the calendar ends: what is added to the time of a request, a zone or a lifetime, stays inside of it.
_END_OF_TIME = (datetime(9999, 1, 1, tzinfo=timezone.utc) - _EPOCH) // timedelta(seconds=1) * 1_000_000_000

ActionId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z")]
AtlasId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]*(\.[a-z][a-z0-9-]*)+\Z")]
Goal = Annotated[str, Meta(min_length=1, max_length=MAX_GOAL)]
Operation = Literal["resolve", "execute", "validate"]
_CHOICES = {"carp_version": ("1.0",), "operation": get_args(Operation), "risk_tier": RISK_TIERS}


class Requester(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent_id: Annotated[str, Meta(min_length=1, max_length=255)]
    session_id: str
    parent_session_id: str | None = None


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    goal: Goal
    risk_tier: RiskTier = "low"
    context_hints: tuple[str, ...] = ()
    required_capabilities: tuple[str, ...] = ()


class Execution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    resolution_id: str
    action_id: ActionId
    parameters: dict[str, Any]
    idempotency_key: Annotated[str, Meta(max_length=255)] | None = None


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CARP request, as the published schema has it. Build one with `Request.parse`, which checks all of it."""

    carp_version: Literal["1.0"]
    request_id: str
    timestamp: str
    operation: Operation
    requester: Requester
    task: Task
    execution: Execution | None = None
    atlas_ids: tuple[AtlasId, ...] | None = None
    context: dict[str, Any] = {}

    @classmethod
    def parse(cls, document: Mapping[str, Any] | Request) -> Request:
        """Validate a mapping (or a `Request` built by hand). Ids come out in lower case.

        Raises `InvalidCARPRequest` with the JSON pointer of the first problem.
        """
        if isinstance(document, Request):
            document = msgspec.to_builtins(document)
        elif type(document) is dict or isinstance(document, Mapping):
            _refuse_null(document)
        try:
            request = msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise invalid_request(error) from None
        except UnicodeEncodeError:
            raise InvalidCARPRequest(_SURROGATE) from None
        except AttributeError:
            raise InvalidCARPRequest(_NO_MAPPING) from None
        requester, execution, task = request.requester, request.execution, request.task
        texts = {
            type(request.request_id), type(request.timestamp), type(request.operation), type(requester.agent_id),
            type(requester.session_id), type(task.goal), type(task.risk_tier),
        }  # fmt: skip
        if requester.parent_session_id is not None:
            texts.add(type(requester.parent_session_id))
        if execution is not None:
            texts |= {type(execution.resolution_id), type(execution.action_id), type(execution.idempotency_key or "")}
        if texts != {str}:
            request = _with_plain_texts(request)
            requester, execution = request.requester, request.execution
        if request.operation == "execute" and execution is None:
            raise InvalidCARPRequest("required when operation is 'execute'", path="/execution")
        if not 0 <= request.time_ns < _END_OF_TIME:
            raise InvalidCARPRequest("the year is not between 1970 and 9998; correct it", path="/timestamp")
        if requester.parent_session_id is None and execution is None:
            # Most requests have two ids and both in lower case; they need not be put together again.
            if lower_uuid(requester.session_id) is requester.session_id:
                if lower_uuid(request.request_id) is request.request_id:
                    return request
        return _with_lower_ids(request)

    @property
    def is_plain(self) -> bool:
        """Whether it asks for its goal and nothing else."""
        task = self.task
        return not (
            self.context
            or task.context_hints
            or task.required_capabilities
            or task.risk_tier != "low"
            or self.atlas_ids is not None
        )

    def ask(self) -> Ask:
        """What this request asks; the request was made by `parse`. Raises as `make_ask` does."""
        task = self.task
        return _private(
            Ask(
                goal=task.goal,
                risk_tier=task.risk_tier,
                context_hints=task.context_hints,
                required_capabilities=task.required_capabilities,
                context=self.context or None,
                atlas_ids=self.atlas_ids,
            )
        )

    @property
    def time_ns(self) -> int:
        """`timestamp` in ns since the epoch."""
        return parse_timestamp(self.timestamp, "/timestamp")


class Ask(msgspec.Struct, frozen=True):
    """What a resolve depends on besides its session: checked, bounded, and private. Made by `make_ask`.

    `context_budget` is in tokens, None for no limit.
    """

    goal: Goal
    risk_tier: RiskTier | None = None
    context_hints: tuple[str, ...] = ()
    required_capabilities: tuple[str, ...] = ()
    context: Mapping[str, Any] | None = None
    atlas_ids: tuple[str, ...] | None = None
    context_budget: Annotated[int, Meta(ge=0)] | None = None


learn(Request, Ask)


def make_ask(goal: object, **given: object) -> Ask:
    """The ask for these arguments of a resolve. Raises `InvalidCARPRequest` with the pointer of the first bad one.

    Everything an agent can send here is bounded, since a session remembers it; the context is copied, since what was decided on
    has to stay what it was.
    """
    if isinstance(goal, str):
        goal = str.__str__(goal)  # of a subclass its plain value, whatever it prints as
    try:
        ask = msgspec.convert({"goal": goal, **given}, Ask)
    except msgspec.ValidationError as error:
        raise invalid_request(error) from None
    except UnicodeEncodeError:
        raise InvalidCARPRequest(_SURROGATE) from None
    except AttributeError:
        raise InvalidCARPRequest(_NO_MAPPING, path="/context") from None
    return _private(ask)


def _private(ask: Ask) -> Ask:
    """The same, once its lists are seen to be bounded, with a context of its own and strings that are nothing else."""
    own: dict[str, Any] = {} if ask.context is None else {"context": copy_context(ask.context)}
    for name, listed in (
        ("context_hints", ask.context_hints),
        ("required_capabilities", ask.required_capabilities),
        ("atlas_ids", ask.atlas_ids),
    ):
        if listed and (len(listed) > MAX_LISTED or max(map(len, listed)) > MAX_NAME):
            raise InvalidCARPRequest(f"at most {MAX_LISTED} entries of at most {MAX_NAME} characters", path=f"/{name}")
        if listed and any(type(each) is not str for each in listed):
            own[name] = tuple(map(str.__str__, listed))
    return msgspec.structs.replace(ask, **own) if own else ask


def copy_context(context: object) -> dict[str, Any]:
    """A private copy of a context. Raises `InvalidCARPRequest` for what is no JSON object, or too large."""
    if not isinstance(context, Mapping):
        raise InvalidCARPRequest(_NO_MAPPING, path="/context")
    try:
        copied: dict[str, Any] = plain_copy(dict(context), "/context")
        size = len(canonical_json(copied))
    except JSONProblem as problem:
        raise InvalidCARPRequest(problem.message, path=problem.position or "/context") from None
    if size > MAX_CONTEXT:
        raise InvalidCARPRequest(
            f"the context is {size} bytes of JSON, at most {MAX_CONTEXT} are taken", path="/context"
        )
    return copied


def narrow(ask: Ask, by: Ask) -> Ask:
    """The ask of a resolution, with what a later request adds: it can raise the tier, add context, and narrow the atlases."""
    tiers = [tier for tier in (ask.risk_tier, by.risk_tier) if tier is not None]
    atlas_ids = ask.atlas_ids
    if by.atlas_ids is not None:
        atlas_ids = by.atlas_ids if atlas_ids is None else tuple(one for one in atlas_ids if one in by.atlas_ids)
    return msgspec.structs.replace(
        ask,
        risk_tier=max(tiers, key=RISK_TIERS.index) if tiers else None,
        context={**(by.context or {}), **(ask.context or {})},
        atlas_ids=atlas_ids,
    )


def parse_timestamp(text: str, path: str) -> int:
    """An RFC 3339 date-time with a zone, in ns since the epoch. Raises `InvalidCARPRequest`."""
    ns = timestamp_ns(text)
    if ns is None:
        raise InvalidCARPRequest("expected an RFC 3339 date-time with a time zone", path=path)
    return ns


def _refuse_null(document: Mapping[str, Any]) -> None:
    """A `Request` has None for what was not given; the schema has no null there."""
    for name in ("execution", "atlas_ids"):
        if name in document and document[name] is None:
            raise InvalidCARPRequest("null is no value here; leave it out", path=f"/{name}")


def _with_plain_texts(request: Request) -> Request:
    """Of subclasses of `str` their plain values, whatever they print as: what is compiled takes no others."""

    def plain(part: _Part) -> _Part:
        texts = {
            name: str.__str__(text) for name, text in msgspec.structs.asdict(part).items() if isinstance(text, str)
        }
        return msgspec.structs.replace(part, **texts)

    execution = None if request.execution is None else plain(request.execution)
    return plain(
        msgspec.structs.replace(
            request, requester=plain(request.requester), task=plain(request.task), execution=execution
        )
    )


def _with_lower_ids(request: Request) -> Request:
    requester, execution = request.requester, request.execution
    requester = msgspec.structs.replace(
        requester,
        session_id=_uuid(requester.session_id, "/requester/session_id"),
        parent_session_id=_optional_uuid(requester.parent_session_id, "/requester/parent_session_id"),
    )
    if execution is not None:
        resolution_id = _uuid(execution.resolution_id, "/execution/resolution_id")
        execution = msgspec.structs.replace(execution, resolution_id=resolution_id)
    request_id = _uuid(request.request_id, "/request_id")
    return msgspec.structs.replace(request, request_id=request_id, requester=requester, execution=execution)


def _uuid(text: str, path: str) -> str:
    lower = lower_uuid(text)
    if lower is None:
        raise InvalidCARPRequest("expected a UUID like 0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f", path=path)
    return lower


def _optional_uuid(text: str | None, path: str) -> str | None:
    return None if text is None else _uuid(text, path)


def invalid_request(error: msgspec.ValidationError) -> InvalidCARPRequest:
    """msgspec says `Expected … - at `$.task.goal``; a pointer says it the way the rest of this package does."""
    message, _, place = str(error).replace(" - at `key` in `$", " - at `$").partition(" - at `$")
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", place.rstrip("`"))
    path = "".join("/" + (name or index) for name, index in parts)
    return InvalidCARPRequest(message + _advice(message, path), path=path or None)


def _advice(message: str, path: str) -> str:
    """What to do about it, where the message alone does not say so."""
    if message.startswith("Invalid enum value"):
        choices = _CHOICES[path.rpartition("/")[2]]
        return f"; it is {'one of ' if len(choices) > 1 else ''}{', '.join(choices)}"
    if message.startswith("Object missing required field"):
        return "; add it, as the schema carp-request has it"
    return "; remove it" if message.startswith("Object contains unknown field") else ""
