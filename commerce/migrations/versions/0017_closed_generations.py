"""A run that undoes its steps closes its generation, so that a worker that was frozen does no more of them."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    column = sa.Column("closed_generation", sa.String(), nullable=True)
    op.add_column("process_generations", column, if_not_exists=True)
