"""What Alembic runs for every command: the migrations, on the connection they were given."""

from __future__ import annotations

from alembic import context

from perseus.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
