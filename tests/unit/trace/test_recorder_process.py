"""The recorder at the edges of a process: forks and the end of the interpreter. Each test runs a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import cra

PRELUDE = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")  # 3.12 warns of forking a process with threads, which is what these tests are about
from cra.errors import CRAError, InternalError
from cra.ids import format_uuid
from cra.storage.jsonl import JsonlStorage
from cra.storage.memory import MemoryStorage
from cra.testing import SeededIds, VirtualClock
from cra.hotpath import canonical_json
from cra.trace.record import EventsRecord, SessionHeader
from cra.trace.recorder import Recorder

ids, clock = SeededIds(1), VirtualClock()
base = ids.draw(0)
HEADER = SessionHeader(format_uuid(base), format_uuid(base + 1), format_uuid(base + 2))

def make(*backends, **options):
    return Recorder(backends, clock=clock, ids=ids, **options)

def record(n):
    return EventsRecord(HEADER, ids.draw(0), clock.now_ns(), (("action.requested", canonical_json({"n": n})),))
"""


def run(program: str, *arguments: str) -> tuple[str, str]:
    """What the program wrote to stdout and stderr; it has to exit with 0."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(cra.__file__).parents[1])},
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr if done.returncode else "")
    return done.stdout, done.stderr


def test_an_inherited_recorder_refuses_everything_in_a_forked_child_and_hangs_nowhere() -> None:
    """Locks held at the fork do not matter; a new recorder works in the child, and the parent's goes on."""
    out, _ = run(
        """
        backend = MemoryStorage()
        recorder = make(backend)
        recorder.record(record(0))
        reservation = recorder.reserve()
        subscription = recorder.subscribe(lambda delivery: None)
        held, go_on = threading.Event(), threading.Event()

        def hold():
            with recorder._drain.busy, recorder.queue.lock:
                held.set()
                go_on.wait(60)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(60)
        child = os.fork()
        if child == 0:
            calls = [
                lambda: recorder.record(record(1)), recorder.reserve, recorder.flush, recorder.stats, recorder.close,
                lambda: reservation.record(record(1)), lambda: recorder.subscribe(print),
            ]
            said = set()
            for call in calls:
                try:
                    call()
                    said.add("taken")
                except InternalError as error:
                    said.add(str(error))
            reservation.release()
            subscription.close()
            own = MemoryStorage()
            fresh = make(own)
            fresh.record(record(2))
            fresh.close()
            print(len(calls), said, own.count(), flush=True)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        go_on.set()
        thread.join()
        reservation.record(record(3))
        subscription.close()
        recorder.close()
        print(backend.count())
        """
    )
    expected = (
        "7 {'this Resolver was inherited through a fork and its worker was not; create a new Resolver in the child "
        "process'} 1\n2\n"
    )
    assert expected == out


def test_an_immediate_recorder_refuses_in_a_forked_child_too() -> None:
    """Without a worker there is still one chain, and the parent has it."""
    out, _ = run(
        """
        recorder = make(MemoryStorage(), tracing="immediate")
        child = os.fork()
        if child == 0:
            try:
                recorder.record(record(1))
            except InternalError as error:
                print("fork" in str(error), flush=True)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """
    )
    assert "True\n" == out


def test_what_waits_is_stored_at_the_end_of_the_interpreter(tmp_path: Path) -> None:
    """A program that never closes its recorder loses nothing, even what it records while it exits."""
    run(
        """
        import atexit
        recorder = make(JsonlStorage(sys.argv[1]))
        for n in range(2000):
            recorder.record(record(n))
        atexit.register(lambda: recorder.record(record(2000)))
        """,
        str(tmp_path),
    )
    (file,) = tmp_path.glob("*.trace.jsonl")
    assert 2_001 == len(file.read_bytes().splitlines())


def test_the_first_record_may_come_when_no_thread_can_be_started_any_more(tmp_path: Path) -> None:
    """Since Python 3.12 an exit handler cannot start threads; the recorder then does without."""
    run(
        """
        import atexit
        recorder = make(JsonlStorage(sys.argv[1]))
        atexit.register(lambda: recorder.record(record(1)))
        """,
        str(tmp_path),
    )
    (file,) = tmp_path.glob("*.trace.jsonl")
    assert 1 == len(file.read_bytes().splitlines())


def test_a_loss_at_the_end_of_the_interpreter_is_one_line_on_stderr() -> None:
    """Nobody is there to catch the error, so it is said, without a traceback."""
    out, err = run(
        """
        class Full(MemoryStorage):
            name = "full:"
            def append(self, batch):
                raise OSError("disk full")
        close = Recorder.close
        Recorder.close = lambda self: close(self, timeout=0.01)
        recorder = make(Full())
        recorder.record(record(1))
        """
    )
    lines = err.splitlines()
    assert ("", 1) == (out, len(lines))
    assert lines[0].startswith("cra: the recorder was closed with losses: ")
    assert lines[0].endswith("disk full")
