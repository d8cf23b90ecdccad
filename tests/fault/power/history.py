"""What a recorded run did to the files below one folder: writes to files, names in folders, syncs, and marks of the run itself.

Made of system calls by `recording`, read by `disk`. Files are told apart by themselves and not by their names, since a name may
be lost while the file survives under another. A call that changes files in a way that is not understood here is an error:
nothing that a run does is left out in silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from tests.fault.power.strace import Call, strings

PAGE: Final = 4096
MAPPED: Final = (".ring", "-shm")
"""What files are called that are written through memory as well, which no trace of system calls shows."""
_CHANGE_NOTHING: Final = ("close", "dup", "dup2", "dup3", "fcntl", "lseek", "fsync", "fdatasync")
"""No file and no name is another one whether such a call was made or not."""


class Write(NamedTuple):
    """Bytes written to a file, once `end` is reached; the writing may begin at `start`."""

    start: int
    end: int
    file: int
    offset: int
    data: bytes


class Truncate(NamedTuple):
    """A file was given a size."""

    start: int
    end: int
    file: int
    size: int


class Name(NamedTuple):
    """A name in a folder was given to a file or a folder (`file`), or taken away (None). A `rename` is both, in one step."""

    start: int
    end: int
    folder: int
    given: tuple[str, int] | None
    taken: str | None


class Sync(NamedTuple):
    """A file or a folder was brought to the disk: all that had ended before `start`."""

    start: int
    end: int
    file: int


class Mapped(NamedTuple):
    """What a file that is written through memory held at a moment."""

    start: int
    end: int
    file: int
    data: bytes


class Mark(NamedTuple):
    """Something that the run said: what it was acknowledged, and when."""

    start: int
    end: int
    kind: str
    content: dict[str, Any]


Operation = Write | Truncate | Name | Sync | Mapped | Mark


class Node(msgspec.Struct):
    """A file or a folder as it is after everything."""

    kind: Literal["file", "folder"]
    data: bytearray = msgspec.field(default_factory=bytearray)
    names: dict[str, int] = msgspec.field(default_factory=dict)
    is_mapped: bool = False


class History:
    """All that was done below `root`, in the order in which it ended. `marks` is the file that the run writes its marks to: one
    JSON object a line, in one write each. What `root` holds in the beginning is on the disk."""

    def __init__(self, root: Path, marks: Path) -> None:
        self.root = root
        self.marks = marks
        self.nodes: list[Node] = [Node("folder")]
        self.operations: list[Operation] = []
        self._now = 0
        self.is_certain = True
        """Whether every call is known to have been made, or not: none was killed within."""
        self._add_first(root, 0)
        self.begun = self._now
        """From when on a cut may come: what is there in the beginning is on the disk."""

    def _add_first(self, path: Path, node: int) -> None:
        """What a folder holds in the beginning."""
        children = sorted(path.iterdir()) if path.exists() else []
        for child in children:
            kind: Literal["file", "folder"] = "folder" if child.is_dir() else "file"
            number = self.new(kind, child.name)
            self.nodes[node].names[child.name] = number
            self.operations.append(Name(self._now, self._now, node, (child.name, number), None))
            if kind == "folder":
                self._add_first(child, number)
            else:
                self.nodes[number].data += child.read_bytes()
                self.operations.append(Write(self._now, self._now, number, 0, bytes(self.nodes[number].data)))
            self.operations.append(Sync(self._now + 1, self._now + 1, number))
        if children:
            self._now += 2
            self.operations.append(Sync(self._now, self._now, node))
            self._now += 1

    def add_run(self, calls: Iterable[Call]) -> None:
        """Take the calls of one more process, or of several, that ran after all before."""
        reader = _Reader(self, self._now)
        for call in calls:
            reader.take(call)
        self._now += reader.length + 1

    def add_mapped(self, path: Path, data: bytes) -> None:
        """What a file holds now that is written through memory."""
        node = self.find(path)
        if node is not None:
            self.nodes[node].is_mapped = True
            self.operations.append(Mapped(self._now, self._now, node, data))
            self._now += 1

    def add_mark(self, kind: str, content: dict[str, Any]) -> None:
        """Say something in the place of the run."""
        self.operations.append(Mark(self._now, self._now, kind, content))
        self._now += 1

    def find(self, path: Path) -> int | None:
        """The file or folder that bears a name now."""
        node = 0
        for part in path.relative_to(self.root).parts:
            found = self.nodes[node].names.get(part)
            if found is None:
                return None
            node = found
        return node

    def new(self, kind: Literal["file", "folder"], name: str) -> int:
        """One more file or folder, which bears no name yet."""
        self.nodes.append(Node(kind, is_mapped=name.endswith(MAPPED)))
        return len(self.nodes) - 1


class _Open(NamedTuple):
    node: int | None  # None: the marks
    appends: bool
    place: list[int]  # of the next write; shared by duplicates


class _Reader:
    """The calls of one run: descriptors belong to it, times follow those before."""

    def __init__(self, history: History, base: int) -> None:
        self._history = history
        self._base = base
        self._files: dict[int, _Open] = {}
        self.length = 0

    def take(self, call: Call) -> None:
        """One call, that did what it did unless it failed. Killed within it, it may have, and the history is not certain."""
        self.length = max(self.length, call.start + 1, call.end + 1 if call.end < 2**62 else 0)
        handler = getattr(self, "on_" + call.name, None)
        killed = call.end >= 2**62
        self._history.is_certain &= not (killed and call.name not in _CHANGE_NOTHING)
        if handler is not None and call.result >= 0:
            handler(call, call.arguments)
        elif handler is None:
            self._refuse_unknown(call)

    def _times(self, call: Call) -> tuple[int, int]:
        return self._base + call.start, self._base + call.end

    def _refuse_unknown(self, call: Call) -> None:
        touches = any(self._is_below(each) for each in strings(call.arguments))
        numbers = [int(each) for each in call.arguments.split(", ") if each.lstrip("-").isdigit()]
        if call.name == "sendfile":
            numbers = numbers[:1]  # the second is only read
        if call.result >= 0 and (touches or any(number in self._files for number in numbers[:2])):
            raise NotImplementedError(f"{call.name}({call.arguments[:200]})")

    def _is_below(self, path: bytes) -> bool:
        return Path(os.fsdecode(path)).is_relative_to(self._history.root)

    def _path(self, path: bytes, call: Call) -> Path | None:
        found = Path(os.fsdecode(path))
        if not found.is_absolute():
            return None  # the run is in another folder, and names everything from the root
        return found if self._is_below(path) and found != self._history.root else None

    # Descriptors

    def on_openat(self, call: Call, arguments: str) -> None:
        (name,) = strings(arguments)
        path = Path(os.fsdecode(name))
        flags = arguments.rpartition('"')[2]
        if path == self._history.marks:
            self._files[call.result] = _Open(None, True, [0])
            return
        if not self._is_below(name):
            self._files.pop(call.result, None)
            return
        node = self._history.find(path)
        if node is None:
            assert "O_CREAT" in flags, call
            node = self._history.new("file", path.name)
            self._name(call, path, node)
        elif "O_TRUNC" in flags and self._history.nodes[node].data:
            self._resize(call, node, 0)
        self._files[call.result] = _Open(node, "O_APPEND" in flags, [0])

    on_open = on_openat

    def on_close(self, call: Call, arguments: str) -> None:
        self._files.pop(int(arguments), None)

    def on_dup(self, call: Call, arguments: str) -> None:
        found = self._files.get(int(arguments.split(",")[0]))
        if found is None:
            self._files.pop(call.result, None)
        else:
            self._files[call.result] = found

    on_dup2 = on_dup3 = on_dup

    def on_fcntl(self, call: Call, arguments: str) -> None:
        if "F_DUPFD" in arguments:
            self.on_dup(call, arguments)

    def on_lseek(self, call: Call, arguments: str) -> None:
        found = self._files.get(int(arguments.split(",")[0]))
        if found is not None:
            found.place[0] = call.result

    # Data

    def on_write(self, call: Call, arguments: str) -> None:
        found = self._files.get(int(arguments.split(",")[0]))
        if found is None:
            return
        data = b"".join(strings(arguments))[: call.result]
        if found.node is None:
            content = msgspec.json.decode(data)
            mark = Mark(*self._times(call), content.pop("kind"), content)
            self._history.operations.append(mark)
            if mark.kind == "mapped":
                self._note_mapped(mark)
            return
        offset = len(self._history.nodes[found.node].data) if found.appends else found.place[0]
        self._put(call, found.node, offset, data)
        found.place[0] = offset + len(data)

    on_writev = on_write

    def on_pwrite64(self, call: Call, arguments: str) -> None:
        found = self._files.get(int(arguments.split(",")[0]))
        if found is not None and found.node is not None:
            data = b"".join(strings(arguments))[: call.result]
            self._put(call, found.node, int(arguments.rpartition(",")[2]), data)

    def _put(self, call: Call, node: int, offset: int, data: bytes) -> None:
        held = self._history.nodes[node].data
        if offset > len(held):
            held.extend(bytes(offset - len(held)))
        held[offset : offset + len(data)] = data
        self._history.operations.append(Write(*self._times(call), node, offset, data))

    def _note_mapped(self, mark: Mark) -> None:
        node = self._history.find(Path(mark.content["path"]))
        if node is not None:
            data = Path(mark.content["copy"]).read_bytes()
            self._history.operations.append(Mapped(mark.start, mark.end, node, data))

    def on_ftruncate(self, call: Call, arguments: str) -> None:
        number, size = arguments.split(",")
        found = self._files.get(int(number))
        if found is not None and found.node is not None:
            self._resize(call, found.node, int(size))

    def on_truncate(self, call: Call, arguments: str) -> None:
        (name,) = strings(arguments)
        path = self._path(name, call)
        if path is not None:
            node = self._history.find(path)
            assert node is not None
            self._resize(call, node, int(arguments.rpartition(",")[2]))

    def _resize(self, call: Call, node: int, size: int) -> None:
        held = self._history.nodes[node].data
        del held[size:]
        held.extend(bytes(size - len(held)))
        self._history.operations.append(Truncate(*self._times(call), node, size))

    def on_fsync(self, call: Call, arguments: str) -> None:
        found = self._files.get(int(arguments))
        if found is not None and found.node is not None and not call.is_injected:
            self._history.operations.append(Sync(*self._times(call), found.node))

    on_fdatasync = on_fsync

    # Names

    def on_mkdir(self, call: Call, arguments: str) -> None:
        path = self._path(next(strings(arguments)), call)
        if path is not None:
            self._name(call, path, self._history.new("folder", path.name))

    on_mkdirat = on_mkdir

    def on_link(self, call: Call, arguments: str) -> None:
        old, new = strings(arguments)
        path = self._path(new, call)
        if path is not None:
            node = self._history.find(Path(os.fsdecode(old)))
            assert node is not None
            self._name(call, path, node)

    on_linkat = on_link

    def on_rename(self, call: Call, arguments: str) -> None:
        old, new = (Path(os.fsdecode(each)) for each in strings(arguments))
        if self._path(os.fsencode(new), call) is None:
            return
        node = self._history.find(old)
        assert node is not None
        assert old.parent == new.parent, "a rename from folder to folder has no model here"
        self._history.nodes[node].is_mapped |= new.name.endswith(MAPPED)
        self._name(call, new, node, taken=old.name)

    on_renameat = on_renameat2 = on_rename

    def on_unlink(self, call: Call, arguments: str) -> None:
        path = self._path(next(strings(arguments)), call)
        if path is not None:
            self._name(call, path, None, taken=path.name)

    on_unlinkat = on_rmdir = on_unlink

    def _name(self, call: Call, path: Path, node: int | None, taken: str | None = None) -> None:
        folder = self._history.find(path.parent)
        assert folder is not None, path
        names = self._history.nodes[folder].names
        if taken is not None:
            names.pop(taken, None)
        given = None if node is None else (path.name, node)
        if given is not None:
            names[given[0]] = given[1]
        self._history.operations.append(Name(*self._times(call), folder, given, taken))
