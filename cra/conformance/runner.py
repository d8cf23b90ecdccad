"""Runs cases against an adapter and says how each went. Called by `cra conformance run` and by tests.

It knows the cases and the wire, and nothing of the implementation behind it. The result is plain data, ready for JSON.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cra.conformance.cases import Case
from cra.conformance.compare import differences
from cra.conformance.process import Adapter, AdapterFailure
from cra.conformance.published import faults as schema_faults
from cra.errors import ExternalError

PROTOCOL = "cra-conformance/1"
GIVE_UP_AFTER = 5
"""An adapter that fails this often in a row is not started again."""

Status = Literal["passed", "failed", "error"]


class NoAdapter(ExternalError):
    """The adapter cannot be started, or is not one. No error of the protocol: only the runner raises it."""

    code = "NO_ADAPTER"


@dataclass(frozen=True)
class Result:
    """How one case went: `passed`, `failed` (another answer), or `error` (no proper answer); `error` and `details` say how."""

    id: str
    group: str
    level: str
    status: Status
    duration_ms: float
    error: str | None = None
    details: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """A whole run, in the order of the cases; `duration_ms` includes the starts of the adapter."""

    implementation: str
    version: str
    level: str
    results: list[Result]
    duration_ms: float

    @property
    def totals(self) -> dict[str, int]:
        """How many cases there were, and how many of each status."""
        counts = {
            status: sum(each.status == status for each in self.results) for status in ("passed", "failed", "error")
        }
        return {"cases": len(self.results), **counts}

    @property
    def passed(self) -> bool:
        """Whether there were cases and all of them passed."""
        return bool(self.results) and self.totals["passed"] == len(self.results)

    def to_dict(self) -> dict[str, Any]:
        """The machine-readable result, docs/conformance.md."""
        return {
            "format": "cra-conformance-result/1",
            "implementation": self.implementation,
            "version": self.version,
            "level": self.level,
            "passed": self.passed,
            "totals": self.totals,
            "duration_ms": self.duration_ms,
            "cases": [asdict(result) for result in self.results],
        }


def run(
    cases: Iterable[Case],
    command: Sequence[str],
    *,
    level: str = "CRA-Full",
    timeout: float = 10.0,
    stop_at_first: bool = False,
    progress: Callable[[Result], object] | None = None,
) -> Report:
    """Put each case to the adapter `command` starts; `timeout` is per case, s. Raises `NoAdapter`.

    An adapter that crashes, hangs or answers nonsense costs its case only: the next one gets a fresh process, until
    `GIVE_UP_AFTER` in a row have failed that way; the rest is then reported as `error`. With `stop_at_first` the first case that
    does not pass is the last.
    """
    started = time.monotonic()
    runner = _Runner(command, timeout)
    results: list[Result] = []
    try:
        hello = runner.handshake()
        for case in cases:
            result = runner.run(case)
            results.append(result)
            if progress is not None:
                progress(result)
            if stop_at_first and result.status != "passed":
                break
    finally:
        runner.stop()
    return Report(hello["implementation"], hello["version"], level, results, _ms_since(started))


class _Runner:
    def __init__(self, command: Sequence[str], timeout: float) -> None:
        self._command = command
        self._timeout = timeout
        self._adapter: Adapter | None = None
        self._failures = 0

    def handshake(self) -> dict[str, str]:
        """Start the adapter, and learn who it is. Raises `NoAdapter`."""
        try:
            self._adapter = Adapter(self._command)
        except OSError as error:
            raise NoAdapter(f"the adapter {' '.join(self._command)!r} cannot be started: {error}") from None
        try:
            hello = self._adapter.ask("handshake", "handshake", {"protocol": PROTOCOL}, self._timeout)
        except AdapterFailure as failure:
            raise NoAdapter(f"the adapter {' '.join(self._command)!r} gave no handshake: {failure}") from None
        if not isinstance(hello, dict) or hello.get("protocol") != PROTOCOL:
            raise NoAdapter(f"the adapter does not speak {PROTOCOL}; its handshake was {hello!r}")
        return {name: str(hello.get(name, "unknown")) for name in ("implementation", "version")}

    def run(self, case: Case) -> Result:
        started = time.monotonic()
        try:
            answer = self._ask(case)
        except (AdapterFailure, NoAdapter) as failure:
            kind = failure.kind if isinstance(failure, AdapterFailure) else "crash"
            return self._result(case, "error", started, kind, [str(failure)])
        try:
            details = [*differences(case.expected, answer), *schema_faults(answer)]
        except RecursionError:
            return self._result(case, "error", started, "garbage", ["the answer is nested too deeply to be compared"])
        if details:
            return self._result(case, "failed", started, "wrong answer", details)
        return self._result(case, "passed", started)

    def _ask(self, case: Case) -> Any:
        if self._failures >= GIVE_UP_AFTER:
            raise AdapterFailure("given up", f"not run: the adapter failed {GIVE_UP_AFTER} times in a row")
        try:
            if self._adapter is None:
                self.handshake()
            assert self._adapter is not None
            answer = self._adapter.ask(case.id, case.operation, case.input, self._timeout)
        except (AdapterFailure, NoAdapter) as failure:
            if not (isinstance(failure, AdapterFailure) and failure.kind == "refused"):
                self._failures += 1
                self.stop()
            raise
        self._failures = 0
        return answer

    def stop(self) -> None:
        if self._adapter is not None:
            self._adapter.stop()
            self._adapter = None

    def _result(
        self, case: Case, status: Status, started: float, error: str | None = None, details: Sequence[str] = ()
    ) -> Result:
        return Result(case.id, case.group, case.level, status, _ms_since(started), error, list(details))


def _ms_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)
