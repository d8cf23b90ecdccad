"""The pytest plugin of cra: fixtures, golden traces, and policy tests (`*.policy.yaml`, `.yml`, `.json`) as tests.

pytest finds it by its entry point `cra`; `-p no:cra` leaves it out. It stands beside the package and imports no part of that
until a test uses it, so that it costs other projects nothing and coverage of `cra` sees every line. docs/testing-atlases.md.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import cra
    from cra.testing.policies.document import PolicyTest
    from cra.testing.policies.files import PolicyFile

SUFFIXES = (".policy.yaml", ".policy.yml", ".policy.json")
_MARKER = "cra(*atlases, **options): the atlases that cra_resolver loads, and the options it is made with"
_UPDATED: pytest.StashKey[list[str]] = pytest.StashKey()
_OWNERS: pytest.StashKey[dict[Path, str]] = pytest.StashKey()
"""Which test a golden trace is of."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden`. A project that has an option of this name keeps it, and the fixture follows it."""
    group = parser.getgroup("cra")
    with contextlib.suppress(ValueError):
        group.addoption(
            "--update-golden",
            action="store_true",
            default=False,
            help="write the golden traces that are missing or differ, instead of failing",
        )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    config.stash[_UPDATED] = []
    config.stash[_OWNERS] = {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Names every golden trace that this run has written."""
    for path in config.stash[_UPDATED]:
        terminalreporter.write_line(f"golden trace written: {path}")


# Fixtures


@pytest.fixture
def virtual_clock() -> cra.testing.VirtualClock:
    """A clock that stands still until `virtual_clock.advance(seconds)`; it starts at 2026-01-01T12:00:00Z."""
    from cra.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def cra_atlases(request: pytest.FixtureRequest) -> Iterable[Any]:
    """The atlases that `cra_resolver` loads: those of the marker `cra`; override it for a module or a project.

    A path is relative to the root of the project (`rootdir`).
    """
    marker = request.node.get_closest_marker("cra")
    return () if marker is None else marker.args


@pytest.fixture
def cra_resolver_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of `cra_resolver`, as `cra.Resolver` takes them: those of the marker `cra`; override it for others."""
    marker = request.node.get_closest_marker("cra")
    return {} if marker is None else dict(marker.kwargs)


@pytest.fixture
def cra_resolver(
    request: pytest.FixtureRequest,
    virtual_clock: cra.testing.VirtualClock,
    cra_atlases: Iterable[Any],
    cra_resolver_options: dict[str, Any],
) -> Iterator[cra.Resolver]:
    """A `cra.Resolver` in memory, on `virtual_clock`, with ids that repeat, and the atlases loaded; closed after the test."""
    import cra

    options = {"storage": "memory:", "clock": virtual_clock, "ids": cra.testing.SeededIds(0), **cra_resolver_options}
    with cra.Resolver(**options) as resolver:
        for atlas in cra_atlases:
            is_path = isinstance(atlas, (str, Path))
            resolver.load_atlas(request.config.rootpath / atlas if is_path else atlas)
        yield resolver


@pytest.fixture
def cra_session(cra_resolver: cra.Resolver) -> cra.Session:
    """A session of agent `agent` in `cra_resolver`; its goal is the default one of policy tests."""
    return cra_resolver.create_session("agent", "Test the policies")


@pytest.fixture
def golden_trace(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`golden_trace(session)` compares the trace of a session of `cra_resolver` with a committed one, `golden_trace(events)` any
    events.

    The file is `golden/<module>/<test>.trace.jsonl` beside the test's module, for a test in a class `<class>.<test>`; `name=`
    replaces that. `--update-golden` writes it; otherwise one that is missing or different is a failure that says how.
    """
    used: set[str] = set()
    # Without a parametrized value's odd characters: the name of a test is not always that of a file.
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", request.node.nodeid.partition("::")[2].replace("::", ".")).strip("-")

    def compare(trace: cra.Session | Iterable[cra.Event], *, name: str = plain) -> None:
        __tracebackhide__ = True
        import cra
        from cra.testing.golden_traces import compare_with_golden

        if re.fullmatch(r"[A-Za-z0-9._-]+", name) is None:
            raise ValueError(f"the name {name!r} of a golden trace has to be letters, digits, dots, _ and -")
        if name in used:
            raise ValueError(
                f"this test has compared with the golden trace {name!r} already; give the second one a name="
            )
        used.add(name)
        if isinstance(trace, cra.Session):
            resolver: cra.Resolver = request.getfixturevalue("cra_resolver")
            trace = resolver.trace(trace.session_id)
        events = list(trace)
        path = request.path.parent / "golden" / request.path.stem / f"{name}.trace.jsonl"
        owner = request.config.stash[_OWNERS].setdefault(path, request.node.nodeid)
        if name == plain and owner != request.node.nodeid:  # whoever says a name may share it
            raise ValueError(f"the golden trace {name!r} is that of {owner} already; give one of them a name=")
        if compare_with_golden(events, path, update=bool(request.config.getoption("update_golden", False))):
            request.config.stash[_UPDATED].append(str(path))

    return compare


# Policy tests


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Files of policy tests are collected wherever pytest finds them."""
    if file_path.name.endswith(SUFFIXES):
        collector: pytest.Collector = PolicyTests.from_parent(parent, path=file_path)
        return collector
    return None


class PolicyTests(pytest.File):
    """A file of policy tests; each test is an item."""

    def collect(self) -> Iterator[pytest.Item]:
        from cra.errors import CRAError
        from cra.testing.policies.files import read_policy_file

        try:
            file = read_policy_file(self.path)
        except CRAError as error:
            raise self.CollectError(error.message) from None
        for test in file.tests:
            yield PolicyItem.from_parent(self, name=test.name, file=file, test=test)


class PolicyItem(pytest.Item):
    """One policy test."""

    def __init__(self, *, file: PolicyFile, test: PolicyTest, **given: Any) -> None:
        super().__init__(**given)
        self._file = file
        self._test = test

    def runtest(self) -> None:
        from cra.testing.policies.run import run_policy_test

        result = run_policy_test(self._file, self._test)
        if not result.passed:
            raise PolicyTestFailed("\n".join(result.problems))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was expected and what was decided; a traceback only where something else went wrong."""
        if isinstance(excinfo.value, PolicyTestFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"policy test: {self.name}"


class PolicyTestFailed(AssertionError):
    """Something was not as the policy test expects; the message has every problem of the step."""
