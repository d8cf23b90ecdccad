"""The folders that a power cut may leave, by what a file system has to keep and what it may lose.

Built from a `History` for a moment in it. What was brought to the disk is there: a file's content by an fsync of the file, a
name by an fsync of its folder, each for what had ended before the fsync began. All else is there, or is not, in any order: a
write may be lost, torn at any byte, torn by sectors, or leave zeros where it extended the file. A name that was given or taken
may be lost even though the file was synced, which ext4 and XFS are kinder about and POSIX is not. Pages written through memory
are those of any moment, or zeros. SQLite's and ALICE's crash tests assume as much (Pillai et al., OSDI 2014).
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fault.power.history import PAGE, History, Mapped, Mark, Name, Node, Sync, Truncate, Write

SECTOR: Final = 512
_CHANCES: Final = (0.0, 0.05, 0.5, 0.95, 1.0)
Tree = dict[str, "bytes | Tree"]
"""A folder: the content of files, and folders, by name."""


class Disk:
    """What a cut may leave of a history. `heeds` says which syncs count: all of them, unless the harness itself is tested."""

    def __init__(self, history: History, heeds: Callable[[Node], bool] = lambda _: True) -> None:
        self.history = history
        operations = history.operations
        self._data: dict[int, list[Write | Truncate]] = {}
        self._names: list[Name] = []
        self._syncs: dict[int, list[Sync]] = {}
        self._mapped: dict[int, list[Mapped]] = {}
        self.marks: list[Mark] = []
        for each in operations:
            if isinstance(each, (Write, Truncate)):
                self._data.setdefault(each.file, []).append(each)
            elif isinstance(each, Name):
                self._names.append(each)
            elif isinstance(each, Sync) and heeds(history.nodes[each.file]):
                self._syncs.setdefault(each.file, []).append(each)
            elif isinstance(each, Mapped):
                self._mapped.setdefault(each.file, []).append(each)
            elif isinstance(each, Mark):
                self.marks.append(each)
        self.moments = sorted(
            {
                moment
                for each in operations
                for moment in (each.start + 1, each.end + 1)
                if history.begun <= moment < 2**61
            }
        )
        """Where a cut can come and leave something else than anywhere before."""

    def acknowledged(self, moment: int) -> dict[str, int]:
        """How many events of each session had been acknowledged as durable."""
        told: dict[str, int] = {}
        for mark in self.marks:
            if mark.kind == "durable" and mark.start < moment:
                told.update(mark.content["events"])
        return told

    def cut(self, moment: int, choice: random.Random) -> Tree:
        """One of the folders that a cut at this moment may leave: everything below the root."""
        names = self._surviving_names(moment, choice)
        chance = choice.choice(_CHANCES)
        mapped_mode = choice.choice(("absent", "zero", "latest", "stale", "mixed", "mixed"))
        return self._folder(0, names, moment, choice, chance, mapped_mode)

    def _folder(
        self,
        node: int,
        names: dict[int, dict[str, int]],
        moment: int,
        choice: random.Random,
        chance: float,
        mapped: str,
    ) -> Tree:
        tree: Tree = {}
        nodes = self.history.nodes
        for name, child in sorted(names.get(node, {}).items()):
            if nodes[child].kind == "folder":
                tree[name] = self._folder(child, names, moment, choice, chance, mapped)
            elif nodes[child].is_mapped:
                if mapped != "absent":
                    tree[name] = self._mapped_content(child, moment, choice, mapped)
            else:
                tree[name] = self._content(child, moment, choice, chance)
        return tree

    def _is_kept(self, node: int, end: int, moment: int) -> bool:
        """Whether what had ended at `end` was brought to the disk before the moment."""
        return any(end < sync.start and sync.end < moment for sync in self._syncs.get(node, ()))

    def _surviving_names(self, moment: int, choice: random.Random) -> dict[int, dict[str, int]]:
        names: dict[int, dict[str, int]] = {}
        begun = [each for each in self._names if each.start < moment]
        in_order = choice.random() < 0.5  # as ext4 and XFS have it: a change survives with all before it
        chance = choice.choice(_CHANCES)
        until = choice.randrange(len(begun) + 1) if in_order else 0
        for place, each in enumerate(begun):
            survives = place < until if in_order else choice.random() < chance
            if survives or self._is_kept(each.folder, each.end, moment):
                held = names.setdefault(each.folder, {})
                if each.taken is not None:
                    held.pop(each.taken, None)
                if each.given is not None:
                    held[each.given[0]] = each.given[1]
        return names

    def _content(self, node: int, moment: int, choice: random.Random, chance: float) -> bytes:
        content = bytearray()
        for each in self._data.get(node, ()):
            if each.start >= moment:
                break
            if self._is_kept(node, each.end, moment) or choice.random() < chance:
                _apply(content, each)
            elif isinstance(each, Write):
                _tear(content, each, choice)
        return bytes(content)

    def _mapped_content(self, node: int, moment: int, choice: random.Random, mode: str) -> bytes:
        """Pages of a file that is written through memory, each as it was at some moment."""
        made = bytearray()
        for each in self._data.get(node, ()):
            if each.start < moment:
                _apply(made, each)
        size = max([len(made), *(len(each.data) for each in self._mapped.get(node, ()))])
        kept = self._mapped.get(node, [])
        seen = [each.data for each in kept[: bisect_left(kept, moment, key=lambda each: each.start)]]
        versions = [bytes(size), bytes(made).ljust(size, b"\0"), *(each.ljust(size, b"\0") for each in seen)]
        if mode == "zero":
            return versions[0]
        if mode == "latest":
            return versions[-1]
        if mode == "stale":
            return choice.choice(versions)
        recent = versions[-choice.randrange(1, len(versions) + 1) :]
        pages = [choice.choice(recent)[at : at + PAGE] for at in range(0, size, PAGE)]
        return b"".join(pages)[: size if choice.random() < 0.9 else choice.randrange(len(pages) + 1) * PAGE]


def _apply(content: bytearray, operation: Write | Truncate) -> None:
    if isinstance(operation, Truncate):
        del content[operation.size :]
        content.extend(bytes(operation.size - len(content)))
        return
    end = operation.offset + len(operation.data)
    content.extend(bytes(max(0, operation.offset - len(content))))
    content[operation.offset : end] = operation.data


def _tear(content: bytearray, write: Write, choice: random.Random) -> None:
    """Have a write be lost, or leave a part of what it wrote."""
    how = choice.randrange(8)
    if how < 4:
        return
    if how == 4:  # the size is known and the data is not
        content.extend(bytes(max(0, write.offset + len(write.data) - len(content))))
    elif how == 5:
        _apply(content, write._replace(data=write.data[: choice.randrange(len(write.data) + 1)]))
    else:
        at = write.offset
        end = at + len(write.data)
        content.extend(bytes(max(0, end - len(content))))
        while at < end:
            until = min(end, (at // SECTOR + 1) * SECTOR)
            if choice.random() < 0.5:
                content[at:until] = write.data[at - write.offset : until - write.offset]
            at = until
        if how == 7 and len(content) == end:
            del content[max(write.offset, end - choice.randrange(len(write.data) + 1)) :]


def build(tree: Tree, folder: Path) -> None:
    """Make a folder hold a tree."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        if isinstance(content, dict):
            build(content, folder / name)
        else:
            (folder / name).write_bytes(content)
