"""`cra doctor --storage`: a server that is well, one that is not, and what is no server."""

from __future__ import annotations

import json
from typing import Any

import pytest

import cra
from tests.support.postgres import Server


def test_a_healthy_server_is_described(run: Any, postgres: Server, schema: str) -> None:
    """Its version, how much is stored, exit code 0; no password."""
    url = postgres.url(schema=schema, user="cra:hunter2")
    with cra.Resolver(url) as resolver:
        resolver.create_session("bot", "work").end()
    code, out, err = run("doctor", "--storage", url)
    assert (0, "") == (code, err)
    assert "PostgreSQL " in out
    assert "healthy" in out
    assert "hunter2" not in out
    code, out, _ = run("doctor", "--storage", url, "--json")
    told = json.loads(out)
    events = postgres.query(f"SELECT count(*) FROM {schema}.event")[0][0]
    assert (0, True, 2, events, []) == (code, told["healthy"], told["sessions"], told["events"], told["problems"])
    assert told["storage"] == postgres.url(schema=schema)


def test_what_is_wrong_with_a_server_is_said(run: Any, postgres: Server, schema: str) -> None:
    """No tables, and none are made; nobody there at all: one line, exit code 1."""
    code, out, err = run("doctor", "--storage", postgres.url(schema=schema))
    assert (1, "", True) == (code, err, f"has no trace in the schema {schema}" in out)
    assert [(None,)] == postgres.query("SELECT to_regnamespace(%s)::text", schema)
    postgres.kill()
    code, out, _ = run("doctor", "--storage", postgres.url(schema=schema), "--json")
    told = json.loads(out)
    assert (1, False, True) == (code, told["healthy"], "check that the server runs" in told["problems"][0])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--storage", "sqlite:///x.db"),
        ("--storage", "postgresql:db"),
        ("--storage", "postgresql:///db", "--data", "."),
        ("--storage", "postgresql:///db", "--ring", "."),
    ],
)
def test_what_is_no_server_is_a_wrong_call(run: Any, arguments: tuple[str, ...]) -> None:
    """Exit code 2, in one line."""
    code, out, err = run("doctor", *arguments)
    assert (2, "", 1) == (code, out, err.count("\n"))
    assert "--storage" in err
