"""Two expanders that are fed the same have the same lines, counts, heads and complaints. docs/formats/records.md."""

from __future__ import annotations

from importlib import import_module
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from conformance.differential.wild import records
from cra.ids import format_uuid
from cra.reference.expander import Expander
from cra.reference.frames import frame
from cra.reference.ring import Ring
from tests.stateful.pairs import Pair, built

SIZE = 65_536
seeds = st.integers(0, 2**32 - 1)


class Expanders(RuleBasedStateMachine):
    """Each expander has a ring of its kind to drain."""

    def __init__(self) -> None:
        super().__init__()
        self.speedups: Any = import_module("cra._speedups")
        self.rings = Pair(Ring(SIZE), self.speedups.Ring(SIZE))
        self.begin({})

    def begin(self, heads: dict[str, Any], lines: bool = True, frames: bool = False) -> None:
        options = {"lines": lines, "frames": frames}
        self.expanders = Pair(Expander(heads, **options), self.speedups.Expander(heads, **options))

    def teardown(self) -> None:
        self.rings.call("close")

    @rule(seed=seeds)
    def feed(self, seed: int) -> None:
        for record in records(Random(seed)):
            self.expanders.call("feed", record)

    @rule(data=st.binary(max_size=80))
    def feed_anything(self, data: bytes) -> None:
        self.expanders.call("feed", data)

    @rule(seed=seeds, most=st.sampled_from([0, 1, 500, 2**20]))
    def drain(self, seed: int, most: int) -> None:
        for record in records(Random(seed)):
            self.rings.call("put", record)
        self.expanders.each(lambda one: one.drain(self.rings.both[self.expanders.both.index(one)], most))
        self.rings.call("free", self.rings.get("position"))

    @rule(position=st.integers(0, 2**40))
    def take(self, position: int) -> None:
        self.expanders.each(lambda one: _shown(one.take(position)))

    @rule()
    def discard(self) -> None:
        self.expanders.call("discard")

    @rule(seed=seeds, rest=st.binary(max_size=12))
    def feed_frames(self, seed: int, rest: bytes) -> None:
        parts = [*records(Random(seed)), b"", b"\x10 no record", *records(Random(seed + 1))]
        self.expanders.call("feed_frames", b"".join(map(frame, parts)) + rest)

    @rule()
    def omit_lines(self) -> None:
        self.expanders.call("omit_lines")

    @rule(seed=seeds)
    def make_lines(self, seed: int) -> None:
        """Of the sessions that are open, some are known to the heads, and so are others."""
        known = sorted(self.expanders.both[0].heads())
        random = Random(seed)
        heads = {
            name: (random.randrange(9), f"{random.randrange(2**256):064x}", 0)
            for name in known
            if random.random() < 0.7
        }
        heads[format_uuid(random.randrange(2**128))] = (1, "0" * 64, 1)
        self.expanders.call("make_lines", heads)

    @rule(lines=st.booleans(), frames=st.booleans())
    def begin_again_from_the_heads(self, lines: bool, frames: bool) -> None:
        """As after a crash: other expanders carry the chains on."""
        heads = self.expanders.each(lambda one: dict(sorted(one.heads().items())))
        self.begin(heads, lines, frames)

    @invariant()
    def count_the_same(self) -> None:
        for name in ("records", "events", "refused", "lines", "frames"):
            self.expanders.get(name)


def _shown(batch: Any) -> Any:
    return None if batch is None else (batch.data, batch.runs, batch.position, batch.frames, len(batch), list(batch))


TestExpanders = built(Expanders.TestCase)
TestExpanders.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=20)
