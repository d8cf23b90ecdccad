"""`cra resolve`: one goal (or one recorded request) against atlases, without an agent.

It opens a session of its own in memory, resolves, shows the answer, and can write the trace. It executes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, get_args

import typer

from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas
from cra.carp.conditions import RISK_TIERS
from cra.carp.request import Request
from cra.carp.resolution import Constraint, Resolution
from cra.cli.files import naming, read_json
from cra.cli.terminal import Cell, in_words, say, say_json, say_table
from cra.reference.resolve import DEFAULT_POLICY_ID, DefaultDecision
from cra.resolver import Resolver
from cra.testing import VirtualClock
from cra.trace.jsonl import write_events

DEFAULT_DECISIONS: Final[tuple[DefaultDecision, ...]] = get_args(DefaultDecision)
DECISION_STYLES = {
    "allow": "bold green",
    "partial": "bold yellow",
    "requires_approval": "bold yellow",
    "deny": "bold red",
}
MAX_NAMES = 3
TIER_STYLES = {"low": "green", "medium": "", "high": "yellow", "critical": "red"}


def resolve(
    atlas: Annotated[
        list[Path], typer.Option(help="An atlas: folder or manifest file. May be repeated.", metavar="PATH")
    ],
    goal: Annotated[str | None, typer.Option(help="What the agent is about to do.")] = None,
    agent: Annotated[str | None, typer.Option(help="The agent's id; cli where none is given.")] = None,
    risk_tier: Annotated[str | None, typer.Option(help="The task's risk.", metavar="|".join(RISK_TIERS))] = None,
    capability: Annotated[list[str] | None, typer.Option(help="A required capability. May be repeated.")] = None,
    hint: Annotated[list[str] | None, typer.Option(help="A context hint. May be repeated.")] = None,
    request: Annotated[
        Path | None,
        typer.Option(help="A CARP request to replay instead of a goal.", metavar="FILE", exists=True, dir_okay=False),
    ] = None,
    default_decision: Annotated[
        str, typer.Option(help="For actions that no policy matches.", metavar="|".join(DEFAULT_DECISIONS))
    ] = "deny",
    trace_out: Annotated[
        Path | None,
        typer.Option(help="Write the session's trace there, as JSON lines.", metavar="FILE", dir_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The resolution as one JSON document.")] = False,
) -> int:
    """Show what an agent may do for a goal: allowed, denied, awaiting approval, constraints, context.

    Exit code 1 when the decision is deny.
    """
    if default_decision not in DEFAULT_DECISIONS:
        raise typer.BadParameter(f"expected {' or '.join(DEFAULT_DECISIONS)}", param_hint="--default-decision")
    if risk_tier is not None and risk_tier not in RISK_TIERS:
        raise typer.BadParameter(f"expected one of {', '.join(RISK_TIERS)}", param_hint="--risk-tier")
    if trace_out is not None and not trace_out.absolute().parent.is_dir():
        raise typer.BadParameter(f"the folder of {trace_out} does not exist", param_hint="--trace-out")
    if (goal is None) == (request is None):
        raise typer.BadParameter("give either --goal or --request")
    if request is not None and (agent is not None or risk_tier is not None or capability or hint):
        raise typer.BadParameter("a request names its agent, risk tier, capabilities and hints itself: leave them out")
    asked = None if request is None else _asked(request)
    atlases = load_each(atlas)

    with Resolver(
        default_decision=default_decision,
        clock=None if asked is None else VirtualClock(start=asked.time_ns),
    ) as resolver:
        for each in atlases:
            resolver.load_atlas(each)
        if asked is not None and request is not None:
            # PROTOCOL: Requests. The session is the one that the request names, at the request's own time.
            with naming(request):
                session = resolver.create_session(
                    agent_id=asked.requester.agent_id, goal=asked.task.goal, session_id=asked.requester.session_id
                )
                resolution = resolver.resolve(asked)
        else:
            assert goal is not None  # or the call had been refused above
            session = resolver.create_session(agent_id=agent or "cli", goal=goal)
            resolution = session.resolve(
                goal, risk_tier=risk_tier, context_hints=hint or (), required_capabilities=capability or ()
            )
        session.end()
        events = resolver.trace(session.session_id)
    if trace_out is not None:
        write_events(trace_out, events)
    if as_json:
        say_json(resolution.to_dict())
    else:
        _show(resolution)
        if trace_out is not None:
            say(f"trace of {len(events)} events written to {trace_out}")
    return int(resolution.decision.type == "deny")


def _asked(request: Path) -> Request:
    document = read_json(request)
    with naming(request):
        return Request.parse(document)


def load_each(paths: list[Path]) -> list[Atlas]:
    """The atlases at the paths, each id once; a wrong call (`typer.BadParameter`) where one is named twice."""
    named: dict[str, Path] = {}
    atlases = []
    for path in paths:
        atlas = load_atlas(path)
        if atlas.atlas_id in named:
            raise typer.BadParameter(
                f"the atlas {atlas.atlas_id} is named twice, by {named[atlas.atlas_id]} and {path}; leave one out",
                param_hint="--atlas",
            )
        named[atlas.atlas_id] = path
        atlases.append(atlas)
    return atlases


def _show(resolution: Resolution) -> None:
    decision = resolution.decision
    say(
        f"decision: {decision.type}" + (f" ({decision.reason})" if decision.reason else ""),
        DECISION_STYLES[decision.type],
    )
    say(f"resolution {resolution.resolution_id}, valid for {resolution.ttl_seconds} s")

    constraints = [constraint for constraint in resolution.constraints if constraint.type != "require_approval"]
    approvals = [
        approval
        for constraint in resolution.constraints
        if constraint.type == "require_approval"
        for approval in constraint.parameters["approvals"]
    ]
    held = {approval["action_id"] for approval in approvals}
    _section(
        "Allowed",
        ("action", "risk", "name"),
        [
            (action.action_id, Cell(action.risk_tier, TIER_STYLES[action.risk_tier]), action.name)
            for action in resolution.allowed_actions
        ],
    )
    _section(
        "Denied",
        ("action", "policy", "reason"),
        [
            (action.action_id, action.policy_id or DEFAULT_POLICY_ID, action.reason)
            for action in resolution.denied_actions
            if action.action_id not in held
        ],
    )
    _section(
        "Awaiting approval",
        ("action", "policy", "reason"),
        [(approval["action_id"], approval["policy_id"], approval.get("reason", "")) for approval in approvals],
    )
    _section(
        "Constraints",
        ("constraint", "what it says", "actions"),
        [(each.constraint_id, _terms(each), _some(each.parameters["actions"])) for each in constraints],
    )
    _section(
        "Context",
        ("block", "source", "type", "priority", "tokens"),
        [(b.block_id, b.source, b.content_type, b.priority, b.token_estimate) for b in resolution.context_blocks],
        numbers=("priority", "tokens"),
    )


def _section(
    title: str, columns: tuple[str, ...], rows: list[tuple[object, ...]], numbers: tuple[str, ...] = ()
) -> None:
    if rows:
        say_table(f"{title} ({len(rows)})", columns, rows, numbers=numbers, folded=len(columns) - 1)


def _terms(constraint: Constraint) -> str:
    """A limit with what is left of it, or a parameter condition with its reason."""
    terms = constraint.parameters
    if constraint.type == "scope":
        return f"{terms['effect']}, by parameters: {terms.get('reason') or in_words(terms['schema'])}"
    most = f"{terms['max_calls']} calls" if constraint.type == "rate_limit" else f"a cost of {terms['max_cost']}"
    window = f"{terms['window_seconds']} s" if "window_seconds" in terms else "a session"
    return f"{most} in {window} per {terms['key']}, {terms['remaining']} left"


def _some(action_ids: list[str]) -> str:
    shown = ", ".join(action_ids[:MAX_NAMES])
    return shown if len(action_ids) <= MAX_NAMES else f"{shown} and {len(action_ids) - MAX_NAMES} more"
