"""Campaigns: every target has its time, an interrupted one goes on, and the report says what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cra.fuzzing.crashes import Crash, CrashFolder
from cra.fuzzing.run import Progress, Result
from fuzz import campaign as module
from fuzz.campaign import Campaign
from fuzz.report import write_report

TARGETS = ["globs", "texts"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The runs that a campaign makes, none of which fuzzes; `texts` crashes."""
    made: list[tuple[str, float]] = []

    def run(name: str, seconds: float, out: Path, *, watch: Callable[[Progress], None], **_: Any) -> Result:
        made.append((name, seconds))
        progress = Progress(name, seconds, executions=len(made) * 10, coverage=len(made), corpus=1)
        watch(progress)
        if name == "texts":
            CrashFolder(out / "crashes", name).keep(b"x", ("the same", "ValueError: texts"))
        return Result(progress, "none", ())

    monkeypatch.setattr(module, "run", run)
    return made


def test_every_target_has_its_share_in_turns(runs: list[tuple[str, float]], tmp_path: Path) -> None:
    """Of the hours, times the jobs; a slice at a time; a crash that is found again is one crash."""
    campaign = Campaign(tmp_path)
    campaign.begin(TARGETS, 100 / 3600, 1)
    crashes = campaign.run(TARGETS, 1, lambda line: None, 20)
    assert {"globs": 50.0, "texts": 50.0} == {name: sum(s for each, s in runs if each == name) for name in TARGETS}
    assert {"globs", "texts"} == {name for name, _ in runs[:2]} == {name for name, _ in runs[2:4]}
    assert [("texts", "ValueError: texts")] == [(crash.target, crash.summary) for crash in crashes]
    assert len(runs) == len(campaign.history()) == 6


def test_an_interrupted_campaign_goes_on(
    runs: list[tuple[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fuzzed is not fuzzed again, and what was left is."""
    whole = module.run
    campaign = Campaign(tmp_path)
    campaign.begin(TARGETS, 100 / 3600, 1)

    def interrupted(name: str, seconds: float, out: Path, **options: Any) -> Result:
        if len(runs) == 3:
            raise KeyboardInterrupt
        return whole(name, seconds, out, **options)

    monkeypatch.setattr(module, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        campaign.run(TARGETS, 1, lambda line: None, 20)
    assert len(runs) == 3
    monkeypatch.setattr(module, "run", whole)
    again = Campaign(tmp_path)
    again.begin(TARGETS, 100 / 3600, 1)
    again.run(TARGETS, 1, lambda line: None, 20)
    assert {"globs": 50.0, "texts": 50.0} == {name: sum(s for each, s in runs if each == name) for name in TARGETS}


def test_the_report_has_every_target_its_figures_and_crashes(runs: list[tuple[str, float]], tmp_path: Path) -> None:
    """And the plot, where matplotlib is installed."""
    campaign = Campaign(tmp_path)
    campaign.begin(TARGETS, 100 / 3600, 1)
    crashes: list[Crash] = campaign.run(TARGETS, 1, lambda line: None, 20)
    text = write_report(tmp_path, campaign.history(), crashes).read_text()
    assert "2 targets, 210 executions in 0.0 hours of fuzzing, 1 crashes." in text
    assert "| globs | 0.01 | 3 |" in text
    assert f"cra fuzz texts --reproduce {crashes[0].input}" in text
    assert ("coverage.svg" in text) == (tmp_path / "coverage.svg").exists()
