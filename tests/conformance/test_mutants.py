"""Do the cases notice? Every mutant of our implementation fails at least one case of the groups it concerns."""

from __future__ import annotations

import sys

import pytest

from conformance.cases import load_cases, select
from conformance.mutants import MUTANTS, apply
from conformance.mutants.registry import replace
from conformance.runner import run

CASES = load_cases()


def test_there_are_enough() -> None:
    """At least 25 mutants, each with a sentence that says what is wrong with it."""
    assert len(MUTANTS) >= 25
    assert all(mutant.breaks.endswith(".") for mutant in MUTANTS.values())


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str) -> None:
    """A case gets another answer than the protocol's, and it is an answer: a mutant that merely crashes proves nothing."""
    command = [sys.executable, "-m", "conformance.adapter", "--mutant", name]
    report = run(select(CASES, groups=MUTANTS[name].groups), command, timeout=30, stop_at_first=True)
    assert "failed" == report.results[-1].status, report.results[-1]


def test_an_unknown_mutant_is_an_error() -> None:
    """Nothing is broken by a name that is no mutant's."""
    with pytest.raises(KeyError):
        apply("no-such-mutant")


def test_a_mutant_that_changes_nothing_is_an_error() -> None:
    """A function that no module of the package holds cannot be replaced in it."""
    with pytest.raises(LookupError, match="no module"):
        replace(lambda: None, lambda original: original)
