"""Mutants that canonicalise, hash, verify, replay or compare wrongly."""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

import msgspec

from conformance.mutants.registry import mutant, replace, replace_method, set_global
from cra.reference import canonical, chain, grammar
from cra.trace import diff as diffing
from cra.trace import replay as replaying
from cra.trace import verify

# Canonical JSON


@mutant("canonical-json")
def unsorted_keys() -> None:
    """Keys stay in the order they were read."""
    set_global(canonical, "sorted", list)


@mutant("canonical-json")
def keys_by_utf_16() -> None:
    """Keys are sorted by UTF-16 unit, as RFC 8785 does."""
    set_global(canonical, "sorted", lambda keys: sorted(keys, key=lambda key: key.encode("utf-16-be", "surrogatepass")))


@mutant("canonical-json")
def escaped_characters() -> None:
    """Everything beyond ASCII is escaped."""
    replace(encode_basestring, lambda original: encode_basestring_ascii)


@mutant("canonical-json")
def exponents() -> None:
    """Large and small floats keep their exponent."""
    replace(canonical._float, lambda original: lambda value: repr(value) if "e" in repr(value) else original(value))


@mutant("canonical-json")
def negative_zero() -> None:
    """-0.0 keeps its sign."""
    replace(canonical._float, lambda original: lambda value: "-0" if repr(value) == "-0.0" else original(value))


@mutant("canonical-json")
def trailing_zero() -> None:
    """Whole floats keep their .0."""
    replace(canonical._float, lambda original: lambda value: repr(value) if value == 1 else original(value))


@mutant("canonical-json", "event-hash")
def surrogates_pass() -> None:
    """Lone surrogates become question marks."""
    replace(canonical._string, lambda original: lambda value: original(value.encode(errors="replace").decode()))


# Hashes and chains


@mutant("event-hash")
def another_digest() -> None:
    """SHA3-256 instead of SHA-256."""
    replace(
        chain._digest,
        lambda original: (
            lambda fields, dialect=grammar.TRACE_1_0: hashlib.sha3_256(chain.hash_input(fields, dialect)).hexdigest()
        ),
    )


@mutant("event-hash")
def parent_as_null() -> None:
    """A parent that is null is hashed as the word."""
    replace(
        chain.hash_input,
        lambda original: (
            lambda fields, *more: original({**fields, "parent_span_id": fields.get("parent_span_id") or "null"}, *more)
        ),
    )


@mutant("event-hash")
def previous_hash_left_out() -> None:
    """The hash does not cover the previous one."""
    replace(chain.hash_input, lambda original: lambda fields, *more: original(fields, *more)[:-64])


@mutant("event-hash")
def timestamp_in_milliseconds() -> None:
    """The timestamp is normalised before it is hashed."""
    replace(
        chain.hash_input,
        lambda original: lambda fields, *more: original({**fields, "timestamp": fields["timestamp"][:23] + "Z"}, *more),
    )


def _forgive(*faults: str) -> None:
    def build(original: Any) -> Any:
        def check(self: Any, fields: Any) -> Any:
            fault = original(self, fields)
            if fault is not None and fault[0] in faults:
                self._accept(fields)
                return None
            return fault

        return check

    replace_method(chain.ChainVerifier, "_check", build)


@mutant("verify-chain")
def broken_links_pass() -> None:
    """An event need not name the hash of the one before."""
    _forgive("chain_broken")


@mutant("verify-chain")
def gaps_pass() -> None:
    """Sequence numbers may have gaps."""
    _forgive("sequence_gap")


@mutant("verify-chain")
def changed_events_pass() -> None:
    """Hashes are not compared."""
    _forgive("hash_mismatch")


@mutant("verify-chain")
def any_genesis() -> None:
    """The first event may name any previous hash."""
    _forgive("invalid_genesis")


@mutant("verify-chain")
def mixed_sessions_pass() -> None:
    """A chain may hold events of another session."""
    _forgive("session_mismatch")


@mutant("verify-chain")
def no_grammar() -> None:
    """Fields are not checked before they are hashed, so that they can be shifted into one another."""
    replace(grammar.find_fault, lambda original: lambda fields, dialect: None)


@mutant("verify-chain")
def unknown_members_pass() -> None:
    """An event may have members that the schema does not know."""
    replace(
        grammar.find_fault,
        lambda original: (
            lambda fields, dialect: original(
                {name: fields[name] for name in grammar.FIELDS if name in fields}
                if isinstance(fields, dict)
                else fields,
                dialect,
            )
        ),
    )


@mutant("verify-chain")
def anchors_ignored() -> None:
    """A trace need not reach its anchor."""
    replace(chain.verify_chain, lambda original: lambda events, anchor=None, **more: original(events, **more))


@mutant("verify-chain")
def time_may_run_backwards() -> None:
    """Nobody is warned of timestamps that run backwards."""
    replace_method(chain.ChainVerifier, "_warnings", lambda original: lambda self: ())


@mutant("verify-file")
def one_session_a_file() -> None:
    """The lines of a file are one chain, whatever their session."""
    replace_method(
        verify.FileVerifier,
        "chain",
        lambda original: lambda self, session_id: original(self, "0192f3a1-7c4e-7d2a-9b01-000000000000"),
    )


# Replay and diff


@mutant("replay")
def replay_believes_everything() -> None:
    """A replay finds every resolution reproduced."""

    def build(original: Any) -> Any:
        def replayed(events: Any, atlases: Any, **more: Any) -> Any:
            found = original(events, atlases, **more)
            return msgspec.structs.replace(found, reproduced=found.resolutions, mismatches=())

        return replayed

    replace(replaying.replay, build)


@mutant("diff")
def diff_sees_types_only() -> None:
    """Two traces with the same types of events are identical."""
    replace(diffing._walk, lambda original: lambda *arguments: iter(()))


@mutant("diff")
def diff_counts_durations() -> None:
    """Durations are content."""
    replace(diffing._is_duration, lambda original: lambda key: False)
