"""What an error tells a program, group `errors`: code, category, status, and whether to try again. PROTOCOL: Errors."""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

from typing import Any

from conformance.tables.table import (
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
    taken,
)

MISSING = "AtlasNotFound / SessionNotFound / ActionNotFound | ATLAS_NOT_FOUND … | not_found | 404 | no"
MANIFEST = "InvalidAtlasManifest, AtlasVersionMismatch, InvalidCARPRequest"
VALIDATION = "InvalidCARPRequest, InvalidTraceEvent, InvalidPolicy, SchemaValidationError, InvalidParameters | … | validation | 400 | no"
DENIED = "ActionDenied | ACTION_DENIED | authorization | 403 | no"
HELD = "ActionRequiresApproval (carries `approval_id`) | ACTION_REQUIRES_APPROVAL | authorization | 423 | yes"
CONFLICT = "AtlasAlreadyLoaded, SessionAlreadyExists, SessionAlreadyEnded, Conflict | … | conflict | 409 | no"
EXPIRED = "SessionExpired, ResolutionExpired | … | expired | 410 | ResolutionExpired only"
LIMITED = "RATE_LIMIT_EXCEEDED, BUDGET_EXCEEDED | rate_limit | 429 | yes"
EXTERNAL = "AtlasLoadError, ExecutionError, SinkError | … | external | 502 | no"

BEGIN = [session(), register("shop.buy"), resolve()]
SHOP = atlas(["shop.buy"], [policy("allow")])
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def _shop(*policies: Any, **action: Any) -> Any:
    return atlas([{"action_id": "shop.buy", **action}], [policy("allow"), *policies])


# code, category, status, whether it is recoverable, sentence, the atlas that is loaded, steps of which `x` fails
ROWS: list[tuple[str, str, int, bool, str, Any, list[Any]]] = [
    ("ATLAS_NOT_FOUND", "not_found", 404, False, MISSING, SHOP, [step("unload_atlas", "x", atlas_id="com.example.none")]),
    ("ACTION_NOT_FOUND", "not_found", 404, False, MISSING, SHOP, [*BEGIN, execute("x", "shop.none")]),
    ("INVALID_ATLAS_MANIFEST", "validation", 400, False, MANIFEST, SHOP,
     [step("load_atlas", "x", manifest={"atlas_id": "com.example.other"})]),
    ("ATLAS_VERSION_MISMATCH", "validation", 400, False, MANIFEST, SHOP,
     [step("load_atlas", "x", manifest=atlas([], atlas_id="com.example.other", atlas_version="9.0"))]),
    ("INVALID_POLICY", "validation", 400, False, VALIDATION, SHOP,
     [step("load_atlas", "x", manifest=atlas([], [policy("perhaps")], "com.example.other"))]),
    ("INVALID_CARP_REQUEST", "validation", 400, False, VALIDATION, SHOP, [session(), resolve("x", goal="")]),
    ("INVALID_PARAMETERS", "validation", 400, False, VALIDATION, _shop(parameters_schema=NUMBER), [*BEGIN, execute("x")]),
    ("SCHEMA_VALIDATION_ERROR", "validation", 400, False, VALIDATION, _shop(returns_schema=NUMBER), [*BEGIN, execute("x")]),
    ("ACTION_DENIED", "authorization", 403, False, DENIED, _shop(policy("deny")), [*BEGIN, execute("x")]),
    ("ACTION_REQUIRES_APPROVAL", "authorization", 423, True, HELD, _shop(policy("require_approval")), [*BEGIN, execute("x")]),
    ("ATLAS_ALREADY_LOADED", "conflict", 409, False, CONFLICT, SHOP, [step("load_atlas", "x", manifest=SHOP)]),
    ("SESSION_ALREADY_ENDED", "conflict", 409, False, CONFLICT, SHOP, [session(), step("end"), resolve("x")]),
    ("CONFLICT", "conflict", 409, False, CONFLICT, SHOP,
     [*BEGIN, execute(None, idempotency_key="k", parameters={"n": 1}), execute("x", idempotency_key="k", parameters={"n": 2})]),
    ("SESSION_EXPIRED", "expired", 410, False, EXPIRED, SHOP, [session(), step("advance", seconds=86401), resolve("x")]),
    ("RESOLUTION_EXPIRED", "expired", 410, True, EXPIRED, SHOP,
     [*BEGIN, step("advance", seconds=3500), resolve(None), step("advance", seconds=101), execute("x", resolution="r")]),
    ("RATE_LIMIT_EXCEEDED", "rate_limit", 429, True, LIMITED, _shop(rate(1, 60)), [*BEGIN, execute(None), execute("x")]),
    ("BUDGET_EXCEEDED", "rate_limit", 429, True, LIMITED, _shop(budget(max_cost=1, cost=1)), [*BEGIN, execute(None), execute("x")]),
    ("EXECUTION_ERROR", "external", 502, False, EXTERNAL, SHOP, [session(), register("shop.buy", "raise"), resolve(), execute("x")]),
]  # fmt: skip


def groups() -> list[Group]:
    group = Group("errors", "CRA-Full")
    for code, category, status, recoverable, sentence, manifest, steps in ROWS:
        told = error(code, category=category, http_status=status, recoverable=recoverable)
        group.script(code.lower().replace("_", "-"), sentence, [manifest], steps, {"x": told})
    held = [*BEGIN, execute("x"), step("approve", "granted", approval_id=taken("r/decision/approval_id")), execute("y")]
    group.script("held-carries-its-approval", HELD, [_shop(policy("require_approval"))], held,
                 {"r": {"decision": {"approval_id": {"$same": "a"}}}, "x": {"error": {"approval_id": {"$same": "a"}}},
                  "granted": {"approval_id": {"$same": "a"}}, "y": {"status": "success"}})  # fmt: skip
    return [group]
