"""What alembic runs: migrations over the connection that `database.open_store` hands it."""

from alembic import context

from charter.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
