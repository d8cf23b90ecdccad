"""What a `Resolver` opens besides its storage: its ring, and the boards that it shares with other processes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cra.ids import IdSource
from cra.shared.approvals import SharedApprovals
from cra.shared.limits import SharedLimits
from cra.storage.base import StorageBackend
from cra.timing.clock import Clock
from cra.trace import recorder
from cra.trace.recovery import Recovery, recover
from cra.trace.ring_folder import RingFile, RingFolder, rings_beside


def open_ring(
    folder: str | os.PathLike[str] | None,
    tracing: str,
    backends: Sequence[StorageBackend],
    clock: Clock,
    ids: IdSource,
) -> tuple[RingFile | None, Recovery]:
    """The ring on disk, where there is a place for it, once what dead processes left there is stored.

    What is stored inline needs no ring that survives. The backends are closed where this raises `StorageError`.
    """
    if folder is None:
        beside = next(filter(None, (getattr(backend, "location", None) for backend in backends)), None)
        folder = None if beside is None else rings_beside(beside)
    if folder is None:
        return None, Recovery()
    try:
        rings = RingFolder(folder)
        recovery = recover(rings, backends, clock, ids)
        return (rings.create(recorder.DEFAULT_RING_BYTES) if tracing == "deferred" else None), recovery
    except BaseException:
        for backend in backends:
            backend.close()
        raise


def open_shared_limits(spec: str | SharedLimits | None) -> SharedLimits | None:
    if isinstance(spec, str):
        from cra.shared.redis import RedisLimits

        return RedisLimits(spec)
    if spec is not None and not isinstance(spec, SharedLimits):
        raise ValueError("shared_limits has to be a redis:// URL or an object with the methods of SharedLimits")
    return spec


def open_shared_approvals(spec: str | SharedApprovals | None) -> SharedApprovals | None:
    if isinstance(spec, str):
        from cra.shared.redis import RedisApprovals

        return RedisApprovals(spec)
    if spec is not None and not isinstance(spec, SharedApprovals):
        raise ValueError("shared_approvals has to be a redis:// URL or an object with the methods of SharedApprovals")
    return spec
