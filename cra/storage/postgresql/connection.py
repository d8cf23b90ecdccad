"""A connection of the backend that waits, and how it takes the steps of `operations` and `schema`."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg

from cra.storage.postgresql.address import DEFAULT_TIMEOUT, Address
from cra.storage.postgresql.patience import GRACE_SECONDS, impatient
from cra.storage.postgresql.steps import Answer, Do, Work

T = TypeVar("T")


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """Every statement is a transaction until BEGIN says otherwise. `seconds` is how long the server may take over one."""

    seconds = DEFAULT_TIMEOUT

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As psycopg's, for a server that may never answer."""
        return super().wait(impatient(gen, self.seconds + GRACE_SECONDS), *arguments, **options)

    def run(self, work: Work[T]) -> T:
        """Take all steps. What the server refuses is raised as `psycopg.Error`, in the generator first."""
        try:
            do = next(work)
            while True:
                try:
                    answer = self._take(do)
                except psycopg.Error as error:
                    do = work.throw(error)
                else:
                    do = work.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    def _take(self, do: Do) -> Answer:
        before = self.seconds
        self.seconds = do.seconds or before
        try:
            with self.cursor() as cursor:
                if do.data is not None:
                    with cursor.copy(do.text.encode()) as copy:
                        for piece in do.data:
                            copy.write(piece)
                    return Answer([], cursor.rowcount)
                cursor.execute(do.text.encode(), do.values)
                return Answer(cursor.fetchall() if cursor.description else [], cursor.rowcount)
        finally:
            self.seconds = before


def connect(address: Address) -> Connection:
    """A new connection. Raises `psycopg.Error`."""
    connection = Connection.connect(address.conninfo, autocommit=True)
    connection.seconds = address.timeout
    return connection
