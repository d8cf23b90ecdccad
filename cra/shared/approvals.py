"""Approvals that are asked for in one process and decided in another.

Each process keeps the book of its own sessions (`cra.execution.approvals`); `SharedApprovals` is the board on which pending ones
are announced and decisions are left. What is decided elsewhere is taken over as if it had been decided here: recorded in the
session's trace, with who and why. A resolve never asks the board. PROTOCOL: Approvals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import msgspec

from cra.execution.approvals import Approval

Verdict = Literal["granted", "rejected"]


class SharedApprovalsAway(Exception):
    """The board cannot be asked now; the message says why, without any password."""


class Decision(msgspec.Struct, frozen=True):
    """What somebody decided about an approval, and why."""

    status: Verdict
    by: str
    reason: str


@runtime_checkable
class SharedApprovals(Protocol):
    """The board, safe to use from many threads. All of it but `close` and `listen` raises `SharedApprovalsAway`."""

    @property
    def name(self) -> str:
        """What it is called in messages; holds no password."""
        ...

    def announce(self, approval: Approval, lifetime_seconds: float) -> None:
        """Put up an approval that is pending, for as long as it can be decided."""
        ...

    def withdraw(self, approval_ids: list[str]) -> None:
        """Take down what is decided, expired, or of a session that has ended. Unknown ids are ignored."""
        ...

    def pending(self) -> list[Approval]:
        """What waits for a decision, oldest first."""
        ...

    def find(self, approval_id: str) -> Approval | None:
        """An approval on the board, None where there is none."""
        ...

    def decide(self, approval_id: str, decision: Decision) -> Decision | None:
        """Leave a decision: the one that counts, an earlier one where there was one, None where the approval is not there."""
        ...

    def decision(self, approval_id: str) -> Decision | None:
        """What was decided, None while nothing was."""
        ...

    def listen(self, tell: Callable[[str], object]) -> None:
        """Call `tell` with the id of every approval that is decided from now on, on a thread of the board's own; once a board."""
        ...

    def close(self) -> None:
        """Stop listening, and let go of connections. Harmless when repeated."""
        ...
