"""The parameters of a call: copied, checked against the action's schema, and asked what the call costs.

Called by execute before any policy is evaluated, so that what was decided on is what runs. Messages name places, never values.
PROTOCOL: Execute.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from cra.carp.policy import Limit, parse_amount
from cra.carp.schema import Schema
from cra.errors import CRAError, InvalidParameters
from cra.hotpath import plain_copy
from cra.pointer import pointer
from cra.strictjson import JSONProblem


def copy_json(value: object) -> Any:
    """`cra.strictjson.plain_copy`, raising `InvalidParameters` with the pointer of the first part that it refuses."""
    try:
        return plain_copy(value)
    except JSONProblem as problem:
        place = problem.position.encode(errors="replace").decode()
        raise InvalidParameters(problem.message, path=place or None) from None


def private_copy(parameters: object) -> dict[str, Any]:
    """The parameters of a call as a deep copy that nobody else holds; raises `InvalidParameters` as `copy_json` does.

    PROTOCOL: Execute ("from here on a private deep copy").
    """
    if not isinstance(parameters, Mapping):
        raise InvalidParameters(f"parameters have to be a mapping of names to values, not {type(parameters).__name__}")
    try:
        items = dict(parameters)
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidParameters(f"the parameters cannot be read: {type(error).__name__}") from error
    copied: dict[str, Any] = copy_json(items)
    return copied


def check_parameters(schema: Schema | None, parameters: dict[str, Any]) -> None:
    """Check a private copy against the action's `parameters_schema`.

    Raises `InvalidParameters` with the pointer of the first violation.
    """
    problem = None if schema is None else schema.first_error(parameters, plain=True)
    if problem is not None:
        path, sentence = problem
        raise InvalidParameters(sentence, path=path or None)


def told(error: CRAError, schema: Schema | None) -> str:
    """What a trace says of parameters that were refused. It names the one to blame where `schema` does: all other names are the
    caller's, as values are."""
    declared = {} if schema is None else schema.document.get("properties", {})
    first = "/".join((error.path or "").split("/")[:2])
    return f"Invalid parameter {first}" if first in {pointer("", name) for name in declared} else "Invalid parameters"


def cost_of(limit: Limit, parameters: Mapping[str, Any]) -> Fraction:
    """What a call with `parameters` costs `limit`, exactly.

    Raises `InvalidParameters` where the limit reads its cost from a parameter that is missing, no number, negative or not
    finite. PROTOCOL: Execute.
    """
    if limit.cost_field is None:
        return limit.cost
    path = pointer("", limit.cost_field)
    if limit.cost_field not in parameters:
        raise InvalidParameters("a budget reads the cost of the call from this parameter; pass it", path=path)
    try:
        return parse_amount(parameters[limit.cost_field])
    except ValueError as problem:
        raise InvalidParameters(
            f"a budget reads the cost of the call from this parameter; it {problem}", path=path
        ) from None
