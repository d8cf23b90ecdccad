"""What the two kinds of folders of JSONL files have in common: one per session (`jsonl`), one per day (`jsonl_days`).

How they say that something is wrong, and when what they have is durable.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sized
from pathlib import Path

from cra.errors import StorageError
from cra.storage.base import StorageHealth
from cra.storage.lines import Repair
from cra.storage.unsynced import Unsynced


class LineFiles:
    """Files of lines below `folder`, under `name`. `repairs` tells which had a torn last line and where the torn bytes are now.

    `_undo` is what an unfinished batch wrote and is still to be cut back, `_poison` why nothing can be made durable any more.
    """

    durable = True
    readable = True
    _undo: Sized = ()

    def __init__(self, folder: str | os.PathLike[str], name: str) -> None:
        self.folder = self.location = Path(folder).absolute()  # it stays there whatever the working directory is later
        self.name = name
        self.repairs: tuple[Repair, ...] = ()
        self._lock = threading.RLock()
        self._unsynced = Unsynced(self.folder)
        self._poison: str | None = None
        self._closed = False

    def health(self) -> StorageHealth:
        """Not ok once an fsync has failed, or while half a batch could not be cut back."""
        with self._lock:
            details = [repair.sentence() for repair in self.repairs]
            if self._undo:
                details.append("half a batch could not be cut back; it is tried again with the next batch")
            if self._poison:
                details.append(self._poison)
            return StorageHealth(self.name, ok=not self._undo and self._poison is None, details=tuple(details))

    def flush(self, durable: bool) -> None:
        """Writes are never buffered here. `durable` fsyncs every file written since, and the folder.

        Raises `StorageError` if that fails, and from then on always: the kernel marks pages clean after a failed write-back, so
        that a later fsync would succeed over lost data.
        """
        if not durable:
            return
        with self._lock:
            self._check_open()
            if self._poison is None:
                try:
                    self._sync()
                except OSError as error:
                    if error.filename is not None:  # it could not be opened, and no fsync has failed
                        raise self._error("cannot be made durable", error) from error
                    self._note_failed_fsync(error)
            if self._poison is not None:
                raise StorageError(f"storage '{self.name}': {self._poison}; check the disk and create a new Resolver")

    def _begin(self) -> None:
        """Before the first write: the mark of this process. Raises `OSError`; an fsync that failed poisons."""
        try:
            self._unsynced.mark.begin()
        except OSError as error:
            if error.filename is None:
                self._note_failed_fsync(error)
            raise

    def _note_failed_fsync(self, error: OSError) -> None:
        self._poison = f"an fsync failed ({error.strerror}); what was stored before may not survive a power cut"

    def _sync(self) -> None:
        """Bring everything that was written to the disk."""
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"storage '{self.name}' is closed; open it again")

    def _error(self, what: str, error: OSError) -> StorageError:
        where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes | os.PathLike) else ""
        return StorageError(
            f"storage '{self.name}' {what}: {error.strerror}{where}; check the disk, the path and its permissions"
        )
