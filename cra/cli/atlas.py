"""`cra atlas`: check an atlas, read it as a person does, test it, and make one from a tool list or an OpenAPI document.

It loads and shows; only `import` writes, and only a folder that does not exist yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

import cra
from cra.atlas.importers.document import read_openapi
from cra.atlas.importers.folder import write_atlas_folder
from cra.atlas.importers.mcp import import_mcp
from cra.atlas.importers.openapi import import_openapi
from cra.atlas.manifest import Action, Atlas, Finding
from cra.carp.conditions import RISK_TIERS
from cra.carp.policy import Policy
from cra.cli.files import naming, read_json
from cra.cli.findings import group_findings
from cra.cli.options import Json
from cra.cli.resolve import TIER_STYLES
from cra.cli.terminal import Cell, say, say_json, say_table
from cra.cli.testing import run_tests
from cra.cli.wording import injection_in_words, policy_in_words
from cra.errors import ValidationError
from cra.reference.resolve import evaluation_order

POLICY_STYLES = {"deny": "red", "scope": "red", "require_approval": "yellow", "allow": "green"}

app = typer.Typer(help="Check, show, test and import atlases.")
importers = typer.Typer(help="Make an atlas folder from a description of tools.")
app.add_typer(importers, name="import")
app.command("test")(run_tests)

_AtlasPath = Annotated[Path, typer.Argument(help="A folder with atlas.json, or a manifest file.", exists=True)]
_AtlasId = Annotated[str, typer.Option("--id", help="The new atlas's id, such as com.example.github.")]
_Out = Annotated[Path, typer.Option(help="The folder to make.", metavar="DIR")]


@app.command()
def validate(
    path: _AtlasPath,
    strict: Annotated[bool, typer.Option(help="Unknown fields, loose ids and untyped conditions are errors.")] = False,
    as_json: Json = False,
) -> int:
    """Check an atlas: exit code 0 with what lint finds, or 1 with the first error."""
    try:
        atlas = cra.load_atlas(path, strict=strict)
    except ValidationError as error:
        if as_json:
            say_json({"valid": False, "findings": [], **error.to_error_response()})
        else:
            say(f"invalid: {error.message}", "red")
        return 1
    findings = cra.lint_atlas(atlas)
    if as_json:
        say_json(
            {
                "valid": True,
                "atlas_id": atlas.atlas_id,
                "version": atlas.version,
                "findings": [msgspec.to_builtins(finding) for finding in findings],
            }
        )
        return 0
    say(f"valid: {_summary(atlas)}", "green")
    if findings:
        _say_findings(findings)
    return 0


@app.command()
def show(path: _AtlasPath, as_json: Json = False) -> int:
    """Show an atlas: actions by risk, policies in the order they are evaluated, context, capabilities."""
    atlas = cra.load_atlas(path)
    policies = sorted(atlas.policies, key=evaluation_order)
    if as_json:
        say_json(_document(atlas, policies))
        return 0
    say(f"{atlas.name}: {_summary(atlas)}", "bold")
    if atlas.description:
        say(atlas.description)
    if atlas.dependencies:
        say_table("Depends on", ("atlas", "version"), list(atlas.dependencies.items()))
    if atlas.actions:
        by_risk = sorted(atlas.actions, key=lambda action: RISK_TIERS.index(action.risk_tier))
        say_table("Actions", ("action", "risk", "what it is"), [_action_row(action) for action in by_risk])
    if policies:
        _say_policies(policies)
    if atlas.context_blocks:
        say_table(
            "Context",
            ("block", "priority", "tokens", "injected"),
            [(b.block_id, b.priority, b.token_estimate, injection_in_words(b)) for b in atlas.context_blocks],
            numbers=("priority", "tokens"),
        )
    if atlas.capabilities:
        say_table(
            "Capabilities",
            ("capability", "name", "actions"),
            [(c.capability_id, c.name, ", ".join(c.actions)) for c in atlas.capabilities],
            folded=2,
        )
    return 0


@importers.command()
def mcp(
    tools: Annotated[Path, typer.Argument(help="The JSON answer to tools/list.", exists=True, dir_okay=False)],
    atlas_id: _AtlasId,
    out: _Out,
) -> int:
    """Import the tools of an MCP server."""
    return _write(import_mcp(read_json(tools), atlas_id), out)


@importers.command()
def openapi(
    document: Annotated[Path, typer.Argument(help="An OpenAPI 3 document.", exists=True, dir_okay=False)],
    atlas_id: _AtlasId,
    out: _Out,
) -> int:
    """Import the operations of an HTTP API."""
    with naming(document):
        content = read_openapi(document)
    return _write(import_openapi(content, atlas_id), out)


def _write(manifest: dict[str, Any], out: Path) -> int:
    write_atlas_folder(manifest, out)
    atlas = cra.load_atlas(out)
    say(f"wrote {out}: {_summary(atlas)}", "green")
    say(f"next: read {out / 'POLICIES.md'}, edit {out / 'atlas.json'}, then: cra atlas test {out}")
    return 0


def _document(atlas: Atlas, policies: list[Policy]) -> dict[str, Any]:
    """The manifest as written, and what only the runtime knows of it."""
    return {
        "atlas_id": atlas.atlas_id,
        "version": atlas.version,
        "digest": atlas.digest,
        "evaluation_order": [policy.policy_id for policy in policies],
        "context_blocks": [
            {"block_id": block.block_id, "priority": block.priority, "token_estimate": block.token_estimate}
            for block in atlas.context_blocks
        ],
        "manifest": atlas.manifest,
    }


def _summary(atlas: Atlas) -> str:
    counts = (
        (len(atlas.actions), "action"),
        (len(atlas.policies), "policy"),
        (len(atlas.context_blocks), "context block"),
        (len(atlas.capabilities), "capability"),
    )
    return f"{atlas.atlas_id} {atlas.version}, " + ", ".join(_counted(count, noun) for count, noun in counts)


def _counted(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


def _say_findings(findings: tuple[Finding, ...]) -> None:
    rows = group_findings(findings)
    grouped = len(rows) < len(findings)
    say_table(
        _counted(len(findings), "finding") + ("; those alike are one row, --json lists each" if grouped else ""),
        ("code", *(["count"] if grouped else []), "path", "message"),
        [(Cell(code, "yellow"), *([count] if grouped else []), path, message) for code, count, path, message in rows],
        numbers=("count",),
        folded=2,
    )


def _action_row(action: Action) -> tuple[object, ...]:
    about = [action.name]
    if action.idempotent:
        about.append("idempotent")
    if action.requires_confirmation:
        about.append("asks for confirmation")
    if action.rate_limit is not None:
        about.append(f"{action.rate_limit.max_calls} calls in {action.rate_limit.window_seconds} s")
    return action.action_id, Cell(action.risk_tier, TIER_STYLES[action.risk_tier]), "; ".join(about)


def _say_policies(policies: list[Policy]) -> None:
    prioritized = any(policy.priority for policy in policies)
    say_table(
        "Policies, in the order of evaluation",
        ("policy", "type", *(["priority"] if prioritized else []), "actions", "notes"),
        [
            (
                policy.policy_id,
                Cell(policy.type, POLICY_STYLES.get(policy.type, "")),
                *([policy.priority] if prioritized else []),
                "every action" if policy.actions is None else ", ".join(policy.actions),
                policy_in_words(policy),
            )
            for policy in policies
        ],
        numbers=("priority",),
        folded=2,
    )
