"""One runtime at a board of approvals: it announces what waits here, takes over what was decided elsewhere, decides for others.

Used by `cra.resolver`, sessions and executions. A board that is away costs nothing but what it is for: the approvals of this
process can be decided in it all the same.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from cra.errors import ActionDenied, ApprovalNotFound, Conflict, InvalidParameters, StorageError
from cra.execution.approvals import Approval, ApprovalBook, same_name
from cra.shared.approvals import Decision, SharedApprovals, SharedApprovalsAway, Verdict
from cra.timing.clock import NS_PER_SECOND, Clock, format_timestamp
from cra.trace.worker import Worker

_AGAIN_SECONDS = 1.0


class ApprovalSharing:
    """See the module. `decide_here` records a decision about an approval of this process; it raises `CRAError`."""

    def __init__(
        self,
        board: SharedApprovals,
        book: ApprovalBook,
        clock: Clock,
        decide_here: Callable[[str, Decision], object],
    ) -> None:
        self._board = board
        self._book = book
        self._clock = clock
        self._decide_here = decide_here
        self._lock = threading.Lock()
        self._announced: set[str] = set()
        self._listens = False
        self._gone: deque[str] = deque()
        self._heard: deque[str] = deque()
        self._worker = Worker(self._step, "cra-approvals")

    def announce(self, approval: Approval) -> None:
        """Put up an approval of this process. Where the board is away, it waits here alone."""
        left = (self._book.lifetime_ns) / NS_PER_SECOND
        try:
            self._board.announce(approval, left)
        except SharedApprovalsAway:
            return
        with self._lock:
            first, self._listens = not self._listens, True
            self._announced.add(approval.approval_id)
        unwatch = self._book.watch(approval.approval_id, lambda: self._note(self._gone, approval.approval_id))
        if not self._is_pending(
            approval.approval_id
        ):  # it was decided, or its session has ended, before the watch began
            unwatch()
            self._note(self._gone, approval.approval_id)
        if first:
            self._board.listen(lambda approval_id: self._note(self._heard, approval_id))

    def take_over(self, approval_id: str) -> bool:
        """Whether an approval of this process was decided elsewhere, and is now decided here."""
        try:
            return self._look_up(approval_id)
        except SharedApprovalsAway:
            return False

    def pending(self) -> list[Approval]:
        """What waits in other processes. Raises `StorageError` where the board is away."""
        try:
            found = self._board.pending()
        except SharedApprovalsAway as away:
            raise StorageError(f"the approvals of other processes are not to be had: {away}") from away
        with self._lock:
            return [approval for approval in found if approval.approval_id not in self._announced]

    def decide(self, approval_id: str, status: Verdict, by: str, reason: str) -> Approval:
        """Decide an approval of another process. Raises as `Resolver.approve`, and `StorageError` where the board is away."""
        try:
            approval = self._board.find(approval_id)
            if approval is None:
                raise ApprovalNotFound(
                    f"there is no approval {approval_id}, here or in another process; pending_approvals() lists those that wait"
                )
            if not isinstance(by, str) or not by.strip():
                raise InvalidParameters("say who decides: by= is empty")
            if same_name(by, approval.agent_id):
                raise ActionDenied(
                    f"approval {approval_id} is for the agent that is named in by=; somebody else has to decide",
                    policy_id=approval.policy_id,
                )
            mine = Decision(status, by, reason)
            counts = self._board.decide(approval_id, mine)
        except SharedApprovalsAway as away:
            raise StorageError(f"the decision could not be left: {away}") from away
        if counts != mine:
            decided = "gone" if counts is None else f"already {counts.status}, by {counts.by}"
            raise Conflict(f"approval {approval_id} is {decided}")
        return replace(
            approval,
            status=status,
            decided_at=format_timestamp(self._clock.now_ns()),
            decided_by=by,
            decision_reason=reason,
        )

    def close(self) -> None:
        """Take down what this process has put up, and stop listening."""
        self._worker.stop()
        with self._lock:
            announced, self._announced = list(self._announced), set()
        with suppress(SharedApprovalsAway):
            self._board.withdraw(announced)
        self._board.close()

    def _note(self, queue: deque[str], approval_id: str) -> None:
        queue.append(approval_id)
        self._worker.wake()

    def _step(self) -> float | None:
        """What was heard and what is gone; nobody waits for it."""
        later: set[str] = set()
        while self._heard:
            approval_id = self._heard.popleft()
            with self._lock:
                concerned = list(self._announced) if not approval_id else [approval_id]
            for each in concerned:
                try:
                    self._look_up(each)
                except SharedApprovalsAway:
                    later.add(each)
        self._heard.extend(later)  # it is told once
        if not self._gone:
            return _AGAIN_SECONDS if later else None
        gone = [self._gone.popleft() for _ in range(len(self._gone))]
        try:
            self._board.withdraw(gone)
        except SharedApprovalsAway:
            self._gone.extend(gone)
            return _AGAIN_SECONDS
        with self._lock:
            self._announced.difference_update(gone)
        return _AGAIN_SECONDS if later else None

    def _is_pending(self, approval_id: str) -> bool:
        try:
            return self._book.find(approval_id).status == "pending"
        except ApprovalNotFound:
            return False

    def _look_up(self, approval_id: str) -> bool:
        """As `take_over`; raises `SharedApprovalsAway`."""
        with self._lock:
            if approval_id not in self._announced:
                return False
        decision = self._board.decision(approval_id)
        return decision is not None and self._apply(approval_id, decision)

    def _apply(self, approval_id: str, decision: Decision) -> bool:
        try:
            self._decide_here(approval_id, decision)
        except Exception:  # decided here meanwhile, or its session has ended; or the host's `redact` raises
            return False
        return True
