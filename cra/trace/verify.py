"""Verification of a whole trace file, in one pass and in memory that grows with the number of sessions only.

Called as `cra.verify_file` and by `cra trace verify`. The chain's rules are `cra.reference.chain`'s; this module adds lines and
sessions. It never raises over what the file contains. PROTOCOL: Verification.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cra.errors import InvalidTraceEvent
from cra.hotpath import feed_lines
from cra.ids import UUID_PATTERN
from cra.reference.chain import TAIL_NOTICE, Anchor, ChainVerification, ChainVerifier, ErrorType, Fault
from cra.reference.grammar import Dialect, find_dialect
from cra.trace.jsonl import PathLike, open_trace, parse_line


class FileVerification(msgspec.Struct, frozen=True):
    """What verification of a file found: the fields of `ChainVerification` over its lines, and every session's own.

    `event_count` is the number of lines, `error_index` counts lines from 0, and `last_hash` is the hash in the last line, or
    in the one before the first bad one (None at line 0). A line that names no session counts for the file alone.
    PROTOCOL: Verification.
    """

    valid: bool
    event_count: int
    error_type: ErrorType | None
    error_index: int | None
    last_hash: str | None
    warnings: tuple[str, ...]
    message: str | None
    sessions: Mapping[str, ChainVerification]


def verify_file(path: PathLike, dialect: str = "trace-1.0") -> FileVerification:
    """Verify a JSONL trace; the sessions in it may be interleaved. An empty file is valid.

    Raises `StorageError` when the file can not be read and `InvalidTraceEvent` for an unknown `dialect`, nothing else.
    PROTOCOL: Verification.
    """
    verifier = FileVerifier(find_dialect(dialect))
    with open_trace(path) as file:
        feed_lines(file, verifier)
    return verifier.result()


class FileVerifier:
    """Verifies a file line by line. `feed_lines` gives it the lines, or tells it of lines that it found good itself.

    Sessions that have one of the `anchors` are verified from it, or up to it. May be given one file after another.
    """

    def __init__(self, dialect: Dialect, anchors: Mapping[str, Anchor] | None = None) -> None:
        self.dialect = dialect
        self.anchors = anchors or {}
        self.known: object = None
        """What the compiled `feed_lines` knows of the chains, from one file to the next."""
        self._sessions: dict[str, ChainVerifier] = {}
        self._count = 0
        self._fault: Fault | None = None
        self._fault_index = 0
        self._last_hash: str | None = None

    def feed(self, line: bytes) -> str | None:
        """Take the next line. The session whose chain it was given to, None where it names none."""
        session_id, fault = self._check(line)
        if self._fault is None:
            self._fault, self._fault_index = fault, self._count
        self._count += 1
        return session_id

    def pass_over(self, lines: int, last_hash: str | None) -> None:
        """Count lines that change no verdict; `last_hash` is in the last of them that is a link of its chain, None without one.

        Their chains are told by who found them good: `chain(session_id).resume(…)`.
        """
        self._count += lines
        if self._fault is None and last_hash is not None:
            self._last_hash = last_hash

    def chain(self, session_id: str) -> ChainVerifier:
        """The chain of a session, begun where it is not known yet."""
        chain = self._sessions.get(session_id)
        if chain is None:
            chain = ChainVerifier(anchor=self.anchors.get(session_id), dialect=self.dialect)
            self._sessions[session_id] = chain
        return chain

    def result(self) -> FileVerification:
        """The verdict on what has been fed."""
        sessions = {session_id: chain.result() for session_id, chain in self._sessions.items()}
        error_type, message = self._fault or (None, TAIL_NOTICE)
        return FileVerification(
            valid=self._fault is None,
            event_count=self._count,
            error_type=error_type,
            error_index=self._fault_index if self._fault else None,
            last_hash=self._last_hash,
            warnings=tuple(
                f"session {name}: {warning}" for name, found in sessions.items() for warning in found.warnings
            ),
            message=message,
            sessions=sessions,
        )

    def _check(self, line: bytes) -> tuple[str | None, Fault | None]:
        try:
            fields = parse_line(line)
        except InvalidTraceEvent as error:
            return None, ("malformed_event", error.message)
        session_id = fields.get("session_id") if isinstance(fields, dict) else None
        if not isinstance(session_id, str) or not UUID_PATTERN.fullmatch(session_id):
            # A line that names no session is judged alone, and refused.
            return None, ChainVerifier(dialect=self.dialect).feed(fields)
        fault = self.chain(session_id).feed(fields)
        if fault is None and self._fault is None:
            assert isinstance(fields, dict)  # or the chain had refused it
            self._last_hash = fields["event_hash"]
        return session_id, fault
