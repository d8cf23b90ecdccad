"""What `msgspec` has to be told before threads start, and what it says of a wrong shape, in the words of JSON."""

from __future__ import annotations

import re

import msgspec

from cra.pointer import pointer

_PLACE = re.compile(r" - at `\$(.*)`\Z", re.DOTALL)
_STEP = re.compile(r"\.([a-z_]+)|\[([0-9]+)\]")
_JSON_NAMES = {"str": "string", "int": "integer", "bool": "boolean"}
_TYPE_NAME = re.compile(r"`(str|int|bool)`")


def learn(*kinds: type[msgspec.Struct]) -> None:
    """Have the fields of these looked at now: at their first use, from two threads at once, the process may crash."""
    for kind in kinds:
        msgspec.json.Decoder(kind)


def shape_problem(error: msgspec.ValidationError) -> tuple[str, str]:
    """msgspec's sentence in the words of JSON, and its place (`$.actions[0].name`) as a pointer."""
    text = str(error)
    place = _PLACE.search(text)
    steps = [name or int(index) for name, index in _STEP.findall(place[1])] if place else []
    message = _TYPE_NAME.sub(lambda match: f"`{_JSON_NAMES[match[1]]}`", _PLACE.sub("", text))
    return message[0].lower() + message[1:], pointer("", *steps)
