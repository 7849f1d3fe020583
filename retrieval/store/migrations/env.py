"""Run by alembic: applies the migrations over the connection that the store passes."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
