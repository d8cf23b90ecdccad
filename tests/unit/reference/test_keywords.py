"""Keywords in a goal: what plain `in` finds, in one pass, whatever the words and the goal. PROTOCOL: Context."""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cra.reference import keywords
from tests.support.twins import compiled_twin, twins

Words = list[tuple[str, int]]


@pytest.fixture(params=twins(keywords), scope="module")
def twin(request: pytest.FixtureRequest) -> Any:
    """The module under test."""
    return request.param


def expected(words: Words, goal: str) -> tuple[int, ...]:
    """The definition."""
    return tuple(sorted({trigger for word, trigger in words if word in goal.casefold()}))


@pytest.mark.parametrize(
    ("goal", "found"),
    [
        ("", ()),
        ("close the ticket", (7,)),
        ("Close the TICKET", (7,)),
        ("Unstaled", (3,)),
        ("stale tickets, stale tickets", (3, 7)),
        ("stal", ()),
        ("STRASSE", (9,)),
        ("Straße", (9,)),
        ("ﬁne", (11,)),
        ("İ", (12,)),
        ("\ud83d", (13,)),
        ("😀", ()),
        ("\ud83d\ude00", (13,)),
        ("Σ ς σ", (14,)),
        ("a" * 500 + "stale", (3,)),
        ("stale" + "a" * 500, (3,)),
        ("x\0y", (15,)),
    ],
)
def test_examples(twin: Any, goal: str, found: tuple[int, ...]) -> None:
    """Anywhere, in either case, each trigger once and ascending; casefolding can make one character of two and two of one."""
    words = [("ticket", 7), ("stale", 3), ("tick", 7), ("strasse", 9), ("fine", 11), ("i̇", 12), ("\ud83d", 13), ("σ", 14),
             ("\0", 15)]  # fmt: skip
    assert found == twin.KeywordMatcher(words).find(goal)


def test_one_word_may_trigger_much_and_one_trigger_have_many_words(twin: Any) -> None:
    """Equal words are not lost, and a word inside of another is found with it."""
    words = [("stale", 2), ("stale", 1), ("tale", 5), ("ale", 2), ("e", 70)]
    assert (1, 2, 5, 70) == twin.KeywordMatcher(words).find("stale")
    assert (2, 70) == twin.KeywordMatcher(words).find("ale")


def test_without_words_nothing_is_found(twin: Any) -> None:
    """No word, no trigger."""
    assert () == twin.KeywordMatcher([]).find("anything")


def test_an_empty_word_is_refused(twin: Any) -> None:
    """It would occur everywhere."""
    with pytest.raises(ValueError, match=r"^a keyword has to have a character$"):
        twin.KeywordMatcher([("a", 1), ("", 2)])


def test_a_word_that_is_not_casefolded_occurs_nowhere(twin: Any) -> None:
    """A casefolded goal has none of its characters."""
    assert () == twin.KeywordMatcher([("Stale", 1), ("ß", 2)]).find("Stale Straße stale")


def test_only_strings_are_searched(twin: Any) -> None:
    """As a caller's mistake deserves."""
    for goal in (None, b"stale", 3):
        with pytest.raises((TypeError, AttributeError)):
            twin.KeywordMatcher([("stale", 1)]).find(goal)


small = st.text("abAB", min_size=1, max_size=4)
wild = st.text(st.characters() | st.sampled_from("ßİﬁŉΐσςΣK\ud800\udc00"), min_size=1, max_size=3)
word_lists = st.lists(st.tuples((small | wild).map(str.casefold), st.integers(0, 200)), max_size=20)
goals = st.text("abAB", max_size=60) | st.lists(small | wild, max_size=30).map("".join)


@settings(max_examples=400)
@given(word_lists, goals, st.sampled_from([0, 64, 300, 2**20]))
@example([("ab", 1), ("b", 2)], "x" * 40 + "ab" + "x" * 41, 2**20)
def test_twins_agree(words: Words, goal: str, dense_bytes: int) -> None:
    """On any words and any goal, those made of the words included, however few states have a row."""
    assert expected(words, goal) == keywords.KeywordMatcher(words).find(goal)
    matcher = compiled_twin().KeywordMatcher(words, dense_bytes=dense_bytes)
    whole = goal + "".join(word for word, _ in words)
    for text in (goal, whole, whole[::-1], goal):
        assert expected(words, text) == matcher.find(text)


