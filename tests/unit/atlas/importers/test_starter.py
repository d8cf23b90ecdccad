"""The policies an imported atlas starts with."""

from __future__ import annotations

from typing import Any

from cra.atlas.importers.starter import starter_policies
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
    for index, policy in enumerate(starter_policies(actions(get="low", put="medium", drop="high"))):
        parsed = parse_policy(policy, atlas_id="com.example.x", index=index, path=f"/policies/{index}")
        assert parsed.name
        assert parsed.description


def test_no_policy_names_no_action() -> None:
    """A tier without actions has no policy, since an empty list of actions would be refused."""
    assert [] == starter_policies([])
    assert ["allow-reads"] == [p["policy_id"] for p in starter_policies(actions(get="low"))]
