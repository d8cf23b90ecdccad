"""Parameters: private, plain, checked, and never quoted in a message. PROTOCOL: Execute."""

from __future__ import annotations

import enum
from collections import OrderedDict
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra import strictjson
from cra.carp.policy import Limit
from cra.carp.schema import Schema
from cra.errors import InvalidParameters
from cra.execution.parameters import check_parameters, copy_json, cost_of, private_copy
from cra.reference.canonical import canonical_json
from cra.strictjson import MAX_DEPTH

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Metres(float):
    pass


class Names(list[str]):
    pass


def containers(value: object) -> set[int]:
    """The identities of all mutable parts."""
    if isinstance(value, dict):
        return {id(value)}.union(*map(containers, value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*map(containers, value))
    return set()


@given(JSON)
def test_a_copy_is_equal_and_shares_nothing_mutable(value: object) -> None:
    """Equal down to the canonical bytes, without one common list or dict."""
    copied = copy_json(value)
    assert (value, canonical_json(value)) == (copied, canonical_json(copied))
    assert set() == containers(value) & containers(copied)


class TestCopy:
    """What a private copy is."""

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            (Colour.RED, "red"),
            (Level.HIGH, 3),
            (Metres(1.5), 1.5),
            (Names(["a"]), ["a"]),
            (OrderedDict(a=1), {"a": 1}),
            ({Colour.RED: 1}, {"red": 1}),
        ],
        ids=repr,
    )
    def test_subclasses_become_plain(self, value: object, plain: object) -> None:
        """A subclass counts as its value and is not handed on, so that its methods decide nothing."""
        copied = copy_json(value)
        assert (plain, type(plain)) == (copied, type(copied))
        assert all(type(key) is str for key in copied) if isinstance(copied, dict) else True

    def test_any_mapping_can_hold_parameters(self) -> None:
        """The copy of a read-only view is a dict."""
        assert {"a": [1]} == private_copy(MappingProxyType({"a": [1]}))

    def test_true_stays_a_bool(self) -> None:
        """A bool is not read as the integer that it also is."""
        assert [True, False] == copy_json([True, False])
        assert [bool, bool] == [type(item) for item in copy_json([True, False])]

    @pytest.mark.parametrize("levels", [1, MAX_DEPTH])
    def test_depth_within_the_bound_is_copied(self, levels: int) -> None:
        """Exactly `MAX_DEPTH` levels are allowed."""
        assert nested(levels) == copy_json(nested(levels))

    def test_cycle_is_refused(self) -> None:
        """A value that contains itself is an error, not a hang."""
        array: list[Any] = []
        array.append({"a": array})
        with pytest.raises(InvalidParameters, match="nested deeper than 128 levels"):
            copy_json(array)

    def test_shared_lists_do_not_explode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A small value whose copy would have 2^100 parts is refused in bounded time."""
        monkeypatch.setattr(strictjson, "MAX_VALUES", 1000)
        value: list[Any] = []
        for _ in range(100):
            value = [value, value]
        with pytest.raises(InvalidParameters, match="more than 1000 values"):
            copy_json(value)

    def test_as_many_values_as_allowed_are_copied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The bound itself is within bounds."""
        monkeypatch.setattr(strictjson, "MAX_VALUES", 1000)
        assert [0] * 1000 == copy_json([0] * 1000)