@pytest.mark.parametrize("dense_bytes", [0, 4096, 2**20])
def test_twins_agree_on_long_goals_and_many_words(seed: int, dense_bytes: int) -> None:
    """A thousand words of two letters' text, where nearly everything is a near miss; every lane and every border is met."""
    chance = random.Random(seed)
    words = [("".join(chance.choices("ab", k=chance.randint(3, 14))), n // 2) for n in range(1000)]
    matcher = compiled_twin().KeywordMatcher(words, dense_bytes=dense_bytes)
    for length in (*range(1, 130), 1000, 5000):
        goal = "".join(chance.choices("abAc", k=length))
        assert expected(words, goal) == matcher.find(goal), (length, goal)


def test_casefolding_twice_is_casefolding_once() -> None:
    """So that a casefolded text may be given as well as the goal itself: for every character there is."""
    for code in range(sys.maxunicode + 1):
        folded = chr(code).casefold()
        assert folded == folded.casefold()


HOSTILE: list[tuple[str, Words, str]] = [
    ("suffixes", [("a" * n, n) for n in range(1, 400)], "a" * 10_000),
    ("near misses", [("a" * 300 + chr(98 + n), n) for n in range(20)], "a" * 10_000),
    ("one long word", [("ab" * 20_000, 1)], "ab" * 5_000),
    ("thousands", [(f"keyword number {n}", n) for n in range(20_000)], "keyword number 1 and keyword number x " * 300),
]


@pytest.mark.parametrize(("words", "goal"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE])
def test_time_is_linear_in_the_goal(words: Words, goal: str) -> None:
    """Twice the goal takes about twice the time, and either is a matter of milliseconds, whatever the words."""
    matcher = compiled_twin().KeywordMatcher(words)

    def best(text: str) -> float:
        times = []
        for _ in range(7):
            started = time.perf_counter()
            matcher.find(text)
            times.append(time.perf_counter() - started)
        return min(times)

    assert best(goal * 2) < 4 * best(goal) + 0.001
    assert best(goal) < 0.05


def test_memory_is_linear_in_the_words() -> None:
    """A bounded table, and a few dozen bytes for each byte of a word."""
    for count in (1, 1000, 30_000):
        words = [(f"{n} keyword {n}", n) for n in range(count)]
        size = sys.getsizeof(compiled_twin().KeywordMatcher(words))
        assert size < 2**20 + 2048 + 60 * sum(len(word) for word, _ in words)


class Chooser:
    """Counts what it is asked, and selects what was found."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, found: tuple[int, ...]) -> keywords.Selection:
        self.asked.append(found)
        return found, ()


def test_goals_that_trigger_the_same_share_a_selection(twin: Any) -> None:
    """Chosen once, and the same object from then on."""
    choose = Chooser()
    selector = twin.GoalSelector(twin.KeywordMatcher([("a", 1), ("b", 2)]), choose)
    assert ((), ()) == selector.select("x")
    first = selector.select("a and b")
    assert ((1, 2), ()) == first
    assert first is selector.select("bA")
    assert [(), (1, 2)] == choose.asked


def test_selections_remembered_are_bounded(twin: Any) -> None:
    """Whoever triggers ever new combinations makes it choose again, and nothing grow."""
    choose = Chooser()
    words = [(chr(97 + n), n) for n in range(10)]
    selector = twin.GoalSelector(twin.KeywordMatcher(words), choose)
    goals = ["".join(word for word, n in words if number >> n & 1) for number in range(600)]
    for goal in goals:
        assert expected(words, goal) == selector.select(goal)[0]
    assert len(goals) == len(choose.asked)
    selector.select(goals[-1])
    assert len(goals) == len(choose.asked)
    selector.select(goals[0])
    assert len(goals) + 1 == len(choose.asked)


def test_what_choosing_raises_is_raised(twin: Any) -> None:
    """And nothing is remembered of it."""

    def choose(found: tuple[int, ...]) -> keywords.Selection:
        raise LookupError(found)

    selector = twin.GoalSelector(twin.KeywordMatcher([]), choose)
    for _ in range(2):
        with pytest.raises(LookupError):
            selector.select("x")
