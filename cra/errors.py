"""Every error the runtime raises, as one tree under `CRAError`.

Each class carries what a program needs (`code`, `category`, `http_status`, `recoverable`); the message carries what a person
needs: what is wrong, where, and what to do next. PROTOCOL: Errors.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Category = Literal[
    "not_found", "validation", "authorization", "conflict", "expired", "rate_limit", "integrity", "internal", "external"
]


class CRAError(Exception):
    """Base of every error of this package.

    `path` names the place in the input that is to blame, as a JSON pointer (`/policies/3/type`), where there is one; it is
    already part of the message.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"
    category: ClassVar[Category] = "internal"
    http_status: ClassVar[int] = 500
    recoverable: ClassVar[bool] = False

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path

    @property
    def message(self) -> str:
        """The sentence for a person, path included."""
        return str(self.args[0])

    def to_error_response(self) -> dict[str, dict[str, object]]:
        """The published error body: `{"error": {"code", "message", "category", "recoverable"}}`."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "category": self.category,
                "recoverable": self.recoverable,
            }
        }


class NotFoundError(CRAError):
    category = "not_found"
    http_status = 404


class AtlasNotFound(NotFoundError):
    code = "ATLAS_NOT_FOUND"


class SessionNotFound(NotFoundError):
    code = "SESSION_NOT_FOUND"


class ActionNotFound(NotFoundError):
    code = "ACTION_NOT_FOUND"


class ApprovalNotFound(NotFoundError):
    code = "APPROVAL_NOT_FOUND"


class ValidationError(CRAError):
    category = "validation"
    http_status = 400


class InvalidAtlasManifest(ValidationError):
    code = "INVALID_ATLAS_MANIFEST"


class AtlasVersionMismatch(ValidationError):
    code = "ATLAS_VERSION_MISMATCH"


class InvalidCARPRequest(ValidationError):
    code = "INVALID_CARP_REQUEST"


class InvalidTraceEvent(ValidationError):
    code = "INVALID_TRACE_EVENT"


class InvalidPolicy(ValidationError):
    code = "INVALID_POLICY"


class InvalidPolicyTest(ValidationError):
    """A file of policy tests that cannot be run as it is written (`cra atlas test`)."""

    code = "INVALID_POLICY_TEST"


class SchemaValidationError(ValidationError):
    code = "SCHEMA_VALIDATION_ERROR"


class InvalidParameters(ValidationError):
    code = "INVALID_PARAMETERS"


class AuthorizationError(CRAError):
    category = "authorization"


class ActionDenied(AuthorizationError):
    """The policies refuse the action; `policy_id` is the one that decided, where one did."""

    code = "ACTION_DENIED"
    http_status = 403

    def __init__(self, message: str, *, policy_id: str | None = None) -> None:
        super().__init__(message)
        self.policy_id = policy_id


class ActionRequiresApproval(AuthorizationError):
    """The action waits for a person; ask for `approval_id` to be granted and execute again."""

    code = "ACTION_REQUIRES_APPROVAL"
    http_status = 423
    recoverable = True

    def __init__(self, message: str, *, approval_id: str) -> None:
        super().__init__(message)
        self.approval_id = approval_id


class ConflictError(CRAError):
    category = "conflict"
    http_status = 409


class AtlasAlreadyLoaded(ConflictError):
    code = "ATLAS_ALREADY_LOADED"


class SessionAlreadyExists(ConflictError):
    code = "SESSION_ALREADY_EXISTS"


class SessionAlreadyEnded(ConflictError):
    code = "SESSION_ALREADY_ENDED"


class Conflict(ConflictError):
    code = "CONFLICT"


class ExpiredError(CRAError):
    category = "expired"
    http_status = 410


class SessionExpired(ExpiredError):
    code = "SESSION_EXPIRED"


class ResolutionExpired(ExpiredError):
    code = "RESOLUTION_EXPIRED"
    recoverable = True


class RateLimitExceeded(CRAError):
    """A limit is exhausted; `retry_after` is in seconds, None where waiting does not help."""

    code = "RATE_LIMIT_EXCEEDED"
    category = "rate_limit"
    http_status = 429
    recoverable = True

    def __init__(self, message: str, *, retry_after: float | None, policy_id: str) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.policy_id = policy_id


class BudgetExceeded(RateLimitExceeded):
    code = "BUDGET_EXCEEDED"


class IntegrityError(CRAError):
    category = "integrity"
    http_status = 422


class TraceChainIntegrityError(IntegrityError):
    code = "TRACE_CHAIN_INTEGRITY_ERROR"


class ReplayError(IntegrityError):
    code = "REPLAY_ERROR"


class PolicyEvaluationError(IntegrityError):
    code = "POLICY_EVALUATION_ERROR"


class InternalError(CRAError):
    code = "INTERNAL_ERROR"


class TraceBackpressure(CRAError):
    code = "TRACE_BACKPRESSURE"
    http_status = 503
    recoverable = True


class StorageError(CRAError):
    code = "STORAGE_ERROR"


class StorageLocked(StorageError):
    code = "STORAGE_LOCKED"
    recoverable = True


class ExternalError(CRAError):
    category = "external"
    http_status = 502


class AtlasLoadError(ExternalError):
    code = "ATLAS_LOAD_ERROR"


class ExecutionError(ExternalError):
    """The executor failed, timed out, or is missing; `effect` is `"unknown"` where it may have acted all the same."""

    code = "EXECUTION_ERROR"

    def __init__(self, message: str, *, execution_id: str | None = None, effect: str | None = None) -> None:
        super().__init__(message)
        self.execution_id = execution_id
        self.effect = effect


class SinkError(ExternalError):
    code = "SINK_ERROR"


__all__ = [
    "ActionDenied",
    "ActionNotFound",
    "ActionRequiresApproval",
    "ApprovalNotFound",
    "AtlasAlreadyLoaded",
    "AtlasLoadError",
    "AtlasNotFound",
    "AtlasVersionMismatch",
    "AuthorizationError",
    "BudgetExceeded",
    "CRAError",
    "Conflict",
    "ConflictError",
    "ExecutionError",
    "ExpiredError",
    "ExternalError",
    "IntegrityError",
    "InternalError",
    "InvalidAtlasManifest",
    "InvalidCARPRequest",
    "InvalidParameters",
    "InvalidPolicy",
    "InvalidPolicyTest",
    "InvalidTraceEvent",
    "NotFoundError",
    "PolicyEvaluationError",
    "RateLimitExceeded",
    "ReplayError",
    "ResolutionExpired",
    "SchemaValidationError",
    "SessionAlreadyEnded",
    "SessionAlreadyExists",
    "SessionExpired",
    "SessionNotFound",
    "SinkError",
    "StorageError",
    "StorageLocked",
    "TraceBackpressure",
    "TraceChainIntegrityError",
    "ValidationError",
]
