"""The table of outcomes in docs/execution.md, row by row: what is raised, and exactly which events are recorded."""

from __future__ import annotations

import asyncio
import builtins
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.errors import StorageError
from cra.execution import idempotency
from cra.storage.memory import MemoryStorage
from cra.trace.event import Event
from tests.support.rings import full_ring

SECONDS = 60.0
DOCUMENT = Path(__file__).parents[3] / "docs" / "execution.md"
EVENT = re.compile(r"`([a-z.]+)`|\(`([a-z]+): ([a-z]+)`\)")
LIMIT = {"policy_id": "cap", "type": "rate_limit", "parameters": {"max_calls": 1, "window_seconds": 60}}
BUDGET = {"policy_id": "purse", "type": "budget", "parameters": {"max_cost": 5, "cost_field": "amount"}}
HOLD = {"policy_id": "hold", "type": "require_approval"}

Row = tuple[str, str, list[tuple[str, dict[str, Any]]]]
Attempt = Callable[[], object]


def table() -> dict[str, Row]:
    """The rows of the table by outcome."""
    rows = {}
    text = DOCUMENT.read_text(encoding="utf-8").partition("| Outcome | Raises | Events |\n")[2].partition("\n\n")[0]
    for line in text.splitlines()[1:]:
        outcome, raises, events = (cell.strip() for cell in line.strip("|").split("|"))
        found: list[tuple[str, dict[str, Any]]] = []
        for name, flag, value in EVENT.findall(events):
            if name:
                found.append((name, {}))
            else:
                found[-1][1][flag] = {"true": True}.get(value, value)
        rows[outcome] = (outcome, raises.strip("`"), found)
    return rows


