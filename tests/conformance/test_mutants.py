"""Do the cases notice? Every mutant of our implementation fails at least one case of the groups it concerns."""

from __future__ import annotations

import json

import pytest

from conformance.mutants import MUTANTS, apply
from conformance.mutants import __main__ as hunting
from conformance.mutants.__main__ import main
from conformance.mutants.registry import replace
from cra.conformance.runner import Report, Result


def test_there_are_enough() -> None:
    """At least 25 mutants, each with a sentence that says what is wrong with it."""
    assert len(MUTANTS) >= 25
    assert all(mutant.breaks.endswith(".") for mutant in MUTANTS.values())


@pytest.mark.parametrize("name", ["denials-ignored", "another-digest", "unsorted-keys", "windows-a-moment-too-long"])
def test_a_mutant_is_caught(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One of each kind; `ci/conformance.sh` hunts all of them, and fails where one survives."""
    assert 0 == main([name, "--jobs", "1"])
    assert "1 of 1 mutants caught" in capsys.readouterr().out


@pytest.mark.parametrize("status", ["passed", "error"])
def test_a_survivor_fails_the_hunt(
    status: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mutant that no case notices has survived, and so has one that merely crashes, which proves nothing of the cases."""
    result = Result("globs/01", "globs", "CARP-Core", status, 1.0)  # type: ignore[arg-type]
    monkeypatch.setattr(hunting, "run", lambda *a, **b: Report("stub", "7", "CRA-Full", [result], 1.0))
    assert 1 == main(["globs-ignore-case", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (1, 0, False) == (found["mutants"], found["caught"], found["results"][0]["caught"])


def test_an_unknown_mutant_is_an_error() -> None:
    """Nothing is broken by a name that is no mutant's."""
    with pytest.raises(KeyError):
        apply("no-such-mutant")


def test_a_mutant_that_changes_nothing_is_an_error() -> None:
    """A function that no module of the package holds cannot be replaced in it."""
    with pytest.raises(LookupError, match="no module"):
        replace(lambda: None, lambda original: original)
