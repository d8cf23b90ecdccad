"""Approvals: asked for once, decided once, by somebody else, in time. PROTOCOL: Approvals."""

from __future__ import annotations

import re
import threading
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.errors import ActionDenied, ApprovalNotFound, Conflict, CRAError, InvalidParameters
from cra.execution import approvals as module
from cra.execution.approvals import Approval, ApprovalBook, approval_id
from cra.timing.clock import NS_PER_SECOND

DAY = 86_400


class FakeClock:
    """A clock that the test moves; both times stand still otherwise."""

    def __init__(self) -> None:
        self.elapsed_ns = 0

    def now_ns(self) -> int:
        return 1_700_000_000 * NS_PER_SECOND + self.elapsed_ns

    def monotonic_ns(self) -> int:
        return self.elapsed_ns

    def advance(self, seconds: float) -> None:
        self.elapsed_ns += int(seconds * NS_PER_SECOND)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def book(clock: FakeClock) -> ApprovalBook:
    return ApprovalBook(clock)


def ask(book: ApprovalBook, **changes: Any) -> tuple[Approval, bool]:
    facts = {
        "session_id": "s1",
        "agent_id": "bot",
        "atlas_id": "acme.pay",
        "policy_id": "big",
        "action_id": "pay.refund",
        "reason": "Refunds need a person",
    }
    return book.request(**(facts | changes))


COVERS = ("acme.pay", "big", "pay.refund")


class TestId:
    """Ids are derived, so that announcing is free."""

    PARTS = ("s1", "acme.pay", "big", "pay.refund")

    def test_golden(self) -> None:
        """The derivation never changes: announced ids have to mean the same in the next version."""
        # SHA-256 of ["s1","acme.pay","big","pay.refund",null,0], its first 16 bytes, with version and variant set.
        assert "2faa39d0-9739-8d0c-be1a-6c3d38d43284" == approval_id(*self.PARTS)

    def test_is_a_uuid_of_version_8(self) -> None:
        """RFC 9562: version and variant bits, lower case."""
        text = approval_id(*self.PARTS, "ab" * 32, 3)
        parsed = uuid.UUID(text)
        assert (8, uuid.RFC_4122, text) == (parsed.version, parsed.variant, str(parsed))

    def test_parameters_and_use_change_the_id(self) -> None:
        """A second execution, or other parameters, need another approval."""
        ids = {approval_id(*self.PARTS, hash_, use) for hash_ in (None, "a", "b") for use in (0, 1)}
        assert 6 == len(ids)

    def test_announced_id_is_the_requested_one(self, book: ApprovalBook) -> None:
        """What a resolve announces from names alone is what the first execute requests."""
        assert approval_id("s1", *COVERS) == ask(book)[0].approval_id


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.text("ab.", max_size=2),
            st.text("ab.", max_size=2),
            st.text("ab.", max_size=2),
        ),
        unique=True,
    ),
    st.sampled_from([None, "a"]),
    st.integers(0, 3),
)
def test_different_parts_give_different_ids(
    parts: list[tuple[str, str, str, str]], parameters_hash: str | None, use: int
) -> None:
    """No part can be shifted into its neighbour."""
    ids = {approval_id(*part, parameters_hash, use) for part in parts}
    assert len(parts) == len(ids)


class TestRequest:
    """Becoming pending."""

    def test_new_approval_says_for_what_and_until_when(self, book: ApprovalBook, clock: FakeClock) -> None:
        """Everything that its event needs is in it."""
        approval, is_new = ask(book, parameters_hash="h")
        expected = Approval(
            approval_id=approval_id("s1", *COVERS, "h"),
            session_id="s1",
            agent_id="bot",
            atlas_id="acme.pay",
            policy_id="big",
            action_id="pay.refund",
            parameters_hash="h",
            status="pending",
            reason="Refunds need a person",
            requested_at="2023-11-14T22:13:20.000000Z",
            expires_at="2023-11-15T22:13:20.000000Z",
        )
        assert (expected, True) == (approval, is_new)
        assert COVERS == approval.covers

    @pytest.mark.parametrize("decision", [None, "grant", "reject"])
    def test_is_not_asked_for_twice(self, book: ApprovalBook, decision: str | None) -> None:
        """A pending, granted or rejected approval is returned as it stands."""
        current, _ = ask(book)
        if decision is not None:
            current = getattr(book, decision)(current.approval_id, by="alice")
        assert (current, False) == ask(book)

    def test_each_session_policy_action_and_parameters_has_its_own(self, book: ApprovalBook) -> None:
        """An approval covers one policy and one action of one session."""
        changes: list[dict[str, str]] = [
            {},
            {"session_id": "s2"},
            {"atlas_id": "acme.other"},
            {"policy_id": "small"},
            {"action_id": "pay.void"},
            {"parameters_hash": "h"},
        ]
        requested = [ask(book, **change) for change in changes]
        assert [True] * len(changes) == [is_new for _, is_new in requested]
        assert [approval for approval, _ in requested] == book.pending()


