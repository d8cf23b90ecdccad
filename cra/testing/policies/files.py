"""Where policy tests are: the files in an atlas's `tests/` folder, read whole, with the atlases they are about.

Called by `cra atlas test` and by the pytest plugin. It reads and loads; `cra.testing.policies.run` runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from cra.atlas.files import MANIFEST_NAME, UnusableFile, read_regular_file
from cra.atlas.importers.document import parse_openapi
from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas
from cra.errors import AtlasLoadError, CRAError, InvalidPolicyTest
from cra.reference.resolve import DefaultDecision
from cra.strictjson import JSONProblem, parse
from cra.testing.policies.document import PolicyTest, read_document

TESTS_FOLDER = "tests"
SUFFIXES = (".policy.yaml", ".policy.yml", ".policy.json")
MAX_BYTES = 1024 * 1024
_LIKELY = (".yaml", ".yml", ".json")


class PolicyFile(Struct, frozen=True):
    """One file of tests, and what they run against: `atlas` is the one under test; `beside` are loaded before it, `overlays`
    after it, as overlays."""

    path: Path
    tests: tuple[PolicyTest, ...]
    atlas: Atlas
    beside: tuple[Atlas, ...]
    overlays: tuple[Atlas, ...]
    default_decision: DefaultDecision

    @property
    def atlases(self) -> tuple[Atlas, ...]:
        return (*self.beside, self.atlas, *self.overlays)


def find_policy_tests(path: str | os.PathLike[str]) -> list[Path]:
    """The files of policy tests at `path`: such a file itself, or those in the `tests/` folder of an atlas, in order.

    Raises `InvalidPolicyTest` where there is none, and for a YAML or JSON file right in that folder with another name, which
    would silently not run.
    """
    given = Path(path)
    if not given.is_dir():
        if not given.name.endswith(SUFFIXES):
            raise InvalidPolicyTest(f"{given} is no folder of an atlas and no file of tests, NAME{SUFFIXES[0]}")
        return [given]
    folder = given / TESTS_FOLDER
    if not (given / MANIFEST_NAME).is_file():
        raise InvalidPolicyTest(f"{given} has no {MANIFEST_NAME}; name the folder of an atlas")
    found = [each for each in sorted(_files(folder)) if each.name.endswith(SUFFIXES)]
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        if each.name.endswith(_LIKELY) and each not in found:
            raise InvalidPolicyTest(
                f"{each} would not run; name it {each.stem}.policy{each.suffix}, or put it into a folder of its own there"
            )
    if not found:
        raise InvalidPolicyTest(f"there are no policy tests: {folder} has no file NAME{SUFFIXES[0]}")
    return found


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def read_policy_file(path: str | os.PathLike[str]) -> PolicyFile:
    """The tests in a file, with their atlases loaded.

    Raises `InvalidPolicyTest`, naming the file, for what is no such document; `AtlasLoadError` where the system refuses to read;
    what `load_atlas` raises for an atlas.
    """
    file = Path(path)
    try:
        document = read_document(_parse(file))
    except InvalidPolicyTest as error:
        error.args = (f"{error.message} (in {file})",)
        raise
    # The folder above `tests/` is the atlas, however deep below it the file is.
    home = next((parent.parent for parent in file.absolute().parents if parent.name == TESTS_FOLDER), file.parent)
    atlas = home if document.atlas is None else file.parent / document.atlas
    return PolicyFile(
        file,
        document.tests,
        load_atlas(atlas),
        tuple(load_atlas(file.parent / each) for each in document.beside),
        tuple(load_atlas(file.parent / each) for each in document.overlays),
        document.default_decision,
    )


def _parse(file: Path) -> object:
    try:
        data = read_regular_file(file, MAX_BYTES)
    except UnusableFile as error:
        raise InvalidPolicyTest(str(error)) from None
    except OSError as error:
        raise AtlasLoadError(f"cannot read {file}: {error.strerror}; check its permissions") from error
    try:
        return parse(data) if file.suffix == ".json" else parse_openapi(data)
    except JSONProblem as problem:
        raise InvalidPolicyTest(f"no strict JSON: {problem}") from None
    except CRAError as error:
        raise InvalidPolicyTest(error.message) from None
