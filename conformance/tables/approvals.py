"""Approvals, group `approvals`: announced, requested, granted, rejected, expired. PROTOCOL: Approvals."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import (
    Group,
    atlas,
    error,
    execute,
    outcome,
    policy,
    rate,
    register,
    resolve,
    session,
    step,
    taken,
)

PENDING = "an approval becomes pending, with its event, at the first `execute` of that action or by `session.request_approval(id)`"
DERIVED = "`resolve` only announces ids, derived from session, policy and action"
BY = "`by` is never the session's agent"
HOLDS = (
    "grant holds for the session; one for a policy with parameter conditions is bound to the hash of those parameters"
)
ONE_USE = "good for one execution"
STATES = "Pending → granted, rejected or expired (own lifetime, 24 h), each with who, when, why, each an event"
DEDUPLICATED = "Pending ones are deduplicated and bounded."
ONE = "cover one policy and one action"
FIRST = "`decision.approval_id` is the first"
EACH = "in one `require_approval` constraint with an approval id per policy and action"
GRANT = "a grant replaces neither an allow, a limit nor a deny"
UNLESS = "held, unless each matching one has its grant; then evaluation goes on at 4"
HELD_SINCE = "held it and the grant has come since"
ALLOW = policy("allow")
ASK = policy("require_approval", "ask", ["shop.buy"])
HELD = error("ACTION_REQUIRES_APPROVAL", http_status=423, recoverable=True, approval_id="$dynamic")
DENIED = error("ACTION_DENIED", http_status=403)
SUCCESS = {"status": "success"}
SHOP = atlas(["shop.buy"], [ALLOW, ASK])
BEGIN = [session(), register("shop.buy"), resolve()]
ID = taken("r/decision/approval_id")
ASKED = step("request_approval", "asked", approval_id=ID)
APPROVED = step("approve", "approved", approval_id=ID, by="alice", reason="Fine")


def groups() -> list[Group]:
    group = Group("approvals", "CRA-Full")

    def add(name: str, sentence: str, steps: list[Any], expected: Any, manifest: Any = SHOP, **world: Any) -> None:
        group.script(name, sentence, [manifest], steps, expected, **world)

    _add_announced(add)
    _add_decided(add)
    _add_bound(add)
    return [group]


def _add_announced(add: Any) -> None:
    entry = {"approval_id": {"$same": "id"}, "policy_id": "ask", "action_id": "shop.buy"}
    constraint = {"type": "require_approval", "parameters": {"approvals": [entry]}}
    decision = {"type": "requires_approval", "approval_id": {"$same": "id"}}
    add("announced", EACH, BEGIN, {"r": {"decision": decision, "constraints": [constraint]}})
    same = {name: {"decision": {"approval_id": {"$same": "id"}}} for name in ("r", "again")}
    add("same-id-again", DERIVED, [*BEGIN, resolve("again")], same)
    empty: Any = {"pending": {"approvals": []}}
    add("announced-is-not-pending", DERIVED, [*BEGIN, step("pending", "pending")], empty)
    listed = {
        "pending": {"approvals": [{"approval_id": {"$same": "id"}, "status": "pending", "action_id": "shop.buy"}]}
    }
    asked = {"asked": {"approval_id": {"$same": "id"}, "policy_id": "ask", "status": "pending"}}
    add("requested", PENDING, [*BEGIN, ASKED, step("pending", "pending")], {**asked, **listed})
    held = {"x": error("ACTION_REQUIRES_APPROVAL", approval_id={"$same": "id"})}
    add("requested-by-execute", PENDING, [*BEGIN, execute("x"), step("pending", "pending")], {**held, **listed})
    add("requested-twice", DEDUPLICATED, [*BEGIN, ASKED, execute("x"), execute("y"), step("pending", "pending")],
        {"x": HELD, "y": HELD, "pending": {"approvals": [{"status": "pending"}]}})  # fmt: skip
    add("unknown-id", DERIVED, [*BEGIN, step("request_approval", "u", approval_id="0192f3a1-7c4e-7d2a-9b01-000000000001")],
        {"u": {"error": {"category": "not_found"}}})  # fmt: skip
    unasked = [*BEGIN, step("approve", "approved", approval_id=ID)]
    add("only-what-is-pending-is-granted", PENDING, unasked, {"approved": {"error": {}}})
    two = atlas(["shop.buy", "shop.sell"], [ALLOW, policy("require_approval", "ask")])
    entries = [{"approval_id": {"$same": "first"}, "action_id": "shop.buy"}, {"action_id": "shop.sell"}]
    expected = {
        "decision": {"approval_id": {"$same": "first"}},
        "constraints": [{"parameters": {"approvals": entries}}],
    }
    add("one-per-action", FIRST, BEGIN, {"r": expected}, two)
    double = atlas(["shop.buy"], [ALLOW, ASK, policy("require_approval", "ask-too", ["shop.*"])])
    entries = [{"policy_id": "ask"}, {"policy_id": "ask-too"}]
    add("one-per-policy", EACH, BEGIN, {"r": {"constraints": [{"parameters": {"approvals": entries}}]}}, double)
    one_of_two = [*BEGIN, ASKED, APPROVED, execute("x"), resolve("after")]
    expected = {"x": HELD, "after": outcome([], [("shop.buy", "ask-too")], "requires_approval")}
    add("one-grant-of-two", UNLESS, one_of_two, expected, double)
    both = [*one_of_two, step("request_approval", approval_id=taken("after/decision/approval_id")),
            step("approve", approval_id=taken("after/decision/approval_id")), execute("y"), resolve("all")]  # fmt: skip
    add("both-grants", UNLESS, both, {"x": HELD, "y": SUCCESS, "all": outcome(["shop.buy"])}, double)
    other = [session(), register("shop.sell"), resolve(), ASKED, APPROVED, execute("x", "shop.sell"), resolve("after")]
    expected = {"x": HELD, "after": outcome(["shop.buy"], [("shop.sell", "ask")])}
    add("a-grant-is-for-one-action", ONE, other, expected, two)


def _add_decided(add: Any) -> None:
    granted = {"approved": {"status": "granted", "decided_by": "alice", "decision_reason": "Fine"}}
    begin = [*BEGIN, ASKED, APPROVED]
    add("granted", HELD_SINCE, [*begin, execute("x")], {**granted, "x": SUCCESS})
    add("granted-seen-by-resolve", UNLESS, [*begin, resolve("after")], {"after": outcome(["shop.buy"])})
    add("grant-holds", HOLDS, [*begin, execute("x"), execute("y")], {"x": SUCCESS, "y": SUCCESS})
    add("granted-after-execute", HELD_SINCE, [*BEGIN, execute("x"), APPROVED, execute("y")], {"x": HELD, "y": SUCCESS})
    elsewhere = [
        *begin,
        session(session="s2"),
        resolve("r2", session="s2"),
        execute("x", session="s2", resolution="r2"),
    ]
    add("grant-is-for-one-session", HOLDS, elsewhere, {"x": HELD})
    agent = [*BEGIN, ASKED, step("approve", "approved", approval_id=ID, by="agent"), execute("x")]
    add("never-by-the-agent", BY, agent, {"approved": {"error": {}}, "x": HELD})
    agent = [*BEGIN, ASKED, step("reject", "rejected", approval_id=ID, by="agent")]
    add("never-rejected-by-the-agent", BY, agent, {"rejected": {"error": {}}})
    nobody = [*BEGIN, ASKED, step("approve", "approved", approval_id=ID, by="")]
    add("somebody", STATES, nobody, {"approved": {"error": {}}})
    add(
        "granted-twice",
        STATES,
        [*begin, step("approve", "again", approval_id=ID)],
        {"again": {"error": {"code": "CONFLICT"}}},
    )
    reject = step("reject", "rejected", approval_id=ID, by="bob", reason="No")
    rejected = {"rejected": {"status": "rejected", "decided_by": "bob", "decision_reason": "No"}}
    add("rejected", STATES, [*BEGIN, ASKED, reject, execute("x")], {**rejected, "x": DENIED})
    add("rejected-is-not-granted", STATES, [*BEGIN, ASKED, reject, step("approve", "late", approval_id=ID)],
        {"late": {"error": {"code": "CONFLICT"}}})  # fmt: skip
    long = {"options": {"idle_seconds": 200_000, "life_seconds": 400_000, "ttl_seconds": 86_400}}
    waited = [*BEGIN, ASKED, step("advance", seconds=86_399), step("pending", "before"), step("advance", seconds=1)]
    expired = [*waited, step("pending", "after"), step("approve", "late", approval_id=ID)]
    expected = {"before": {"approvals": [{"status": "pending"}]}, "after": {"approvals": []}, "late": {"error": {}}}
    add("expired", STATES, expired, expected, **long)
    again = [*waited, resolve("r2"), execute("x", resolution="r2"), step("pending", "pending")]
    add(
        "asked-again-after-it-expired",
        PENDING,
        again,
        {"x": HELD, "pending": {"approvals": [{"status": "pending"}]}},
        **long,
    )
    trace = step("trace", "trace", types="approval.")
    events = {"trace": {"events": [
        {"event_type": "approval.requested", "payload": {"approval_id": {"$same": "id"}, "action_id": "shop.buy", "policy_id": "ask"}},
        {"event_type": "approval.granted", "payload": {"approval_id": {"$same": "id"}, "by": "alice", "reason": "Fine"}},
    ]}}  # fmt: skip
    add("events", "each an event (`approval.requested`, `.granted`, `.rejected`, `.expired`)", [*begin, trace], events)
    events = {
        "trace": {
            "events": [
                {"event_type": "approval.requested"},
                {"event_type": "approval.rejected", "payload": {"by": "bob"}},
            ]
        }
    }
    add("event-of-a-rejection", STATES, [*BEGIN, ASKED, reject, trace], events)
    events = {"trace": {"events": [{"event_type": "approval.requested"}, {"event_type": "approval.expired"}]}}
    add("event-of-an-expiry", STATES, [*waited, step("pending"), trace], events, **long)
    limited = atlas(["shop.buy"], [ALLOW, ASK, rate(1, 60)])
    add("a-grant-replaces-no-limit", GRANT, [*begin, execute("x"), execute("y")],
        {"x": SUCCESS, "y": error("RATE_LIMIT_EXCEEDED")}, limited)  # fmt: skip
    closed = {"do": "load_atlas", "manifest": {**SHOP, "policies": [ALLOW, ASK, policy("deny")]}, "replace": True}
    add("a-grant-replaces-no-deny", GRANT, [*begin, closed, execute("x")], {"x": DENIED})
    shut = {"do": "load_atlas", "manifest": {**SHOP, "policies": [ASK]}, "replace": True}
    add("a-grant-replaces-no-allow", GRANT, [*begin, shut, execute("x"), resolve("after")],
        {"x": DENIED, "after": outcome([], [("shop.buy", "")])})  # fmt: skip


def _add_bound(add: Any) -> None:
    over = {"properties": {"amount": {"type": "number", "minimum": 100}}, "required": ["amount"]}
    bound = atlas(
        ["shop.buy"], [ALLOW, policy("require_approval", "big", ["shop.buy"], conditions={"parameters": over})]
    )
    begin = [session(), register("shop.buy"), resolve(), execute("asked", parameters={"amount": 500})]
    grant = step("approve", approval_id=taken("asked/error/approval_id"))
    add(
        "bound-not-needed",
        HOLDS,
        [*begin, execute("x", parameters={"amount": 5})],
        {"asked": HELD, "x": SUCCESS},
        bound,
    )
    add("bound-granted", HOLDS, [*begin, grant, execute("x", parameters={"amount": 500})], {"x": SUCCESS}, bound)
    twice = [*begin, grant, execute("x", parameters={"amount": 500}), execute("y", parameters={"amount": 500})]
    add("bound-is-good-for-one", ONE_USE, twice, {"x": SUCCESS, "y": HELD}, bound)
    others = [*begin, grant, execute("x", parameters={"amount": 501}), execute("y", parameters={"amount": 500})]
    add("bound-to-the-parameters", HOLDS, others, {"x": HELD, "y": SUCCESS}, bound)
    equal = [*begin, grant, execute("x", parameters={"amount": 500.0})]
    add("bound-to-their-canonical-form", HOLDS, equal, {"x": SUCCESS}, bound)
    failed = [session(), register("shop.buy", "raise"), resolve(), execute("asked", parameters={"amount": 500}), grant,
              execute("x", parameters={"amount": 500}), execute("y", parameters={"amount": 500})]  # fmt: skip
    add("bound-is-used-by-a-failure", ONE_USE, failed, {"x": error("EXECUTION_ERROR"), "y": HELD}, bound)
