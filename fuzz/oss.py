"""What OSS-Fuzz and ClusterFuzzLite want of a project: a script a target to be frozen, a dictionary, a zipped corpus, options.

Called by `.clusterfuzzlite/build.sh` in their container, through `python -m fuzz export`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cra.fuzzing.registry import all_targets
from cra.fuzzing.target import Target, dictionary
from fuzz.corpora import inputs, name_of

_FUZZER: Final = '''"""The target {name}, as a program: libFuzzer's arguments, and inputs to replay."""

import sys

import atheris

with atheris.instrument_imports(include=["cra"]):
    from cra.fuzzing.single import prepared

    test, options = prepared("{name}", atheris)

atheris.Setup(sys.argv, test, **options)
atheris.Fuzz()
'''
_OPTIONS: Final = "[libfuzzer]\nmax_len = {most}\ntimeout = {seconds}\ndetect_leaks = 0\n"


def export(folder: Path) -> Iterator[str]:
    """Write `cra_<target>_fuzzer.py`, `.dict`, `.options` and `_seed_corpus.zip` for every target; the names of the scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    for target in all_targets():
        stem = f"cra_{target.name.replace('-', '_')}_fuzzer"
        (folder / f"{stem}.py").write_text(_FUZZER.format(name=target.name))
        (folder / f"{stem}.options").write_text(_OPTIONS.format(most=target.max_bytes, seconds=target.seconds))
        if target.tokens:
            (folder / f"{stem}.dict").write_text(dictionary(target), encoding="ascii")
        with zipfile.ZipFile(folder / f"{stem}_seed_corpus.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(_corpus(target).items()):
                archive.writestr(zipfile.ZipInfo(name), data)
        yield f"{stem}.py"


def _corpus(target: Target) -> dict[str, bytes]:
    known = [*target.seeds(), *(path.read_bytes() for path in inputs(target.name))]
    return {name_of(data): data for data in known}
