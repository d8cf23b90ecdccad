"""The tables of a `postgresql:` store, and how they come into a database: numbered SQL files, applied in order, each once.

Every connection that writes looks at the version first. Whoever finds an older one, or none, migrates under a lock, in one
transaction, so that of several processes one does it and the others find it done. A newer version is left alone.
"""

from __future__ import annotations

from importlib import resources
from typing import Final, NamedTuple

from cra.errors import StorageError
from cra.storage.postgresql.address import Address
from cra.storage.postgresql.steps import Do, Work

MIGRATION_SECONDS: Final = 600
"""How long a migration may take, and how long others wait for it."""
_LOCK: Final = 0x63726174  # "crat" as a number: of the locks in this database, those of this library


class Migration(NamedTuple):
    """One file: `0001_events.sql` has version 1."""

    version: int
    file: str
    text: str


def read_migrations() -> list[Migration]:
    """All files there are, by version."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(int(file.name[:4]), file.name, file.read_text(encoding="utf-8")) for file in files]


def prepare(address: Address, *, make: bool) -> Work[None]:
    """See that the tables are there and of this version; where they are not, make them if `make` says so.

    Raises `StorageError` for a later version, and for an earlier one or none that is not to be changed.
    """
    migrations = read_migrations()
    known = migrations[-1].version
    version = yield from _version(address)
    if version < known and not make:
        what = f"has no trace in the schema {address.schema}" if version == 0 else f"has schema version {version}"
        raise StorageError(
            f"storage '{address.name}' {what}, and is only read here; check the address and ?schema=, or open it with a Resolver"
        )
    if version < known:
        yield from _migrate(address, migrations)
    elif version > known:
        raise StorageError(
            f"storage '{address.name}' has schema version {version}, and this version of cra knows {known}; upgrade cra"
        )


def _migrate(address: Address, migrations: list[Migration]) -> Work[None]:
    quoted = f'"{address.schema}"'
    find = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    yield Do("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    yield Do(f"SET LOCAL lock_timeout = '{MIGRATION_SECONDS}s'")
    yield Do(f"SET LOCAL statement_timeout = '{MIGRATION_SECONDS}s'")
    yield Do("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, address.schema), seconds=MIGRATION_SECONDS)
    version = yield from _version(address)  # somebody may have been faster
    # Not IF NOT EXISTS, which needs the right to make one even where there is one.
    if not (yield Do(find, (address.schema,))).rows:
        yield Do(f"CREATE SCHEMA {quoted}")
    yield Do(f"SET LOCAL search_path = {quoted}")
    for migration in migrations:
        if migration.version > version:
            yield Do(migration.text, seconds=MIGRATION_SECONDS)
            yield Do(
                f"INSERT INTO {quoted}.migration (version, file) VALUES (%s, %s)", (migration.version, migration.file)
            )
    yield Do("COMMIT")


def _version(address: Address) -> Work[int]:
    # By a query, not by to_regclass(), which answers from the connection's cache: what another process made while this one
    # waited for the lock is not in there yet.
    find = "SELECT 1 FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE nspname = %s AND relname = 'migration'"
    if not (yield Do(find, (address.schema,))).rows:
        return 0
    version: int = (yield Do(f'SELECT coalesce(max(version), 0) FROM "{address.schema}".migration')).rows[0][0]
    return version
