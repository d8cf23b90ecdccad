"""The types of a loaded atlas. They are immutable, and hold nothing that has not been validated.

Built by `cra.atlas.loader` only; read by everything. PROTOCOL: Atlas/1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from cra.carp.conditions import Conditions, RiskTier
from cra.carp.policy import Policy
from cra.carp.schema import Schema

ContentType = Literal["text/markdown", "text/plain", "application/json"]


class Finding(msgspec.Struct, frozen=True):
    """One lint finding: a stable `code`, the JSON pointer it concerns, and a sentence with what to do."""

    code: str
    path: str
    message: str


class Capability(msgspec.Struct, frozen=True):
    capability_id: str
    name: str
    description: str = ""
    actions: tuple[str, ...] = ()
    context_packs: tuple[str, ...] = ()


class ContextBlock(msgspec.Struct, frozen=True):
    """One piece of context: an inline block, or one file of a context pack.

    A pack of one file is the block `<pack_id>`; a pack of several files is one block a file, `<pack_id>/<file>`. `pack_id`
    and `max_tokens` are set for pack files only. PROTOCOL: Inline context, Context.
    """

    block_id: str
    name: str
    content: str
    content_type: ContentType
    priority: int
    conditions: Conditions
    inject_mode: Literal["always", "on_match"] = "on_match"
    keywords: tuple[str, ...] = ()
    also_inject: tuple[str, ...] = ()
    inject_when: tuple[str, ...] = ()
    risk_tiers: tuple[RiskTier, ...] = ()
    pack_id: str | None = None
    max_tokens: int | None = None

    @property
    def token_estimate(self) -> int:
        """⌈UTF-8 bytes / 4⌉. PROTOCOL: Context."""
        return -(-len(self.content.encode()) // 4)


class ActionLimit(msgspec.Struct, frozen=True):
    """An action's own `rate_limit`, as the resolution publishes it."""

    max_calls: int
    window_seconds: int


class Action(msgspec.Struct, frozen=True):
    action_id: str
    name: str
    description: str
    parameters_schema: Schema | None = None
    returns_schema: Schema | None = None
    risk_tier: RiskTier = "low"
    idempotent: bool = False
    requires_confirmation: bool = False
    executor: str | None = None
    timeout_seconds: int = 30
    rate_limit: ActionLimit | None = None
    examples: tuple[Mapping[str, Any], ...] = ()


class Atlas(msgspec.Struct, frozen=True, weakref=True):
    """A validated atlas.

    `policies` holds the manifest's policies in declaration order, followed by one per action that has a `rate_limit` of its
    own (`action:<action_id>`). `digest` is the SHA-256 (hex) of the canonical JSON of the manifest and of every context file
    read; two atlases with the same digest behave alike. `source` is the absolute path it came from, None for a mapping.
    `size_bytes` is what the cache counts. `manifest` is the mapping as it was read.
    """

    atlas_id: str
    version: str
    name: str
    description: str
    digest: str
    manifest: Mapping[str, Any]
    capabilities: tuple[Capability, ...] = ()
    context_blocks: tuple[ContextBlock, ...] = ()
    policies: tuple[Policy, ...] = ()
    actions: tuple[Action, ...] = ()
    dependencies: Mapping[str, str] = {}
    findings: tuple[Finding, ...] = ()
    source: str | None = None
    size_bytes: int = 0
