"""Records to events: a pure function of the record and of what it refers to. PROTOCOL: Events of a resolve.

Expanding the same record again, in another process or after a crash, gives the same events; nothing random is drawn here and
no clock is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cra.ids import format_uuid
from cra.trace.record import RESOLUTION, Record, ResolveRecord

Draft = tuple[str, dict[str, Any]]
"""Event type and payload."""


def expand(record: Record) -> Iterator[Draft]:
    """The events of a record, in order, before they are chained."""
    if isinstance(record, ResolveRecord):
        yield from _resolve(record)
    else:
        yield from record.events


def _resolve(record: ResolveRecord) -> Iterator[Draft]:
    plan = record.plan
    ruling = plan.ruling(record.exhausted)
    yield "carp.request.received", dict(record.request)
    for evaluation in ruling.evaluations:
        if record.session.trace_detail == "full" or evaluation.result not in ("allow", "shadow:allow"):
            yield (
                "policy.evaluated",
                {
                    "policy_id": evaluation.policy_id,
                    "result": evaluation.result,
                    "action_id": evaluation.action_id,
                },
            )
    for index in record.injected:
        atlas, block = plan.policy_set.blocks[index]
        yield (
            "context.injected",
            {
                "block_id": block.block_id,
                "source": atlas.atlas_id,
                "content_type": block.content_type,
                "token_count": block.token_estimate,
                "priority": block.priority,
            },
        )
    for index in record.cut:
        atlas, block = plan.policy_set.blocks[index]
        yield (
            "context.redacted",
            {
                "block_id": block.block_id,
                "source": atlas.atlas_id,
                "token_count": block.token_estimate,
                "reason": "token_budget",
            },
        )
    yield (
        "carp.resolution.completed",
        {
            "resolution_id": format_uuid(record.base + RESOLUTION),
            "request_id": record.request_id,
            "decision_type": ruling.decision,
            "allowed_count": len(ruling.allowed),
            "denied_count": len(ruling.denied),
            "context_block_count": len(record.injected),
            "ttl_seconds": record.ttl_seconds,
            "policy_set": plan.policy_set.digest,
        },
    )
