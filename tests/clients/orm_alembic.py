"""Alembic's migrations and SQLAlchemy's drop_all, as many an init_db() calls it. Run inside a session.

    orm_alembic.py upgrade     an everyday evolution of a schema
    orm_alembic.py downgrade   takes all of it back
    orm_alembic.py init_db     drops everything and makes it anew
"""

import os
import pathlib
import sys

from alembic import command
from alembic.config import Config
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine

URL = os.environ["DATABASE_URL"].replace("postgres://", "postgresql+psycopg://", 1)

folder = pathlib.Path("alembic_here")
(folder / "versions").mkdir(parents=True, exist_ok=True)
(folder / "env.py").write_text(
    """
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
)
(folder / "versions/1.py").write_text(
    """
from alembic import op
import sqlalchemy as sa

revision, down_revision = "1", None


def upgrade():
    op.create_table("parcels", sa.Column("id", sa.Integer, primary_key=True), sa.Column("at", sa.Text))
    op.bulk_insert(sa.table("parcels", sa.column("at", sa.Text)), [{"at": "here"}])


def downgrade():
    op.drop_table("parcels")
"""
)
(folder / "versions/2.py").write_text(
    """
from alembic import op
import sqlalchemy as sa

revision, down_revision = "2", "1"


def upgrade():
    op.add_column("parcels", sa.Column("weight", sa.Integer, server_default="0", nullable=False))
    op.create_unique_constraint("parcels_at", "parcels", ["at"])
    with op.get_context().autocommit_block():
        op.create_index("parcels_weight", "parcels", ["weight"], postgresql_concurrently=True)


def downgrade():
    op.drop_column("parcels", "weight")
"""
)
config = Config()
config.set_main_option("script_location", str(folder))
config.attributes["url"] = URL
match sys.argv[1]:
    case "upgrade":
        command.upgrade(config, "head")
    case "downgrade":
        command.downgrade(config, "base")
    case "init_db":
        metadata = MetaData()
        Table("parcels", metadata, Column("id", Integer, primary_key=True), Column("at", Text))
        engine = create_engine(URL)
        metadata.drop_all(engine)
        metadata.create_all(engine)
print("Alembic did", sys.argv[1])
