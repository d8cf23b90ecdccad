"""What an error of PostgreSQL or of libpq means to a person: one sentence, and what to do.

Never more than the first part of what the server says: behind it may come the row that it was about.
"""

from __future__ import annotations

from typing import Final

import psycopg

from cra.errors import StorageError, StorageLocked

_LONGEST: Final = 500
_BUSY: Final = ("55P03", "40P01", "40001")  # a lock that is not given, a deadlock, two transactions at odds
# By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), the longest beginning that is listed.
_ADVICE: Final = {
    "22021": "the database cannot hold this text; create one with: createdb --encoding UTF8",
    "25006": "the server is read-only, or a standby; name the primary, or several hosts and target_session_attrs=read-write",
    "28": "check the user and the password (in PGPASSWORD or ~/.pgpass, so that it is in no URL) and the server's pg_hba.conf",
    "3D000": "create the database with: createdb NAME",
    "42501": "grant the user what is missing, or name another schema with ?schema=",
    "42P": "something else has these names in the schema; name another schema with ?schema=",
    "53100": "make room on the disk of the server",
    "53300": "the server has as many connections as it takes; raise max_connections",
    "53": "the server has too little of something; look at its log",
    "57014": "the server was too slow; raise the limit with ?timeout=",
    "57P": "the server is starting or stopping; it is tried again",
    "58": "check the disk of the server and look at its log",
    "XX": "the server's data may be damaged; look at its log",
}
# Where there is no connection yet, libpq tells no SQLSTATE, only what the server says.
_REFUSALS: Final = (
    (("authentication failed", "no password supplied", "no pg_hba.conf entry", 'role "'), "28"),
    (("database system is",), "57P"),
    (("too many clients", "too many connections", "connection slots"), "53300"),
    (('database "',), "3D000"),
)
_UNREACHED: Final = "check that the server runs, the address and the network"


def explain(name: str, what: str, error: psycopg.Error) -> StorageError:
    """Which storage, what could not be done, why, and what to do. `StorageLocked` while others are in the way."""
    reason = error.diag.message_primary or " ".join(str(error).split())
    if len(reason) > _LONGEST:
        reason = reason[:_LONGEST] + " …"
    state = error.sqlstate or ""
    if state in _BUSY:
        return StorageLocked(
            f"storage '{name}' {what}: {reason}; another process is in the way: try again, and give every process sessions"
            " of its own"
        )
    if not state:
        state = next((known for texts, known in _REFUSALS if any(text in reason for text in texts)), "")
    advice = next((_ADVICE[state[:size]] for size in (5, 3, 2) if state[:size] in _ADVICE), _UNREACHED)
    return StorageError(f"storage '{name}' {what}: {reason}; {advice}")
