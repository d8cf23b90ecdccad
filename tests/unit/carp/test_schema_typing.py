"""`untyped_properties`: a rule that names a property without a type is satisfied by values of another type."""

from __future__ import annotations

from typing import Any

import pytest

from cra.carp.schema import untyped_properties

CAP = {"properties": {"amount": {"exclusiveMinimum": 100}}, "required": ["amount"]}
OWNER = {"properties": {"repo": {"type": "object", "properties": {"owner": {"pattern": "^acme$"}}}}}


def test_the_example_of_the_protocol_is_untyped() -> None:
    """Without the action's schema nothing says that the amount is a number."""
    assert ["/properties/amount"] == untyped_properties(CAP, None)
    assert ["/properties/amount"] == untyped_properties(CAP, {})
    assert ["/properties/amount"] == untyped_properties(CAP, {"properties": {"other": {"type": "number"}}})


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": {"amount": {"type": "number"}}},
        {"properties": {"amount": {"const": 3}}},
        {"properties": {"amount": {"enum": [1, 2]}}},
        {"allOf": [{"properties": {"amount": {"type": "number"}}}]},
        {"properties": {"amount": {"allOf": [{"type": "number"}]}}},
        {"properties": {"amount": {"anyOf": [{"type": "number"}, {"oneOf": [{"type": "null"}]}]}}},
        {"properties": {"amount": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "number"}}},
        {"$ref": "#/$defs/call", "$defs": {"call": {"properties": {"amount": {"type": "number"}}}}},
    ],
)
def test_the_actions_own_schema_fixes_the_type(parameters: dict[str, Any]) -> None:
    """Directly, by a reference, in an `allOf`, in all branches of an `anyOf` or `oneOf`."""
    assert [] == untyped_properties(CAP, parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": {"amount": {"minimum": 0}}},
        {"properties": {"amount": True}},
        {"properties": {"amount": {"anyOf": []}}},
        {"properties": {"amount": {"anyOf": [{"type": "number"}, {"minimum": 3}]}}},
        {"properties": {"amount": {"anyOf": [{"type": "number"}, True]}}},
        {"anyOf": [{"properties": {"amount": {"type": "number"}}}, {}]},
        {"not": {"properties": {"amount": {"type": "number"}}}},
        {"properties": {"amount": {"$ref": "#/properties/amount"}}},
        {"properties": {"amount": {"anyOf": [{"$ref": "#/properties/amount"}]}}},
        {"properties": {"amount": {"$ref": "#/$defs/gone"}}},
        {"properties": []},
        {"items": {"type": "number"}},
    ],
)
def test_a_type_that_need_not_hold_fixes_nothing(parameters: dict[str, Any]) -> None:
    """Alternatives, negations, other places and references in a circle say nothing of the value."""
    assert ["/properties/amount"] == untyped_properties(CAP, parameters)


def test_nested_properties_are_looked_up_at_the_same_place() -> None:
    """`repo.owner` of the condition is `repo.owner` of the action, also through references that recur."""
    parameters = {
        "properties": {"repo": {"$ref": "#/$defs/Repo"}},
        "$defs": {"Repo": {"properties": {"owner": {"type": "string"}, "fork_of": {"$ref": "#/$defs/Repo"}}}},
    }
    assert ["/properties/repo/properties/owner"] == untyped_properties(OWNER, None)
    assert [] == untyped_properties(OWNER, parameters)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"properties": {"a": True, "b": False}}, []),
        ({"properties": {"a": {}}}, ["/properties/a"]),
        ({"required": ["a"]}, []),
        ({"not": {"properties": {"a": {"maximum": 3}}}}, ["/not/properties/a"]),
        ({"not": {"properties": {"a": {"type": "number", "maximum": 3}}}}, []),
        ({"allOf": [{"properties": {"a/b": {"maximum": 3}}}]}, ["/allOf/0/properties/a~1b"]),
        ({"allOf": [{"properties": {"a": {"maximum": 3}}}, {"properties": {"a": {"type": "number"}}}]}, []),
        ({"properties": {"a": {"type": "number"}}, "anyOf": [{"properties": {"a": {"maximum": 3}}}]}, []),
        ({"anyOf": [{"properties": {"a": {"maximum": 3}}}, True]}, ["/anyOf/0/properties/a"]),
        ({"oneOf": [{"allOf": [{"properties": {"a": {"type": "number"}}}], "properties": {"a": {"maximum": 3}}}]}, []),
        ({"items": {"properties": {"a": {"maximum": 3}}}}, ["/items/properties/a"]),
        ({"items": {"properties": {"a": {"type": "number"}}}, "contains": {"properties": {"a": {"maximum": 3}}}}, []),
        ({"dependentSchemas": {"b": {"properties": {"a": {"maximum": 3}}}}}, ["/dependentSchemas/b/properties/a"]),
        ({"if": {"properties": {"a": {"maximum": 3}}}}, ["/if/properties/a"]),
        ({"if": {"properties": {"a": {"type": "number"}}}, "then": {"properties": {"a": {"maximum": 3}}}}, []),
        (
            {"if": {"properties": {"a": {"type": "number"}}}, "else": {"properties": {"a": {"maximum": 3}}}},
            ["/else/properties/a"],
        ),
        (
            {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": {"maximum": 3}}, "not": {"$ref": "#"}}}},
            ["/$defs/x/properties/a"],
        ),
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "number"}}}, []),
    ],
)
def test_the_condition_is_searched_everywhere(condition: dict[str, Any], expected: list[str]) -> None:
    """Each property that a condition names anywhere has a type by then, or is reported with its pointer."""
    assert expected == untyped_properties(condition, None)
