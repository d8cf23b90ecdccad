"""Two rings that are told the same hold the same, as they stand and as recovery reads them. docs/formats/ring.md."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cra.reference.ring import DATA_OFFSET, FRAME, Ring
from cra.reference.ring_scan import scan_ring
from tests.stateful.pairs import Pair, built, outcome

SIZE = 8192
lengths = st.integers(0, 64) | st.sampled_from([1000, 2040, SIZE // 2 - 1, SIZE // 2, SIZE // 2 + 1]) | st.just(-1)
counted = ("head", "tail", "position", "used", "reserved", "puts", "size", "max_record")


class Rings(RuleBasedStateMachine):
    """Both rings lie in files, so that either reader of recovery can be asked about either."""

    def __init__(self) -> None:
        super().__init__()
        self.speedups: Any = import_module("cra._speedups")
        self.files = [os.memfd_create(name) for name in ("reference", "compiled")]
        self.rings = Pair(Ring(SIZE, self.files[0]), self.speedups.Ring(SIZE, self.files[1]))
        self.reserved: list[int] = []
        self.seen = [0]

    def teardown(self) -> None:
        self.rings.call("close")
        for file in self.files:
            os.close(file)

    @initialize()
    def take_a_look(self) -> None:
        """An empty ring has been scanned as well."""
        self.scan()

    @rule(data=st.binary(max_size=40), times=st.integers(1, 60))
    def put(self, data: bytes, times: int) -> None:
        self.rings.call("put", data * times)

    @rule(length=lengths, byte=st.integers(0, 255))
    def put_long(self, length: int, byte: int) -> None:
        self.rings.call("put", bytes([byte]) * length)

    @rule(nbytes=lengths)
    def reserve(self, nbytes: int) -> None:
        if self.rings.call("reserve", nbytes) is True:
            self.reserved.append(nbytes)

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), release=st.booleans())
    def use_reservation(self, data: st.DataObject, release: bool) -> None:
        nbytes = self.reserved.pop(data.draw(st.integers(0, len(self.reserved) - 1)))
        if release:
            self.rings.call("release", nbytes)
        else:
            length = data.draw(st.integers(0, nbytes))
            self.rings.call("put_reserved", bytes(length), nbytes)

    @rule(nbytes=lengths)
    def release_what_was_not_reserved(self, nbytes: int) -> None:
        if not self.reserved:
            self.rings.call("release", nbytes)

    @rule(times=st.integers(1, 20))
    def read(self, times: int) -> None:
        for _ in range(times):
            self.rings.call("read")
            self.seen.append(self.rings.get("position"))

    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        self.rings.call("free", data.draw(st.sampled_from(self.seen) | st.just(self.seen[-1])))

    @rule(position=st.integers(-8, 3 * SIZE))
    def free_anything(self, position: int) -> None:
        self.rings.call("free", position)

    @rule()
    def wait(self) -> None:
        self.rings.call("wait", 0.0)

    @rule()
    def wake(self) -> None:
        self.rings.call("wake")
        self.rings.call("wait", 1.0)

    @rule(nbytes=lengths)
    def wait_room(self, nbytes: int) -> None:
        self.rings.call("wait_room", nbytes, 0.0)

    @rule()
    def scan(self) -> None:
        found = [reader(file) for reader in (scan_ring, self.speedups.scan_ring) for file in self.files]
        assert all(found[0] == other for other in found), found

    @rule(place=st.integers(0, SIZE - 1), byte=st.integers(0, 255), header=st.booleans())
    def scan_damaged(self, place: int, byte: int, header: bool) -> None:
        """Both readers say the same of the same damaged image, and of both images where not the commit words are hit."""
        found = []
        for file in self.files:
            image = bytearray(os.pread(file, DATA_OFFSET + SIZE, 0))
            image[place % 512 if header else DATA_OFFSET + place] = byte
            expected = outcome(lambda image=image: scan_ring(image))
            assert repr(expected) == repr(outcome(lambda image=image: self.speedups.scan_ring(image)))
            found.append(expected)
        if not header and self.is_payload(place):
            assert found[0][4] == found[1][4]

    def is_payload(self, place: int) -> bool:
        """Whether a byte of a record's content is at this place of the data, now."""
        for record in scan_ring(self.files[0]).records:
            start = (record.position + FRAME.size) % SIZE
            if 0 <= (place - start) % SIZE < len(record.data):
                return True
        return False

    @invariant()
    def count_the_same(self) -> None:
        for name in counted:
            self.rings.get(name)


TestRings = built(Rings.TestCase)
TestRings.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=40)