class Scenario:
    """A runtime in which `attempt` leads to the outcome. `finish` is called before the trace is read.

    `inline` says how its executors are registered.
    """

    def __init__(self, make_world: Any, atlas: Any, run: Any, monkeypatch: pytest.MonkeyPatch, inline: bool) -> None:
        self.inline = inline
        self._make_world = make_world
        self.atlas = atlas
        self.run = run
        self.monkeypatch = monkeypatch
        self.finish: Attempt = lambda: None
        self.calls: list[dict[str, Any]] = []

    def prepare(self, *rules: Any, action: Any = None, executor: Any = None, **options: Any) -> None:
        """A world with one action `pay.send`, its session, its resolution, and a first executor."""
        manifest = self.atlas({"action_id": "pay.send", **(action or {})}, "pay.other", rules=list(rules))
        self.world = self._make_world(manifest, **options)
        self.session = self.world.open()
        self.resolution = self.session.resolve("pay")
        self.register(executor or (lambda **parameters: self.calls.append(parameters)))

    def register(self, executor: Any) -> None:
        self.world.resolver.register("pay.send", executor, inline=self.inline)

    def attempt(self, parameters: Any = None, *, action_id: str = "pay.send", **options: Any) -> Any:
        options.setdefault("resolution", self.resolution)
        return self.run(self.session, action_id, parameters, **options)

    # One method an outcome: it prepares, and returns what has the outcome.

    def success(self) -> Attempt:
        self.prepare()
        return self.attempt

    def replayed_success(self) -> Attempt:
        self.prepare(LIMIT)
        self.attempt({"id": 1}, idempotency_key="k")
        return lambda: self.attempt({"id": 1}, idempotency_key="k")

    def executor_raises(self) -> Attempt:
        self.prepare(executor=fail)
        return self.attempt

    def replayed_failure(self) -> Attempt:
        self.prepare(executor=fail)
        with pytest.raises(cra.ExecutionError):
            self.attempt(idempotency_key="k")
        return lambda: self.attempt(idempotency_key="k")

    def executor_takes_too_long(self) -> Attempt:
        forever = threading.Event()
        self.finish = forever.set
        wait = (lambda: time.sleep(1.01)) if self.inline else forever.wait
        self.prepare(executor=wait, action={"timeout_seconds": 1})
        return self.attempt

    def replayed_unknown(self) -> Attempt:
        self.prepare(executor=lambda: {"secret": {1, 2}})
        with pytest.raises(cra.ExecutionError):
            self.attempt(idempotency_key="k")
        return lambda: self.attempt(idempotency_key="k")

    def executor_is_cancelled(self) -> Attempt:
        def cancelled() -> None:
            raise asyncio.CancelledError

        async def acancelled() -> None:
            cancelled()

        self.prepare(executor=cancelled if self.inline else acancelled)
        return self.attempt

    def executor_exits(self) -> Attempt:
        def leave() -> None:
            raise SystemExit

        self.prepare(executor=leave)
        return self.attempt

    def executor_cannot_start(self) -> Attempt:
        self.prepare(LIMIT)
        self.session.runtime.threads.close()
        return self.attempt

    def result_is_no_json(self) -> Attempt:
        self.prepare(executor=lambda: {"secret": {1, 2}})
        return self.attempt

    def result_breaks_schema(self) -> Attempt:
        self.prepare(executor=lambda: {"secret": 1}, action={"returns_schema": {"additionalProperties": False}})
        return self.attempt

    def session_ends_meanwhile(self) -> Attempt:
        self.prepare(executor=lambda: self.session.end())
        return self.attempt

    def caller_is_cancelled(self) -> Attempt:
        started = threading.Event()

        async def wait() -> None:
            started.set()
            await asyncio.sleep(SECONDS)

        self.prepare(executor=(lambda: wait()) if self.inline else wait)

        async def cancel() -> None:
            task = asyncio.create_task(self.session.aexecute("pay.send", resolution=self.resolution))
            while not started.is_set():
                await asyncio.sleep(0)
            task.cancel()
            await task

        return lambda: asyncio.run(cancel())

    def start_cannot_be_stored(self) -> Attempt:
        storage = Failing()
        self.finish = storage.recover
        self.prepare(LIMIT, storage=storage, fail_closed=True, durability="stored")
        self.world.resolver.flush()
        self.mark = len(self.world.trace(self.session))
        storage.error = StorageError("the disk is full")
        return self.attempt

    def action_unknown(self) -> Attempt:
        self.prepare()
        return lambda: self.attempt(action_id="pay.unknown")

    def action_not_part(self) -> Attempt:
        self.prepare()
        manifest = self.atlas("ship.send", atlas_id="com.example.ships")
        self.world.resolver.load_atlas(manifest)
        return lambda: self.attempt(action_id="ship.send")

    def denied(self) -> Attempt:
        self.prepare({"policy_id": "no", "type": "deny", "actions": ["pay.send"]})
        return self.attempt

    def denied_for_parameters(self) -> Attempt:
        schema = {"properties": {"amount": {"type": "number", "minimum": 10}}, "required": ["amount"]}
        self.prepare({"policy_id": "no", "type": "deny", "conditions": {"parameters": schema}})
        return lambda: self.attempt({"amount": 10})

    def resolution_expired(self) -> Attempt:
        self.prepare(ttl_seconds=60)
        self.world.clock.advance(60)
        return self.attempt

    def resolution_unknown(self) -> Attempt:
        self.prepare()
        return lambda: self.attempt(resolution="00000000-0000-7000-8000-000000000000")

    def resolution_of_another_session(self) -> Attempt:
        self.prepare()
        self.resolution = self.world.open().resolve("pay")
        return self.attempt

    def parameters_break_schema(self) -> Attempt:
        self.prepare(
            action={"parameters_schema": {"properties": {"by": {"additionalProperties": {"type": "integer"}}}}}
        )
        return lambda: self.attempt({"by": {"secret": "x"}})

    def parameters_no_json(self) -> Attempt:
        self.prepare()
        return lambda: self.attempt({"secret": object()})

    def approval_needed(self) -> Attempt:
        self.prepare(HOLD)
        return self.attempt

    def approval_rejected(self) -> Attempt:
        self.prepare(HOLD)
        approval = self.session.request_approval(self.resolution.decision.approval_id)
        self.world.resolver.reject(approval.approval_id, by="alice")
        return self.attempt

    def rate_limited(self) -> Attempt:
        self.prepare(LIMIT)
        self.attempt()
        return self.attempt

    def over_budget(self) -> Attempt:
        self.prepare(BUDGET)
        return lambda: self.attempt({"amount": 5.01})

    def cost_is_no_cost(self) -> Attempt:
        self.prepare(BUDGET)
        return lambda: self.attempt({"amount": -1})

    def no_executor(self) -> Attempt:
        self.prepare()
        return lambda: self.attempt(action_id="pay.other")

    def key_with_other_parameters(self) -> Attempt:
        self.prepare()
        self.attempt({"id": 1}, idempotency_key="k")
        return lambda: self.attempt({"id": 2}, idempotency_key="k")

    def key_in_flight(self) -> Attempt:
        self.monkeypatch.setattr("cra.execution.call.WAIT_SLACK_SECONDS", -30)
        started, go = threading.Event(), threading.Event()

        def wait() -> None:
            started.set()
            assert go.wait(SECONDS)

        self.prepare(executor=wait)
        options = {"resolution": self.resolution, "idempotency_key": "k"}
        first = threading.Thread(target=self.session.execute, args=("pay.send",), kwargs=options)
        first.start()
        assert started.wait(SECONDS)
        while not self.session.open_calls:
            pass
        self.mark = len(self.world.trace(self.session))
        self.ignored = 1

        def finish() -> None:
            go.set()
            first.join()

        self.finish = finish
        return lambda: self.attempt(idempotency_key="k")

    def too_many_keys(self) -> Attempt:
        self.prepare()
        self.session._idempotency = idempotency.IdempotencyStore(max_keys=1)
        self.attempt(idempotency_key="a")
        return lambda: self.attempt(idempotency_key="b")

    def ring_full(self) -> Attempt:
        storage = Failing()
        self.finish = storage.recover
        self.prepare(storage=storage, overflow="fail")
        self.mark = len(self.world.trace(self.session))
        full = ExitStack()
        full.enter_context(full_ring(self.session.runtime.recorder.ring))
        self.finish = full.close
        return self.attempt

    def session_ended_before(self) -> Attempt:
        self.prepare()
        self.session.end()
        return self.attempt

    def session_expired(self) -> Attempt:
        self.prepare()
        self.world.clock.advance(3601)
        return self.attempt


