"""Whether a set of atlases can stand together: every dependency is there, in a version that fits, and none runs in a circle.

Called by the registry before it publishes a set. It never loads anything. PROTOCOL: Atlas/1.0.
"""

from __future__ import annotations

from collections.abc import Mapping

from cra.atlas.semver import parse_range, parse_version
from cra.errors import AtlasNotFound, AtlasVersionMismatch, InvalidAtlasManifest
from cra.pointer import pointer

Dependencies = Mapping[str, tuple[str, Mapping[str, str]]]
"""By atlas id: the version, and the dependencies with their version ranges."""


def check_dependencies(atlases: Dependencies) -> None:
    """Raises `AtlasNotFound` for one that is missing, `AtlasVersionMismatch` for one out of range, `InvalidAtlasManifest` for a
    circle; the message names those concerned."""
    for atlas_id, (_, needed) in atlases.items():
        for other, wanted in needed.items():
            path = pointer("", "dependencies", other)
            if other not in atlases:
                raise AtlasNotFound(f"atlas {atlas_id!r} needs {other!r} {wanted}; load that first", path=path)
            version = atlases[other][0]
            if parse_version(version) not in parse_range(wanted):
                raise AtlasVersionMismatch(
                    f"atlas {atlas_id!r} needs {other!r} {wanted}, and this is {version}; load a version in that range",
                    path=path,
                )
    circle = _circle({atlas_id: needed for atlas_id, (_, needed) in atlases.items()})
    if circle:
        raise InvalidAtlasManifest(
            f"atlases depend on each other in a circle: {' → '.join(circle)}; remove one of these dependencies",
            path=pointer("", "dependencies", circle[1]),
        )


def _circle(dependencies: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A way from one atlas back to itself, empty where there is none."""
    open_dependencies = _without_acyclic(dependencies)
    way = sorted(open_dependencies)[:1]
    while way:
        # Whatever is left has an open dependency, so this walk goes on until it meets itself.
        way.append(min(open_dependencies[way[-1]]))
        if way[-1] in way[:-1]:
            return way[way.index(way[-1]) :]
    return way


def _without_acyclic(dependencies: Mapping[str, Mapping[str, str]]) -> dict[str, set[str]]:
    """Take away atlases without open dependencies, again and again: what stays is in a circle, or needs one that is."""
    left = {atlas_id: set(needed) for atlas_id, needed in dependencies.items()}
    users: dict[str, list[str]] = {}
    for atlas_id, needed in dependencies.items():
        for other in needed:
            users.setdefault(other, []).append(atlas_id)
    ready = [atlas_id for atlas_id, needed in left.items() if not needed]
    while ready:
        done = ready.pop()
        del left[done]
        for user in users.get(done, ()):
            left[user].discard(done)
            if not left[user]:
                ready.append(user)
    return left
