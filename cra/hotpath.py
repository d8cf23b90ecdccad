"""The one place that chooses between compiled and reference implementations. Everything else imports these names from here.

`CRA_PURE_PYTHON=1` forces the reference, `CRA_REQUIRE_COMPILED=1` makes a missing extension an error. An extension that is there
but cannot be imported is an error with its cause, never a silent fallback.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cra.reference.match import window_contains


def _is_set(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def _wants_compiled() -> bool:
    pure, required = _is_set("CRA_PURE_PYTHON"), _is_set("CRA_REQUIRE_COMPILED")
    if pure and required:
        raise ImportError("CRA_PURE_PYTHON and CRA_REQUIRE_COMPILED contradict each other; unset one of them")
    if pure:
        return False
    if find_spec("cra._speedups") is not None:
        return True
    if required:
        raise ImportError(
            "CRA_REQUIRE_COMPILED is set, but cra was installed without its compiled half; install it again where there is a"
            " C compiler, or unset the variable"
        )
    return False


if TYPE_CHECKING:  # type checkers read the reference
    from cra.ids import RandomIds, format_uuid, parse_uuid
    from cra.reference.canonical import canonical_json, canonical_text
    from cra.reference.chain import event_hash, hash_value, seal, verify_chain
    from cra.reference.expander import Expander
    from cra.reference.frames import scan_frames, survey_frames
    from cra.reference.glob import glob_match
    from cra.reference.handoff import Handoff
    from cra.reference.keywords import GoalSelector, KeywordMatcher
    from cra.reference.lines import feed_lines
    from cra.reference.match import conditions_hold
    from cra.reference.records import encode_events
    from cra.reference.request_texts import lower_uuid, timestamp_ns
    from cra.reference.resolution_core import ResolutionCore, untracked
    from cra.reference.ring import Ring
    from cra.reference.ring_room import RingRoom
    from cra.reference.ring_scan import scan_ring
    from cra.reference.session_core import RuntimeCore, SessionCore, SessionLock
    from cra.reference.sliding_windows import Reservation, SlidingWindows, Watches
    from cra.strictjson import plain_copy

    _COMPILED = False
elif _COMPILED := _wants_compiled():
    from cra._speedups import (
        Expander,
        GoalSelector,
        Handoff,
        KeywordMatcher,
        RandomIds,
        Reservation,
        ResolutionCore,
        Ring,
        RingRoom,
        RuntimeCore,
        SessionCore,
        SessionLock,
        SlidingWindows,
        Watches,
        canonical_json,
        canonical_text,
        conditions_hold,
        encode_events,
        event_hash,
        feed_lines,
        format_uuid,
        glob_match,
        hash_value,
        lower_uuid,
        parse_uuid,
        plain_copy,
        scan_frames,
        scan_ring,
        seal,
        survey_frames,
        timestamp_ns,
        untracked,
        verify_chain,
    )
else:
    from cra.ids import RandomIds, format_uuid, parse_uuid
    from cra.reference.canonical import canonical_json, canonical_text
    from cra.reference.chain import event_hash, hash_value, seal, verify_chain
    from cra.reference.expander import Expander
    from cra.reference.frames import scan_frames, survey_frames
    from cra.reference.glob import glob_match
    from cra.reference.handoff import Handoff
    from cra.reference.keywords import GoalSelector, KeywordMatcher
    from cra.reference.lines import feed_lines
    from cra.reference.match import conditions_hold
    from cra.reference.records import encode_events
    from cra.reference.request_texts import lower_uuid, timestamp_ns
    from cra.reference.resolution_core import ResolutionCore, untracked
    from cra.reference.ring import Ring
    from cra.reference.ring_room import RingRoom
    from cra.reference.ring_scan import scan_ring
    from cra.reference.session_core import RuntimeCore, SessionCore, SessionLock
    from cra.reference.sliding_windows import Reservation, SlidingWindows, Watches
    from cra.strictjson import plain_copy


def implementation() -> str:
    """Which implementation runs: `"compiled"` or `"pure"`."""
    return "compiled" if _COMPILED else "pure"


__all__ = [
    "Expander",
    "GoalSelector",
    "Handoff",
    "KeywordMatcher",
    "RandomIds",
    "Reservation",
    "ResolutionCore",
    "Ring",
    "RingRoom",
    "RuntimeCore",
    "SessionCore",
    "SessionLock",
    "SlidingWindows",
    "Watches",
    "canonical_json",
    "canonical_text",
    "conditions_hold",
    "encode_events",
    "event_hash",
    "feed_lines",
    "format_uuid",
    "glob_match",
    "hash_value",
    "implementation",
    "lower_uuid",
    "parse_uuid",
    "plain_copy",
    "scan_frames",
    "scan_ring",
    "seal",
    "survey_frames",
    "timestamp_ns",
    "untracked",
    "verify_chain",
    "window_contains",
]
