"""Execution: executors, parameters, approvals, idempotency."""
