"""Lint: everything about an atlas that its author should look at, from loading it and from the checks.

Called by `cra.lint_atlas` and the command line. It never changes what an atlas does. PROTOCOL: Atlas/1.0.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cra.atlas.checks import ALL_CHECKS
from cra.atlas.loader import load_atlas
from cra.atlas.manifest import Atlas, Finding


def lint_atlas(atlas: Atlas | str | os.PathLike[str] | Mapping[str, Any]) -> tuple[Finding, ...]:
    """All findings: those made while loading, then those of each check; empty where there is nothing to say.

    What is not loaded yet is loaded, and raises as `load_atlas` does.
    """
    loaded = atlas if isinstance(atlas, Atlas) else load_atlas(atlas)
    return (*loaded.findings, *(finding for check in ALL_CHECKS for finding in check(loaded)))
