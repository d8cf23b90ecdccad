"""pyperf's workers start afresh: what they ran is compared with what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

pyperf = pytest.importorskip("pyperf", reason="pyperf is in the extra [perf]")

from perf import micro  # noqa: E402


def benchmark(*ran: str) -> object:
    """A result whose runs were of these implementations."""
    return pyperf.Benchmark(
        [pyperf.Run([1.0], metadata={"name": "x", micro.METADATA: one}, collect_metadata=False) for one in ran]
    )


def test_runs_of_another_implementation_end_the_program() -> None:
    """All of them, or some."""
    micro.check(benchmark("pure", "pure"), "pure")
    micro.check(None, "pure")
    with pytest.raises(SystemExit, match="asked for compiled, and the workers ran pure"):
        micro.check(benchmark("pure", "pure"), "compiled")
    with pytest.raises(SystemExit, match="asked for pure, and the workers ran different ones"):
        micro.check(benchmark("pure", "compiled"), "pure")


@pytest.mark.parametrize("name", micro.benchmarks())
def test_every_benchmark_runs(name: str) -> None:
    """And says how long it took."""
    function, operations = micro.benchmarks()[name]
    assert function(3) > 0
    assert operations >= 1


def test_the_reference_is_what_the_workers_run_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment to the metadata of the file, through pyperf's own processes."""
    import subprocess
    import sys

    from perf.cases import ROOT
    from perf.one import environment

    file = tmp_path / "micro.json"
    command = [sys.executable, "-m", "perf.micro", "--debug-single-value", "--quiet", "--output", str(file)]
    subprocess.run(command, cwd=ROOT, env=environment("pure"), check=True, capture_output=True)
    suite = pyperf.BenchmarkSuite.load(str(file))
    assert list(micro.benchmarks()) == suite.get_benchmark_names()
    assert suite.get_metadata()[micro.METADATA] == "pure"
