"""Parts of an atlas in words: what conditions ask for, what a policy does, what injects a context block.

Used by `cra atlas show`. It decides nothing.
"""

from __future__ import annotations

import json

from cra.atlas.manifest import ContextBlock
from cra.carp.conditions import DAYS, Conditions, TimeWindow
from cra.carp.policy import Policy
from cra.timing.clock import NS_PER_SECOND

SCHEMA_WIDTH = 300


def conditions_in_words(conditions: Conditions) -> str:
    """Every condition with its values, `and` between them; empty where there is none."""
    told = {
        "risk_tiers": _listed(conditions.risk_tiers),
        "agents": _listed(conditions.agents),
        "capabilities": _listed(conditions.capabilities),
        "context_matches": _listed(tuple(f"{key} = {glob}" for key, glob in conditions.context_matches or ())),
        "time_window": _window(conditions.time_window) if conditions.time_window else "",
        "parameters": shortened(json.dumps(conditions.parameters.document, ensure_ascii=False), SCHEMA_WIDTH)
        if conditions.parameters
        else "",
    }
    return " and ".join(f"{name}: {words}" for name, words in told.items() if words)


def policy_in_words(policy: Policy) -> str:
    """What a policy does beyond its type: whether it counts, when, and within what."""
    notes = ["shadow: changes nothing"] if policy.shadow else []
    when = conditions_in_words(policy.conditions)
    if when:
        notes.append(f"when {when}")
    if policy.required_scopes:
        notes.append(f"scopes {', '.join(sorted(policy.required_scopes))}")
    if policy.limit is not None:
        window = "a session" if policy.limit.window_ns is None else f"{policy.limit.window_ns / NS_PER_SECOND:g} s"
        notes.append(f"{float(policy.limit.amount):g} in {window}, per {policy.limit.key}")
    if policy.reason is not None:
        notes.append(policy.reason)
    return "; ".join(notes)


def injection_in_words(block: ContextBlock) -> str:
    """When a block is injected: what triggers it, and the conditions that have to hold besides. PROTOCOL: Context."""
    if block.conditions.unknown:
        return f"never: this version does not know {', '.join(block.conditions.unknown)}"
    triggers = [
        f"{label} {', '.join(values)}"
        for label, values in (
            ("keyword", block.keywords),
            ("risk tier", block.risk_tiers),
            ("goal names", block.inject_when),
        )
        if values
    ]
    words = "always" if block.inject_mode == "always" or not triggers else " or ".join(triggers)
    when = conditions_in_words(block.conditions)
    return f"{words}, when {when}" if when else words


def shortened(text: str, width: int) -> str:
    """`text`, cut where it is longer than `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _listed(values: tuple[str, ...] | None) -> str:
    return ", ".join(values or ())


def _window(window: TimeWindow) -> str:
    words = f"{_clock(window.start)} to {_clock(window.end)} {window.timezone}"
    if len(window.days) == len(DAYS):
        return words
    return f"{words} on {', '.join(DAYS[day] for day in sorted(window.days))}"


def _clock(seconds: int) -> str:
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}"
    return f"{text}:{seconds % 60:02}" if seconds % 60 else text
