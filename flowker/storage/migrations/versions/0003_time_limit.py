"""The time limit of an execution counts from its journal: an approval and a retry let it begin anew."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.drop_column("executions", "deadline_at")
