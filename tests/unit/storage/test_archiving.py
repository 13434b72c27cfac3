"""Archiving the audit chain: what is removed is in a file that proves itself, and the store vouches for it."""

import asyncio
import json
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from flowker.domain import audit
from flowker.domain.archives import Checkpoint, SignedCheckpoint
from flowker.domain.audit import GENESIS_HASH, AuditEvent
from flowker.domain.errors import AuditEventNotFound
from flowker.storage import archiving, audit_checkpoint, audit_events, audit_verification, tables
from flowker.storage.archiving import Archived, NotArchived, archive, verify_file
from flowker.storage.audit_checkpoint import ENTRIES_PER_TRANSACTION, CheckpointBad
from flowker.storage.audit_events import Search
from flowker.storage.audit_verification import Verification, Verifier, verify, verify_database
from flowker.storage.database import DatabaseUnusable, Store, vault_beside
from flowker.storage.files import FileUnusable
from flowker.storage.keys import KeysUnusable
from flowker.storage.signatures import is_signature
from flowker.storage.vault import Vault, make_key
from tests.unit.storage.test_audit_events import drop_triggers
from tests.unit.storage.test_audit_verification import KEYLESS

NOON = "2026-03-17T12:00:00.000000Z"
ONE = "2026-03-17T13:00:00.000000Z"
BETWEEN = "2026-03-17T12:30:00.000000Z"
NOW = "2026-06-17T12:00:00.000000Z"
LATER = "2026-06-18T12:00:00.000000Z"

KEY = bytes(range(32))
VAULT = Vault(lambda: [KEY])

OLD, YOUNG = 1_200, 50

MakeEvent = Callable[..., AuditEvent]


@pytest.fixture
async def chain(store: Store, make_audit_event: MakeEvent) -> Store:
    """A store whose trail has entries from before and from after BETWEEN."""
    events = [make_audit_event(context={"amount": number, "name": "é"}) for number in range(OLD)]
    young = [make_audit_event(timestamp=ONE) for _ in range(YOUNG)]
    await store.write(audit_events.append, [*events, *young])
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.jsonl"


async def make(
    url: str, path: Path, before: str = BETWEEN, vault: Vault = VAULT
) -> tuple[Archived, SignedCheckpoint]:
    return await archive(url, vault, before, path, lambda: NOW, lambda _: None)


def check(path: Path, vault: Vault = VAULT, *anchors: str) -> archiving.ArchiveVerification:
    return verify_file(
        path,
        lambda one: vault.has_signed(one.checkpoint.text, one.public_key, one.signature),
        frozenset(anchors),
    )


def sequences(connection: Connection) -> list[int]:
    return list(connection.scalars(select(tables.audit_events.c.sequence).order_by(tables.audit_events.c.sequence)))


def change_checkpoint(connection: Connection, **values: Any) -> None:
    """By somebody who is free to do anything to the database."""
    drop_triggers(connection)
    connection.execute(update(tables.audit_checkpoint).values(**values))


