"""Limits shared by many processes on Redis or Valkey. docs/shared-limits.md."""

from cra.shared.redis.limits import RedisLimits

__all__ = ["RedisLimits"]
