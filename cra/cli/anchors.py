"""Anchors: what is kept of a trace, elsewhere, so that a cut tail or a rewritten trace is found later.

Used by `cra trace verify`. PROTOCOL: Verification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import typer

import cra
from cra.ids import UUID_PATTERN
from cra.reference.chain import Anchor, ChainVerification
from cra.trace.event import Event
from cra.trace.jsonl import read_events
from cra.trace.verify import FileVerification

FORM = "SESSION:SEQUENCE:HASH"
_ANCHOR = re.compile(rf"({UUID_PATTERN.pattern}):([0-9]{{1,20}}):([0-9a-f]{{64}})")


def parse_anchor(text: str) -> Anchor:
    """The anchor that a user wrote; `typer.BadParameter` for anything else."""
    match = _ANCHOR.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"expected {FORM}, as `cra trace verify` prints it", param_hint="--anchor")
    return match[1], int(match[2]), match[3]


def anchor_of(session_id: str, chain: ChainVerification) -> str:
    """The anchor of a sound chain, to be kept."""
    return f"{session_id}:{chain.event_count - 1}:{chain.last_hash}"


def hold_to(anchor: Anchor, file: Path, found: FileVerification, dialect: str) -> FileVerification:
    """The verification of a file, corrected by an anchor for a session in it. What was wrong already stays as it is."""
    if not found.valid or anchor[0] not in found.sessions:
        return found
    lines: list[int] = []
    chain = cra.verify_chain(_of_session(file, anchor[0], lines), anchor=anchor, dialect=dialect)
    sessions = {**found.sessions, anchor[0]: chain}
    if chain.valid:
        notices = [each.message for each in sessions.values() if each.message is not None]
        return msgspec.structs.replace(found, sessions=sessions, message=found.message if notices else None)
    assert chain.error_index is not None
    return msgspec.structs.replace(
        found,
        valid=False,
        sessions=sessions,
        error_type=chain.error_type,
        error_index=lines[chain.error_index] if chain.error_index < len(lines) else found.event_count,
        message=chain.message,
    )


def _of_session(file: Path, session_id: str, lines: list[int]) -> Iterator[Event]:
    """The events of one session; `lines` gets the index of each one's line."""
    for index, event in enumerate(read_events(file)):
        if event.session_id == session_id:
            lines.append(index)
            yield event