class TestArchive:
    async def test_old_entries_are_in_the_file_and_no_longer_in_the_store(
        self, url: str, chain: Store, path: Path
    ) -> None:
        """The checkpoint stands for them, and whoever watches hears how far it is."""
        told: list[tuple[int, int]] = []
        before = await chain.read(sequences)
        last_old = await chain.read(audit_events.read_entries, OLD, OLD, 1)

        archived, signed = await archive(
            url, VAULT, BETWEEN, path, lambda: NOW, lambda so_far: told.append((so_far.written, so_far.removed))
        )

        stored = await chain.read(audit_checkpoint.require, VAULT)
        assert before == [*range(1, OLD + YOUNG + 1)]
        assert await chain.read(sequences) == [*range(OLD + 1, OLD + YOUNG + 1)]
        assert signed.checkpoint == Checkpoint(1, GENESIS_HASH, OLD, last_old[0][13], NOON, NOW)
        assert stored == signed.checkpoint == archived.checkpoint
        assert told == [(1_000, 0), (OLD, 0), (OLD, ENTRIES_PER_TRANSACTION), (OLD, 1_000), (OLD, OLD)]
        assert archived.longest_s > 0
        assert mode(path) == 0o600
        found = check(path)
        assert (found.is_good, found.entries) == (True, OLD)
        assert found.message == f"Every entry from 1 to {OLD} is as it was written and signed."

    async def test_the_chain_is_verified_from_the_checkpoint_on(
        self, url: str, chain: Store, path: Path, make_audit_event: MakeEvent
    ) -> None:
        """By command and up to one event, and it says so; entries that are appended later belong to it."""
        await make(url, path)
        await chain.write(audit_events.append, [make_audit_event(timestamp=NOW)])

        found = await verify_database(url, VAULT, frozenset(), lambda *_: None)
        one = await Verifier(chain, VAULT).verify(OLD + 10)

        assert (found.is_good, found.checked, found.sequence) == (True, YOUNG + 1, OLD + YOUNG + 1)
        assert found.message == (
            f"Every entry from {OLD + 1} to {OLD + YOUNG + 1} is as it was written. "
            f"Those up to {OLD} were archived: the checkpoint is as this service signed it."
        )
        assert (one.is_good, one.checked) == (True, 10)

    async def test_an_archived_event_is_not_found(self, url: str, chain: Store, path: Path) -> None:
        """Neither by its id nor in a list; dates and pages go on behind it."""
        await make(url, path)

        with pytest.raises(AuditEventNotFound):
            await chain.read(audit_events.get, "event-00001")
        with pytest.raises(AuditEventNotFound):
            await chain.read(audit_events.sequence_of, "event-00001")
        search = Search(date_from="2026-01-01T00:00:00.000000Z", date_to=NOW)

        def count(connection: Connection) -> int:
            return len(audit_events.list_page(connection, search, limit=100, sort_order="ASC").items)

        assert await chain.read(count) == YOUNG

    async def test_archives_follow_from_each_other(
        self, url: str, chain: Store, path: Path, make_audit_event: MakeEvent
    ) -> None:
        """The next one begins where the last one ended, and the newest entry stays."""
        _, first = await make(url, path)

        second_path = path.with_name("second.jsonl")
        _, second = await make(url, second_path, NOW)

        assert second.checkpoint.first_sequence == OLD + 1
        assert second.checkpoint.previous_hash == first.checkpoint.hash
        assert await chain.read(sequences) == [OLD + YOUNG]
        assert check(second_path).entries == YOUNG - 1
        await chain.write(audit_events.append, [make_audit_event(timestamp=NOW)])
        assert (await verify(chain, VAULT, Verification())).checked == 2

    async def test_what_is_archived_while_it_is_verified_is_taken_along(
        self, url: str, chain: Store, path: Path
    ) -> None:
        """The verification goes on behind the checkpoint."""
        half_way = await chain.read(audit_verification.advance, VAULT, Verification(), None, 100)
        await make(url, path)

        found = await verify(chain, VAULT, half_way)

        assert (half_way.sequence, found.is_good, found.sequence) == (100, True, OLD + YOUNG)

    async def test_an_archive_that_was_cut_off_can_be_made_again(self, url: str, chain: Store, path: Path) -> None:
        """Everything is in the first file, and the second one begins behind the checkpoint."""
        _, goal = await chain.read(archiving._plan, VAULT, BETWEEN, NOW)
        reached = await chain.write(audit_checkpoint.advance, VAULT, goal)

        _, signed = await make(url, path)

        assert reached == ENTRIES_PER_TRANSACTION
        assert signed.checkpoint.first_sequence == reached + 1
        assert (await verify(chain, VAULT, Verification())).is_good
        assert await chain.write(audit_checkpoint.advance, VAULT, goal) == OLD

    async def test_the_service_appends_meanwhile(
        self, url: str, chain: Store, path: Path, make_audit_event: MakeEvent
    ) -> None:
        """No entry is lost, and none waits for all of it."""
        late = [make_audit_event(timestamp=NOW) for _ in range(40)]

        async def append_on() -> None:
            for event in late:
                await chain.write(audit_events.append, [event])

        appending = asyncio.create_task(append_on())
        await make(url, path)
        await appending

        found = await verify(chain, VAULT, Verification())
        assert (found.is_good, found.checked) == (True, YOUNG + 40)

    @pytest.mark.usefixtures("chain")
    async def test_nothing_from_before_the_time_makes_no_file(self, url: str, path: Path) -> None:
        """Nor does a single entry, which stays always."""
        with pytest.raises(NotArchived, match="no entry is from before"):
            await make(url, path, NOON)

        assert names(path.parent, "*archive*") == []

    @pytest.mark.usefixtures("store")
    async def test_an_empty_trail_has_nothing_to_archive(self, url: str, path: Path) -> None:
        """And is told so."""
        with pytest.raises(NotArchived, match="no entry"):
            await make(url, path)

    async def test_no_file_is_overwritten(self, url: str, chain: Store, path: Path) -> None:
        """Nothing is removed then."""
        write(path, "precious")

        with pytest.raises(FileUnusable, match="File exists"):
            await make(url, path)

        assert read(path) == "precious"
        assert len(await chain.read(sequences)) == OLD + YOUNG

    @pytest.mark.parametrize(
        ("sequence", "how"), [(1, "changed"), (700, "changed"), (OLD, "changed"), (1, "gone"), (700, "gone")]
    )
    async def test_a_chain_that_was_tampered_with_is_not_archived(
        self, url: str, chain: Store, path: Path, sequence: int, how: str
    ) -> None:
        """The file would prove something that is not so; what is there stays there."""
        await chain.write(tamper, sequence, how)

        with pytest.raises(NotArchived, match=f"entry {sequence} is not as it was written"):
            await make(url, path)

        assert names(path.parent, "*archive*") == []
        assert await chain.read(audit_checkpoint.read) is None

    async def test_a_database_of_another_version_is_told(self, url: str, store: Store, path: Path) -> None:
        """With what brings it up to this one."""
        await store.write(_make_other_version)

        with pytest.raises(DatabaseUnusable, match="db upgrade"):
            await make(url, path)


