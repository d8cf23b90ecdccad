"""Power cuts at random moments of recorded runs, and the proof that the harness would notice.

`python -m tests.fault.power --states 100000 --seed S` is the long run.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.fault.power import __main__ as command
from tests.fault.power.checking import Violation, check
from tests.fault.power.disk import Disk, build
from tests.fault.power.recording import Beginning, Recording, record
from tests.fault.power.strace import NoTrace
from tests.fault.power.workload import STORES
from tests.support.services import missing

STATES = 20
ENOUGH = 20 * STATES
"""States to look for something that must be found, which ends with the first one."""
Record = Callable[..., Recording]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """Records a store once, and gives the same recording whenever it is asked for again."""
    known: dict[object, Recording] = {}

    def get(store: str, seed: int, **options: object) -> Recording:
        key = (store, seed, *sorted(options.items()))
        if key not in known:
            try:
                known[key] = record(store, tmp_path_factory.mktemp("recorded") / "it", seed, **options)  # type: ignore[arg-type]
            except NoTrace as reason:
                missing(str(reason))
        return known[key]

    yield get
    known.clear()


def cut(recording: Recording, folder: Path, moment: int, choice: random.Random, *, again: bool = False) -> int:
    """One state, built and checked; how many events were there."""
    root = folder / "cut"
    build(recording.disk.cut(moment, choice), root)
    try:
        return check(recording, root, recording.disk.acknowledged(moment), again=again)
    finally:
        shutil.rmtree(root)


def after_an_acknowledgement(recording: Recording) -> list[int]:
    """The moments at which there is something to lose."""
    return [moment for moment in recording.disk.moments if recording.disk.acknowledged(moment)]


def violations(recording: Recording, folder: Path, seed: int, states: int) -> Iterator[str]:
    """What is found in states at such moments."""
    choice = random.Random(seed)
    moments = after_an_acknowledgement(recording)
    assert moments
    for _ in range(states):
        try:
            cut(recording, folder, choice.choice(moments), choice)
        except Violation as violation:
            yield str(violation)


@pytest.mark.parametrize("store", STORES)
def test_nothing_acknowledged_as_durable_is_missing_after_a_cut(
    store: str, recorded: Record, tmp_path: Path, seed: int
) -> None:
    """Whatever the cut leaves, it opens, holds all of that once, nothing that was not written, and goes on."""
    recording = recorded(store, seed)
    assert [] == list(violations(recording, tmp_path, seed, STATES))
    choice = random.Random(seed)
    for _ in range(STATES):
        cut(recording, tmp_path, choice.choice(recording.disk.moments), choice)


@pytest.mark.parametrize("store", STORES)
def test_a_machine_that_draws_moments_and_states_finds_nothing(
    store: str, recorded: Record, tmp_path: Path, seed: int
) -> None:
    """Hypothesis chooses when the power goes and what survives, and would say what is needed least for a violation."""
    recording = recorded(store, seed)
    first = recording.disk.moments.index(after_an_acknowledgement(recording)[0])
    told: Counter[str] = Counter()

    class PowerCuts(RuleBasedStateMachine):
        """Time goes on, the power goes, and goes again: each time from the disk as it would have been."""

        place = 0

        @initialize(place=st.integers(first, len(recording.disk.moments) - 1))
        def begin(self, place: int) -> None:
            self.place = place

        @rule(steps=st.integers(1, 40))
        @precondition(lambda self: self.place < len(recording.disk.moments) - 1)
        def go_on(self, steps: int) -> None:
            self.place = min(self.place + steps, len(recording.disk.moments) - 1)

        @rule()
        def go_on_to_an_acknowledgement(self) -> None:
            now = recording.disk.moments[self.place]
            later = [mark.start + 1 for mark in recording.disk.marks if mark.kind == "durable" and mark.start >= now]
            if later:
                self.place = recording.disk.moments.index(later[0])

        @rule(choice=st.randoms(use_true_random=False), again=st.booleans())
        def cut_power(self, choice: random.Random, again: bool) -> None:
            moment = recording.disk.moments[self.place]
            told["events"] += cut(recording, tmp_path, moment, choice, again=again)
            told["states"] += 1
            told["acknowledged"] += sum(recording.disk.acknowledged(moment).values())

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        PowerCuts, settings=settings(max_examples=6, stateful_step_count=6, deadline=None)
    )
    print(f"{store}, seed {seed}: {dict(told)}")
    assert told["states"] > 0
    assert told["acknowledged"] > 0


@pytest.mark.parametrize("store", STORES)
def test_a_cut_may_come_while_what_another_one_left_is_recovered(
    store: str, recorded: Record, tmp_path: Path, seed: int
) -> None:
    """What was acknowledged before the first is still there after the second."""
    first = recorded(store, seed)
    choice = random.Random(seed)
    moment = choice.choice(after_an_acknowledgement(first))
    beginning = Beginning(first.disk.cut(moment, choice), first.disk.acknowledged(moment))
    second = record(store, tmp_path / "second", seed, processes=1, steps=6, beginning=beginning)
    assert [] == list(violations(second, tmp_path, seed, STATES))


@pytest.mark.parametrize("store", STORES)
def test_it_notices_where_nothing_is_synced(store: str, recorded: Record, tmp_path: Path, seed: int) -> None:
    """A run whose every fsync is answered and not done loses what it acknowledged, and that is found."""
    recording = recorded(store, seed, processes=1, options=("-e", "inject=fsync,fdatasync:retval=0"))
    assert sum(mark.kind == "durable" for mark in recording.disk.marks) > 0
    found = violations(recording, tmp_path, seed, ENOUGH)
    assert any("were acknowledged as durable" in each for each in found)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_it_notices_where_only_files_or_only_folders_are_synced(
    kind: str, store: str, recorded: Record, tmp_path: Path, seed: int
) -> None:
    """A file is nothing without its name, and the other way round."""
    recording = recorded(store, seed)
    recording = recording._replace(disk=Disk(recording.disk.history, lambda node: node.kind == kind))
    assert any(violations(recording, tmp_path, seed, ENOUGH))


def test_the_command_says_what_it_did(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that checked nothing has failed, and so has one that found something."""
    outcomes = {"good": Counter(states=5, **{"events acknowledged": 9}), "empty": Counter(recordings=1)}

    class Pool:
        """Runs at once, in this process."""

        def __init__(self, jobs: int) -> None: ...

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None: ...

        def submit(self, call: object, store: str, seed: int, states: int) -> Pool:
            return self

        def result(self) -> Counter[str]:
            if outcome not in outcomes:
                raise Violation("one is missing")
            return outcomes[outcome]

    monkeypatch.setattr(command, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(command, "as_completed", list)
    monkeypatch.setattr("sys.argv", ["power", "--states", "5", "--seed", "7", "--store", "jsonl"])
    for outcome, code in (("good", 0), ("empty", 1), ("bad", 1)):
        assert code == command.main()
        said = capsys.readouterr()
        assert "seed: 7" in said.err
        assert ("one is missing" in said.err) == (outcome == "bad")
        assert f'"violations": {int(outcome == "bad")}' in said.out