class TestRefusal:
    """What is no JSON."""

    @pytest.mark.parametrize(
        ("value", "path", "sentence"),
        [
            ({"a": [1, ("secret",)]}, "/a/1", "type tuple is no JSON value"),
            ({"a": {"b": b"secret"}}, "/a/b", "type bytes is no JSON value"),
            ({"a": 2**64}, "/a", "outside ±(2^64"),
            ({"a": -(2**64)}, "/a", "outside ±(2^64"),
            ({"a": float("nan")}, "/a", "NaN and infinities"),
            ({"a": float("-inf")}, "/a", "NaN and infinities"),
            ({"a": "secret\ud800"}, "/a", "lone surrogate"),
            ({"a": {"b\udfff": 1}}, "/a", "lone surrogate"),
            ({"a": {1: "secret"}}, "/a", "key of type int"),
            ({"a/b~": [None, {"c": b"bytes"}]}, "/a~1b~0/1/c", "type bytes is no JSON value"),
        ],
        ids=str,
    )
    def test_error_names_the_place_and_not_the_value(self, value: object, path: str, sentence: str) -> None:
        """The pointer leads to the part that is to blame; the value is nowhere in the message."""
        with pytest.raises(InvalidParameters) as caught:
            private_copy(value)
        assert ("INVALID_PARAMETERS", path) == (caught.value.code, caught.value.path)
        assert caught.value.message.startswith(f"{path}: ")
        assert sentence in caught.value.message
        assert "secret" not in caught.value.message

    def test_too_deep_is_refused(self) -> None:
        """One level more than `MAX_DEPTH`."""
        with pytest.raises(InvalidParameters, match=r"^(/0){128}: .*nested deeper than 128 levels"):
            copy_json(nested(MAX_DEPTH + 1))

    def test_memory_that_runs_out_is_no_fault_of_the_parameters(self) -> None:
        """The caller is told what it was."""

        class Large(dict[str, Any]):
            def keys(self) -> Any:
                raise MemoryError

        with pytest.raises(MemoryError):
            private_copy(MappingProxyType(Large()))

    def test_mapping_that_cannot_be_read_is_refused(self) -> None:
        """Whatever else a mapping of the caller's own raises, the call ends in a refusal."""

        class Broken(dict[str, Any]):
            def keys(self) -> Any:
                raise OSError("secret")

        with pytest.raises(InvalidParameters, match="cannot be read: OSError") as caught:
            private_copy(MappingProxyType(Broken()))
        assert "secret" not in caught.value.message

    @pytest.mark.parametrize("value", [None, [], "secret", 1, [("a", 1)]], ids=repr)
    def test_parameters_are_a_mapping(self, value: object) -> None:
        """Nothing else names its values."""
        with pytest.raises(InvalidParameters, match="parameters have to be a mapping") as caught:
            private_copy(value)
        assert "secret" not in caught.value.message


class TestSchema:
    """Against `parameters_schema`."""

    def test_violation_is_named_with_its_place(self) -> None:
        """The first violation, as a pointer into the parameters, without the value."""
        schema = Schema({"type": "object", "properties": {"id": {"type": "integer"}}})
        with pytest.raises(InvalidParameters) as caught:
            check_parameters(schema, {"id": "secret"})
        assert "/id" == caught.value.path
        assert "secret" not in caught.value.message

    def test_violation_at_the_root_has_no_path(self) -> None:
        """A missing parameter is a violation of the whole."""
        with pytest.raises(InvalidParameters, match="id") as caught:
            check_parameters(Schema({"type": "object", "required": ["id"]}), {})
        assert caught.value.path is None

    @pytest.mark.parametrize("schema", [None, Schema({"type": "object"})], ids=["none", "satisfied"])
    def test_what_satisfies_the_schema_passes(self, schema: Schema | None) -> None:
        """No schema, no complaint."""
        check_parameters(schema, {"id": 1})


class TestCost:
    """What a call costs a budget."""

    def test_fixed_cost(self) -> None:
        """Without `cost_field` every call costs the same, whatever its parameters."""
        limit = Limit(kind="budget", amount=Fraction(9), window_ns=None, cost=Fraction(2, 3))
        assert Fraction(2, 3) == cost_of(limit, {"cost": 5})

    @pytest.mark.parametrize(
        ("value", "cost"), [(0, "0"), (3, "3"), (0.1, "0.1"), (1e308, "1e308"), (2**64 - 1, str(2**64 - 1))], ids=str
    )
    def test_cost_field_is_read_exactly(self, value: float, cost: str) -> None:
        """0.1 is a tenth, not the double next to it."""
        limit = Limit(kind="budget", amount=Fraction(9), window_ns=None, cost_field="amount")
        assert Fraction(cost) == cost_of(limit, {"amount": value})

    @pytest.mark.parametrize("value", [-1, -0.5, True, "7", None, [7], float("nan"), float("inf")], ids=repr)
    def test_cost_that_is_no_amount_is_refused(self, value: object) -> None:
        """Negative, not finite, or no number: refused by name of the field, never counted as zero."""
        limit = Limit(kind="budget", amount=Fraction(9), window_ns=None, cost_field="a/b")
        with pytest.raises(InvalidParameters, match="a finite number ≥ 0") as caught:
            cost_of(limit, {"a/b": value})
        assert "/a~1b" == caught.value.path

    def test_missing_cost_is_refused(self) -> None:
        """A call that does not say what it costs is not free."""
        limit = Limit(kind="budget", amount=Fraction(9), window_ns=None, cost_field="amount")
        with pytest.raises(InvalidParameters, match="pass it") as caught:
            cost_of(limit, {})
        assert "/amount" == caught.value.path