SCENARIOS = {
    "success": Scenario.success,
    "success, replayed by its idempotency key": Scenario.replayed_success,
    "executor raises": Scenario.executor_raises,
    "failure, replayed by its idempotency key": Scenario.replayed_failure,
    "unknown outcome, replayed by its idempotency key": Scenario.replayed_unknown,
    "executor takes too long": Scenario.executor_takes_too_long,
    "executor is cancelled": Scenario.executor_is_cancelled,
    "executor raises `SystemExit` or the like": Scenario.executor_exits,
    "executor cannot be started": Scenario.executor_cannot_start,
    "result is no JSON value": Scenario.result_is_no_json,
    "result breaks `returns_schema`": Scenario.result_breaks_schema,
    "session ends while the executor runs": Scenario.session_ends_meanwhile,
    "caller is cancelled while it waits": Scenario.caller_is_cancelled,
    "start cannot be stored (`fail_closed`)": Scenario.start_cannot_be_stored,
    "action unknown": Scenario.action_unknown,
    "action not part of the resolution": Scenario.action_not_part,
    "denied by a policy": Scenario.denied,
    "denied by a condition on parameters": Scenario.denied_for_parameters,
    "resolution expired": Scenario.resolution_expired,
    "resolution id unknown or forgotten": Scenario.resolution_unknown,
    "resolution of another session": Scenario.resolution_of_another_session,
    "parameters break the schema": Scenario.parameters_break_schema,
    "parameters are no JSON": Scenario.parameters_no_json,
    "approval needed": Scenario.approval_needed,
    "approval rejected": Scenario.approval_rejected,
    "rate limit exhausted": Scenario.rate_limited,
    "budget exhausted": Scenario.over_budget,
    "cost missing, negative or not finite": Scenario.cost_is_no_cost,
    "no executor registered": Scenario.no_executor,
    "idempotency key used with other parameters": Scenario.key_with_other_parameters,
    "idempotency key still in flight": Scenario.key_in_flight,
    "too many idempotency keys": Scenario.too_many_keys,
    "trace ring full": Scenario.ring_full,
    "session ended before": Scenario.session_ended_before,
    "session expired": Scenario.session_expired,
}
SYNCHRONOUS_ONLY: set[str] = set()
ENDINGS = ("action.denied", "approval.requested", "action.executed", "action.failed")


