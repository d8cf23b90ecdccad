"""Scripted sessions on a virtual clock, played with `cra`. Called by `cra.conformance.adapter` only.

A script is a list of steps; the result has what each named step (`as`) came to, errors included. The steps are described in
docs/conformance.md (Scripts).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import cra
from cra.conformance.errors import described
from cra.conformance.operations import validate, verification
from cra.testing import SeededIds, VirtualClock

Step = Mapping[str, Any]


def run_script(question: Mapping[str, Any]) -> dict[str, Any]:
    """The results by name; an error in a step without one ends the script."""
    player = _Player(question)
    try:
        for number, step in enumerate(question["steps"]):
            try:
                player.play(step)
            except cra.CRAError as error:
                return {"error": described(error), "step": number}
    finally:
        player.close()
    return player.results


class _Player:
    def __init__(self, question: Mapping[str, Any]) -> None:
        options = dict(question.get("options", {}))
        if "hash_key" in options:
            options["hash_key"] = bytes.fromhex(options["hash_key"])
        if "redact" in options:
            secret = options["redact"]
            options["redact"] = lambda event_type, payload: {
                k: "redacted" if k == secret else v for k, v in payload.items()
            }
        self._clock = VirtualClock(_moment(question.get("now", "2026-01-01T12:00:00Z")))
        self._resolver = cra.Resolver(clock=self._clock, ids=SeededIds(1), **options)
        self._manifests = [atlas["manifest"] for atlas in question.get("atlases", ())]
        self._sessions: dict[str, cra.Session] = {}
        self._resolutions: dict[str, cra.Resolution] = {}
        self._calls: dict[str, int] = {}
        self.results: dict[str, Any] = {}
        for atlas in question.get("atlases", ()):
            self._resolver.load_atlas(atlas["manifest"], overlay=atlas.get("overlay", False))

    def close(self) -> None:
        self._resolver.close()

    def play(self, step: Step) -> None:
        """Play one step, and keep what it came to where it has a name; without one its error is raised."""
        name = step.get("as")
        arguments = {key: self._value(value) for key, value in step.items() if key not in ("do", "as")}
        action: Callable[..., Any] = getattr(self, f"_do_{step['do']}")
        try:
            result = action(name, **arguments)
        except cra.CRAError as error:
            if name is None:
                raise
            result = {"error": described(error)}
        if name is not None:
            self.results[name] = result

    def _value(self, value: Any) -> Any:
        """`{"$from": "name/member/0"}` stands for a part of an earlier result."""
        if isinstance(value, dict):
            if value.keys() == {"$from"}:
                found: Any = self.results
                for part in value["$from"].split("/"):
                    found = found[int(part) if isinstance(found, list) else part]
                return found
            return {key: self._value(member) for key, member in value.items()}
        return [self._value(item) for item in value] if isinstance(value, list) else value

    def _do_repeat(self, name: str | None, times: int, steps: list[Step]) -> None:
        for _ in range(times):
            for each in steps:
                self.play(each)

    # Atlases and executors

    def _do_load_atlas(self, name: str | None, manifest: Any, **options: Any) -> dict[str, Any]:
        atlas = self._resolver.load_atlas(manifest, **options)
        self._manifests.append(manifest)
        return {"atlas_id": atlas.atlas_id, "version": atlas.version}

    def _do_unload_atlas(self, name: str | None, atlas_id: str) -> None:
        self._resolver.unload_atlas(atlas_id)

    def _do_register(
        self, name: str | None, action_id: str, behaviour: str = "echo", value: Any = None, seconds: float = 0
    ) -> None:
        def executor(**parameters: Any) -> Any:
            self._calls[action_id] = self._calls.get(action_id, 0) + 1
            if behaviour == "raise":
                raise RuntimeError("the executor was told to fail")
            if behaviour == "hang":
                time.sleep(seconds)
            if behaviour == "unhashable":
                return {"value": math.nan}
            return parameters if behaviour == "echo" else value

        self._resolver.register(action_id, executor)

    def _do_calls(self, name: str | None, action_id: str) -> dict[str, int]:
        return {"calls": self._calls.get(action_id, 0)}

    # Sessions

    def _do_create_session(
        self,
        name: str | None,
        session: str = "s",
        agent_id: str = "agent",
        goal: str = "work",
        parent: str | None = None,
        **facts: Any,
    ) -> dict[str, str]:
        parent_session = None if parent is None else self._sessions[parent]
        created = self._resolver.create_session(agent_id, goal, parent=parent_session, **facts)
        self._sessions[session] = created
        return {"session_id": created.session_id}

    def _do_end(self, name: str | None, session: str = "s", reason: str = "completed") -> None:
        self._sessions[session].end(reason)  # type: ignore[arg-type]

    def _do_resolve(self, name: str | None, session: str = "s", goal: str = "work", **ask: Any) -> dict[str, Any]:
        return self._keep(name, self._sessions[session].resolve(goal, **ask))

    def _keep(self, name: str | None, resolution: cra.Resolution) -> dict[str, Any]:
        self._resolutions[name or ""] = resolution
        return resolution.to_dict()

    def _do_request(self, name: str | None, document: Any) -> dict[str, Any]:
        return self._keep(name, self._resolver.resolve(document))

    def _do_handle(self, name: str | None, document: Any) -> dict[str, Any]:
        answered = self._resolver.handle(document)
        return self._keep(name, answered) if isinstance(answered, cra.Resolution) else _outcome(answered)

    def _do_execute(
        self,
        name: str | None,
        action_id: str,
        session: str = "s",
        resolution: str = "r",
        parameters: Any = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        known: cra.Resolution | str = self._resolutions.get(resolution, resolution)
        return _outcome(
            self._sessions[session].execute(action_id, parameters, resolution=known, idempotency_key=idempotency_key)
        )

    # Approvals

    def _do_request_approval(self, name: str | None, approval_id: str, session: str = "s") -> dict[str, Any]:
        return _approval(self._sessions[session].request_approval(approval_id))

    def _do_approve(self, name: str | None, approval_id: str, by: str = "alice", reason: str = "") -> dict[str, Any]:
        return _approval(self._resolver.approve(approval_id, by=by, reason=reason))

    def _do_reject(self, name: str | None, approval_id: str, by: str = "alice", reason: str = "") -> dict[str, Any]:
        return _approval(self._resolver.reject(approval_id, by=by, reason=reason))

    def _do_pending(self, name: str | None) -> dict[str, Any]:
        return {"approvals": [_approval(each) for each in self._resolver.pending_approvals()]}

    # Time and traces

    def _do_advance(self, name: str | None, seconds: float) -> None:
        self._clock.advance(seconds)

    def _do_set_wall(self, name: str | None, time: str) -> None:
        self._clock.set_wall(_nanoseconds(_moment(time)))

    def _do_trace(self, name: str | None, session: str = "s", types: str = "") -> dict[str, Any]:
        return {"events": [event for event in self._trace(session) if event["event_type"].startswith(types)]}

    def _trace(self, session: str) -> list[dict[str, Any]]:
        session_id = self._resolver.session_id if session == "runtime" else self._sessions[session].session_id
        return [event.to_dict() for event in self._resolver.trace(session_id)]

    def _do_verify(self, name: str | None, session: str = "s") -> dict[str, Any]:
        return verification(cra.verify_chain(self._trace(session)))

    def _do_replay(
        self,
        name: str | None,
        sessions: tuple[str, ...] = ("s",),
        manifests: list[Any] | None = None,
        changes: tuple[Mapping[str, Any], ...] = (),
    ) -> dict[str, Any]:
        events = [event for session in sessions for event in self._trace(session)]
        for change in changes:
            events[change["index"]]["payload"].update(change["payload"])
        found = cra.replay(events, self._manifests if manifests is None else manifests)
        return {
            "valid": found.valid,
            "resolutions": found.resolutions,
            "reproduced": found.reproduced,
            "not_recomputed": found.not_recomputed,
        }

    def _do_validate(self, name: str | None, schema: str, document: Any) -> dict[str, Any]:
        return validate({"schema": schema, "document": document})

    def _do_diff(self, name: str | None, a: str, b: str) -> dict[str, Any]:
        return {"grade": cra.diff(self._trace(a), self._trace(b)).grade}


def _outcome(outcome: cra.Outcome) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "result": outcome.result,
        "execution_id": outcome.execution_id,
        "replayed": outcome.replayed,
    }


def _approval(approval: cra.Approval) -> dict[str, Any]:
    names = ("approval_id", "policy_id", "action_id", "status", "decided_by", "decision_reason")
    return {name: getattr(approval, name) for name in names}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _nanoseconds(moment: datetime) -> int:
    return VirtualClock(moment).now_ns()
