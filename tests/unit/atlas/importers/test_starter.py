"""The policies an imported atlas starts with."""

from __future__ import annotations

from typing import Any

import pytest

from cra.atlas.importers.starter import is_doubtful, starter_policies
from cra.carp.policy import parse_policy


def actions(**tiers: str) -> list[dict[str, Any]]:
    """Actions by name and risk tier."""
    return [{"action_id": f"x.{name}", "risk_tier": tier} for name, tier in tiers.items()]


def test_only_reads_are_allowed() -> None:
    """What is enforced allows the low tier, denies the high one, and nothing else: everything else meets the default."""
    policies = starter_policies(actions(get="low", put="medium", drop="high"))
    enforced = {(p["type"], *p["actions"]) for p in policies if p.get("mode") != "shadow"}

    assert {("allow", "x.get"), ("deny", "x.drop")} == enforced


def test_next_steps_are_there_in_shadow_mode() -> None:
    """Changes have an allow, an approval and a limit ready, none of which counts yet."""
    shadow = {p["type"]: p["actions"] for p in starter_policies(actions(put="medium")) if p.get("mode") == "shadow"}

    assert {"allow": ["x.put"], "require_approval": ["x.put"], "rate_limit": ["x.put"]} == shadow


def test_every_policy_is_valid_and_explained() -> None:
    """Each passes the strict policy parser, and has a name and a description for the person who edits it."""
    for index, policy in enumerate(starter_policies(actions(get="low", rm="low", put="medium", drop="high"))):
        parsed = parse_policy(policy, atlas_id="com.example.x", index=index, path=f"/policies/{index}")
        assert parsed.name
        assert parsed.description


def test_no_policy_names_no_action() -> None:
    """A tier without actions has no policy, since an empty list of actions would be refused."""
    assert [] == starter_policies([])
    assert ["allow-reads"] == [p["policy_id"] for p in starter_policies(actions(get="low"))]


DESTRUCTIVE = [
    "delete_all",
    "deleteAll",
    "bulkdelete",
    "files.remove",
    "purge-cache",
    "DROP_TABLE",
    "rm",
    "users_rm_all",
    "killJob",
]
DESTRUCTIVE += ["resetHTTPCache", "HTTPReset", "Destroy", "removed_items", "run.exec", "terminate2"]
HARMLESS = [
    "get_x",
    "get_dropdown",
    "list_forms",
    "skill_list",
    "clearance_read",
    "stopwatch",
    "executions",
    "x",
    "_",
    "7",
]


@pytest.mark.parametrize("name", [*DESTRUCTIVE, *HARMLESS])
def test_who_is_named_after_destruction_is_not_believed_to_read(name: str) -> None:
    """A server's word alone does not open an action whose name says that it destroys: its allow is there, without effect."""
    policies = starter_policies(actions(**{name: "low"}))
    expected = ("check-reads", "shadow") if name in DESTRUCTIVE else ("allow-reads", None)

    assert [(*expected, "allow", [f"x.{name}"])] == [
        (p["policy_id"], p.get("mode"), p["type"], p["actions"]) for p in policies
    ]


def test_only_the_name_counts_and_only_of_what_is_said_to_read() -> None:
    """The prefix is the atlas's, and an action of another tier is not allowed in the first place."""
    assert not is_doubtful({"action_id": "delete.get", "risk_tier": "low"})
    assert not is_doubtful({"action_id": "x.delete", "risk_tier": "medium"})
    assert not is_doubtful({"action_id": "x.delete", "risk_tier": "high"})
