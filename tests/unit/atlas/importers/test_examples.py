"""The example atlases and programs: what they promise is what the runtime does with them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cra
from cra.hotpath import glob_match

ROOT = Path(__file__).parents[4]
EXAMPLES = ROOT / "examples"
GITHUB = EXAMPLES / "github"
ACME = {"owner": "acme", "repo": "widgets"}
COMMENT = {"issue_number": 1, "body": "x"}
REVIEW = {**ACME, "pullNumber": 1}


@pytest.fixture(scope="module")
def github() -> cra.Atlas:
    """The atlas of the GitHub example."""
    return cra.load_atlas(GITHUB / "atlas")


def run(program: Path) -> str:
    """What a program prints, run as a user runs it; it must end well."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def attempt(atlas: Path, *calls: tuple[str, dict[str, Any]]) -> list[str]:
    """Executes calls in one session with executors that always succeed; the outcome or the code of the error of each."""
    with cra.Resolver() as resolver:
        for action in resolver.load_atlas(atlas).actions:
            resolver.register(action.action_id, lambda **_: {})
        with resolver.create_session(agent_id="agent", goal="try") as session:
            resolution = session.resolve("try")
            outcomes = []
            for action_id, parameters in calls:
                try:
                    outcomes.append(session.execute(action_id, parameters, resolution=resolution).status)
                except cra.CRAError as error:
                    outcomes.append(error.code)
    return outcomes


