"""Limits and approvals shared by many processes on Redis or Valkey. docs/sharing.md."""

from cra.shared.redis.approvals import RedisApprovals
from cra.shared.redis.limits import RedisLimits

__all__ = ["RedisApprovals", "RedisLimits"]