class TestDecide:
    """Granted or rejected, by whom, when, why."""

    @pytest.mark.parametrize(("decision", "status"), [("grant", "granted"), ("reject", "rejected")])
    def test_decision_is_kept(self, book: ApprovalBook, clock: FakeClock, decision: str, status: str) -> None:
        """Who, when and why are part of the approval; it waits no longer."""
        pending, _ = ask(book)
        clock.advance(1.5)
        decided = getattr(book, decision)(pending.approval_id, by="alice", reason="looks right")
        assert (status, "alice", "looks right", "2023-11-14T22:13:21.500000Z") == (
            decided.status,
            decided.decided_by,
            decided.decision_reason,
            decided.decided_at,
        )
        assert [] == book.pending()
        assert (decided, False) == ask(book)

    def test_grant_holds_for_the_session_and_not_beyond(self, book: ApprovalBook, clock: FakeClock) -> None:
        """A grant outlives the lifetime of a pending approval, and concerns no other session."""
        assert frozenset() == book.granted("s1")
        book.grant(ask(book)[0].approval_id, by="alice")
        ask(book, policy_id="small")
        clock.advance(10 * DAY)
        assert frozenset({COVERS}) == book.granted("s1")
        assert frozenset() == book.granted("s2")

    def test_rejection_grants_nothing(self, book: ApprovalBook) -> None:
        """A rejected approval is no grant."""
        book.reject(ask(book)[0].approval_id, by="alice")
        assert frozenset() == book.granted("s1")

    def test_grant_bound_to_parameters_is_not_unconditional(self, book: ApprovalBook) -> None:
        """It is found for its parameters only."""
        granted = book.grant(ask(book, parameters_hash="h")[0].approval_id, by="alice")
        assert frozenset() == book.granted("s1")
        assert granted == book.find_bound("s1", *COVERS, "h")
        assert book.find_bound("s1", *COVERS, "other") is None
        assert book.find_bound("s2", *COVERS, "h") is None

    @pytest.mark.parametrize("decision", [None, "reject"])
    def test_only_a_granted_one_is_found(self, book: ApprovalBook, decision: str | None) -> None:
        """Pending and rejected ones let nothing through."""
        approval, _ = ask(book, parameters_hash="h")
        if decision is not None:
            getattr(book, decision)(approval.approval_id, by="alice")
        assert book.find_bound("s1", *COVERS, "h") is None

    @pytest.mark.parametrize("decision", ["grant", "reject"])
    @pytest.mark.parametrize(
        ("approval", "by", "error", "message"),
        [
            ("unknown", "alice", ApprovalNotFound, "there is no approval unknown: it was never requested"),
            ("pending", "", InvalidParameters, "say who decides: by= is empty"),
            ("pending", " \t", InvalidParameters, "say who decides: by= is empty"),
            ("pending", "bot", ActionDenied, "somebody else has to decide"),
            ("pending", " bot ", ActionDenied, "somebody else has to decide"),
            ("granted", "alice", Conflict, "is already granted, by alice"),
            ("rejected", "alice", Conflict, "is already rejected, by bob"),
        ],
    )
    def test_refused_decisions(
        self,
        book: ApprovalBook,
        decision: str,
        approval: str,
        by: str,
        error: type[CRAError],
        message: str,
    ) -> None:
        """Unknown, anonymous, by the agent itself, or a second time: an error, and nothing has changed."""
        approvals = {
            "unknown": "unknown",
            "pending": ask(book)[0].approval_id,
            "granted": book.grant(ask(book, action_id="pay.a")[0].approval_id, by="alice").approval_id,
            "rejected": book.reject(ask(book, action_id="pay.b")[0].approval_id, by="bob").approval_id,
        }
        with pytest.raises(error, match=re.escape(message)):
            getattr(book, decision)(approvals[approval], by=by)
        assert ["pay.refund"] == [waiting.action_id for waiting in book.pending()]
        assert frozenset({("acme.pay", "big", "pay.a")}) == book.granted("s1")

    def test_denied_decision_names_the_policy(self, book: ApprovalBook) -> None:
        """`ActionDenied` says which policy demands somebody else."""
        with pytest.raises(ActionDenied) as caught:
            book.grant(ask(book)[0].approval_id, by="bot")
        assert "big" == caught.value.policy_id


