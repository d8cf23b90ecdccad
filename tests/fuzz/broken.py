"""A target that is wrong on purpose, in the ways a target can be: for tests of the harness."""

from __future__ import annotations

import os

import cra
from cra.errors import StorageError, TraceBackpressure
from cra.fuzzing.target import Target, expect


def answer(data: bytes) -> object:
    """Does what it is told."""
    if data == b"differs":
        return "the same up to here", cra.implementation()
    if data == b"documented":
        raise StorageError("no")
    if data == b"undocumented":
        raise TraceBackpressure("no")
    if data == b"raises":
        return [][1]
    if data == b"unexpected":
        expect(False, "two and two is five")
    if data == b"dies":
        os._exit(7)
    if data == b"hangs":
        while True:
            pass
    return data


TARGET = Target("broken", "nothing", answer, lambda: [b"x"], refusals=(StorageError,), seconds=3)
