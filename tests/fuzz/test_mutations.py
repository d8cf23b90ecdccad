"""Mutations of JSON: JSON again, the same for the same seed, and nothing where there is no JSON to hold on to."""

from __future__ import annotations

import json
from random import Random

import pytest

from cra.fuzzing.mutations import mutate
from cra.fuzzing.target import Notation

DOCUMENT = b'{"a":[1,2.5,"x",{"b":null}],"c":true}'
ROUNDS = 300


@pytest.mark.parametrize("data", [DOCUMENT, b"[]", b'"x"', b"7"])
def test_a_document_stays_one(data: bytes, seed: int) -> None:
    """Most of the time another one; the same seed gives the same."""
    found = [mutate(data, "json", Random(seed + n)) for n in range(ROUNDS)]
    assert found == [mutate(data, "json", Random(seed + n)) for n in range(ROUNDS)]
    for each in found:
        assert each is not None
        json.loads(each.decode(errors="surrogatepass"))
    assert len(set(found)) > ROUNDS // 20


def test_lines_stay_lines_and_what_stands_before_one_stays(seed: int) -> None:
    """A byte in front may be an instruction; lines come, go and change places."""
    data = b"!" + DOCUMENT + b"\n" + DOCUMENT + b"\n"
    counts = set()
    for n in range(ROUNDS):
        found = mutate(data, "json lines", Random(seed + n))
        if found is not None:  # the empty end of the last line was drawn
            counts.add(found.count(b"\n"))
            assert b"!" in found or found.count(b"\n") < 2
    assert {1, 2, 3} <= counts


@pytest.mark.parametrize("notation", ["json", "json lines"])
def test_what_is_none_is_left_to_others(notation: Notation) -> None:
    """Such as what libFuzzer has changed."""
    assert mutate(b"{not json", notation, Random(1)) is None
    assert mutate(b"[" * 100_000, notation, Random(1)) is None