class TestCheckpoint:
    @pytest.mark.parametrize(
        "values",
        [
            {"sequence": OLD - 1},
            {"sequence": OLD + 1},
            {"sequence": 0},
            {"hash": "0" * 64},
            {"first_sequence": 2},
            {"previous_hash": "1" * 64},
            {"timestamp": NOW},
            {"archived_at": LATER},
            {"public_key": "AAAA"},
            {"public_key": Vault(lambda: [bytes(32)]).sign("")[0]},
            {"signature": "AAAA"},
            {"signature": "no base64"},
            {"signature": VAULT.sign("something else")[1]},
        ],
        ids=lambda values: f"{next(iter(values))}",
    )
    async def test_a_changed_checkpoint_is_found(
        self, url: str, chain: Store, path: Path, values: dict[str, Any]
    ) -> None:
        """Whatever was changed in it; verification by command and by API says so, and nothing is archived on it."""
        await make(url, path)
        await chain.write(lambda connection: change_checkpoint(connection, **values))

        found = await verify_database(url, VAULT, frozenset(), lambda *_: None)
        by_api = await Verifier(chain, VAULT).verify(OLD + 10)

        assert (found.is_good, found.checkpoint_bad, found.first_bad, found.checked) == (False, True, 1, 0)
        assert (
            found.message == "The checkpoint of the archived entries is not as it was signed, or its key is not here."
        )
        assert not by_api.is_good
        with pytest.raises(CheckpointBad):
            await make(url, path.with_name("next.jsonl"), NOW)

    @pytest.mark.parametrize("database_kind", ["sqlite"])
    @pytest.mark.parametrize("value", ["'x'", "X'00'", "CAST(X'FF' AS TEXT)"])
    @pytest.mark.parametrize("column", ["sequence", "hash", "signature"])
    async def test_a_value_of_another_type_is_found(
        self, url: str, chain: Store, path: Path, column: str, value: str
    ) -> None:
        """SQLite stores anything in any column."""
        await make(url, path)
        await chain.write(lambda connection: spoil_checkpoint(connection, column, value))

        assert (await verify(chain, VAULT, Verification())).checkpoint_bad

    async def test_a_checkpoint_that_was_taken_away_is_found(self, url: str, chain: Store, path: Path) -> None:
        """Nothing vouches for the entries that are missing."""
        await make(url, path)
        await chain.write(_remove_checkpoint)

        found = await verify(chain, VAULT, Verification())

        assert (found.is_good, found.first_bad, found.checked) == (False, 1, 1)

    async def test_an_older_checkpoint_is_found(self, url: str, chain: Store, path: Path) -> None:
        """Its signature is good, and the entry behind it is missing."""
        await make(url, path, BETWEEN)
        older = await chain.read(audit_checkpoint.read)
        await make(url, path.with_name("second"), NOW)
        assert older is not None
        await chain.write(
            lambda connection: change_checkpoint(
                connection,
                **{name: getattr(older.checkpoint, name) for name in Checkpoint.__slots__},
                public_key=older.public_key,
                signature=older.signature,
            )
        )

        found = await verify(chain, VAULT, Verification())

        assert (found.is_good, found.first_bad) == (False, OLD + 1)

    async def test_entries_that_come_back_before_the_checkpoint_are_found(
        self, url: str, chain: Store, path: Path
    ) -> None:
        """The chain begins behind it."""
        [row] = await chain.read(audit_events.read_entries, 7, 7, 1)
        await make(url, path)
        await chain.write(lambda connection: put_back(connection, tuple(row)))

        found = await verify(chain, VAULT, Verification())

        assert (found.is_good, found.first_bad) == (False, 7)

    async def test_without_its_key_nothing_is_vouched_for(self, url: str, chain: Store, path: Path) -> None:
        """Another key, or none."""
        await make(url, path)

        other = await verify(chain, Vault(lambda: [make_key()]), Verification())
        none = await verify(chain, KEYLESS, Verification())

        assert (other.checkpoint_bad, none.checkpoint_bad) == (True, True)

    @pytest.mark.usefixtures("chain")
    @pytest.mark.parametrize("database_kind", ["sqlite"])
    async def test_a_key_that_is_lost_is_not_made_anew(self, url: str, path: Path) -> None:
        """It would not vouch for what was archived; verification makes none either."""
        await make(url, path, vault=vault_beside(url))
        (file,) = path.parent.glob("*.secret")
        file.unlink()

        found = await verify_database(url, vault_beside(url), frozenset(), lambda *_: None)

        assert found.checkpoint_bad
        assert names(path.parent, "*.secret") == []
        with pytest.raises(KeysUnusable, match="or a checkpoint that was signed with it: put the file back"):
            vault_beside(url).sign("")

    async def test_a_new_key_signs_it_anew(self, url: str, chain: Store, path: Path) -> None:
        """By somebody who has the old one; then the new one is enough. Once is enough too."""
        await make(url, path)
        new = make_key()

        counts = [await chain.write(audit_checkpoint.resign, Vault(lambda: [new, KEY])) for _ in range(2)]

        assert counts == [1, 0]
        assert (await verify(chain, Vault(lambda: [new]), Verification())).is_good
        with pytest.raises(CheckpointBad):
            await chain.write(audit_checkpoint.resign, VAULT)

    async def test_a_trail_without_checkpoint_has_nothing_to_sign(self, store: Store) -> None:
        """And needs no key."""
        assert await store.write(audit_checkpoint.resign, KEYLESS) == 0

    @pytest.mark.usefixtures("chain")
    async def test_a_noted_hash_of_the_last_archived_entry_is_vouched_for(self, url: str, path: Path) -> None:
        """Others have to be looked for in the archive."""
        _, signed = await make(url, path)
        [first] = [json.loads(line)["hash"] for line in read(path).splitlines()[:1]]
        noted = frozenset({signed.checkpoint.hash})

        assert (await verify_database(url, VAULT, noted, lambda *_: None)).is_good
        assert (await verify_database(url, VAULT, frozenset({first}), lambda *_: None)).anchors == {first}
        assert check(path, VAULT, first).is_good
        assert not check(path, VAULT, "f" * 64).is_good


