"""Our adapter on the wire: results, refusals and failures."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import cra
from cra.conformance.adapter import answer, serve


def ask(operation: str, **question: Any) -> dict[str, Any]:
    """The answer to one question."""
    return answer(json.dumps({"id": "x", "operation": operation, "input": question}))


def test_handshake() -> None:
    """It says which implementation of which version it is, and what can be asked."""
    hello = ask("handshake", protocol="cra-conformance/1")["result"]
    assert f"cra ({cra.implementation()})" == hello["implementation"]
    assert cra.__version__ == hello["version"]
    assert "session" in hello["operations"]


def test_a_refusal_is_a_result() -> None:
    """What cra refuses is a result with the published error, without its message."""
    error = {"code": "INVALID_TRACE_EVENT", "category": "validation", "recoverable": False, "http_status": 400}
    assert {"id": "x", "result": {"error": error}} == ask("canonical_json", json="NaN")


def test_failures() -> None:
    """What the adapter cannot do is a failure: an unknown operation, a question that lacks something, no JSON."""
    assert {"id": "x", "failure": "unsupported operation 'fly'"} == ask("fly")
    assert {"id": "x", "failure": "KeyError: 'pattern'"} == ask("glob")
    assert None is answer("{")["id"]


def test_an_error_in_a_step_without_a_name_ends_the_script() -> None:
    """The script's result is then that error and the number of the step."""
    result = ask("session", steps=[{"do": "create_session"}, {"do": "unload_atlas", "atlas_id": "com.example.a"}])[
        "result"
    ]
    assert (1, "ATLAS_NOT_FOUND") == (result["step"], result["error"]["code"])


def test_repeated_steps_end_it_as_well() -> None:
    """An error inside a repetition is not lost."""
    steps = [{"do": "repeat", "times": 2, "steps": [{"do": "unload_atlas", "atlas_id": "com.example.a"}]}]
    assert 0 == ask("session", steps=steps)["result"]["step"]


def test_serve() -> None:
    """One line of answer for each line of question."""
    target = io.StringIO()
    serve(io.StringIO('{"id": 1, "operation": "fly", "input": {}}\n' * 2), target)
    assert [1, 1] == [json.loads(line)["id"] for line in target.getvalue().splitlines()]


def test_the_program_ends_with_its_input() -> None:
    """`python -m cra.conformance.adapter` answers until stdin ends, and then ends well."""
    question = '{"id": 1, "operation": "glob", "input": {"pattern": "*", "text": ""}}\n'
    done = subprocess.run(
        [sys.executable, "-m", "cra.conformance.adapter"], input=question, capture_output=True, text=True, check=True
    )
    assert {"id": 1, "result": {"matches": True}} == json.loads(done.stdout)
