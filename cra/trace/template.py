"""Templates: the events of a resolve that its plan already knows, written once and referred to by every resolve that has them.

A template is one ruling of one plan: the payloads of its evaluations, of every context block that it may inject or cut, and
what `carp.resolution.completed` says. PROTOCOL: Events of a resolve.
"""

from __future__ import annotations

from typing import Literal

from cra.carp.plan import Plan, Ruling
from cra.hotpath import canonical_json
from cra.reference.records import encode_template

TraceDetail = Literal["full", "decisions"]
_ALLOWING = ("allow", "shadow:allow")


def make_template(number: int, plan: Plan, ruling: Ruling, trace_detail: TraceDetail, ttl_seconds: int) -> bytes:
    """The template record of a ruling. With `trace_detail` "decisions" it has no evaluations that allow."""
    evaluations = [
        canonical_json({"policy_id": each.policy_id, "result": each.result, "action_id": each.action_id})
        for each in ruling.evaluations
        if trace_detail == "full" or each.result not in _ALLOWING
    ]
    blocks = []
    for atlas, block in plan.policy_set.blocks:
        named = {"block_id": block.block_id, "source": atlas.atlas_id, "token_count": block.token_estimate}
        injected = named | {"content_type": block.content_type, "priority": block.priority}
        blocks.append((canonical_json(injected), canonical_json(named | {"reason": "token_budget"})))
    return encode_template(
        number,
        ruling.decision,
        len(ruling.allowed),
        len(ruling.denied),
        ttl_seconds,
        plan.policy_set.digest,
        evaluations,
        blocks,
    )
