"""Policies: parsed strictly, since a rule that is silently ignored is a hole.

Called by the atlas loader. Evaluation is elsewhere (`cra.reference.resolve`). PROTOCOL: Policy parameters, Unknown fields.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal, cast, get_args

import msgspec

from cra.carp.conditions import ALWAYS, Conditions, parse_conditions
from cra.errors import InvalidPolicy
from cra.pointer import pointer
from cra.strictjson import shorten
from cra.timing.clock import NS_PER_SECOND

PolicyType = Literal["deny", "scope", "require_approval", "rate_limit", "budget", "allow"]
POLICY_TYPES: tuple[PolicyType, ...] = get_args(PolicyType)
LimitKey = Literal["action", "session", "agent", "global"]

DEFAULT_POLICY_ID = "default"
"""What the trace names where no policy matched; no policy may be called so."""
ACTION_LIMIT_PREFIX = "action:"
"""How the ids of the actions' own limits begin; no written policy may begin so."""
MAX_POLICY_ID = 255

_FIELDS = frozenset(
    ("policy_id", "name", "description", "type", "priority", "conditions", "actions", "parameters", "reason", "mode")
)
_PARAMETERS: dict[PolicyType, tuple[str, ...]] = {
    "deny": (),
    "scope": ("required_scopes",),
    "require_approval": (),
    "rate_limit": ("max_calls", "window_seconds", "key"),
    "budget": ("max_cost", "window_seconds", "cost", "cost_field", "key"),
    "allow": (),
}
_WRITTEN_KEYS = ("session", "agent", "global")
_STRING = "has to be a string that is not empty"
_STRINGS = "has to be a list of at least one string"
_AMOUNT = "has to be a finite number ≥ 0"
_CALLS = "has to be an integer ≥ 1"
_WINDOW = "has to be a finite number > 0"


class Limit(msgspec.Struct, frozen=True):
    """What a rate_limit or budget policy counts.

    A rate limit admits `amount` calls per window. A budget admits a total cost of `amount` per window, each call costing
    `cost`, or what the call's parameter `cost_field` says. Amounts are exact decimals (`Fraction`). `window_ns` None (budgets
    only): the session's life. `key` "action" is the default: per policy × action × agent.
    """

    kind: Literal["rate_limit", "budget"]
    amount: Fraction
    window_ns: int | None
    key: LimitKey = "action"
    cost: Fraction = Fraction(1)
    cost_field: str | None = None


class Policy(msgspec.Struct, frozen=True):
    """One policy of one atlas. `actions` None means every action; `index` is its place in the declaration order."""

    atlas_id: str
    policy_id: str
    type: PolicyType
    index: int
    priority: int = 0
    actions: tuple[str, ...] | None = None
    conditions: Conditions = Conditions()
    reason: str | None = None
    shadow: bool = False
    limit: Limit | None = None
    required_scopes: frozenset[str] = frozenset()
    name: str = ""
    description: str = ""


def parse_policy(raw: object, *, atlas_id: str, index: int, path: str) -> Policy:
    """The policy at the JSON pointer `path` of the manifest of `atlas_id`, the `index`-th in declaration order.

    Raises `InvalidPolicy` with the pointer of the first thing that is missing, ill-typed, empty or unknown.
    """
    if not isinstance(raw, dict):
        raise InvalidPolicy("a policy has to be an object", path=path)
    fields = _Fields(raw, path)
    kind = _type(fields)
    fields.refuse_others(_FIELDS, "field of a policy")
    parameters = _Fields(fields.object("parameters"), pointer(path, "parameters"))
    parameters.refuse_others(frozenset(("reason", *_PARAMETERS[kind])), f"parameter of a policy of type {kind}")
    return Policy(
        atlas_id=atlas_id,
        policy_id=_policy_id(fields),
        type=kind,
        index=index,
        priority=_priority(fields),
        actions=_actions(fields, kind),
        conditions=parse_conditions(raw["conditions"], fields.at("conditions")) if "conditions" in raw else ALWAYS,
        reason=_reason(parameters, fields),
        shadow=_one_of(fields, "mode", ("enforce", "shadow"), default="enforce") == "shadow",
        limit=_limit(parameters, kind),
        required_scopes=frozenset(parameters.strings("required_scopes") if kind == "scope" else ()),
        name=fields.text("name"),
        description=fields.text("description"),
    )


def action_limit_policy(atlas_id: str, action_id: str, max_calls: int, window_seconds: int, index: int) -> Policy:
    """The policy that an action's own `rate_limit` stands for. PROTOCOL: Policy parameters."""
    return Policy(
        atlas_id=atlas_id,
        policy_id=ACTION_LIMIT_PREFIX + action_id,
        type="rate_limit",
        index=index,
        actions=(action_id,),
        limit=Limit("rate_limit", Fraction(max_calls), window_seconds * NS_PER_SECOND),
    )


