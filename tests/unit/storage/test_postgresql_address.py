"""The URL of a `postgresql:` store: what is read, what is passed on to libpq, what is refused, and what is never shown."""

from __future__ import annotations

import subprocess
import sys

import pytest
from psycopg.conninfo import conninfo_to_dict

from cra.errors import StorageError
from cra.storage.open import open_storage
from cra.storage.postgresql.address import read_address


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql:///db", "postgresql:///db"),
        ("postgresql://", "postgresql:///"),
        ("postgresql://me@host:6543/db", "postgresql://me@host:6543/db"),
        ("postgresql://me:hunter2@host/db", "postgresql://me@host/db"),
        ("postgresql://me:hunter2?x=1@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db?user=me&password=hunter2&sslpassword=hunter2", "postgresql://me@host/db"),
        ("postgresql://host/db?schema=audit&timeout=5&sslmode=require", "postgresql://host/db?schema=audit"),
        (
            "postgresql://a:1,b:2/db?target_session_attrs=read-write",
            "postgresql://a:1,b:2/db?target_session_attrs=read-write",
        ),
        ("postgresql://a,b:2/db", "postgresql://a:5432,b:2/db"),
        ("postgresql://%2Frun%2Fpg/db", "postgresql://%2Frun%2Fpg/db"),
        ("postgresql:///db?host=/run/pg&port=5433", "postgresql://%2Frun%2Fpg:5433/db"),
        ("postgresql://[2001:db8::1]:5432/db", "postgresql://[2001:db8::1]:5432/db"),
        ("postgresql://a%40b:hunter2@host/d%2Fb", "postgresql://a%40b@host/d%2Fb"),
    ],
)
def test_the_name_is_a_url_of_the_same_store_without_its_password(url: str, name: str) -> None:
    """It is what messages and statistics show, and libpq reads it again."""
    address = read_address(url)
    assert "hunter2" not in repr(address)
    parts = {
        key: value for key, value in conninfo_to_dict(address.conninfo).items() if key in ("user", "dbname", "host")
    }
    assert name.replace(":5432,", ",") == address.name.replace(":5432,", ",").replace(":,", ",")
    again = conninfo_to_dict(read_address(address.name).conninfo)
    assert parts == {key: again[key] for key in parts}
    assert address.schema == read_address(address.name).schema


def test_options_are_the_stores_own_or_libpqs() -> None:
    """Nothing is ignored; limits of time that nobody sets are shorter than libpq's."""
    address = read_address("postgresql://me:p%3Fw@host/db?schema=audit&timeout=7&sslmode=require&options=-c%20jit%3Don")
    assert ("audit", 7) == (address.schema, address.timeout)
    found = conninfo_to_dict(address.conninfo)
    wanted = {
        "user": "me",
        "password": "p?w",
        "host": "host",
        "dbname": "db",
        "sslmode": "require",
        "options": "-c jit=on",
    }
    assert wanted == {key: found[key] for key in wanted}
    assert ("10", "UTF8", "cra") == (
        found["connect_timeout"],
        found["client_encoding"],
        found["fallback_application_name"],
    )
    assert ("cra", 30) == (read_address("postgresql:///").schema, read_address("postgresql:///").timeout)
    changed = conninfo_to_dict(read_address("postgresql:///?connect_timeout=3&tcp_user_timeout=9").conninfo)
    assert ("3", "9") == (changed["connect_timeout"], changed["tcp_user_timeout"])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql:db", "names a database: write postgresql://user@host/database"),
        ("postgresql:/db", "names a database"),
        (
            "postgresql://me:hunter2@host/db?pool_size=5",
            "does not take pool_size= as it is written; there are schema=, time",
        ),
        ("postgresql://me:hunter2@host/db?sslmode", "does not take sslmode= as it is written"),
        ("postgresql://me:hunter2@host/db?Schema=x", "is not a URL that libpq can read"),
        ("postgresql://me@host/db?hunter2=1@x", "is not a URL that libpq can read"),
        (
            "postgresql://me:hunter2@[host/db",
            "is not a URL that libpq can read: write postgresql://user@host:port/data",
        ),
        ("postgresql://me:hunter2%zz@host/db", "every special character of a user or password percent-encoded"),
        ("postgresql://me:hun@ter2@host/db", "is not a URL that libpq can read"),
        ("postgresql://me:hun/ter2@host/db", "is not a URL that libpq can read"),
        ("postgresql://me:hunter2/db", "is not a URL that libpq can read"),
        ("postgresql://host/db?port=hunter2", "is not a URL that libpq can read"),
        ("postgresql://host/db?client_encoding=latin1", "takes no client_encoding="),
        ("postgresql://host/db?schema=a&schema=b", "is given schema= twice; give it once"),
        ("postgresql://host/db?schema=", "takes as schema= up to 63 lower-case letters, digits and _"),
        ("postgresql://host/db?schema=A", "takes as schema= up to 63"),
        ("postgresql://host/db?schema=a%22b", "takes as schema= up to 63"),
        ("postgresql://host/db?schema=pg_catalog", "takes as schema= up to 63"),
        ("postgresql://host/db?schema=" + "a" * 64, "takes as schema= up to 63"),
        ("postgresql://host/db?timeout=0", "takes as timeout= whole seconds from 1 to 3600"),
        ("postgresql://host/db?timeout=1.5", "takes as timeout= whole seconds"),
        ("postgresql://host/db?timeout=99999999999", "takes as timeout= whole seconds"),
        ("postgres://me:hunter2@host/db", "storage 'postgres:' is written as postgresql: here"),
        ("postgresql+psycopg://me:hunter2@host/db", r"storage 'postgresql\+psycopg:' is written as postgresql: here"),
    ],
)
def test_what_is_no_address_is_refused_with_advice(url: str, message: str) -> None:
    """One clear line before anything is connected; never a password, nor what may be a part of one."""
    with pytest.raises(StorageError, match=message) as caught:
        open_storage(url)
    assert "ter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_without_psycopg_the_extra_is_named() -> None:
    """The core installation does not need it, and `import cra` does not import it."""
    code = (
        "import sys; sys.modules['psycopg'] = None; import cra\n"
        "try: cra.Resolver('postgresql://me:hunter2@host/db')\n"
        "except cra.StorageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'cra[postgresql]'" in done.stdout
    assert "hunter2" not in done.stdout
    code = "import sys, cra; print([name for name in sys.modules if 'psycopg' in name])"
    assert "[]\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
