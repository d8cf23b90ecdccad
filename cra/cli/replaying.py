"""What a replay found, for people: how much came out the same, what did not and why.

Used by `cra trace replay`. It recomputes nothing itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from cra.cli.terminal import in_words, say, say_table
from cra.trace.event import Event
from cra.trace.replay import NO_POLICY_SET, Mismatch, Replay

NOT_RECOMPUTED = (
    "Not recomputed, but taken from the trace: outcomes of limits, whose state a trace does not hold, and resolutions that depend"
    " on a context value of which it holds a hash only, or on a parent session that it does not have."
)


def say_replay(result: Replay, events: Sequence[Event]) -> None:
    """The counts, the reasons, and where resolutions came out differently; `events` are those that were replayed."""
    say(
        f"{result.reproduced} of {result.resolutions} resolutions reproduced, {result.not_recomputed} not recomputed",
        "bold green" if result.valid and result.complete else "bold red",
    )
    if result.unknown:
        say(
            f"not complete: {result.unknown} could not be recomputed, so that this replay proves nothing of them",
            "bold red",
        )
    if result.not_recomputed:
        say(NOT_RECOMPUTED, "dim")
    different = [each for each in result.mismatches if each.message != NO_POLICY_SET]
    unknown = Counter(_policy_sets([each for each in result.mismatches if each.message == NO_POLICY_SET], events))
    for policy_set, count in unknown.items():
        say(
            f"not reproduced: {count} made under the policy set {policy_set}, which no selection of the given atlases has:"
            " an atlas was changed since, or one is missing; give all that were loaded then, as they were, with --atlas",
            "yellow",
        )
    if different:
        say_table(
            f"Mismatches ({len(different)})",
            ("session", "event", "what", "expected", "actual"),
            [
                (each.session_id, each.sequence, each.message, *map(_payload, (each.expected, each.actual)))
                for each in different
            ],
            numbers=("event",),
            folded=3,
        )


def _payload(value: object) -> str:
    return "" if value is None else in_words(value)


def _policy_sets(mismatches: Sequence[Mismatch], events: Sequence[Event]) -> Iterable[str]:
    """What the trace recorded as policy set of each of these resolutions: it is in the completion that follows the request."""
    requests = {(each.session_id, each.sequence) for each in mismatches}
    waiting: set[str] = set()
    for event in events:
        if (event.session_id, event.sequence) in requests:
            waiting.add(event.session_id)
        elif event.session_id in waiting and event.event_type == "carp.resolution.completed":
            waiting.remove(event.session_id)
            yield str(event.payload["policy_set"])
