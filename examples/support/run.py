"""Refunds that need a signature: a folder atlas, its context, an approval, a cap and a budget in one short program.

Run it: `python examples/support/run.py`. The executors are stand-ins; nothing is paid.
"""

from __future__ import annotations

from pathlib import Path

import cra

resolver = cra.Resolver()
resolver.load_atlas(Path(__file__).parent / "atlas")


@resolver.action("ticket.get")
def get_ticket(id: str) -> dict[str, str]:  # noqa: A002
    return {"id": id, "text": "The lamp arrived broken. Order 1017, 80 euros."}


@resolver.action("refund.create")
def refund(order: str, amount: float) -> dict[str, object]:
    return {"order": order, "refunded": amount}


def attempt(session: cra.Session, action_id: str, **parameters: object) -> None:
    """Ask again before every action, execute, and let somebody decide where that is needed."""
    resolution = session.resolve(f"Answer ticket 42: {action_id}")
    print(f"\n{action_id} {parameters}")
    try:
        outcome = session.execute(action_id, parameters, resolution=resolution)
    except cra.ActionRequiresApproval as held:
        print(f"  waits: {held.message}")
        resolver.approve(held.approval_id, by="alice", reason="within 30 days")
        outcome = session.execute(action_id, parameters, resolution=resolution)
    except cra.CRAError as refused:
        print(f"  refused: {refused.message}")
        return
    print(f"  done: {outcome.result}")


with resolver, resolver.create_session(agent_id="support-bot", goal="Answer ticket 42") as session:
    print(
        "To read first:", *(block.block_id for block in session.resolve("Answer ticket 42").context_blocks), sep="\n  "
    )
    attempt(session, "ticket.get", id="42")
    attempt(session, "refund.create", order="1017", amount=80)
    attempt(session, "refund.create", order="1018", amount=900)
    attempt(session, "ticket.delete", id="42")
    session.end()
    print(f"\ntrace verified: {cra.verify_chain(resolver.trace(session.session_id)).event_count} events")
