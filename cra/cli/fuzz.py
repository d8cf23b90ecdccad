"""`cra fuzz`: a target, fuzzed for a while; inputs put to it once more; the targets there are.

It writes into the folder it is told to, and nowhere else. Crashes are files there, each with the command that shows it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import typer

from cra.cli.options import Json
from cra.cli.terminal import Cell, say, say_indented, say_json, say_table, telling
from cra.errors import ExternalError
from cra.fuzzing import native
from cra.fuzzing.registry import NAMES, all_targets
from cra.fuzzing.replay import Replayed, files_of, replay
from cra.fuzzing.run import NoEngine, Progress, Result, run

DEFAULT_SECONDS = 60
_LONGEST_SECONDS = 30 * 86_400


class EngineMissing(ExternalError):
    """Atheris is not installed, or does not start."""

    code: ClassVar[str] = "MISSING_EXTRA"


def fuzz(
    target: Annotated[str | None, typer.Argument(help="What to fuzz; without it, what there is.")] = None,
    seconds: Annotated[
        int, typer.Option("--time", help="For how many seconds.", min=1, max=_LONGEST_SECONDS, metavar="SECONDS")
    ] = DEFAULT_SECONDS,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Corpus, crashes and log go there; fuzz-out/TARGET where none is given.",
            metavar="DIR",
            file_okay=False,
        ),
    ] = None,
    corpus: Annotated[
        list[Path] | None,
        typer.Option(
            help="Inputs to begin with, besides the seeds. May be repeated.",
            exists=True,
            file_okay=False,
            metavar="DIR",
        ),
    ] = None,
    package: Annotated[
        Path | None,
        typer.Option(
            help="A folder with an instrumented copy of cra (python -m fuzz build).",
            exists=True,
            file_okay=False,
            metavar="DIR",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the mutations; 0 draws one.", min=0, max=2**32 - 1)] = 0,
    reproduce: Annotated[
        list[Path] | None,
        typer.Option(
            help="Put this input (of a folder, all) to the target, and fuzz nothing. May be repeated.",
            exists=True,
            metavar="FILE",
        ),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show the targets.")] = False,
    as_json: Json = False,
) -> int:
    """Try inputs at one of the doors of this package, looking for one that it does not stand.

    Both implementations are asked, and have to say the same. Exit code 1 when there was a crash or a difference.
    """
    if target is None or listed:
        if target is None and (reproduce or corpus or out):
            raise typer.BadParameter("which target? cra fuzz --list shows them", param_hint="TARGET")
        return _show_targets(as_json)
    if target not in NAMES:
        raise typer.BadParameter(f"there is no target {target!r}; there are {', '.join(NAMES)}", param_hint="TARGET")
    copy = None if package is None else _checked_package(package)
    try:
        if reproduce:
            return _reproduce(target, reproduce, copy, as_json)
        return _fuzz(target, seconds, out or Path("fuzz-out", target), corpus or [], copy, seed, as_json)
    except (NoEngine, FileNotFoundError) as problem:
        raise EngineMissing(str(problem)) from None


def _checked_package(package: Path) -> str:
    if not (package / "cra" / "__init__.py").is_file():
        raise typer.BadParameter(
            f"{package} holds no copy of cra; python -m fuzz build makes one", param_hint="--package"
        )
    return str(package.absolute())


def _show_targets(as_json: bool) -> int:
    targets = all_targets()
    if as_json:
        say_json(
            {"targets": [{"name": each.name, "about": each.about, "max_bytes": each.max_bytes} for each in targets]}
        )
        return 0
    say_table(
        f"Targets ({len(targets)})",
        ("target", "bytes", "what is tried"),
        [(each.name, each.max_bytes, each.about) for each in targets],
        numbers=("bytes",),
    )
    return 0


def _fuzz(
    target: str, seconds: int, out: Path, corpus: list[Path], package: str | None, seed: int, as_json: bool
) -> int:
    folders = [str(folder.absolute()) for folder in corpus]
    with telling() as tell:
        result = run(
            *(target, seconds, out),
            corpora=folders,
            package=package,
            seed=seed,
            watch=lambda progress: tell(_progress_in_words(progress)),
        )
    if as_json:
        say_json(_document(result, out))
    else:
        _show(result, out, package)
    return int(bool(result.crashes))


def _progress_in_words(progress: Progress) -> str:
    if not progress.executions:
        return f"{progress.target}: {progress.seconds:.0f} s, starting"
    return (
        f"{progress.target}: {progress.seconds:.0f} s, {progress.executions} executions ({_rate(progress):.0f}/s),"
        f" coverage {progress.coverage}, corpus {progress.corpus}, crashes {progress.crashes}"
    )


def _rate(progress: Progress) -> float:
    return progress.executions / max(progress.seconds, 0.001)


def _document(result: Result, out: Path) -> dict[str, Any]:
    rate = round(_rate(result.progress), 1)
    return {
        **msgspec.to_builtins(result.progress),
        "executions_per_second": rate,
        "instrumentation": result.instrumentation,
        "out": str(out),
        "crashes": msgspec.to_builtins(result.crashes),
    }


def _show(result: Result, out: Path, package: str | None) -> None:
    progress = result.progress
    say(native.SENTENCES[result.instrumentation])
    say(_progress_in_words(progress))
    say(f"{progress.taken} inputs were taken, the others refused; the corpus is in {out / 'corpus'}")
    if not result.crashes:
        say("no crash", "bold green")
        return
    say_table(
        f"Crashes ({len(result.crashes)})",
        ("crash", "input", "what happened"),
        [(Cell(each.signature, "red"), each.input, each.summary) for each in result.crashes],
    )
    say("to see one again:")
    of_package = "" if package is None else f" --package {package}"
    for each in result.crashes:
        say_indented(f"cra fuzz {each.target}{of_package} --reproduce {each.input}")


def _reproduce(target: str, paths: list[Path], package: str | None, as_json: bool) -> int:
    files = files_of(paths)
    if not files:
        raise typer.BadParameter("there is no file in it", param_hint="--reproduce")
    outcomes = list(replay(target, files, package))
    failed = [each for each in outcomes if not each.passed]
    if as_json:
        say_json({"target": target, "passed": not failed, "inputs": msgspec.to_builtins(outcomes)})
        return int(bool(failed))
    for each in failed:
        _show_failure(each)
    style = "bold red" if failed else "bold green"
    say(f"{len(outcomes)} inputs, {len(failed)} failed, {sum(each.taken for each in outcomes)} taken", style)
    return int(bool(failed))


def _show_failure(outcome: Replayed) -> None:
    say(f"{outcome.input} fails:", "bold red")
    for line in outcome.problem.splitlines():
        say_indented(line)
