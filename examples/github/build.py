"""Makes atlas/atlas.json from the tools of the GitHub MCP server and what the team decided about them.

`tools.json` is the server's answer to `tools/list`; `team.json` holds name, capabilities, context and policies. Run it again
after a change to either: `python examples/github/build.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

from cra.atlas.importers.mcp import import_mcp

HERE = Path(__file__).parent
ATLAS_ID = "com.acme.github"


def build() -> str:
    """The text of the manifest."""
    imported = import_mcp(json.loads((HERE / "tools.json").read_bytes()), ATLAS_ID)
    team = json.loads((HERE / "team.json").read_bytes())
    manifest = {"atlas_version": "1.0", "atlas_id": ATLAS_ID, "version": "1.0.0", **team}
    manifest |= {"actions": imported["actions"], "metadata": imported["metadata"]}
    return json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    (HERE / "atlas" / "atlas.json").write_text(build(), encoding="utf-8")
