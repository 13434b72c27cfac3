"""What the database itself refuses: to change the audit trail, and to delete what of it was not archived.

These are the triggers at the end of the schema's history, which leads older stores to the same ones.
"""

from collections.abc import Mapping, Sequence
from typing import Final

_IS_ENTRY_WITH_FOLLOWER: Final = """
    EXISTS (SELECT 1 FROM audit_events WHERE sequence = NEW.sequence AND hash = NEW.hash)
    AND EXISTS (SELECT 1 FROM audit_events WHERE sequence > NEW.sequence)"""

_IS_SAME_PLACE: Final = """
    NEW.number = OLD.number AND NEW.first_sequence = OLD.first_sequence AND NEW.previous_hash = OLD.previous_hash
    AND NEW.sequence = OLD.sequence AND NEW.hash = OLD.hash AND NEW.timestamp = OLD.timestamp
    AND NEW.archived_at = OLD.archived_at"""
"""A new key signs what is there."""

_REFUSED: Final = "the audit checkpoint only moves forward along the chain"

TRIGGERS: Final[Mapping[str, Sequence[str]]] = {
    "sqlite": (
        """CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
           BEGIN SELECT RAISE(ABORT, 'audit events are never changed'); END""",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
           WHEN NOT EXISTS (SELECT 1 FROM audit_checkpoint WHERE sequence >= OLD.sequence)
           BEGIN SELECT RAISE(ABORT, 'audit events are never deleted'); END""",
        # To SQLite, INSERT OR REPLACE is no DELETE, and fires none of the triggers for one.
        """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
           WHEN EXISTS (SELECT 1 FROM audit_events WHERE sequence = NEW.sequence OR event_id = NEW.event_id)
           BEGIN SELECT RAISE(ABORT, 'audit events are never changed'); END""",
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
        """CREATE FUNCTION refuse_change_of_audit_events() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN
               RAISE integrity_constraint_violation USING MESSAGE = 'audit events are never ' || TG_ARGV[0];
           END $$""",
        """CREATE TRIGGER audit_events_no_update BEFORE update ON audit_events
           FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_events('changed')""",
        """CREATE TRIGGER audit_events_no_truncate BEFORE truncate ON audit_events
           FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_events('deleted')""",
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
"""By the kind of database, in the order in which they are made."""
