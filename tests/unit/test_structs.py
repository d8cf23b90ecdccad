"""What msgspec knows before threads start."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import msgspec._utils
import cra
from cra.atlas import written
from cra.carp.request import Request, make_ask

def look(*arguments):
    raise AssertionError("a type is looked at only now")

for name in ("_eval_type", "_forward_ref"):
    assert hasattr(msgspec._utils, name), name
    setattr(msgspec._utils, name, look)
make_ask("goal")
try:
    Request.parse({})
except cra.InvalidCARPRequest:
    pass
cra.load_atlas({
    "atlas_version": "1.0", "atlas_id": "com.example.a", "version": "1.0.0", "name": "A", "description": "A",
    "actions": [{"action_id": "a.b", "name": "A", "description": "A"}],
    "capabilities": [{"capability_id": "c", "name": "C", "actions": ["a.b"]}],
    "context_blocks": [{"context_id": "x", "name": "X", "content": "x"}],
    "policies": [{"policy_id": "all", "type": "allow", "actions": ["*"]}],
})
"""


def test_every_type_that_is_converted_to_is_learned_with_the_import() -> None:
    """msgspec looks at a type at its first use, and from two threads at once that ended processes."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert (0, "") == (done.returncode, done.stderr)