class Failing(MemoryStorage):
    """Takes events until it is given an error to raise instead."""

    error: Exception | None = None

    def append(self, batch: Sequence[Event]) -> None:
        if self.error is not None:
            raise self.error
        super().append(batch)

    def recover(self) -> None:
        self.error = None


def fail() -> None:
    raise ValueError("secret")


def test_every_row_has_its_scenario() -> None:
    """The table and what is tested here are the same outcomes: neither can grow alone."""
    assert set(table()) == set(SCENARIOS)


@pytest.mark.parametrize("inline", [False, True], ids=["", "inline"])
@pytest.mark.parametrize("outcome", SCENARIOS)
def test_outcome_raises_and_records_what_its_row_says(
    outcome: str, inline: bool, make_world: Any, atlas: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception, the events and their marks are exactly those of the table; the chain verifies (the fixture does it)."""
    _, raises, expected = table()[outcome]
    scenario = Scenario(make_world, atlas, run, monkeypatch, inline)
    attempt = SCENARIOS[outcome](scenario)
    mark = getattr(scenario, "mark", None)
    if mark is None:
        mark = len(scenario.world.trace(scenario.session))
    caught: BaseException | None = None
    try:
        attempt()
    except BaseException as error:
        caught = error
    finally:
        scenario.finish()
    assert raises == ("–" if caught is None else type(caught).__name__), caught
    recorded = scenario.world.trace(scenario.session)[mark:]
    recorded = recorded[: len(recorded) - getattr(scenario, "ignored", 0)]
    if expected[-1:] != [("session.ended", {})]:
        recorded = [event for event in recorded if event.event_type != "session.ended"]
    marks = ("replayed", "effect")
    actual = [(event.event_type, {m: event.payload[m] for m in marks if m in event.payload}) for event in recorded]
    assert expected == actual
    endings = [event for event in recorded if event.event_type in ENDINGS]
    assert (1 if expected and expected[0][0] != "session.ended" else 0) == len(endings)
    assert "secret" not in str(recorded)
    if isinstance(caught, cra.ExecutionError):
        assert any(mark.get("effect") == "unknown" for _, mark in actual) == (caught.effect == "unknown")


def test_a_refused_parameter_is_named_where_the_schema_names_it(make_world: Any, atlas: Any, run: Any) -> None:
    """The caller is told everything; the trace what the atlas's author wrote, and no name that the caller made up."""
    schema = {
        "properties": {"a/b": {"properties": {"c": {}}, "additionalProperties": False}},
        "unevaluatedProperties": False,
    }
    world = make_world(atlas({"action_id": "pay.send", "parameters_schema": schema}))
    session = world.open()
    reasons = []
    for parameters in ({"a/b": {"secret": 1}}, {"secret": 1}):
        with pytest.raises(cra.InvalidParameters, match="secret"):
            run(session, "pay.send", parameters, resolution=session.resolve("pay"))
        reasons.append(world.trace(session)[-1].payload["reason"])
    assert ["Invalid parameter /a~1b", "Invalid parameters"] == reasons


def test_errors_of_the_table_are_errors_of_the_package() -> None:
    """Each exception that the table names is one of `cra`, or of Python where the caller's own cancellation is meant."""
    for _, raises, _ in table().values():
        if raises not in ("–", "CancelledError"):
            assert hasattr(cra, raises) or hasattr(builtins, raises)
