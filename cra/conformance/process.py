"""An adapter process: started, asked one question at a time, killed when it does not answer. Called by the runner.

It speaks JSON lines over stdin and stdout (docs/conformance.md) and trusts nothing: every wait and every answer is bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

MAX_ANSWER_BYTES = 16 * 2**20
_TAIL_BYTES = 2_000


class AdapterFailure(Exception):
    """The adapter gave no proper answer; `kind` is `timeout`, `crash`, `garbage` or `refused`. After `refused` it can go on."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Adapter:
    """One process. `command` is its argument list; `environment` is added to ours. `OSError` where it cannot be started."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in `stop`
        self._timed_out = False
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        except BaseException:
            self._errors.close()
            raise

    def ask(self, identifier: str, operation: str, question: Any, timeout: float) -> Any:
        """The result of an operation. Raises `AdapterFailure`; after any kind but `refused` the process is of no use."""
        line = json.dumps({"id": identifier, "operation": operation, "input": question}) + "\n"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # A watchdog rather than a wait with a timeout: a process that does not read blocks the write as well.
        watchdog = threading.Timer(timeout, self._kill_late)
        watchdog.start()
        answer = b""
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
            answer = self._process.stdout.readline(MAX_ANSWER_BYTES + 1)
        except OSError:
            pass
        finally:
            watchdog.cancel()
        if self._timed_out:
            raise AdapterFailure("timeout", f"no answer within {timeout:g} s")
        if not answer.endswith(b"\n"):
            if len(answer) > MAX_ANSWER_BYTES:
                raise AdapterFailure("garbage", f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
            raise AdapterFailure("crash", self._epitaph())
        return _result(answer, identifier)

    def stop(self) -> None:
        """End the process and whatever it started. A second time does nothing."""
        self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        self._errors.close()

    def _kill_late(self) -> None:
        self._timed_out = True
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _epitaph(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _TAIL_BYTES))
        said = self._errors.read().decode(errors="replace").strip()
        return f"the adapter ended (exit status {self._process.returncode})" + (f"; it said: {said}" if said else "")


def _result(answer: bytes, identifier: str) -> Any:
    try:
        message = json.loads(answer)
    except (ValueError, RecursionError):
        raise AdapterFailure("garbage", f"the answer is no JSON that can be read: {answer[:200]!r}") from None
    if not isinstance(message, dict) or message.get("id") != identifier:
        raise AdapterFailure("garbage", f"the answer has not the id {identifier!r}: {answer[:200]!r}")
    if "failure" in message:
        raise AdapterFailure("refused", str(message["failure"]))
    if "result" not in message:
        raise AdapterFailure("garbage", "the answer has neither result nor failure")
    return message["result"]
