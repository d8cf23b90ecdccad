"""Writes an imported atlas as a folder that a person edits: manifest, first context file, first tests, a page on its policies.

Called by the command line. It never overwrites: the folder appears complete and loadable, or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cra.atlas.importers.starter import DOUBTFUL, is_doubtful, starter_tests
from cra.atlas.loader import load_atlas
from cra.errors import Conflict, StorageError

OVERVIEW = "context/overview.md"
TESTS = "tests/starter.policy.json"

_PAGE = """\
# The policies of this atlas

They stand in `atlas.json` under `policies`; this page explains the ones that the import wrote. What no policy allows is denied.
For an action, the first kind with a policy that matches decides: `deny`, `scope`, `require_approval`, `rate_limit`, `budget`,
`allow`. A held action still needs an `allow`.

A policy with `"mode": "shadow"` is evaluated, and its result is in the trace, but it changes nothing: it is a rule to try before
it counts. Remove `mode` to enforce it.

What an action does to the world, its risk tier, is what its server says of it. A server can be wrong, and it can lie: review the
tiers and the lists below before you rely on them.

{sections}

## Narrowing a rule to parameters

A condition on parameters is a JSON Schema; the policy applies to the calls that satisfy it. This one refuses every amount over
100:

```json
{example}
```

## After every change

```
cra atlas validate .
cra atlas test .
cra resolve --atlas . --goal "what an agent wants to do"
```

`tests/starter.policy.json` says what the policies of the import come to: when you change one, change its test. Add a test for
every policy that you write; `cra atlas test` names those that no test touches.

The files in `context/` are what agents read. Write into `context/overview.md` what a new colleague would have to know.
"""

_PACK = {
    "pack_id": "overview",
    "name": "Overview",
    "description": "What every agent should know before it uses these actions",
    "files": [OVERVIEW],
    "priority": 100,
}


def write_atlas_folder(manifest: Mapping[str, Any], out: str | os.PathLike[str]) -> Path:
    """Write `atlas.json`, `context/overview.md`, `tests/starter.policy.json` and `POLICIES.md` into the new folder `out`; returns
    its absolute path.

    `manifest` is what an importer returned. The folder is built beside `out`, loaded as a check, and then renamed, so that nobody
    sees half of it. Raises `Conflict` where `out` exists and is not an empty folder, `StorageError` where the system refuses,
    and what `load_atlas` raises.
    """
    target = Path(os.path.realpath(out))
    _check_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise StorageError(f"cannot write beside {target}: {error.strerror}; choose another folder") from error
    try:
        draft = workshop / "atlas"
        for name, text in _files(manifest):
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        load_atlas(draft)
        _check_free(target)
        os.rename(draft, target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}; choose another folder") from error
    finally:
        shutil.rmtree(workshop)
    return target


def _check_free(target: Path) -> None:
    """An empty folder is as good as none: the rename replaces it."""
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise Conflict(f"{target} already exists; choose another folder, or remove it first")


def _files(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    complete: dict[str, Any] = {}
    for field, value in manifest.items():
        if field == "policies":
            complete["context_packs"] = [_PACK]
        complete[field] = value
    yield "atlas.json", json.dumps(complete, ensure_ascii=False, indent=2) + "\n"
    yield OVERVIEW, _overview(manifest)
    yield TESTS, json.dumps(starter_tests(manifest["actions"]), ensure_ascii=False, indent=2) + "\n"
    yield "POLICIES.md", _policies_page(manifest)


def _overview(manifest: Mapping[str, Any]) -> str:
    paragraphs = [f"# {manifest['name']}", manifest["description"]]
    for group, sentence in (
        ("low", "These actions only read:"),
        ("doubtful", "These actions are said to only read, but their names say otherwise:"),
        ("medium", "These actions change something; say what you are about to change before you use one:"),
        ("high", "These actions destroy something and cannot be undone:"),
    ):
        ids = [
            action["action_id"]
            for action in manifest["actions"]
            if group == ("doubtful" if is_doubtful(action) else action["risk_tier"])
        ]
        if ids:
            paragraphs.append(f"{sentence}\n\n{_listed(ids)}")
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _listed(action_ids: list[str]) -> str:
    return "\n".join(f"- `{action_id}`" for action_id in action_ids)


def _policies_page(manifest: Mapping[str, Any]) -> str:
    sections = "\n\n".join(_policy_section(policy) for policy in manifest["policies"])
    return _PAGE.format(sections=sections, example=json.dumps(_EXAMPLE, indent=2))


_EXAMPLE = {
    "policy_id": "cap",
    "type": "deny",
    "actions": ["pay.*"],
    "conditions": {
        "parameters": {
            "properties": {"amount": {"type": "number", "exclusiveMinimum": 100}},
            "required": ["amount"],
        }
    },
}


def _policy_section(policy: Mapping[str, Any]) -> str:
    mode = "in shadow mode" if policy.get("mode") == "shadow" else "enforced"
    count = len(policy["actions"])
    section = (
        f"## {policy['policy_id']}: {policy['name']}\n\n"
        f"`{policy['type']}`, {mode}, {count} action{'' if count == 1 else 's'}. {policy['description']}"
    )
    return f"{section}\n\n{_listed(policy['actions'])}" if policy["policy_id"] == DOUBTFUL else section
