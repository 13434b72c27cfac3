"""The oldest part of the audit chain can be archived: up to a checkpoint its entries may be deleted."""

import sqlalchemy as sa
from alembic import op

from flowker.storage.columns import COUNTER, TEXT

revision = "0004"
down_revision = "0003"

_IS_ENTRY_WITH_FOLLOWER = """
    EXISTS (SELECT 1 FROM audit_events WHERE sequence = NEW.sequence AND hash = NEW.hash)
    AND EXISTS (SELECT 1 FROM audit_events WHERE sequence > NEW.sequence)"""

_IS_SAME_PLACE = """
    NEW.number = OLD.number AND NEW.first_sequence = OLD.first_sequence AND NEW.previous_hash = OLD.previous_hash
    AND NEW.sequence = OLD.sequence AND NEW.hash = OLD.hash AND NEW.timestamp = OLD.timestamp
    AND NEW.archived_at = OLD.archived_at"""
"""A new key signs what is there."""

_REFUSED = "the audit checkpoint only moves forward along the chain"

_TRIGGERS = {
    "sqlite": (
        "DROP TRIGGER audit_events_no_delete",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
           WHEN NOT EXISTS (SELECT 1 FROM audit_checkpoint WHERE sequence >= OLD.sequence)
           BEGIN SELECT RAISE(ABORT, 'audit events are never deleted'); END""",
        # To SQLite, INSERT OR REPLACE is no DELETE.
        f"""CREATE TRIGGER audit_checkpoint_insert BEFORE INSERT ON audit_checkpoint
            WHEN EXISTS (SELECT 1 FROM audit_checkpoint) OR NOT ({_IS_ENTRY_WITH_FOLLOWER})
            BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",  # noqa: S608 - the words stand above
        f"""CREATE TRIGGER audit_checkpoint_update BEFORE UPDATE ON audit_checkpoint
            WHEN NOT ({_IS_SAME_PLACE}) AND NOT (NEW.sequence > OLD.sequence AND {_IS_ENTRY_WITH_FOLLOWER})
            BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
        f"""CREATE TRIGGER audit_checkpoint_delete BEFORE DELETE ON audit_checkpoint
            BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
    ),
    "postgresql": (
        "DROP TRIGGER audit_events_no_delete ON audit_events",
        """CREATE FUNCTION refuse_removal_of_audit_event() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN
               IF NOT EXISTS (SELECT 1 FROM audit_checkpoint WHERE sequence >= OLD.sequence) THEN
                   RAISE integrity_constraint_violation USING MESSAGE = 'audit events are never deleted';
               END IF;
               RETURN OLD;
           END $$""",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
           FOR EACH ROW EXECUTE FUNCTION refuse_removal_of_audit_event()""",
        f"""CREATE FUNCTION refuse_audit_checkpoint() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN
                IF TG_OP = 'INSERT' THEN
                    IF {_IS_ENTRY_WITH_FOLLOWER} THEN RETURN NEW; END IF;
                ELSIF TG_OP = 'UPDATE' THEN
                    IF ({_IS_SAME_PLACE}) OR (NEW.sequence > OLD.sequence AND {_IS_ENTRY_WITH_FOLLOWER}) THEN
                        RETURN NEW;
                    END IF;
                END IF;
                RAISE integrity_constraint_violation USING MESSAGE = '{_REFUSED}';
            END $$""",
        """CREATE TRIGGER audit_checkpoint_change BEFORE INSERT OR UPDATE OR DELETE ON audit_checkpoint
           FOR EACH ROW EXECUTE FUNCTION refuse_audit_checkpoint()""",
        """CREATE TRIGGER audit_checkpoint_truncate BEFORE TRUNCATE ON audit_checkpoint
           FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_checkpoint()""",
    ),
}


def upgrade() -> None:
    op.create_table(
        "audit_checkpoint",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first_sequence", COUNTER, nullable=False),
        sa.Column("previous_hash", TEXT, nullable=False),
        sa.Column("sequence", COUNTER, nullable=False),
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("timestamp", TEXT, nullable=False),
        sa.Column("archived_at", TEXT, nullable=False),
        sa.Column("public_key", TEXT, nullable=False),
        sa.Column("signature", TEXT, nullable=False),
        sa.CheckConstraint("number = 1", name="audit_checkpoint_is_one"),
    )
    for statement in _TRIGGERS[op.get_context().dialect.name]:
        op.execute(statement)
