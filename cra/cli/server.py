"""`cra doctor --storage`: the state of a store in a database server, for a person who has to find out why nothing is stored.

The server is asked, as a reader would; nothing is made or changed there.
"""

from __future__ import annotations

from contextlib import closing

import typer

from cra.cli.terminal import say, say_json, say_table, working
from cra.errors import StorageError


def check_server(url: str, *, as_json: bool) -> int:
    """Ask a server and print what it said: 0 when it is healthy, 1 when something needs attention."""
    if not url.startswith("postgresql:"):
        raise typer.BadParameter(
            "it names the database of a postgresql: store; for a store in files there is --data", param_hint="--storage"
        )
    from cra.storage.postgresql import PostgreSQLStorage
    from cra.storage.postgresql.address import read_address

    try:
        name = read_address(url).name
    except StorageError as error:
        raise typer.BadParameter(error.message, param_hint="--storage") from None
    counts: dict[str, int] = {}
    try:
        with working(f"asking {name}"), closing(PostgreSQLStorage(url, make=False)) as storage:
            health = storage.health()
            counts = {"sessions": len(storage.sessions()), "events": storage.count()}
        facts, problems = list(health.details[:1]), list(health.details[1:])
    except StorageError as error:
        facts, problems = [], [error.message]
    if as_json:
        say_json({"storage": name, "healthy": not problems, "facts": facts, **counts, "problems": problems})
        return int(bool(problems))
    if counts:
        say_table(f"Store {name}", ("what", "count"), list(counts.items()), numbers=("count",), folded=0)
    for fact in facts:
        say(fact)
    for problem in problems:
        say(problem, "red")
    if not problems:
        say("healthy", "bold green")
    return int(bool(problems))
