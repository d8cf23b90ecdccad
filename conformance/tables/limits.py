"""Rate limits and budgets, group `limits`: calls at times, and which of them are admitted. PROTOCOL: Limits."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import (
    ABSENT,
    Group,
    atlas,
    budget,
    error,
    execute,
    policy,
    rate,
    register,
    resolve,
    session,
    step,
)

COUNTS = "A call admitted at t counts while now < t + `window_seconds`, only admitted calls count"
RETRY = "`retry_after` is the time until the oldest counted one leaves"
KEYS = "per policy × action × agent unless `key` says `session`, `agent` or `global`"
NEVER = "Spent by `execute`, never by `resolve`."
ATOMIC = "all limits and budgets of the call reserved in one atomic step, all or none"
BAD_COST = "(a cost that is missing, negative or not finite is `InvalidParameters`)"
LIFE = "`window_seconds` (absent: the session's life)"
OWN = "An action's own `rate_limit` is a rate_limit policy with id `action:<action_id>`"
REMAINING = "Limits are one constraint per policy and key, with `remaining` and `reset_after` as of the call"
REASONS = "of limits `rate_limit_exceeded`, `budget_exceeded`"
AGAIN = "(an action denied at resolve only because a limit was exhausted is decided again here)"
SHADOW = '`"mode": "shadow"` evaluates a policy, traces its result as `shadow:<result>`, and changes nothing.'
BUDGET_ERROR = "`retry_after` None without a window"
IDENTITY = "A policy is identified by (atlas id, policy id)."
MONOTONIC = "lifetimes and limits its monotonic one"
ALLOW = policy("allow")
LIMITED = error("RATE_LIMIT_EXCEEDED", http_status=429, recoverable=True)
SPENT = error("BUDGET_EXCEEDED", http_status=429, recoverable=True)

# name, sentence, max_calls, window, calls as (seconds since the first, retry_after; None: admitted)
CALLS: list[tuple[str, str, int, float, list[tuple[float, float | None]]]] = [
    ("one", COUNTS, 1, 10, [(0, None), (0, 10)]),
    ("two", COUNTS, 2, 10, [(0, None), (0, None), (0, 10)]),
    ("three-spread", COUNTS, 3, 10, [(0, None), (3, None), (6, None), (9, 1)]),
    ("just-before-it-leaves", COUNTS, 1, 10, [(0, None), (9.999999, 0.000001)]),
    ("just-when-it-leaves", COUNTS, 1, 10, [(0, None), (10, None)]),
    ("leaves-one-by-one", COUNTS, 2, 10, [(0, None), (4, None), (10, None), (10, 4), (14, None)]),
    ("refused-calls-do-not-count", COUNTS, 1, 10, [(0, None), (5, 5), (9, 1), (10, None)]),
    ("retry-after-is-of-the-oldest", RETRY, 2, 10, [(0, None), (6, None), (7, 3)]),
    ("sliding-not-fixed", COUNTS, 2, 10, [(0, None), (9, None), (11, None), (12, 7)]),
    ("window-of-a-fraction", COUNTS, 1, 0.5, [(0, None), (0.25, 0.25), (0.5, None)]),
    ("long-window", COUNTS, 1, 1800, [(0, None), (1799, 1), (1800, None)]),
]

# name, sentence, parameters of the budget, calls as (seconds since the first, amount, admitted)
COSTS: list[tuple[str, str, dict[str, Any], list[tuple[float, Any, bool]]]] = [
    ("fixed", LIFE, {"max_cost": 3, "cost": 1}, [(0, 0, True), (0, 0, True), (0, 0, True), (0, 0, False)]),
    ("fixed-remainder", LIFE, {"max_cost": 5, "cost": 2}, [(0, 0, True), (0, 0, True), (0, 0, False)]),
    ("field", LIFE, {"max_cost": 10, "cost_field": "amount"}, [(0, 6, True), (0, 5, False), (0, 4, True), (0, 1, False)]),
    ("field-exactly", LIFE, {"max_cost": 10, "cost_field": "amount"}, [(0, 10, True)]),
    ("field-over", LIFE, {"max_cost": 10, "cost_field": "amount"}, [(0, 10.5, False), (0, 10, True)]),
    ("field-zero", LIFE, {"max_cost": 1, "cost_field": "amount"}, [(0, 0, True), (0, 1, True)]),
    ("field-fractions", LIFE, {"max_cost": 1, "cost_field": "amount"}, [(0, 0.25, True), (0, 0.5, True), (0, 0.25, True), (0, 0.25, False)]),
    ("life", LIFE, {"max_cost": 1, "cost": 1}, [(0, 0, True), (3000, 0, False)]),
    ("window", COUNTS, {"max_cost": 10, "cost_field": "amount", "window_seconds": 10}, [(0, 6, True), (5, 4, True), (9.5, 1, False), (10, 6, True), (10, 1, False)]),
    ("window-refused-do-not-count", COUNTS, {"max_cost": 10, "cost_field": "amount", "window_seconds": 10}, [(0, 8, True), (1, 8, False), (2, 2, True)]),
]  # fmt: skip

# name, key, whether the limit is shared with: another action, another session of the agent, another agent
SHARED: list[tuple[str, str | None, bool, bool, bool]] = [
    ("none", None, False, True, False),
    ("agent", "agent", True, True, False),
    ("session", "session", True, False, False),
    ("global", "global", True, True, True),
]


def groups() -> list[Group]:
    group = Group("limits", "CRA-Full")
    for name, sentence, most, window, calls in CALLS:
        steps, expected = [session(), register("shop.buy"), resolve()], {}
        now = 0.0
        for number, (at, retry_after) in enumerate(calls):
            steps += [step("advance", seconds=at - now)] if at > now else []
            steps.append(execute(f"x{number}"))
            expected[f"x{number}"] = {"status": "success"} if retry_after is None else _limited(retry_after)
            now = at
        group.script(f"rate-{name}", sentence, [atlas(["shop.buy"], [ALLOW, rate(most, window)])], steps, expected)
    for name, sentence, parameters, spending in COSTS:
        steps, expected = [session(), register("shop.buy"), resolve()], {}
        now = 0.0
        for number, (at, amount, admitted) in enumerate(spending):
            steps += [step("advance", seconds=at - now)] if at > now else []
            steps.append(execute(f"x{number}", parameters={"amount": amount}))
            expected[f"x{number}"] = {"status": "success"} if admitted else SPENT
            now = at
        group.script(f"budget-{name}", sentence, [atlas(["shop.buy"], [ALLOW, budget(**parameters)])], steps, expected)
    for name, key, *shared in SHARED:
        _add_shared(group, name, key, shared)
    _add_costs(group)
    _add_atomic(group)
    _add_resolve(group)
    return [group]


def _limited(retry_after: float) -> Any:
    return error("RATE_LIMIT_EXCEEDED", http_status=429, recoverable=True, retry_after=retry_after, policy_id="rate")


def _add_shared(group: Group, name: str, key: str | None, shared: list[bool]) -> None:
    manifest = atlas(["shop.buy", "shop.sell"], [ALLOW, rate(1, 60, key=key)])
    steps = [session(), session(session="same"), session(session="other", agent_id="other")]
    steps += [register("shop.buy"), register("shop.sell"), resolve()]
    steps += [resolve("r2", session="same"), resolve("r3", session="other"), execute(None)]
    steps += [execute("action", "shop.sell"), execute("session", session="same", resolution="r2")]
    steps += [execute("agent", session="other", resolution="r3")]
    outcomes = [LIMITED if each else {"status": "success"} for each in shared]
    expected = dict(zip(("action", "session", "agent"), outcomes, strict=True))
    group.script(f"key-{name}", KEYS, [manifest], steps, expected)


def _add_costs(group: Group) -> None:
    manifest = atlas(["shop.buy"], [ALLOW, budget(max_cost=10, cost_field="amount")])
    for name, parameters in (
        ("missing", {}), ("negative", {"amount": -1}), ("string", {"amount": "1"}), ("null", {"amount": None}),
        ("true", {"amount": True}), ("list", {"amount": [1]}),
    ):  # fmt: skip
        steps = [session(), register("shop.buy"), resolve(), execute("x", parameters=parameters)]
        steps += [execute("all", parameters={"amount": 10}), step("calls", "calls", action_id="shop.buy")]
        expected = {"x": error("INVALID_PARAMETERS"), "all": {"status": "success"}, "calls": {"calls": 1}}
        group.script(f"cost-{name}", BAD_COST, [manifest], steps, expected)
    steps = [session(), register("shop.buy"), resolve(), execute(None, parameters={"amount": 10})]
    steps.append(execute("x", parameters={"amount": 1}))
    group.script("budget-without-window-has-no-retry-after", BUDGET_ERROR, [manifest], steps,
                 {"x": error("BUDGET_EXCEEDED", retry_after=None)})  # fmt: skip
    renewed = [session(), register("shop.buy"), resolve(), execute(None, parameters={"amount": 10}), step("end"),
               session(session="s2"), resolve("r2", session="s2"),
               execute("x", session="s2", resolution="r2", parameters={"amount": 10})]  # fmt: skip
    group.script("budget-of-a-new-session", LIFE, [manifest], renewed, {"x": {"status": "success"}})


def _add_atomic(group: Group) -> None:
    policies = [ALLOW, rate(2, 60, "wide", key="agent"), rate(1, 60, "narrow", actions=["shop.buy"])]
    manifest = atlas(["shop.buy", "shop.sell"], policies)
    begin = [session(), register("shop.buy"), register("shop.sell"), resolve()]
    steps = [*begin, execute(None), execute("refused"), execute("sold", "shop.sell")]
    steps.append(execute("last", "shop.sell"))
    expected = {
        "refused": error("RATE_LIMIT_EXCEEDED", policy_id="narrow"),
        "sold": {"status": "success"},
        "last": LIMITED,
    }
    group.script("all-or-none", ATOMIC, [manifest], steps, expected)
    mixed = atlas(["shop.buy"], [ALLOW, rate(3, 60), budget(max_cost=1, cost_field="amount")])
    steps = [session(), register("shop.buy"), resolve()]
    steps += [execute(f"x{number}", parameters={"amount": 5}) for number in range(4)]
    steps += [execute(f"y{number}", parameters={"amount": 0}) for number in range(4)]
    expected = {
        **{f"x{n}": SPENT for n in range(4)},
        **{f"y{n}": {"status": "success"} for n in range(3)},
        "y3": LIMITED,
    }
    group.script("refused-by-the-budget-spends-no-rate", ATOMIC, [mixed], steps, expected)
    failing = atlas(["shop.buy"], [ALLOW, rate(1, 60)])
    steps = [session(), register("shop.buy", "raise"), resolve(), execute("x"), execute("y")]
    group.script("a-failed-call-is-spent", "never given back once the executor was called", [failing], steps,
                 {"x": error("EXECUTION_ERROR"), "y": LIMITED})  # fmt: skip
    strict = {"action_id": "shop.buy", "parameters_schema": {"type": "object", "required": ["n"]}}
    steps = [session(), register("shop.buy"), resolve(), execute("x"), execute("y", parameters={"n": 1})]
    group.script("refused-parameters-spend-nothing", COUNTS, [atlas([strict], [ALLOW, rate(1, 60)])], steps,
                 {"x": error("INVALID_PARAMETERS"), "y": {"status": "success"}})  # fmt: skip
    steps = [session(), register("shop.buy"), resolve(), execute("x"), execute("y"), execute("z")]
    shadowed = atlas(["shop.buy"], [ALLOW, rate(1, 60, mode="shadow")])
    fine = {name: {"status": "success"} for name in "xyz"}
    group.script("shadow", SHADOW, [shadowed], steps, fine)
    shops = [atlas([name], [policy("allow", actions=[name]), rate(1, 60, key="global", actions=[name])], f"com.example.{name[:4]}")
             for name in ("shop.buy", "stop.buy")]  # fmt: skip
    steps = [
        session(),
        register("shop.buy"),
        register("stop.buy"),
        resolve(),
        execute("x"),
        execute("y", "stop.buy"),
        execute("z"),
    ]
    group.script("of-two-atlases-with-one-id", IDENTITY, shops, steps,
                 {"x": {"status": "success"}, "y": {"status": "success"}, "z": LIMITED})  # fmt: skip
    back = [session(), register("shop.buy"), resolve(), execute(None), step("set_wall", time="2027-01-01T00:00:00Z"),
            resolve("r2"), execute("x", resolution="r2")]  # fmt: skip
    group.script("wall-clock-does-not-count", MONOTONIC, [failing], back, {"x": LIMITED})


def _add_resolve(group: Group) -> None:
    manifest = atlas(["shop.buy"], [ALLOW, rate(2, 60)])
    begin = [session(), register("shop.buy")]
    steps = [*begin, *(resolve(f"r{number}") for number in range(5)), execute("x", resolution="r4")]
    group.script("resolve-spends-nothing", NEVER, [manifest], steps, {"x": {"status": "success"}})

    def constraint(remaining: int, **more: Any) -> Any:
        parameters = {"policy_id": "rate", "max_calls": 2, "window_seconds": 60, "remaining": remaining, **more}
        return {"constraints": [{"type": "rate_limit", "parameters": parameters}]}

    steps = [*begin, resolve("r0"), execute(None, resolution="r0"), step("advance", seconds=10), resolve("r1")]
    steps += [execute(None, resolution="r1"), resolve("r2")]
    denied = {"denied_actions": [{"action_id": "shop.buy", "reason": "rate_limit_exceeded", "policy_id": "rate"}]}
    expected = {
        "r0": constraint(2),
        "r1": constraint(1, reset_after=50),
        "r2": {**constraint(0, reset_after=50), **denied},
    }
    group.script("constraint", REMAINING, [manifest], steps, expected)
    money = atlas(["shop.buy"], [ALLOW, budget(max_cost=5, cost=5)])
    steps = [*begin, resolve("r0"), execute(None, resolution="r0"), resolve()]
    spent = {"action_id": "shop.buy", "reason": "budget_exceeded", "policy_id": "budget"}
    parameters = {"policy_id": "budget", "max_cost": 5, "remaining": 0, "window_seconds": ABSENT}
    expected = {"denied_actions": [spent], "constraints": [{"type": "budget", "parameters": parameters}]}
    group.script("budget-exceeded", REASONS, [money], steps, {"r": expected})
    steps = [*begin, resolve("r0"), execute(None, resolution="r0"), execute(None, resolution="r0"), resolve("late"),
             step("advance", seconds=60), execute("x", resolution="late")]  # fmt: skip
    group.script("denied-for-a-limit-alone-is-decided-again", AGAIN, [manifest], steps, {"x": {"status": "success"}})
    own = {"action_id": "shop.buy", "rate_limit": {"max_calls": 1, "window_seconds": 60}}
    steps = [*begin, resolve("r0"), execute(None, resolution="r0"), resolve(), execute("x")]
    denial = {"action_id": "shop.buy", "reason": "rate_limit_exceeded", "policy_id": "action:shop.buy"}
    expected = {"r": {"denied_actions": [denial]}, "x": error("RATE_LIMIT_EXCEEDED", policy_id="action:shop.buy")}
    group.script("of-the-action", OWN, [atlas([own], [ALLOW])], steps, expected)
