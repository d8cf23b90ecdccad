"""What is asked while `cra bench` measures: goals from a file, from recorded traces, or made of an atlas's own actions.

Nothing is resolved here. Of a trace it reads who asked for what, in its order; the values of a context are not in one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import msgspec

from cra.atlas.files import UnusableFile, read_regular_file
from cra.atlas.manifest import Atlas
from cra.carp.request import Ask, make_ask
from cra.errors import InvalidCARPRequest
from cra.reference.session_core import MAX_GOAL
from cra.strictjson import JSONProblem, parse
from cra.trace.jsonl import read_events

MAX_ASKS = 10_000
"""So many are measured; what is beyond them in a file or a trace is left out, and counted."""
MAX_FILE_BYTES = 16 * 2**20
AGENT = "bench"
_RECORDED = ("goal", "risk_tier", "context_hints", "required_capabilities")
_MARKS = (b'"session.started"', b'"carp.request.received"')


class Question(msgspec.Struct, frozen=True):
    """An agent and what it asks."""

    agent_id: str
    ask: Ask


class Questions(msgspec.Struct, frozen=True):
    """Questions in their order, what they come from, and how many more there would have been. At least one."""

    asked: tuple[Question, ...]
    source: str
    left_out: int = 0


def from_file(path: str | os.PathLike[str], agent_id: str = AGENT) -> Questions:
    """The goals of a file: one a line, or, where its name ends in `.json`, a list of goals, or of objects with `goal` and perhaps
    `agent_id` and the other arguments of `session.resolve`.

    Raises `InvalidCARPRequest` that names the place of what is no goal, or the file where it has none or cannot be read.
    """
    try:
        data = read_regular_file(path, MAX_FILE_BYTES)
    except UnusableFile as error:
        raise InvalidCARPRequest(f"{path} {error}") from None
    try:
        if os.fspath(path).endswith(".json"):
            entries = parse(data)
        else:
            entries = [line.strip() for line in data.decode().splitlines() if line.strip()]
    except (JSONProblem, UnicodeDecodeError) as error:
        raise InvalidCARPRequest(f"{path} cannot be read as goals: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise InvalidCARPRequest(f"{path} has no goals; write one a line, or in a .json file a list of them")
    asked = [_question(each, f"{path}, goal {n}", agent_id) for n, each in enumerate(entries[:MAX_ASKS], 1)]
    return Questions(tuple(asked), os.fspath(path), max(0, len(entries) - MAX_ASKS))


def from_traces(paths: Iterable[str | os.PathLike[str]]) -> Questions:
    """What was asked in these traces, by the agents that asked it. The chain is not verified.

    Raises `InvalidTraceEvent` and `StorageError` as reading a trace does, `InvalidCARPRequest` where nothing was asked.
    """
    named = [os.fspath(path) for path in paths]
    agents: dict[str, Any] = {}
    asked: list[Question] = []
    left_out = 0
    for path in named:
        for event in read_events(path, _MARKS):
            if event.event_type == "session.started":
                agents[event.session_id] = event.payload.get("agent_id")
            elif event.event_type != "carp.request.received" or event.payload.get("operation") != "resolve":
                continue
            elif len(asked) < MAX_ASKS:
                entry = {name: event.payload[name] for name in _RECORDED if name in event.payload}
                entry["agent_id"] = agents.get(event.session_id) or AGENT
                asked.append(_question(entry, f"{path}, event {event.sequence} of session {event.session_id}", AGENT))
            else:
                left_out += 1
    if not asked:
        raise InvalidCARPRequest(f"{', '.join(named)}: nothing was resolved in there, so there is nothing to ask again")
    return Questions(tuple(asked), ", ".join(named), left_out)


def from_atlases(atlases: Iterable[Atlas], agent_id: str = AGENT) -> Questions:
    """One goal for each action: its name and its description, as somebody may put it who wants it done."""
    actions = [action for atlas in atlases for action in atlas.actions]
    goals = [f"{action.name}: {action.description}"[:MAX_GOAL] for action in actions] or ["work"]
    asked = [Question(agent_id, make_ask(goal)) for goal in goals[:MAX_ASKS]]
    return Questions(tuple(asked), "the names of the atlas's actions", max(0, len(goals) - MAX_ASKS))


def _question(entry: Any, where: str, agent_id: str) -> Question:
    """An entry of a file or of a trace; what a resolve would refuse is refused here, where its place is known."""
    members = {"goal": entry} if isinstance(entry, str) else entry
    if not isinstance(members, dict):
        raise InvalidCARPRequest(f"{where}: neither text nor an object with a goal")
    members = dict(members)
    agent_id = members.pop("agent_id", agent_id)
    if not isinstance(agent_id, str) or not agent_id:
        raise InvalidCARPRequest(f"{where}: the agent's id is no text")
    if unknown := sorted(set(members) - set(Ask.__struct_fields__)):
        raise InvalidCARPRequest(f"{where}: unknown members: {', '.join(unknown)}")
    try:
        return Question(agent_id, make_ask(members.pop("goal", None), **members))
    except InvalidCARPRequest as error:
        raise InvalidCARPRequest(f"{where}: {error.message}") from None
