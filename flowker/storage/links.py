"""A thread's own connection to the database, kept while it works and replaced once it failed."""

import time

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from flowker.storage.requests import HOPELESS_S, log_database_error


class Link:
    """Connects when it is first needed, and anew after `drop`: a database may go away and come back."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def begin(self) -> RootTransaction:
        """A transaction. A connection that was lost while nothing was asked of it is replaced."""
        began = time.monotonic()
        try:
            return self.connection().begin()
        except DBAPIError as error:
            if not error.connection_invalidated or time.monotonic() - began > HOPELESS_S:
                raise
            self.drop()
            return self.connection().begin()

    def end_transaction(self) -> None:
        """Roll back what is open, if anything is."""
        if self._connection is None:
            return
        try:
            self._connection.rollback()
        except SQLAlchemyError as error:
            log_database_error(error)
            self.drop()

    def drop(self) -> None:
        """Close the connection without asking anything of it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()