def test_github_atlas_is_up_to_date() -> None:
    """The committed manifest is what build.py makes of the tools and the team's decisions."""
    spec = importlib.util.spec_from_file_location("build_example", GITHUB / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.build() == (GITHUB / "atlas" / "atlas.json").read_text("utf-8")


def test_lint_finds_nothing_that_could_be_helped(github: cra.Atlas) -> None:
    """Both atlases are without findings, but for the names that GitHub gives its tools."""
    assert {"action_id_not_strict"} == {finding.code for finding in cra.lint_atlas(github)}
    assert () == cra.lint_atlas(cra.load_atlas(EXAMPLES / "support" / "atlas", strict=True))


def test_reading_is_exactly_what_only_reads(github: cra.Atlas) -> None:
    """The globs of the policy `reading` match all read-only tools and no other."""
    reading = next(policy for policy in github.policies if policy.policy_id == "reading")
    matched = {a.action_id for a in github.actions if any(glob_match(g, a.action_id) for g in reading.actions or ())}

    assert {action.action_id for action in github.actions if action.risk_tier == "low"} == matched


def test_every_write_is_bound_to_the_owner(github: cra.Atlas) -> None:
    """What is allowed and no read is covered by `own-repositories`, and cannot be called without an owner and a repository."""
    bound = next(policy for policy in github.policies if policy.policy_id == "own-repositories")
    allowed = [glob for policy in github.policies if policy.type == "allow" for glob in policy.actions or ()]
    writes = [a for a in github.actions if a.risk_tier != "low" and any(glob_match(g, a.action_id) for g in allowed)]

    assert 33 == len(writes)
    for action in writes:
        assert any(glob_match(glob, action.action_id) for glob in bound.actions or ()), action.action_id
        assert action.parameters_schema is not None
        assert {"owner", "repo"} <= set(action.parameters_schema.document["required"])


def test_resolve_of_the_github_atlas() -> None:
    """Reads and ordinary work are allowed, merging and pushing wait for a person, deleting is denied."""
    with cra.Resolver() as resolver:
        resolver.load_atlas(GITHUB / "atlas")
        with resolver.create_session(agent_id="agent", goal="g") as session:
            resolution = session.resolve("look at a security report")
            reviews = session.resolve("g", required_capabilities=["reviews"])
    reasons = {denied.action_id: denied.reason for denied in resolution.denied_actions}
    held = {action_id for action_id, reason in reasons.items() if reason == "Requires approval"}

    assert ("partial", 87, 30) == (resolution.decision.type, len(resolution.allowed_actions), len(reasons))
    assert {"merge_pull_request", "push_files", "create_or_update_file", "update_pull_request_branch"} == {
        action_id.removeprefix("github.") for action_id in held
    }
    assert {"delete_file", "delete_repository", "delete_pending_pull_request_review"} == {
        denied.action_id.removeprefix("github.")
        for denied in resolution.denied_actions
        if denied.policy_id == "no-delete"
    }
    assert ["security-reports", "contributing", "triage", "reviewing"] == [
        b.block_id for b in resolution.context_blocks
    ]
    assert ["contributing", "reviewing"] == [block.block_id for block in reviews.context_blocks]


@pytest.mark.parametrize(
    ("action", "parameters", "outcome"),
    [
        ("add_issue_comment", {**ACME, **COMMENT}, "success"),
        ("add_issue_comment", {"owner": "acme", "repo": ".github", **COMMENT}, "success"),
        ("add_issue_comment", {"owner": "mallory", "repo": "widgets", **COMMENT}, "ACTION_DENIED"),
        ("add_issue_comment", {"owner": "ACME", "repo": "widgets", **COMMENT}, "ACTION_DENIED"),
        ("add_issue_comment", {"owner": "acme", "repo": "../mallory/drop", **COMMENT}, "ACTION_DENIED"),
        ("add_issue_comment", {"owner": "acme", "repo": "..", **COMMENT}, "ACTION_DENIED"),
        ("add_issue_comment", {"owner": "acme", "repo": "widgets\n", **COMMENT}, "ACTION_DENIED"),
        ("add_issue_comment", {"owner": ["acme"], "repo": "widgets", **COMMENT}, "INVALID_PARAMETERS"),
        ("add_issue_comment", {"repo": "widgets", **COMMENT}, "INVALID_PARAMETERS"),
        ("label_write", {**ACME, "method": "create", "name": "bug"}, "success"),
        ("label_write", {**ACME, "method": "delete", "name": "bug"}, "ACTION_DENIED"),
        ("delete_file", {**ACME, "path": "a", "message": "m", "branch": "b"}, "ACTION_DENIED"),
        ("create_gist", {"filename": "a", "content": "b"}, "ACTION_DENIED"),
        ("resolve_review_thread", {"threadID": "x"}, "ACTION_DENIED"),
        ("pull_request_review_write", {**REVIEW, "method": "create", "event": "COMMENT"}, "success"),
        ("pull_request_review_write", {**REVIEW, "method": "create", "event": "APPROVE"}, "ACTION_REQUIRES_APPROVAL"),
        ("pull_request_review_write", {**REVIEW, "method": "delete_pending"}, "ACTION_REQUIRES_APPROVAL"),
        ("pull_request_review_write", {**REVIEW, "method": "resolve_thread", "threadId": "x"}, "ACTION_DENIED"),
        ("submit_pending_pull_request_review", {**REVIEW, "event": "REQUEST_CHANGES"}, "ACTION_REQUIRES_APPROVAL"),
        ("merge_pull_request", REVIEW, "ACTION_REQUIRES_APPROVAL"),
        ("merge_pull_request", {**REVIEW, "owner": "mallory"}, "ACTION_DENIED"),
        ("push_files", {**ACME, "branch": "b", "message": "m", "files": []}, "ACTION_REQUIRES_APPROVAL"),
        ("issue_read", {"owner": "mallory", "repo": "drop", "method": "get", "issue_number": 1}, "success"),
    ],
)
def test_calls_under_the_github_atlas(action: str, parameters: dict[str, Any], outcome: str) -> None:
    """Parameters decide where a name alone cannot: the owner, the method, the verdict of a review."""
    assert [outcome] == attempt(GITHUB / "atlas", (f"github.{action}", parameters))


def test_new_issues_are_limited() -> None:
    """Ten new issues an hour, whichever of the two tools makes them."""
    create = ("github.create_issue", {**ACME, "title": "t"})
    write = ("github.issue_write", {**ACME, "title": "t", "method": "create"})

    assert ["success"] * 10 + ["RATE_LIMIT_EXCEEDED"] * 2 == attempt(GITHUB / "atlas", *[create, write] * 6)


def test_github_program_tells_the_whole_story() -> None:
    """The demo shows the resolve, an execution, a refusal, an approval, and ends with the verified trace."""
    printed = run(GITHUB / "agent.py")

    for expected in (
        "87 actions allowed",
        "26 actions denied",
        "4 actions awaiting approval",
        'executed: {"number": 41, "labels": ["bug", "p2"]}',
        "refused (ACTION_DENIED): github.add_issue_comment: Writes go to repositories of acme only",
        "refused (ACTION_DENIED): github.delete_file",
        "alice: approved",
        'executed: {"number": 7, "merged": true}',
    ):
        assert expected in printed
    assert re.search(r"\ntrace verified: [0-9]+ events\n\Z", printed)


def test_support_program_tells_the_whole_story() -> None:
    """A refund waits and is paid, one over the cap is refused, and nothing is deleted."""
    printed = run(EXAMPLES / "support" / "run.py")

    for expected in (
        "done: {'order': '1017', 'refunded': 80}",
        "refused: refund.create: Refunds over 500 are made by the finance team",
        "refused: ticket.delete: Tickets are kept for seven years",
    ):
        assert expected in printed
    assert re.search(r"\ntrace verified: [0-9]+ events\n\Z", printed)
