"""`cra doctor`: it reports, and always succeeds."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import cra
from cra.cli import doctor


def test_people_see_what_is_installed(run):
    """Version, implementation, Python, and every package with its version."""
    code, out, err = run("doctor")
    assert (0, "") == (code, err)
    for fact in (cra.__version__, cra.implementation(), platform.python_version(), metadata.version("msgspec")):
        assert fact in out


def test_programs_see_the_same(run):
    """One JSON document with the facts, the packages and the checks."""
    code, out, _ = run("doctor", "--json")
    document = json.loads(out)
    assert 0 == code
    assert (cra.__version__, cra.implementation()) == (document["cra"], document["implementation"])
    assert {"name": "rich", "version": metadata.version("rich"), "extra": "cli"} in document["packages"]


def test_a_missing_extra_is_a_warning(run, monkeypatch):
    """What is not installed is named with the command that installs it; the exit code stays 0."""

    def version(name: str) -> str:
        if name == "PyYAML":
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor.metadata, "version", version)
    code, out, _ = run("doctor")
    assert 0 == code
    assert "not installed" in out
    assert "the extra cra[yaml] needs it: pip install PyYAML" in out
