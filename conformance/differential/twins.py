"""The two processes, asked the same at the same time. Called by `campaign` and `minimise`.

An implementation that crashes or hangs has given an answer too: what happened to it. Its process is started again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final

from conformance.differential.episode import Episode
from cra.conformance.process import Adapter, AdapterFailure

# A hash seed for each: what depends on the order of a set is found as a difference, too.
COMPILED: Final = {"CRA_REQUIRE_COMPILED": "1", "CRA_PURE_PYTHON": "", "PYTHONHASHSEED": "1"}
PURE: Final = {"CRA_PURE_PYTHON": "1", "CRA_REQUIRE_COMPILED": "", "PYTHONHASHSEED": "2"}
TIMEOUT_SECONDS: Final = 120.0


class NoTwins(Exception):
    """There is nothing to compare: a process that does not start, or both of the same implementation."""


class _Twin:
    """One process, started again after a failure."""

    def __init__(self, name: str, environment: dict[str, str], arguments: Sequence[str]) -> None:
        self.name = name
        self._command = [sys.executable, "-m", "conformance.differential.worker", *arguments]
        self._environment = environment
        self._adapter: Adapter | None = None

    def ask(self, operation: str, question: Any, timeout: float) -> Any:
        """Raises `AdapterFailure`."""
        if self._adapter is None:
            self._adapter = Adapter(self._command, self._environment)
        try:
            return self._adapter.ask("1", operation, question, timeout)
        except AdapterFailure as failure:
            if failure.kind != "refused":
                self.stop()
            raise

    def stop(self) -> None:
        if self._adapter is not None:
            self._adapter.stop()
            self._adapter = None


class Twins:
    """Both processes. `mutant` breaks the reference on purpose (`conformance.mutants`).

    Raises `NoTwins`. `compiled` are the names of `cra.hotpath` that are compiled.
    """

    def __init__(self, mutant: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        self._twins = (
            _Twin("compiled", COMPILED, ()),
            _Twin("pure", PURE, ("--mutant", mutant) if mutant else ()),
        )
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(2)
        try:
            self.version, self.compiled = self._introduce()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Twins:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _introduce(self) -> tuple[str, list[str]]:
        try:
            compiled, pure = self._pool.map(lambda twin: twin.ask("handshake", None, self._timeout), self._twins)
        except (AdapterFailure, OSError) as failure:
            raise NoTwins(f"a process did not start: {failure}") from None
        found = compiled["implementation"], pure["implementation"]
        if found != ("compiled", "pure") or not compiled["compiled"] or pure["compiled"]:
            raise NoTwins(f"there are no two implementations here: the processes run {found[0]} and {found[1]}")
        return compiled["version"], compiled["compiled"]

    def digests(self, generator: str, seed: int, number: int, size: int) -> tuple[Any, Any]:
        """What the compiled and the reference implementation came to in a generated episode, in short."""
        return self.ask("digests", {"generator": generator, "seed": seed, "number": number, "size": size})

    def answers(self, episode: Episode) -> tuple[list[str], list[str]]:
        """What both came to in an episode, operation by operation, and at its end."""
        compiled, pure = self.ask("answers", episode.to_json())
        return _listed(compiled), _listed(pure)

    def ask(self, operation: str, question: Any) -> tuple[Any, Any]:
        """What the compiled and the reference process answer to an operation of `worker`, or how they failed to.

        A failure is like no answer, not even like the same failure of the other one.
        """

        def ask(twin: _Twin) -> Any:
            try:
                return twin.ask(operation, question, self._timeout)
            except AdapterFailure as failure:
                return f"{failure.kind}: {failure} ({twin.name})"

        compiled, pure = self._pool.map(ask, self._twins)
        return compiled, pure

    def close(self) -> None:
        """End both. A second time does nothing."""
        for twin in self._twins:
            twin.stop()
        self._pool.shutdown()


def _listed(answer: Any) -> list[str]:
    return answer if isinstance(answer, list) else [str(answer)]