def parse_amount(value: object) -> Fraction:
    """A finite number ≥ 0 as the exact decimal that it is written as: ten times `0.1` is `1`.

    Raises `ValueError` for anything else, bool included.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Fraction(value)
    if isinstance(value, float) and 0 <= value < math.inf:
        return Fraction(float.__repr__(value))
    raise ValueError(_AMOUNT)


class _Fields:
    """The members of one object of a policy, read one by one; every error names its place."""

    def __init__(self, raw: dict[str, Any], path: str) -> None:
        self.raw = raw
        self.path = path

    def at(self, name: str, *parts: str | int) -> str:
        return pointer(self.path, name, *parts)

    def refuse(self, name: str, message: str) -> InvalidPolicy:
        return InvalidPolicy(message, path=self.at(name))

    def refuse_others(self, known: frozenset[str], what: str) -> None:
        for name in self.raw:
            if name not in known:
                raise self.refuse(name, f"is no {what}; known are {', '.join(sorted(known))}")

    def object(self, name: str) -> dict[str, Any]:
        value = self.raw.get(name, {})
        if not isinstance(value, dict):
            raise self.refuse(name, "has to be an object")
        return value

    def text(self, name: str) -> str:
        value = self.raw.get(name, "")
        if not isinstance(value, str):
            raise self.refuse(name, "has to be a string")
        return value

    def required(self, name: str, wanted: str) -> Any:
        if name not in self.raw:
            raise self.refuse(name, f"is missing; it {wanted}")
        return self.raw[name]

    def string(self, name: str) -> str:
        value = self.required(name, _STRING)
        if not isinstance(value, str) or not value:
            raise self.refuse(name, _STRING)
        return value

    def strings(self, name: str) -> tuple[str, ...]:
        value = self.required(name, _STRINGS)
        if not isinstance(value, list) or not value:
            raise self.refuse(name, _STRINGS)
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item:
                raise InvalidPolicy(_STRING, path=self.at(name, index))
        return tuple(value)

    def amount(self, name: str) -> Fraction:
        try:
            return parse_amount(self.required(name, _AMOUNT))
        except ValueError as problem:
            raise self.refuse(name, str(problem)) from None


def _type(fields: _Fields) -> PolicyType:
    """Read before everything else: what has no type is no policy, and what its other fields mean depends on it."""
    value = fields.raw.get("type")
    known = ", ".join(POLICY_TYPES)
    if "type" not in fields.raw:
        raise fields.refuse("type", f"is missing; a policy needs a type, one of {known}")
    if value == "requires_approval":
        return "require_approval"
    if value not in POLICY_TYPES:
        shown = f"{shorten(value)} is no policy type" if isinstance(value, str) else "has to be a string"
        raise fields.refuse("type", f"{shown}; it is one of {known}")
    return cast(PolicyType, value)


def _policy_id(fields: _Fields) -> str:
    value = fields.string("policy_id")
    if len(value) > MAX_POLICY_ID:
        raise fields.refuse("policy_id", f"is longer than {MAX_POLICY_ID} characters")
    if value == DEFAULT_POLICY_ID or value.startswith(ACTION_LIMIT_PREFIX):
        raise fields.refuse("policy_id", f"{shorten(value)} is reserved for the runtime; choose another id")
    return value


def _priority(fields: _Fields) -> int:
    value = fields.raw.get("priority", 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise fields.refuse("priority", "has to be an integer")
    return value


def _actions(fields: _Fields, kind: PolicyType) -> tuple[str, ...] | None:
    if "actions" in fields.raw:
        return fields.strings("actions")
    if kind == "allow":
        raise fields.refuse("actions", 'is missing; an allow policy names its actions (["*"] for all of its atlas)')
    return None


def _reason(parameters: _Fields, fields: _Fields) -> str | None:
    given = [place.string("reason") for place in (parameters, fields) if "reason" in place.raw]
    return given[0] if given else None


def _one_of(fields: _Fields, name: str, known: tuple[str, ...], default: str) -> str:
    value = fields.raw.get(name, default)
    if value not in known and name in fields.raw:
        raise fields.refuse(name, f"has to be one of {', '.join(known)}")
    return cast(str, value)


def _limit(parameters: _Fields, kind: PolicyType) -> Limit | None:
    if kind == "rate_limit":
        return Limit(kind, _max_calls(parameters), _window_ns(parameters), _key(parameters))
    if kind == "budget":
        window_ns = _window_ns(parameters) if "window_seconds" in parameters.raw else None
        if ("cost" in parameters.raw) == ("cost_field" in parameters.raw):
            raise InvalidPolicy(
                "a budget needs either `cost`, a number, or `cost_field`, the name of the parameter that holds it",
                path=parameters.path,
            )
        limit = Limit(kind, parameters.amount("max_cost"), window_ns, _key(parameters))
        if "cost" in parameters.raw:
            return msgspec.structs.replace(limit, cost=parameters.amount("cost"))
        return msgspec.structs.replace(limit, cost_field=parameters.string("cost_field"))
    return None


def _key(parameters: _Fields) -> LimitKey:
    return cast(LimitKey, _one_of(parameters, "key", _WRITTEN_KEYS, default="action"))


def _max_calls(parameters: _Fields) -> Fraction:
    value = parameters.required("max_calls", _CALLS)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise parameters.refuse("max_calls", _CALLS)
    return Fraction(value)


def _window_ns(parameters: _Fields) -> int:
    """Rounded up to the nanosecond: never shorter than it is written."""
    value = parameters.required("window_seconds", _WINDOW)
    try:
        seconds = parse_amount(value)
    except ValueError:
        seconds = Fraction(0)
    if not seconds:
        raise parameters.refuse("window_seconds", _WINDOW)
    return math.ceil(seconds * NS_PER_SECOND)
