"""`cra doctor`: what this installation is, for a person who has to find out why something differs elsewhere.

It looks and reports, and changes nothing. Of the installation it always succeeds; of a data folder, `cra.cli.checkup` judges.
"""

from __future__ import annotations

import platform
import sys
import time
from importlib import metadata
from typing import Annotated, Any

import typer

import cra
from cra.cli.checkup import check_data
from cra.cli.options import Json, Rings, place_of
from cra.cli.server import check_server
from cra.cli.terminal import Cell, say_json, say_table
from cra.trace.store_kind import is_database

# Distribution → what it is for. The first group is required.
_REQUIRED = {"msgspec": "core", "jsonschema-rs": "core"}
_EXTRAS = {"typer": "cli", "rich": "cli", "PyYAML": "yaml", "psycopg": "postgresql"}


def doctor(
    data: Annotated[
        str | None,
        typer.Option(
            help="Look at this store instead: the folder of a journal: or jsonl: store, the file of a sqlite: store, or a folder"
            " of rings. Or its URL.",
            metavar="DIR",
        ),
    ] = None,
    ring: Rings = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Ask the server of this store instead: postgresql://user@host/db.", metavar="URL"),
    ] = None,
    as_json: Json = False,
) -> int:
    """Show version, implementation, platform, dependencies, and what is missing.

    With --data, show the state of a data folder, and what to do about it; with --storage, what a database server says.

    It changes nothing. Exit code 0: healthy; 1: something needs attention.
    """
    if storage is not None:
        if data is not None or ring is not None:
            raise typer.BadParameter("it is looked at alone; leave out --data and --ring", param_hint="--storage")
        return check_server(storage, as_json=as_json)
    if data is not None:
        path, _ = place_of(data, "--data")
        if path.is_file() and not is_database(path):
            raise typer.BadParameter(f"'{path}' is a file, and no SQLite database", param_hint="--data")
        return check_data(path, ring, as_json=as_json)
    if ring is not None:
        raise typer.BadParameter("it says where the rings of --data DIR are; give that, too", param_hint="--ring")
    facts = {
        "cra": cra.__version__,
        "implementation": cra.implementation(),
        "python": platform.python_version(),
        "interpreter": platform.python_implementation(),
        "platform": platform.platform(),
        "encoding": sys.stdout.encoding,
        "terminal": sys.stdout.isatty(),
        "wall_clock_resolution_ns": round(time.get_clock_info("time").resolution * 1e9),
        "monotonic_clock_resolution_ns": round(time.get_clock_info("monotonic").resolution * 1e9),
    }
    packages = [_package(name, extra) for name, extra in (_REQUIRED | _EXTRAS).items()]
    checks = _checks(facts, packages)
    if as_json:
        say_json({**facts, "packages": packages, "checks": checks})
        return 0
    say_table("Installation", ("what", "value"), [(name.replace("_", " "), value) for name, value in facts.items()])
    say_table(
        "Packages",
        ("package", "version", "needed by"),
        [(p["name"], p["version"] or Cell("not installed", "yellow"), p["extra"]) for p in packages],
    )
    say_table(
        "Checks",
        ("", "check"),
        [(Cell("ok", "green") if c["ok"] else Cell("warn", "yellow"), c["message"]) for c in checks],
    )
    return 0


def _package(name: str, extra: str) -> dict[str, Any]:
    try:
        version: str | None = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = None
    return {"name": name, "version": version, "extra": extra}


def _checks(facts: dict[str, Any], packages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    missing = [p for p in packages if p["version"] is None]
    checks = [
        (sys.version_info >= (3, 10), "Python is 3.10 or newer"),
        (not facts["encoding"] or facts["encoding"].lower().replace("-", "") == "utf8", "output is UTF-8"),
        (facts["wall_clock_resolution_ns"] <= 1000, "the clock tells microseconds apart"),
        (time.time() > 1_577_836_800, "the clock is set (a request may differ by 300 s)"),
    ]
    report = [{"ok": ok, "message": message} for ok, message in checks]
    report += [
        {
            "ok": False,
            "message": f"{p['name']} is not installed; the extra cra[{p['extra']}] needs it: pip install {p['name']}",
        }
        for p in missing
    ]
    return report
