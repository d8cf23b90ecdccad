"""A PostgreSQL database: a row per event, with its exact line, for any tool that speaks SQL.

`address` reads the URL, `schema` makes and migrates the tables, `operations` has every statement once, and two backends run
them: `backend` for callers who wait, `asynchronous` on an event loop. Needs psycopg 3, which the extra `cra[postgresql]` brings.
"""

from cra.errors import StorageError

try:
    import psycopg
except ImportError as error:  # psycopg itself, or the libpq that it needs
    raise StorageError(f"storage 'postgresql:' needs psycopg ({error}); pip install 'cra[postgresql]'") from None

from cra.storage.postgresql.asynchronous import AsyncPostgreSQLStorage
from cra.storage.postgresql.backend import PostgreSQLStorage

__all__ = ["AsyncPostgreSQLStorage", "PostgreSQLStorage"]
del psycopg
