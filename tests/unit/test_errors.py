"""The table of errors, class by class. PROTOCOL: Errors."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

import cra
from cra import errors

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
OWN_CATEGORIES = {
    "NotFoundError",
    "ValidationError",
    "AuthorizationError",
    "ConflictError",
    "ExpiredError",
    "IntegrityError",
    "ExternalError",
}
Row = tuple[str, str, str, int, bool]


def table() -> dict[str, Row]:
    """Exception name → (code, category, status, recoverable), read from the protocol's table."""
    rows: dict[str, Row] = {}
    lines = PROTOCOL.read_text(encoding="utf-8").partition("| exception |")[2].partition("\n\n")[0].splitlines()[2:]
    for line in lines:
        names, _, category, status, recoverable = (cell.strip() for cell in line.strip("|").split("|"))
        for name in re.findall(r"\b[A-Z][A-Za-z]+\b", re.sub(r"\([^)]*\)", "", names)):
            only = recoverable.removesuffix(" only")
            can = recoverable == "yes" or (recoverable not in ("yes", "no") and name == only)
            code = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()
            rows[name] = (name, code, category, int(status), can)
    return rows


def classes() -> list[type[cra.CRAError]]:
    found = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, cra.CRAError)]
    return sorted(found, key=lambda each: each.__name__)


def make(kind: type[cra.CRAError]) -> cra.CRAError:
    """An error of a class, with what its signature asks for."""
    fields = {"approval_id": "id", "policy_id": "p", "retry_after": 1.5}
    required = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty
    ]
    return kind("what is wrong", **{name: fields[name] for name in required})


@pytest.mark.parametrize("name", sorted(table()))
def test_class_is_as_the_table_says(name: str) -> None:
    """Code, category, status and whether trying again can help."""
    kind = getattr(cra, name)
    expected = table()[name]
    assert expected == (name, kind.code, kind.category, kind.http_status, kind.recoverable)


def test_table_has_the_classes_of_the_package() -> None:
    """Nothing is missing on either side: what is not in the table is a base, the approval that is not there, or about tests."""
    own = {"CRAError", "ApprovalNotFound", "InvalidPolicyTest", *OWN_CATEGORIES}
    assert set(table()) == {kind.__name__ for kind in classes()} - own
    assert ("APPROVAL_NOT_FOUND", "not_found", 404, False) == (
        cra.ApprovalNotFound.code,
        cra.ApprovalNotFound.category,
        cra.ApprovalNotFound.http_status,
        cra.ApprovalNotFound.recoverable,
    )


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_error_is_one_tree_and_one_response(kind: type[cra.CRAError]) -> None:
    """Every class is a `CRAError` and answers in the published form."""
    error = make(kind)
    assert isinstance(error, cra.CRAError)
    assert {
        "error": {
            "code": kind.code,
            "message": "what is wrong",
            "category": kind.category,
            "recoverable": kind.recoverable,
        }
    } == error.to_error_response()
    assert "what is wrong" == str(error) == error.message
    assert kind.__name__ in errors.__all__
    assert getattr(cra, kind.__name__) is kind


def test_path_is_part_of_the_message() -> None:
    """A pointer comes first, and can be read off."""
    error = cra.InvalidPolicy("is missing", path="/policies/0/type")
    assert ("/policies/0/type: is missing", "/policies/0/type") == (str(error), error.path)
    assert cra.InvalidPolicy("is missing").path is None


def test_errors_carry_what_a_program_needs() -> None:
    """Approval, policy, seconds, execution and effect, as attributes."""
    assert "id" == cra.ActionRequiresApproval("x", approval_id="id").approval_id
    assert "p" == cra.ActionDenied("x", policy_id="p").policy_id
    limit = cra.BudgetExceeded("x", retry_after=None, policy_id="p")
    assert (None, "p", True) == (limit.retry_after, limit.policy_id, isinstance(limit, cra.RateLimitExceeded))
    failure = cra.ExecutionError("x", execution_id="e", effect="unknown")
    assert ("e", "unknown") == (failure.execution_id, failure.effect)


def test_plain_errors_survive_pickling() -> None:
    """Across processes, those that need nothing but a message."""
    error = pickle.loads(pickle.dumps(cra.Conflict("x")))
    assert (cra.Conflict, "x") == (type(error), str(error))
