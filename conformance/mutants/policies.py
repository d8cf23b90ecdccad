"""Mutants that match or combine policies wrongly."""

from __future__ import annotations

from typing import Any

import msgspec

from conformance.mutants.registry import mutant, replace, replace_method
from cra.carp import policy_set
from cra.reference import glob, match, resolve
from cra.session import Session, effective_tier

# Globs and conditions


@mutant("globs")
def stars_stop_at_dots() -> None:
    """`*` does not match dots."""
    replace(
        glob.glob_match, lambda original: lambda p, t: original(p, t) and (p.count(".") == t.count(".") or "*" not in p)
    )


@mutant("globs")
def globs_ignore_case() -> None:
    """Globs ignore case."""
    replace(glob.glob_match, lambda original: lambda pattern, text: original(pattern.lower(), text.lower()))


@mutant("globs")
def globs_match_a_prefix() -> None:
    """A glob need not match the whole string."""
    replace(glob.glob_match, lambda original: lambda pattern, text: original(pattern + "*", text))


@mutant("conditions")
def unknown_fails_for_all() -> None:
    """What cannot be evaluated fails for restricting policies as well."""
    replace(
        match.failed_condition, lambda original: lambda c, facts, *, restricting: original(c, facts, restricting=False)
    )


@mutant("conditions")
def unknown_holds_for_all() -> None:
    """What cannot be evaluated holds for allow policies as well."""
    replace(
        match.failed_condition, lambda original: lambda c, facts, *, restricting: original(c, facts, restricting=True)
    )


@mutant("conditions")
def requests_override_context() -> None:
    """The request's context keys win over the session's."""

    def build(original: Any) -> Any:
        def facts(self: Session, ask: Any, now_ns: int) -> Any:
            context = {**self.context, **(ask.context or {})}
            return [msgspec.structs.replace(each, context=context) for each in original(self, ask, now_ns)]

        return facts

    replace_method(Session, "facts", build)


def _window(change: Any) -> None:
    replace(match.window_contains, lambda original: lambda window, now_ns: change(original, window, now_ns))


@mutant("time-windows")
def windows_include_their_end() -> None:
    """The end of a window is part of it."""
    _window(lambda original, window, now: original(window, now) or original(window, now - 1000))


@mutant("time-windows")
def windows_in_utc() -> None:
    """The timezone of a window is ignored."""
    _window(lambda original, window, now: original(msgspec.structs.replace(window, timezone="UTC"), now))


@mutant("time-windows")
def nights_belong_to_both_days() -> None:
    """A window over midnight is one of the day that it ends, too."""
    _window(
        lambda original, w, now: (
            original(w, now) or (w.end < w.start and original(msgspec.structs.replace(w, start=0), now))
        )
    )


@mutant("risk-tiers")
def requests_lower_the_tier() -> None:
    """The tier of the request replaces that of the host."""
    replace(effective_tier, lambda original: lambda host, asked: host if asked is None else asked)


# Policies


def _decide(change: Any) -> None:
    def build(original: Any) -> Any:
        return lambda matching, granted, default: change(original, list(matching), granted, default)

    replace(resolve.decide, build)


@mutant("policy-order", "policy-combinations")
def denials_ignored() -> None:
    """Deny policies do nothing."""
    _decide(lambda original, found, *more: original([each for each in found if each.type != "deny"], *more))


@mutant("policy-order")
def scopes_ignored() -> None:
    """Scope policies do nothing."""
    _decide(lambda original, found, *more: original([each for each in found if each.type != "scope"], *more))


@mutant("policy-order")
def allow_first() -> None:
    """An allow policy of higher priority beats a deny."""

    def change(original: Any, found: list[Any], *more: Any) -> Any:
        best = max((each.priority for each in found if each.type == "allow"), default=None)
        kept = [each for each in found if best is None or each.type == "allow" or each.priority >= best]
        return original(kept, *more)

    _decide(change)


@mutant("policy-order")
def lowest_priority_first() -> None:
    """Inside a class the lowest priority decides."""

    def build(original: Any) -> Any:
        def order(each: Any) -> Any:
            kind, priority, *rest = original(each)
            return (kind, -priority, *rest)

        return order

    replace(resolve.evaluation_order, build)


@mutant("policy-order")
def open_by_default() -> None:
    """What no policy speaks of is allowed."""
    _decide(lambda original, found, granted, default: original(found, granted, "allow"))


@mutant("policy-order")
def approvals_ignored() -> None:
    """Nothing waits for an approval."""
    _decide(lambda original, found, granted, default: original(found, lambda policy: True, default))


@mutant("policy-order")
def any_scope_will_do() -> None:
    """One of the required scopes is enough."""

    def build(original: Any) -> Any:
        return lambda required, test, facts: not required & facts.scopes and original(required, test, facts)

    replace(policy_set._scope_refuses, build)


@mutant("policy-order")
def atlases_open_each_other() -> None:
    """An allow policy is for the actions of every atlas."""

    def build(original: Any) -> Any:
        def positions(self: Any, each: Any) -> Any:
            return original(self, msgspec.structs.replace(each, type="deny") if each.type == "allow" else each)

        return positions

    replace_method(policy_set.PolicySet, "_positions", build)


@mutant("policy-order")
def atlases_restrict_themselves_only() -> None:
    """A restricting policy is for the actions of its own atlas only."""

    def build(original: Any) -> Any:
        return lambda self, each: (p for p in original(self, each) if self.actions[p][0].atlas_id == each.atlas_id)

    replace_method(policy_set.PolicySet, "_positions", build)


@mutant("capabilities")
def unknown_capabilities_pass() -> None:
    """A capability that nobody defines stands for every action."""

    def build(original: Any) -> Any:
        def capability(self: Any, name: str) -> Any:
            found = original(self, name)
            return frozenset(range(len(self.actions))) if found is None else found

        return capability

    replace_method(policy_set.PolicySet, "capability", build)


@mutant("children")
def parents_ignored() -> None:
    """A child is not held to what its parent may do."""
    replace(resolve.strictest, lambda original: lambda verdicts: 0)