class TestTriggers:
    """What the database itself refuses, whoever asks."""

    @pytest.mark.parametrize("table", ["audit_events WHERE sequence > 3", "audit_events", "audit_checkpoint"])
    def test_only_what_was_archived_can_be_deleted(
        self, connection: Connection, make_audit_event: MakeEvent, table: str
    ) -> None:
        """Neither a later entry nor the checkpoint."""
        stand_at(connection, make_audit_event, 3)

        with pytest.raises(IntegrityError, match=r"never deleted|only moves forward"):
            connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - the names are from above

        assert sequences(connection) == [4, 5]

    @pytest.mark.parametrize(
        "change",
        [
            "sequence = 2",
            "sequence = 4",
            "sequence = 5, hash = (SELECT hash FROM audit_events WHERE sequence = 5)",
            "sequence = 9",
            "archived_at = 'x'",
            "first_sequence = 2",
            "number = 2",
        ],
    )
    def test_a_checkpoint_only_moves_to_an_entry_that_another_one_follows(
        self, connection: Connection, make_audit_event: MakeEvent, change: str
    ) -> None:
        """Not back, not to another hash, and not to the newest entry."""
        stand_at(connection, make_audit_event, 3)

        with pytest.raises(IntegrityError):
            connection.exec_driver_sql(f"UPDATE audit_checkpoint SET {change}")  # noqa: S608 - from above

    def test_it_moves_on_to_the_next_entry(self, connection: Connection, make_audit_event: MakeEvent) -> None:
        """With its hash."""
        stand_at(connection, make_audit_event, 3)

        connection.exec_driver_sql(
            "UPDATE audit_checkpoint SET sequence = 4, hash = (SELECT hash FROM audit_events WHERE sequence = 4)"
        )
        connection.exec_driver_sql("DELETE FROM audit_events WHERE sequence = 4")

        assert sequences(connection) == [5]

    @pytest.mark.parametrize("sequence", [5, 6])
    def test_none_is_made_beyond_the_entries(
        self, connection: Connection, make_audit_event: MakeEvent, sequence: int
    ) -> None:
        """Or at the newest of them."""
        audit_events.append(connection, [make_audit_event() for _ in range(5)])
        values = checkpoint_row(sequence, audit_events.tail(connection).hash)

        with pytest.raises(IntegrityError, match="only moves forward"):
            connection.execute(insert(tables.audit_checkpoint).values(values))

    @pytest.mark.parametrize("database_kind", ["sqlite"])
    def test_none_is_replaced(self, connection: Connection, make_audit_event: MakeEvent) -> None:
        """To SQLite this is an INSERT."""
        stand_at(connection, make_audit_event, 3)

        with pytest.raises(IntegrityError, match="only moves forward"):
            connection.exec_driver_sql("INSERT OR REPLACE INTO audit_checkpoint SELECT * FROM audit_checkpoint")

    @pytest.mark.parametrize("database_kind", ["postgresql"])
    def test_it_is_not_emptied(self, connection: Connection, make_audit_event: MakeEvent) -> None:
        """Nor the trail."""
        stand_at(connection, make_audit_event, 3)

        for table in ("audit_checkpoint", "audit_events"):
            with pytest.raises(IntegrityError):
                connection.exec_driver_sql(f"TRUNCATE {table}")

    def test_no_page_of_an_archive_scans(
        self, connection: Connection, make_audit_event: MakeEvent, read_plans: Callable[..., list[str]]
    ) -> None:
        """However long the trail is."""
        audit_events.append(connection, [make_audit_event() for _ in range(5)])
        goal = archiving._plan(connection, VAULT, NOW, NOW)[1]

        plans = [*read_plans(archiving._plan, VAULT, NOW, NOW), *read_plans(audit_checkpoint.advance, VAULT, goal)]

        assert len(plans) > 6
        assert [plan for plan in plans if "SCAN" in plan and plan != "SCAN CONSTANT ROW"] == []


