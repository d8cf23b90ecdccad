# Conditions, the twin of what cra.reference.match decides; time windows are left to it, whose zones are Python's.
# PROTOCOL: Conditions.

from cpython.unicode cimport PyUnicode_CheckExact

from cra.reference.match import scalar_text as _scalar_text
from cra.reference.match import window_contains as _window_contains


def conditions_hold(conditions, facts, *, restricting):
    """See `cra.reference.match.conditions_hold`."""
    wanted = conditions.risk_tiers
    if wanted is not None and facts.risk_tier not in wanted:
        return False
    wanted = conditions.agents
    if wanted is not None and not _any_matches(wanted, facts.agent_id):
        return False
    wanted = conditions.capabilities
    if wanted is not None and facts.capabilities and not _share(wanted, facts.capabilities):
        return False
    wanted = conditions.time_window
    if wanted is not None and not _window_contains(wanted, facts.now_ns):
        return False
    wanted = conditions.context_matches
    if wanted:
        context = facts.context
        for key, pattern in wanted:
            value = context.get(key, ())
            text = value if PyUnicode_CheckExact(value) else _scalar_text(value)
            if not (restricting if text is None else glob_match(pattern, text)):
                return False
    return True


cdef bint _any_matches(patterns, agent_id) except -1:
    for pattern in patterns:
        if glob_match(pattern, agent_id):
            return True
    return False


cdef bint _share(listed, required) except -1:
    for name in required:
        if name in listed:
            return True
    return False
