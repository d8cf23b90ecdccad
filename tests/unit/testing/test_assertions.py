"""Assertions on what an agent may do: when they hold, and what they say when they do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import cra
from cra.testing import assert_allowed, assert_denied, assert_held
from tests.support.decisions import manifest, rule, runtime

ATLAS = manifest(
    "a.read",
    "a.pay",
    "a.wipe",
    rules=[
        rule("reads", "allow", "a.read", "a.pay"),
        rule("few", "rate_limit", "a.read", parameters={"max_calls": 1, "window_seconds": 60}),
        rule("sign", "require_approval", "a.pay"),
        rule("never", "deny", "a.wipe", reason="It is kept"),
        rule("cap", "deny", "a.pay", conditions={"parameters": {"required": ["all"]}}),
        rule("later", "deny", "a.read", mode="shadow"),
    ],
    capabilities=[{"capability_id": "pay", "name": "Pay", "actions": ["a.pay"]}],
)


@pytest.fixture
def session() -> Iterator[cra.Session]:
    """A session under the policies above."""
    with runtime(ATLAS) as resolver:
        resolver.register("a.read", dict)
        yield resolver.create_session("bot", "Try")


def test_what_is_so_passes(session: cra.Session) -> None:
    """Of a session and of its resolution, with the policy that decided and without it."""
    for answer in (session, session.resolve("Try")):
        assert_allowed(answer, "a.read")
        assert_allowed(answer, "a.read", by="reads")
        assert_held(answer, "a.pay", by="sign")
        assert_denied(answer, "a.wipe", by="never")
    assert_denied(session, "a.pay", {"all": True}, by="cap")
    assert_held(session, "a.pay", {})


def test_an_exhausted_limit_denies(session: cra.Session) -> None:
    """`by` is the limit."""
    session.execute("a.read", resolution=session.resolve("Try"))
    assert_denied(session, "a.read", by="few")
    assert_denied(session.resolve("Try"), "a.read", by="few")


def test_what_no_capability_names_is_denied_by_the_default(session: cra.Session) -> None:
    """A resolution for a capability has no place for other actions."""
    resolution = session.resolve("Try", required_capabilities=["pay"])
    assert_denied(resolution, "a.read", by="default")
    with pytest.raises(AssertionError, match="Not named by a required capability"):
        assert_allowed(resolution, "a.read")


def test_a_failure_says_what_decided(session: cra.Session) -> None:
    """The result, the policy, its reason, and every policy about the action with the condition that failed."""
    with pytest.raises(AssertionError) as raised:
        assert_allowed(session, "a.pay", {"n": 1})
    assert str(raised.value) == (
        "a.pay with {'n': 1}: allowed was expected; it is held by sign (Requires approval)\n"
        "  the policies about it, in the order of evaluation:\n"
        "    cap (deny): does not match: parameters\n"
        "    sign (require_approval): matches, not granted\n"
        "    reads (allow): matches"
    )
    with pytest.raises(AssertionError, match=r"cap \(deny\): depends on the parameters of the call"):
        assert_allowed(session, "a.pay")
    with pytest.raises(AssertionError, match=r"later \(deny, shadow\): matches"):
        assert_denied(session, "a.read")
    with pytest.raises(AssertionError, match=r"it is denied by never \(It is kept\)\n  ask the session"):
        assert_held(session.resolve("Try"), "a.wipe")


def test_another_policy_is_a_failure(session: cra.Session) -> None:
    """Denied by a policy that nobody meant is no success."""
    with pytest.raises(AssertionError, match=r"a\.wipe: denied by cap was expected; it is denied by never"):
        assert_denied(session, "a.wipe", by="cap")
    with pytest.raises(AssertionError, match=r"a\.pay: denied was expected; it is held by sign"):
        assert_denied(session, "a.pay")


def test_what_nobody_defines_is_an_error(session: cra.Session) -> None:
    """A misspelt action would always be denied."""
    for answer in (session, session.resolve("Try")):
        with pytest.raises(cra.ActionNotFound):
            assert_denied(answer, "a.raed")


def test_a_resolution_is_not_asked_about_parameters(session: cra.Session) -> None:
    """It was made before they were known; and what is neither session nor resolution is a mistake."""
    with pytest.raises(TypeError, match="give the session instead"):
        assert_allowed(session.resolve("Try"), "a.pay", {})
    with pytest.raises(TypeError, match="a Resolution or a Session is needed, not str"):
        assert_allowed("a.pay", "a.pay")  # type: ignore[arg-type]


def test_an_ancestor_is_named() -> None:
    """Of a child every policy is evaluated for its parent, too."""
    with runtime(
        manifest("a.b", rules=[rule("parents", "allow", "a.b", conditions={"agents": ["chief"]})])
    ) as resolver:
        child = resolver.create_session("bot", "Try", parent=resolver.create_session("chief", "Lead"))
        with pytest.raises(AssertionError) as raised:
            assert_allowed(child, "a.b")
    assert "parents (allow) for bot: does not match: agents\n    parents (allow) for chief: matches" in str(
        raised.value
    )


def test_an_action_without_policies_is_said_to_have_none() -> None:
    """The default decided."""
    with runtime(manifest("a.b")) as resolver, pytest.raises(AssertionError) as raised:
        assert_allowed(resolver.create_session("bot", "Try"), "a.b")
    assert "a.b: allowed was expected; it is denied by default (Denied by policy)\n  no policy is about it" == str(
        raised.value
    )