class TestExpiry:
    """Nobody decided."""

    def test_expires_at_the_end_of_its_lifetime(self, book: ApprovalBook, clock: FakeClock) -> None:
        """Pending while less than the lifetime has passed, handed out once as expired then."""
        approval, _ = ask(book)
        clock.advance(DAY - 1e-9)
        assert ([approval], []) == (book.pending(), book.expire_due())
        clock.advance(1e-9)
        assert [] == book.pending()
        expired = book.expire_due()
        assert [(approval.approval_id, "expired")] == [(gone.approval_id, gone.status) for gone in expired]
        assert [] == book.expire_due()

    def test_expired_one_can_not_be_decided(self, book: ApprovalBook, clock: FakeClock) -> None:
        """Also where nobody has looked since it expired."""
        approval, _ = ask(book)
        clock.advance(DAY)
        with pytest.raises(ApprovalNotFound, match="has expired"):
            book.grant(approval.approval_id, by="alice")
        assert frozenset() == book.granted("s1")

    def test_expired_one_can_be_requested_again(self, book: ApprovalBook, clock: FakeClock) -> None:
        """A new request waits for a whole lifetime; the old one is still handed out as expired."""
        ask(book)
        clock.advance(DAY)
        approval, is_new = ask(book)
        assert (True, "2023-11-16T22:13:20.000000Z") == (is_new, approval.expires_at)
        assert 1 == len(book.expire_due())
        assert [approval] == book.pending()

    def test_each_expires_in_its_own_time(self, book: ApprovalBook, clock: FakeClock) -> None:
        """A decided one never expires; the others in the order they were requested."""
        book.grant(ask(book, action_id="a")[0].approval_id, by="alice")
        for action_id in ("b", "c"):
            ask(book, action_id=action_id)
            clock.advance(DAY / 2)
        assert ["b"] == [approval.action_id for approval in book.expire_due()]
        clock.advance(DAY)
        assert ["c"] == [approval.action_id for approval in book.expire_due()]