@pytest.mark.parametrize("database_kind", ["sqlite"])
class TestFile:
    @pytest.mark.usefixtures("chain")
    async def test_a_change_anywhere_in_a_file_is_found(
        self, url: str, path: Path, record_property: Callable[[str, object], None]
    ) -> None:
        """Any byte to any other, in three hundred places."""
        await make(url, path)
        content = read(path).encode()
        seed = 20_260_317
        record_property("seed", seed)
        chance = random.Random(seed)  # noqa: S311 - what is changed is no secret
        places = [
            *(chance.randrange(len(content) - 1) for _ in range(200)),
            *(len(content) - 2 - n for n in range(100)),
        ]

        missed = []
        for place in places:
            changed = bytearray(content)
            changed[place] = (changed[place] + chance.randint(1, 255)) % 256
            write(path, bytes(changed))
            if check(path).is_good:
                missed.append(place)

        write(path, content)
        assert missed == []
        assert check(path).is_good

    @pytest.mark.parametrize(
        ("change", "bad_line"),
        [
            (lambda lines: lines[1:], None),
            (lambda lines: [*lines[:5], *lines[6:]], 6),
            (lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]], 6),
            (lambda lines: [*lines[:5], lines[4], *lines[5:]], 6),
            (lambda lines: lines[:-1], OLD + 1),
            (lambda lines: [*lines[:-2], lines[-1]], None),
            (lambda lines: [*lines, lines[-1]], OLD + 2),
            (lambda lines: [lines[-1]], 1),
            (lambda _: [], 1),
            (lambda _: ["{}\n"], 1),
            (lambda lines: [*lines[:3], lines[3][:-1]], 4),
            (lambda lines: [*lines[:-1], '{"checkpoint":{}}\n'], None),
            (lambda lines: [*lines[:-1], '{"checkpoint":' + "[" * 100_000], None),
        ],
    )
    @pytest.mark.usefixtures("chain")
    async def test_lines_that_are_missing_or_moved_are_found(
        self, url: str, path: Path, change: Callable[[list[str]], list[str]], bad_line: int | None
    ) -> None:
        """By the line, or by the checkpoint that is of other entries."""
        await make(url, path)
        write(path, "".join(change(read(path).splitlines(keepends=True))))

        found = check(path)

        assert (found.is_good, found.bad_line) == (False, bad_line)
        assert ("Line" in found.message) == (bad_line is not None)

    @pytest.mark.usefixtures("chain")
    async def test_an_entry_that_is_forged_with_its_hash_needs_the_signature(self, url: str, path: Path) -> None:
        """Anybody can compute hashes, and nobody sign without the key."""
        await make(url, path)
        forged = path.with_name("forged.jsonl")
        other = Vault(lambda: [make_key()])
        lines = read(path).splitlines()
        checkpoint = json.loads(lines[-1])
        public_key, signature = other.sign(json.dumps(checkpoint["checkpoint"], separators=(",", ":")))
        lines[-1] = json.dumps(checkpoint | {"publicKey": public_key, "signature": signature}, separators=(",", ":"))
        write(forged, "".join(f"{line}\n" for line in lines))

        assert check(forged, other).is_good
        assert not check(forged).is_good

    @pytest.mark.usefixtures("chain")
    async def test_who_has_the_public_key_needs_no_secret(self, url: str, path: Path) -> None:
        """It was told when the archive was made."""
        _, signed = await make(url, path)
        other = Vault(lambda: [make_key()]).sign("")[0]

        found = [
            verify_file(path, lambda one, key=key: is_signature(key, one.checkpoint.text, one.signature)).is_good  # type: ignore[misc]
            for key in (signed.public_key, other, "no key")
        ]

        assert found == [True, False, False]

    async def test_a_file_that_does_not_hold_what_was_written_removes_nothing(
        self, url: str, chain: Store, path: Path
    ) -> None:
        """It is read back before the first entry goes: here an entry has a line feed that no service writes."""
        await chain.write(forge_line_feed)

        with pytest.raises(NotArchived, match="does not hold what was written"):
            await make(url, path)

        assert names(path.parent, "*archive*") == []
        assert len(await chain.read(sequences)) == OLD + YOUNG


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(FileUnusable, match=r"no\.jsonl cannot be read: No such file"):
        check(tmp_path / "no.jsonl")


