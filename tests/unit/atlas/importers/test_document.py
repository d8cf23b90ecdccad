"""Reading an OpenAPI document: JSON and the part of YAML that means the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.atlas.importers import document
from cra.atlas.importers.document import parse_openapi, read_openapi
from cra.errors import AtlasLoadError, InvalidAtlasManifest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (cra[yaml])")


def refusal(text: str | bytes) -> str:
    """The message of a text that must be refused."""
    with pytest.raises(InvalidAtlasManifest) as caught:
        parse_openapi(text if isinstance(text, bytes) else text.encode())
    return caught.value.message


@pytest.fixture(params=["c", "python"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML with and without its C parser, which not every machine has."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)


def test_json_is_read_strictly() -> None:
    """A text that starts with a brace is JSON, and a duplicate key is an error with its position."""
    assert {"a": 1} == parse_openapi(b' {"a": 1}')
    assert "occurs twice" in refusal('{"a": 1, "a": 2}')


@pytest.mark.usefixtures("_parser")
def test_yaml_scalars_are_those_of_json() -> None:
    """Plain scalars follow the core schema of YAML 1.2; quoted ones, dates, `yes` and keys are texts."""
    text = """
a: [1, -2, 1.5, 1e3, .5, true, False, null, ~, '1', "true", yes, 2024-01-01, 0x10, v1, 12:30]
200: {}
on: |
  7
b: !!str 7
c:
d: 123456789012345678901234567890
e: {x: - 1}
"""
    expected = {
        "a": [
            1,
            -2,
            1.5,
            1000.0,
            0.5,
            True,
            False,
            None,
            None,
            "1",
            "true",
            "yes",
            "2024-01-01",
            "0x10",
            "v1",
            "12:30",
        ],
        "200": {},
        "on": "7\n",
        "b": "7",
        "c": None,
        "d": 123456789012345678901234567890.0,
        "e": {"x": "- 1"},
    }

    assert expected == parse_openapi(text.replace("e: {x: - 1}", "e: {x: '- 1'}").encode())


@pytest.mark.usefixtures("_parser")
def test_aliases_are_what_they_name() -> None:
    """Anchors of scalars, lists and mappings can be used again."""
    assert {"a": {"b": 1}, "c": {"b": 1}, "d": [1, 1]} == parse_openapi(b"a: &x {b: &y 1}\nc: *x\nd: [*y, *y]\n")


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "the key 'a' occurs twice in one mapping at line 2 column 1"),
        ("a: !!python/object:os.system x\n", "is not supported"),
        ("a: !!set {}\n", "is not supported"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "merge keys"),
        ("? [a]\n: 1\n", "a key must be a text"),
        ("&k a: 1\n? *k\n: 2\n", "names nothing"),
        ("b: &k a\n? *k\n: 2\n", "a key must be a text"),
        ("a: *nothing\n", "names nothing"),
        ("a: &x [*x]\n", "names nothing that is complete here"),
        ("a: 1\n---\nb: 2\n", "2 YAML documents"),
        ("", "0 YAML documents"),
        ("a: [1\n", "neither JSON nor YAML"),
        ("a: \x07\n", "neither JSON nor YAML"),
        (b"a: \xff\n", "not UTF-8 at byte 3"),
        ("- " * 200 + "1\n", "nested deeper than 128 levels"),
        ("[" * 100_000, "nested deeper than 128 levels"),
    ],
)
def test_bad_yaml_is_refused_with_its_position(text: str | bytes, words: str) -> None:
    """What JSON has no form for, and what would be a trap, is one error that says where it is."""
    assert words in refusal(text)


@pytest.mark.usefixtures("_parser")
def test_aliases_cannot_multiply_without_bound() -> None:
    """Ten levels of ten aliases each would be ten thousand million values; they are counted, not built."""
    levels = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]

    assert "aliases written out" in refusal("\n".join(levels))


def test_without_pyyaml_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML without PyYAML is one line that names the extra; JSON still works."""
    monkeypatch.setitem(sys.modules, "yaml", None)

    assert 'pip install "cra[yaml]"' in refusal("a: 1\n")
    assert {} == parse_openapi(b"{}")


def test_reads_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read whole; one that is missing or too large is an error before anything is parsed."""
    path = tmp_path / "api.json"
    path.write_text('{"a": 1}')

    assert {"a": 1} == read_openapi(path)
    monkeypatch.setattr(document, "MAX_BYTES", 7)
    with pytest.raises(InvalidAtlasManifest, match=r"api\.json is larger than"):
        read_openapi(path)
    with pytest.raises(AtlasLoadError, match="No such file"):
        read_openapi(tmp_path / "none.json")


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    """What may have no end or no writer is refused at once, with advice."""
    path = tmp_path / kind if kind != "device" else Path("/dev/zero")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(InvalidAtlasManifest, match="is not a regular file; give a file") as caught:
        read_openapi(path)
    assert str(path) in caught.value.message


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**17), 10**17)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != "<<"), inner),
        max_leaves=10,
    )
)
def test_reads_what_pyyaml_writes(value: Any) -> None:
    """JSON values written as YAML come back as they were."""
    assert {"v": value} == parse_openapi(yaml.safe_dump({"v": value}).encode())


@given(st.text())
def test_never_raises_anything_else(text: str) -> None:
    """Any text is read or refused with InvalidAtlasManifest."""
    try:
        parse_openapi(text.encode("utf-8", "surrogatepass"))
    except InvalidAtlasManifest:
        return
