"""Whether this machine has started again since something was written: then a power cut may have come in between.

What a dead process wrote and never synced is there as long as its kernel lives, and is not to be relied upon after that. Used by
the stores on disk and by the recovery of rings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import UUID

BYTES: Final = 16
UNKNOWN: Final = bytes(BYTES)
_SOURCE: Final = Path("/proc/sys/kernel/random/boot_id")  # random for every start of Linux


def boot_id() -> bytes:
    """What this start of the machine is known by, 16 bytes; zeros where the system does not say."""
    try:
        return UUID(_SOURCE.read_text().strip()).bytes
    except (OSError, ValueError):
        return UNKNOWN


def has_restarted(then: bytes) -> bool:
    """Whether the machine may have started again since `boot_id()` gave `then`. Where it does not say, it is taken not to have:
    a process that was killed is what there is to recover from, then."""
    now = boot_id()
    return now not in (UNKNOWN, then)