def stand_at(connection: Connection, make_audit_event: MakeEvent, sequence: int) -> None:
    """Five entries, archived up to this one."""
    audit_events.append(connection, [make_audit_event() for _ in range(5)])
    [row] = audit_events.read_entries(connection, sequence, sequence, 1)
    goal = Checkpoint(1, GENESIS_HASH, sequence, row[13], row[12], NOW)
    assert audit_checkpoint.advance(connection, VAULT, goal) == sequence


def checkpoint_row(sequence: int, hash_: str) -> dict[str, Any]:
    return {
        "number": 1,
        "first_sequence": 1,
        "previous_hash": GENESIS_HASH,
        "sequence": sequence,
        "hash": hash_,
        "timestamp": NOON,
        "archived_at": NOW,
        "public_key": "",
        "signature": "",
    }


def tamper(connection: Connection, sequence: int, how: str) -> None:
    drop_triggers(connection)
    change = "DELETE FROM audit_events" if how == "gone" else "UPDATE audit_events SET actor_id = 'x'"
    connection.execute(text(f"{change} WHERE sequence = :sequence"), {"sequence": sequence})


def spoil_checkpoint(connection: Connection, column: str, value: str) -> None:
    drop_triggers(connection)
    connection.exec_driver_sql(f"UPDATE audit_checkpoint SET {column} = {value}")  # noqa: S608 - from above


def forge_line_feed(connection: Connection) -> None:
    """By somebody who computes the hash again."""
    drop_triggers(connection)
    [row] = audit_events.read_entries(connection, OLD, OLD, 1)
    forged = [*row[:10], "{\n}", *row[11:]]
    connection.execute(
        update(tables.audit_events)
        .where(tables.audit_events.c.sequence == OLD)
        .values(context="{\n}", hash=audit.entry_hash(audit.entry_text(tuple(forged)), row[14]))
    )


def names(directory: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in directory.glob(pattern))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def read(path: Path) -> str:
    return path.read_text()


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_back(connection: Connection, row: tuple[Any, ...]) -> None:
    connection.execute(insert(tables.audit_events).values(row))


def _remove_checkpoint(connection: Connection) -> None:
    drop_triggers(connection)
    connection.execute(delete(tables.audit_checkpoint))


def _make_other_version(connection: Connection) -> None:
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
