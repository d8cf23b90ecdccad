"""What docs/protocol.md says and no case quotes, with the reason: beside the quotes of the cases, this leaves nothing out.

Clauses are cut by `quotes.unquoted`. `tests/conformance/test_cases.py` finds the ones that are missing here, and those that a case
quotes by now.
"""

# ruff: noqa: E501  a row of a table is a line

from __future__ import annotations

NOTHING_TO_ASK = "says nothing that an implementation could do differently"
CONCLUDED = "follows from clauses that the cases quote, and is tested as a property"
DETAILED = "is said again in detail by clauses that the cases quote"
ONE_CALLER = "a script makes one call after the other"
ONE_PROCESS = "a script runs in one process, without a restart"
NO_STEP = "no step of a script brings it about"
OWN_NAMES = "concerns names and words of the library, which an adapter does not show"

UNASKED = {
    "The real atlases in [`tests/data/atlases/`](../tests/data/atlases/) use it.": NOTHING_TO_ASK,
    "real tool names have them.": NOTHING_TO_ASK,
    "Loaded atlases may define the same `action_id`;": DETAILED,
    "`time_window` ·": DETAILED,
    "`parameters` (a JSON Schema that the call's parameters satisfy).": DETAILED,
    "`deny` → denied.": DETAILED,
    "`rate_limit`, 5.": DETAILED,
    "`budget` → denied while exhausted.": DETAILED,
    "`allow` → allowed.": DETAILED,
    "one more restricting policy or one more selected atlas never allows more of what was there;": CONCLUDED,
    "time is linear in policies × actions.": "a case has no clock; `perf/` measures it",
    "an agent that was talked into misusing a tool uses one that it is allowed to use.": NOTHING_TO_ASK,
    "`allow` — everything allowed;": DETAILED,
    "this process's last knowledge, with `as_of`).": ONE_PROCESS,
    "room for the closing record reserved ·": NO_STEP,
    "executor under `timeout_seconds` ·": DETAILED,
    "after a crash recovery closes open executions with `OUTCOME_UNKNOWN` and sessions with reason `error`.": ONE_PROCESS,
    "the second caller waits for the same outcome.": ONE_CALLER,
    "it is for fixtures.": NOTHING_TO_ASK,
    "Ids are UUIDv7, lower case.": "an adapter with seeded ids may make others; a verifier takes any version",
    "a verifier never raises over content.": CONCLUDED,
    "With it the concatenation is uniquely decodable;": CONCLUDED,
    "That is a property to test, on both paths.": NOTHING_TO_ASK,
    "a loss inside an agent's session is also chained there.": NO_STEP,
    "With injected clock and ids two runs are byte-identical (the runtime's own session aside).": "which ids are injected is the adapter's choice",
    "Sessions are not resumed after a restart.": ONE_PROCESS,
    '{"code", "message", "category", "recoverable"}}`.': DETAILED,
    "Messages say what to do next.": OWN_NAMES,
    "| RateLimitExceeded (`retry_after`), BudgetExceeded (a kind of it;": DETAILED,
    "| TraceChainIntegrityError, ReplayError, PolicyEvaluationError |": OWN_NAMES,
    "| TraceBackpressure (ring full) |": NO_STEP,
    "TRACE_BACKPRESSURE |": NO_STEP,
    "| StorageError, StorageLocked, InternalError |": NO_STEP,
    "StorageLocked only |": NO_STEP,
    "Heartbeat every 30 s with metrics (uptime, resolutions total and in the last interval, active sessions, pending trace records, memory);": NO_STEP,
    "clock skew allowed 300 s.": DETAILED,
}
