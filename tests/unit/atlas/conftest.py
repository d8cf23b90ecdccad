"""What the tests of atlases share: small valid manifests, as mappings and as folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).resolve().parents[2] / "data"

Manifest = dict[str, Any]


@pytest.fixture
def data() -> Path:
    """The folder of the project's own copies of real data."""
    return DATA


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """A function that makes a valid manifest with the given fields on top."""

    def make(**fields: Any) -> Manifest:
        return {
            "atlas_version": "1.0",
            "atlas_id": "com.example.shop",
            "version": "1.0.0",
            "name": "Shop",
            "description": "A shop",
            **fields,
        }

    return make


@pytest.fixture
def make_folder(tmp_path: Path, make_manifest: Callable[..., Manifest]) -> Callable[..., Path]:
    """A function that writes an atlas folder: `make_folder({"a.md": "text"}, context_packs=[...])`."""

    def make(files: dict[str, str | bytes] | None = None, folder: str = "atlas", **fields: Any) -> Path:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for name, content in (files or {}).items():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        (root / "atlas.json").write_text(json.dumps(make_manifest(**fields)))
        return root

    return make
