"""JSON Schema 2020-12 as the runtime uses it: offline, `format` asserted, regular expressions in linear time.

A schema is checked (`cra.carp.schema_check`, `cra.carp.schema_patterns`) before it is compiled, so that nothing is ever fetched
and nothing takes for ever, and a value is copied before it is looked at, so that validation never raises.
PROTOCOL: Parameter conditions, Execute.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from cra.carp.schema_check import SchemaProblem, prepare
from cra.carp.schema_effort import explainable
from cra.carp.schema_patterns import linear_time, pattern_bytes
from cra.carp.schema_typing import untyped_properties
from cra.carp.schema_walk import unknown_keywords
from cra.pointer import pointer
from cra.strictjson import JSONProblem, plain_copy

if TYPE_CHECKING:
    from jsonschema_rs import Validator

__all__ = ["Schema", "SchemaProblem", "unknown_keywords", "untyped_properties"]

_LONGEST_SENTENCE = 300
_UNEXPLAINED = "the value does not satisfy the schema; it is too large, or nested too deep, to say where"


class Schema:
    """A compiled schema, immutable; equal to another one with the same document and strictness.

    `document` is a private copy of the schema as written, `pattern_bytes` what its patterns take once compiled. `$schema` may
    name draft-07, 2019-09 or 2020-12; it is read as 2020-12, and what an older draft reads differently is refused. `strict`,
    for the conditions of policies, also refuses keywords and formats that 2020-12 does not know, since they would never be
    checked.

    Raises `SchemaProblem`, a `ValueError` with a sentence and the pointer it concerns: no JSON, no valid schema, a reference that
    leaves the document, leads nowhere or goes round in circles, more than 32 schemas in a row for one value, a pattern that needs
    backtracking or is too large, more than 10,000 subschemas.
    """

    __slots__ = ("document", "pattern_bytes", "strict", "_validator")

    document: dict[str, Any]
    pattern_bytes: int
    strict: bool

    def __init__(self, document: dict[str, Any], strict: bool = False) -> None:
        if not isinstance(document, dict):
            raise SchemaProblem("a schema must be a JSON object")
        try:
            self.document = plain_copy(document)
        except JSONProblem as problem:
            raise SchemaProblem(problem.message, problem.position) from None
        self.strict = strict
        prepared = prepare(self.document, strict=strict)
        self.pattern_bytes = pattern_bytes(prepared)
        self._validator: Validator = _compile(prepared, strict)

    def accepts(self, value: object, *, plain: bool = False) -> bool:
        """Whether `value` satisfies the schema. What is no JSON value (`cra.strictjson.plain_copy`) satisfies none.

        `plain` says that `value` is such a copy already, and that nobody changes it meanwhile.
        """
        try:
            return bool(self._validator.is_valid(value if plain else plain_copy(value)))
        except JSONProblem:
            return False

    def first_error(self, value: object, *, plain: bool = False) -> tuple[str, str] | None:
        """The JSON pointer into `value` and the sentence for the first violation, None where there is none.

        The sentence names properties but never shows a value. Where finding the place would take too long, the pointer is that
        of the whole value. `plain` is as in `accepts`.
        """
        try:
            own = value if plain else plain_copy(value)
        except JSONProblem as problem:
            return problem.position, problem.message
        return None if self._validator.is_valid(own) else self._explained(own)

    def _explained(self, value: object) -> tuple[str, str]:
        from jsonschema_rs import ValidationError

        if explainable(self.document, value):
            try:
                self._validator.validate(value)
            except ValidationError as error:
                return pointer("", *error.instance_path), _shown(error.message)
        return "", _UNEXPLAINED

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, bool]:
        return json.dumps(self.document, sort_keys=True), self.strict

    def __reduce__(self) -> tuple[type[Schema], tuple[dict[str, Any], bool]]:
        return Schema, (self.document, self.strict)

    def __repr__(self) -> str:
        return f"Schema({self.document!r}, strict={self.strict})"


def _compile(document: dict[str, Any], strict: bool) -> Validator:
    from jsonschema_rs import Draft202012Validator, ValidationError

    try:
        return Draft202012Validator(
            document,
            validate_formats=True,
            ignore_unknown_formats=not strict,
            retriever=_refuse,
            mask="the value",
            pattern_options=linear_time(),
        )
    except ValidationError as error:
        # the place of an unknown format is in schema_path only
        place = pointer("", *(error.instance_path or error.schema_path))
        if error.message.startswith("Unknown format"):
            raise SchemaProblem("this format is not known; it would never be checked", place) from None
        raise SchemaProblem(f"not a valid JSON Schema: {_shown(error.message)}", place) from None


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not fetched")  # pragma: no cover - `prepare` lets no such reference pass; a second lock


def _shown(message: str) -> str:
    return message if len(message) <= _LONGEST_SENTENCE else message[:_LONGEST_SENTENCE] + "…"
