"""Identifiers: UUIDv7 in form, fresh for every draw, thread and process, and readable in one form only. PROTOCOL: Event."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cra import ids as reference
from cra.ids import UUID_PATTERN, make_uuid7
from tests.support.twins import compiled_twin, twins

NOW_MS = 1_767_268_800_000
ROOM = 0xFFFF


@pytest.fixture(params=twins(reference), scope="module")
def twin(request: pytest.FixtureRequest) -> Any:
    """The module under test."""
    return request.param


@given(st.integers(0, 2**48 - 1))
def test_a_draw_is_a_uuid_of_version_7(twin: Any, unix_ms: int) -> None:
    """The time, the version, the variant, and 16 zero bits for what is derived from it."""
    drawn = twin.RandomIds().draw(unix_ms)
    assert (unix_ms, 7, 0b10, 0) == (drawn >> 80, drawn >> 76 & 15, drawn >> 62 & 3, drawn & ROOM)
    assert drawn == make_uuid7(unix_ms, (drawn >> 64 & 0xFFF) << 62 | drawn & (2**62 - 1))


def test_a_time_beyond_48_bits_wraps(twin: Any) -> None:
    """In the year 10889; before that, and before 1970, time is what the clock says."""
    draws = [twin.RandomIds().draw(unix_ms) >> 80 for unix_ms in (2**48 + 5, -1, 2**70 + 3)]
    assert [5, 2**48 - 1, 3] == draws


def test_draws_are_random_in_every_bit(twin: Any) -> None:
    """Every random bit is set in about half of the draws, and no two draws are equal."""
    source = twin.RandomIds()
    drawn = [source.draw(NOW_MS) for _ in range(4000)]
    assert len(set(drawn)) == len(drawn)
    for bit in (*range(16, 62), *range(64, 76)):
        share = sum(value >> bit & 1 for value in drawn)
        assert 1600 < share < 2400, bit


def test_threads_draw_differently(twin: Any) -> None:
    """And at once."""
    drawn: list[int] = []
    source = twin.RandomIds()
    threads = [
        threading.Thread(target=lambda: drawn.extend([source.draw(NOW_MS) for _ in range(500)])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4000 == len(set(drawn))


def test_a_forked_child_draws_differently(twin: Any) -> None:
    """Two children and their parent, from one source that had drawn before."""
    source = twin.RandomIds()
    source.draw(NOW_MS)
    drawn = []
    for _ in range(2):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - in the child
            os.write(writing, b"".join(source.draw(NOW_MS).to_bytes(16, "big") for _ in range(20)))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            data = pipe.read()
        assert 0 == os.waitpid(child, 0)[1]
        drawn += [data[i : i + 16] for i in range(0, len(data), 16)]
    drawn += [source.draw(NOW_MS).to_bytes(16, "big") for _ in range(20)]
    assert 60 == len(set(drawn))


@given(st.integers(0, 2**128 - 1))
@example(0)
@example(2**128 - 1)
def test_a_number_is_written_and_read_back(twin: Any, number: int) -> None:
    """In the 8-4-4-4-12 form."""
    text = twin.format_uuid(number)
    assert UUID_PATTERN.fullmatch(text)
    assert f"{number:032x}" == text.replace("-", "")
    assert number == twin.parse_uuid(text)


@pytest.mark.parametrize("number", [-1, 2**128, 2**200, -(2**128)])
def test_what_is_no_128_bit_number_is_not_written(twin: Any, number: int) -> None:
    """`OverflowError`."""
    with pytest.raises(OverflowError):
        twin.format_uuid(number)


GOOD = "01234567-89ab-7cde-8f01-23456789abcd"
WRONG = [
    "", "x", GOOD[:-1], GOOD + "0", GOOD + "\n", GOOD.upper(), GOOD.replace("-", ""), GOOD.replace("-", "_"), "{" + GOOD + "}",
    GOOD.replace("0", "g"), GOOD.replace("1", "\0"), GOOD[:-1] + "é", GOOD[:-1] + "١", GOOD[:-1] + "\ud800", "-" * 36, "0" * 36,
    GOOD[:8] + GOOD[9:13] + "-" + GOOD[13:],
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_nothing_else_is_read(twin: Any, text: str) -> None:
    """`ValueError`, with one sentence."""
    with pytest.raises(ValueError, match=r"^not a UUID in lower case$"):
        twin.parse_uuid(text)


@given(
    st.text(st.sampled_from("0123456789abcdef-gA"), min_size=35, max_size=37)
    | st.from_regex(UUID_PATTERN, fullmatch=True)
)
def test_twins_read_the_same(text: str) -> None:
    """Near misses above all."""
    read = []
    for twin in (reference, compiled_twin()):
        try:
            read.append(twin.parse_uuid(text))
        except ValueError as error:
            read.append(str(error))
    assert read[0] == read[1]
