"""Alembic runs this file; `flowker.storage.migrations.run` gives it the connection and the transaction."""

from alembic import context

from flowker.storage.tables import metadata

# The caller's transaction holds the lock of the database, so two upgrades run one after the other; the second finds
# nothing to do.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    vault=context.config.attributes["vault"],
)
context.run_migrations()