class TestOneShot:
    """A grant bound to parameters is good for one execution."""

    @pytest.fixture
    def bound(self, book: ApprovalBook) -> Approval:
        return book.grant(ask(book, parameters_hash="h")[0].approval_id, by="alice")

    def test_is_used_up_by_one_execution(self, book: ApprovalBook, bound: Approval) -> None:
        """The second consumer gets nothing, and a new approval with another id is needed."""
        used = book.consume(bound.approval_id)
        assert used is not None
        assert ("used", "alice") == (used.status, used.decided_by)
        assert book.consume(bound.approval_id) is None
        assert book.find_bound("s1", *COVERS, "h") is None
        again, is_new = ask(book, parameters_hash="h")
        assert (True, approval_id("s1", *COVERS, "h", 1)) == (is_new, again.approval_id)

    def test_one_of_many_threads_gets_it(self, book: ApprovalBook, bound: Approval) -> None:
        """Consuming is atomic."""
        used: list[Approval | None] = []
        start = threading.Barrier(8)

        def consume() -> None:
            start.wait()
            used.append(book.consume(bound.approval_id))

        threads = [threading.Thread(target=consume) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [None] * 7 == [approval for approval in used if approval is None]

    @pytest.mark.parametrize("decision", [None, "reject"])
    def test_what_is_not_granted_is_not_consumed(self, book: ApprovalBook, decision: str | None) -> None:
        """Nothing to use up."""
        approval, _ = ask(book, parameters_hash="h")
        if decision is not None:
            getattr(book, decision)(approval.approval_id, by="alice")
        assert book.consume(approval.approval_id) is None
        assert book.consume("unknown") is None

    def test_unconditional_grant_is_not_consumed(self, book: ApprovalBook) -> None:
        """It holds for the session."""
        granted = book.grant(ask(book)[0].approval_id, by="alice")
        assert book.consume(granted.approval_id) is None
        assert frozenset({COVERS}) == book.granted("s1")

    def test_given_back_can_be_used_after_all(self, book: ApprovalBook, bound: Approval) -> None:
        """A call that never reached its executor costs no grant, however often it gives it back."""
        used = book.consume(bound.approval_id)
        assert used is not None
        book.give_back(used)
        book.give_back(used)
        assert bound == book.find_bound("s1", *COVERS, "h")
        assert used == book.consume(bound.approval_id)
        assert book.find_bound("s1", *COVERS, "h") is None

    def test_given_back_is_found_before_a_later_request(self, book: ApprovalBook, bound: Approval) -> None:
        """A second caller's pending request does not hide the grant, and stays decidable."""
        used = book.consume(bound.approval_id)
        assert used is not None
        second, _ = ask(book, parameters_hash="h")
        book.give_back(used)
        assert bound == book.find_bound("s1", *COVERS, "h")
        book.consume(bound.approval_id)
        granted = book.grant(second.approval_id, by="alice")
        assert granted == book.find_bound("s1", *COVERS, "h")

    def test_nothing_comes_back_to_an_ended_session(self, book: ApprovalBook, bound: Approval) -> None:
        """An execution that outlives its session leaves nothing behind."""
        used = book.consume(bound.approval_id)
        assert used is not None
        book.end_session("s1")
        book.give_back(used)
        assert book.find_bound("s1", *COVERS, "h") is None


class TestEnd:
    """The end of a session."""

    def test_drops_everything_of_that_session(self, book: ApprovalBook, clock: FakeClock) -> None:
        """Pending, granted and expired ones are gone; another session's stay."""
        ask(book, action_id="old")
        clock.advance(DAY)
        pending, _ = ask(book)
        book.grant(ask(book, action_id="b")[0].approval_id, by="alice")
        other, _ = ask(book, session_id="s2")
        book.end_session("s1")
        book.end_session("s1")
        assert (frozenset(), [other], []) == (book.granted("s1"), book.pending(), book.expire_due())
        with pytest.raises(ApprovalNotFound):
            book.grant(pending.approval_id, by="alice")


class TestBounds:
    """What is held is bounded."""

    def test_pending_in_all(self, clock: FakeClock) -> None:
        """One more than `max_pending` is refused until one is decided or expires."""
        book = ApprovalBook(clock, max_pending=2)
        first, _ = ask(book, session_id="s1")
        ask(book, session_id="s2")
        with pytest.raises(Conflict, match=r"^2 approvals are pending; decide some"):
            ask(book, session_id="s3")
        assert (first, False) == ask(book)
        book.reject(first.approval_id, by="alice")
        assert ask(book, session_id="s3")[1]

    def test_pending_of_one_session(self, clock: FakeClock) -> None:
        """One session can not use up what others need."""
        book = ApprovalBook(clock, max_pending_per_session=2)
        for action_id in ("a", "b"):
            ask(book, action_id=action_id)
        with pytest.raises(Conflict, match=r"^2 approvals of this session are pending"):
            ask(book, action_id="c")
        assert ask(book, session_id="s2")[1]
        clock.advance(DAY)
        assert ask(book, action_id="c")[1]

    def test_decided_of_one_session(self, book: ApprovalBook, monkeypatch: pytest.MonkeyPatch) -> None:
        """A session whose approvals are decided by a program stops before it fills the memory; used ones do not count."""
        monkeypatch.setattr(module, "MAX_DECIDED_PER_SESSION", 2)
        granted = [book.grant(ask(book, parameters_hash=hash_)[0].approval_id, by="alice") for hash_ in ("a", "b")]
        with pytest.raises(Conflict, match="this session has 2 decided approvals; end it"):
            ask(book, parameters_hash="c")
        used = book.consume(granted[0].approval_id)
        assert used is not None
        assert ask(book, parameters_hash="c")[1]
        book.give_back(used)
        with pytest.raises(Conflict):
            ask(book, parameters_hash="d")

    def test_used_approvals_are_not_held(self, book: ApprovalBook) -> None:
        """A session that runs through a thousand bound approvals keeps none of them."""
        for number in range(1000):
            approval, _ = ask(book, parameters_hash=str(number))
            book.grant(approval.approval_id, by="alice")
            book.consume(approval.approval_id)
        session = book._sessions["s1"]
        assert (0, 0, 1) == (len(book._approvals), len(session.ids), len(session.uses))
