"""A governance runtime for AI agents, embedded as a library. docs/ and README.md have the tour; PROTOCOL the exact semantics."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cra import errors, testing
from cra.atlas.lint import lint_atlas
from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas, Finding
from cra.atlas.registry import AtlasInfo
from cra.carp.conditions import RiskTier
from cra.carp.explain import Explanation, Step
from cra.carp.request import Request
from cra.carp.resolution import AllowedAction, Constraint, Decision, DeniedAction, InjectedBlock, Resolution
from cra.errors import *  # noqa: F403
from cra.execution.approvals import Approval
from cra.execution.call import Outcome
from cra.hotpath import canonical_json, event_hash, implementation, verify_chain
from cra.reference.chain import ChainVerification
from cra.resolver import Resolver, Stats
from cra.session import Session
from cra.shared.approvals import SharedApprovals
from cra.shared.limits import SharedLimits
from cra.storage.base import AsyncStorageBackend, StorageBackend
from cra.timing.external_timers import ExternalTimers, ScheduledTimer
from cra.timing.manager import Timing
from cra.timing.thread_timers import ThreadTimers
from cra.timing.timers import TimerBackend, TimerStats
from cra.trace.diff import TraceDiff, diff
from cra.trace.event import Event
from cra.trace.replay import Replay, replay
from cra.trace.subscribe import Delivery, Subscription
from cra.trace.verify import FileVerification, verify_file
from cra.version import __version__

if TYPE_CHECKING:
    from cra.shared.redis import RedisApprovals, RedisLimits
    from cra.timing.asyncio_timers import AsyncioTimers

__all__ = [
    "AllowedAction",
    "Approval",
    "AsyncStorageBackend",
    "AsyncioTimers",
    "Atlas",
    "AtlasInfo",
    "ChainVerification",
    "Constraint",
    "Decision",
    "Delivery",
    "DeniedAction",
    "Event",
    "Explanation",
    "ExternalTimers",
    "FileVerification",
    "Finding",
    "InjectedBlock",
    "Outcome",
    "RedisApprovals",
    "RedisLimits",
    "Replay",
    "Request",
    "Resolution",
    "Resolver",
    "RiskTier",
    "ScheduledTimer",
    "Session",
    "SharedApprovals",
    "SharedLimits",
    "Stats",
    "Step",
    "StorageBackend",
    "Subscription",
    "ThreadTimers",
    "TimerBackend",
    "TimerStats",
    "Timing",
    "TraceDiff",
    "__version__",
    "canonical_json",
    "diff",
    "errors",
    "event_hash",
    "implementation",
    "lint_atlas",
    "load_atlas",
    "replay",
    "testing",
    "verify_chain",
    "verify_file",
]
__all__ += errors.__all__

_LATER = {
    "AsyncioTimers": "cra.timing.asyncio_timers",
    "RedisApprovals": "cra.shared.redis",
    "RedisLimits": "cra.shared.redis",
}


def __getattr__(name: str) -> Any:
    """What takes longer to import than all the rest is imported when somebody asks for it."""
    module = _LATER.get(name)
    if module is not None:
        return getattr(import_module(module), name)
    raise AttributeError(f"module 'cra' has no attribute {name!r}")
