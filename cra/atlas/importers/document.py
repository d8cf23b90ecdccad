"""Reads an OpenAPI document from a file: strict JSON, or YAML where PyYAML is installed (`cra[yaml]`).

Called by the command line. YAML is read as YAML 1.2 reads JSON's types: no dates, no `yes` for true, no tags, no merge keys, and
no key twice; it is built from the parser's events, so that neither nesting nor aliases can take unbounded time or memory.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from typing import Any

from cra.atlas.files import UnusableFile, read_regular_file
from cra.atlas.importers.references import MAX_VALUES
from cra.errors import AtlasLoadError, InvalidAtlasManifest
from cra.strictjson import MAX_DEPTH, JSONProblem, parse, shorten

MAX_BYTES = 16 * 1024 * 1024

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_PLAIN_TAGS = (None, "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def read_openapi(path: str | os.PathLike[str]) -> Any:
    """The document in a regular file of at most 16 MB, which is JSON when it starts with `{`.

    Raises `AtlasLoadError` where the file cannot be read and `InvalidAtlasManifest` where it is no such file, or neither JSON
    nor YAML.
    """
    try:
        data = read_regular_file(path, MAX_BYTES)
    except UnusableFile as error:
        raise InvalidAtlasManifest(f"{os.fspath(path)} {error}") from None
    except OSError as error:
        raise AtlasLoadError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    return parse_openapi(data)


def parse_openapi(data: bytes) -> Any:
    """The value of a JSON or YAML text; raises `InvalidAtlasManifest` with the position of what is neither."""
    if not data.lstrip().startswith(b"{"):
        return _parse_yaml(data)
    try:
        return parse(data)
    except JSONProblem as problem:
        raise InvalidAtlasManifest(str(problem)) from None


def _parse_yaml(data: bytes) -> Any:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        raise InvalidAtlasManifest(
            'the document is not JSON; for YAML install PyYAML: pip install "cra[yaml]"'
        ) from None
    try:
        text = data.decode()
        return _Builder(yaml).build(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except UnicodeDecodeError as error:
        raise InvalidAtlasManifest(f"the text is not UTF-8 at byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1} column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "there is a character that YAML does not allow"
        if "nesting depth" in problem:  # libyaml has a bound of its own, and looks ahead
            raise InvalidAtlasManifest(f"nested deeper than {MAX_DEPTH} levels{place}") from None
        raise InvalidAtlasManifest(f"neither JSON nor YAML: {problem}{place}") from None


class _Collection:
    """A list or mapping that is being read. `key` is the one whose value comes next; `size` counts the values inside."""

    def __init__(self, value: list[Any] | dict[str, Any], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: str | None = None
        self.size = 1


class _Builder:
    """Builds the value of one YAML document from its events. An alias is the value it names, counted every time."""

    def __init__(self, yaml: Any) -> None:
        self._yaml = yaml
        self._open: list[_Collection] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._documents: list[Any] = []

    def build(self, events: Iterator[Any]) -> Any:
        yaml = self._yaml
        for event in events:
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._start({} if isinstance(event, yaml.MappingStartEvent) else [], event)
            elif isinstance(event, yaml.CollectionEndEvent):
                closed = self._open.pop()
                self._add(closed.value, closed.size, closed.anchor, event)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in self._anchors:
                    raise self._refused(f"the alias {shorten(event.anchor)} names nothing that is complete here", event)
                self._add(*self._anchors[event.anchor], None, event)
        if len(self._documents) != 1:
            raise InvalidAtlasManifest(f"there are {len(self._documents)} YAML documents in the text; one is needed")
        return self._documents[0]

    def _start(self, value: list[Any] | dict[str, Any], event: Any) -> None:
        if len(self._open) == MAX_DEPTH:
            raise self._refused(f"nested deeper than {MAX_DEPTH} levels", event)
        self._check_tag(event)
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            raise self._refused("a key must be a text", event)
        self._open.append(_Collection(value, event.anchor))

    def _scalar(self, event: Any) -> None:
        self._check_tag(event)
        top = self._open[-1] if self._open else None
        if top is None or isinstance(top.value, list) or top.key is not None:
            quoted = event.style in ("'", '"', "|", ">") or event.tag is not None
            self._add(event.value if quoted else _plain_scalar(event.value), 1, event.anchor, event)
        elif event.value == "<<":
            raise self._refused("merge keys (<<) are not supported; write the members out", event)
        elif event.value in top.value:
            raise self._refused(f"the key {shorten(event.value)} occurs twice in one mapping", event)
        else:
            top.key = event.value

    def _add(self, value: Any, size: int, anchor: str | None, event: Any) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, size
        if not self._open:
            self._documents.append(value)
            return
        top = self._open[-1]
        top.size += size
        if top.size > MAX_VALUES:
            raise self._refused(f"more than {MAX_VALUES:,} values, aliases written out", event)
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is None:
            raise self._refused("a key must be a text", event)
        else:
            top.value[top.key] = value
            top.key = None

    def _check_tag(self, event: Any) -> None:
        if event.tag not in _PLAIN_TAGS:
            raise self._refused(f"the tag {shorten(event.tag)} is not supported; remove it", event)

    @staticmethod
    def _refused(message: str, event: Any) -> InvalidAtlasManifest:
        mark = event.start_mark
        return InvalidAtlasManifest(f"{message} at line {mark.line + 1} column {mark.column + 1}")


def _plain_scalar(text: str) -> Any:
    """A scalar without quotes, in the core schema of YAML 1.2, decimal numbers only."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if _NUMBER.fullmatch(text) else text
