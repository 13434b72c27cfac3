"""The commands for what is kept, run in this process on a real store."""

import asyncio
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowker import cli
from flowker.cli import audit, retention
from flowker.domain.audit import EVENT_KINDS, SYSTEM, AuditEvent
from flowker.domain.timestamps import format_timestamp
from flowker.storage import audit_events, executions, workflows
from flowker.storage.database import Store, upgrade
from flowker.storage.executions import Acceptance, Progress
from flowker.storage.workflows import StoredWorkflow

Main = Callable[..., tuple[int, str, str]]

NOON = "2026-03-17T12:00:00.000000Z"
ENDED = 3


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """Runs a command in an empty directory: exit code, output, errors."""
    # How this process logs is no business of a test.
    monkeypatch.setattr(audit, "configure_logs", _leave_logs)
    monkeypatch.setattr(retention, "configure_logs", _leave_logs)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flowker", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with executions that ended 100 days ago and one of yesterday, all of a workflow that is gone."""
    path = tmp_path / "flowker.db"
    asyncio.run(_fill(f"sqlite:///{path}"))
    return path


class TestUse:
    @pytest.mark.parametrize(
        ("command", "told"),
        [
            (["prune"], ["--older-than", "--dry-run", "idempotency keys"]),
            (["audit", "archive"], ["--before", "--to", "signed checkpoint"]),
            (["audit", "verify"], ["--archive", "--public-key"]),
            (["db", "backup"], ["A new file for the copy", "The service may run meanwhile"]),
        ],
    )
    def test_every_command_has_a_help_text(self, command: list[str], told: list[str], main: Main) -> None:
        """With what it does and its options."""
        code, out, _ = main(*command, "--help")

        plain = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", out).split())
        assert code == 0
        assert [text for text in told if text not in plain] == []

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (["prune"], "Missing option"),
            (["prune", "--older-than", "23h"], "less than a day"),
            (["prune", "--older-than", "0d"], "less than a day"),
            (["prune", "--older-than", "-1d"], "like 90d or 36h"),
            (["prune", "--older-than", "90"], "like 90d or 36h"),
            (["prune", "--older-than", "3 months"], "like 90d or 36h"),
            (["prune", "--older-than", "36501d"], "no age"),
            (["audit", "archive", "--to", "a"], "Missing option"),
            (["audit", "archive", "--before", "yesterday", "--to", "a"], "like 2026-01-01"),
            (["audit", "archive", "--before", "2026-13-01", "--to", "a"], "like 2026-01-01"),
            (["audit", "archive", "--before", "2026-01-01T00:00:00", "--to", "a"], "like 2026-01-01"),
            (["db", "backup"], "Missing argument"),
        ],
    )
    def test_a_wrong_use_ends_with_2(self, arguments: list[str], why: str, main: Main) -> None:
        """And says why; nothing was begun."""
        code, out, err = main(*arguments)

        plain = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", err).split())
        assert (code, out) == (2, "")
        assert why in plain
        assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("store")
class TestPrune:
    def test_what_is_older_is_removed(self, main: Main) -> None:
        """And told, with the longest transaction; a second time finds nothing."""
        code, out, err = main("prune", "--older-than", "90d")
        again = main("prune", "--older-than", "90d")

        removed, longest, free = out.splitlines()
        assert (code, err) == (0, "")
        assert re.fullmatch(rf"{ENDED} executions that ended before 20\S+Z were removed", removed)
        assert re.fullmatch(r"The longest transaction took [0-9]+ ms", longest)
        assert re.fullmatch(r"[0-9.]+ MB of the file are free for what comes; VACUUM would return them", free)
        assert again[1].startswith("0 executions that ended before ")

    def test_a_dry_run_removes_none(self, main: Main, store: Path) -> None:
        """It tells how many there are."""
        code, out, _ = main("prune", "--older-than", "25h", "--dry-run")

        assert code == 0
        assert re.fullmatch(rf"{ENDED} executions ended before 20\S+Z; none was removed\n", out)
        assert count(store, "executions") == ENDED + 1

    def test_revisions_that_nobody_needs_any_more_are_told(self, main: Main, store: Path) -> None:
        """They go with the last execution of a workflow that is gone."""
        first = main("prune", "--older-than", "2d")[1]
        kept = count(store, "workflow_revisions")
        last = main("prune", "--older-than", "24h")[1]

        assert "revisions" not in first
        assert (kept, count(store, "workflow_revisions")) == (1, 0)
        assert "1 revisions of deleted workflows were removed with them\n" in last


@pytest.mark.usefixtures("store")
class TestAudit:
    def test_an_archive_is_made_and_verified(self, main: Main) -> None:
        """With the keys of the service, or with the public key that was told; the store is verified from there on."""
        code, out, err = main("audit", "archive", "--before", "2026-03-18", "--to", "old.jsonl")
        archived, last, key, longest = out.splitlines()
        public_key, hash_ = key.split()[-1], last.split()[-1]
        verified = main("audit", "verify")
        own = main("audit", "verify", "--archive", "old.jsonl", "--anchor", hash_)
        Path("flowker.db.secret").unlink()
        auditor = main("audit", "verify", "--archive", "old.jsonl", "--public-key", public_key)

        assert (code, err) == (0, "")
        assert archived == "Entries 1 to 5 are in old.jsonl, and no longer in the store"
        assert longest.startswith("The longest transaction took ")
        assert verified[0] == 0
        assert "Those up to 5 were archived: the checkpoint is as this service signed it." in verified[1]
        assert own == (0, "5 entries checked\nEvery entry from 1 to 5 is as it was written and signed.\n", "")
        assert auditor == own
        assert not Path("flowker.db.secret").exists()

    def test_an_archive_that_was_changed_is_told(self, main: Main) -> None:
        """With exit code 1."""
        main("audit", "archive", "--before", "2026-03-18", "--to", "old.jsonl")
        path = Path("old.jsonl")
        path.write_text(path.read_text().replace("SUCCESS", "FAILED", 1))

        code, out, err = main("audit", "verify", "--archive", "old.jsonl")

        assert (code, out) == (1, "0 entries checked\n")
        assert err == "Line 1 is not as it was written: it was changed, moved or taken away.\n"

    def test_a_hash_that_was_noted_is_looked_for_in_the_archive(self, main: Main) -> None:
        """Verification of the store says that it may be there."""
        main("audit", "archive", "--before", "2026-03-18", "--to", "old.jsonl")

        store = main("audit", "verify", "--anchor", "0" * 64)
        archive = main("audit", "verify", "--archive", "old.jsonl", "--anchor", "0" * 64)

        assert (store[0], archive[0]) == (1, 1)
        assert store[2].endswith("If it was archived, look for it there: --archive FILE.\n")
        assert archive[2] == f"No entry has the hash {'0' * 64}.\n"

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (["archive", "--before", "2026-03-17", "--to", "old.jsonl"], "no entry is from before that time"),
            (
                ["archive", "--before", "2026-03-18", "--to", "flowker.db"],
                "flowker.db cannot be written: File exists",
            ),
            (["verify", "--archive", "no.jsonl"], "no.jsonl cannot be read: No such file"),
        ],
    )
    def test_what_cannot_be_done_is_told(self, arguments: list[str], why: str, main: Main) -> None:
        """In a line, without a traceback."""
        code, out, err = main("audit", *arguments)

        assert (code, out) == (1, "")
        assert err.startswith(f"Error: {why}")

    def test_a_checkpoint_that_was_changed_is_told(self, main: Main, store: Path) -> None:
        """By verification, and nothing is archived on it; nor is a key exchanged."""
        main("audit", "archive", "--before", "2026-03-18", "--to", "old.jsonl")
        with closing(sqlite3.connect(store)) as attacker, attacker:
            attacker.execute("DROP TRIGGER audit_checkpoint_update")
            attacker.execute("UPDATE audit_checkpoint SET archived_at = 'x'")

        verified = main("audit", "verify")
        archived = main("audit", "archive", "--before", "2030-01-01", "--to", "next.jsonl")
        rotated = main("secrets", "rotate")

        told = "The checkpoint of the archived entries is not as it was signed, or its key is not here.\n"
        assert (verified[0], verified[2]) == (1, told)
        assert (archived[0], archived[2]) == (1, f"Error: {told}")
        assert (rotated[0], rotated[2]) == (1, f"Error: {told}")

    def test_a_new_key_vouches_for_what_was_archived(self, main: Main) -> None:
        """`secrets rotate` signs the checkpoint anew, and the old key is gone."""
        main("audit", "archive", "--before", "2026-03-18", "--to", "old.jsonl")
        before = Path("flowker.db.secret").read_text()

        rotated = main("secrets", "rotate")

        assert rotated[0] == 0
        assert before.strip() not in Path("flowker.db.secret").read_text()
        assert main("audit", "verify")[0] == 0


class TestBackup:
    def test_a_copy_is_made_and_its_key_is_told(self, main: Main, store: Path) -> None:
        """Which has to be kept with it."""
        code, out, err = main("db", "backup", "copy.db")

        copied, keep = out.splitlines()
        assert (code, err) == (0, "")
        assert re.fullmatch(r"copy\.db is a whole copy of sqlite:///flowker\.db, [0-9.]+ MB", copied)
        assert keep == "Keep a copy of flowker.db.secret with it: without the key, its secrets cannot be read"
        assert count(Path("copy.db"), "executions") == count(store, "executions") == ENDED + 1

    @pytest.mark.usefixtures("store")
    def test_a_key_of_the_environment_is_told_by_its_name(self, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not by itself."""
        monkeypatch.setenv("FLOWKER_SECRET_KEY", "A" * 43 + "=")

        _, out, _ = main("db", "backup", "copy.db")

        assert "Keep FLOWKER_SECRET_KEY with it" in out

    def test_a_store_that_is_not_there_is_told(self, main: Main) -> None:
        """And nothing is made."""
        code, out, err = main("db", "backup", "copy.db")

        assert (code, out) == (1, "")
        assert err == "Error: the database cannot be copied: unable to open database file\n"
        assert list(Path.cwd().iterdir()) == []


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as raw:
        [rows] = raw.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a name from above
        return int(rows)


async def _fill(url: str) -> None:
    upgrade(url)
    store = Store(url)
    await store.start()
    await store.write(workflows.insert, StoredWorkflow("w", "w", "", "active", 1, [], [], {}, NOON, NOON))
    now = datetime.now(UTC)
    ages = [timedelta(days=100)] * ENDED + [timedelta(hours=24, minutes=30)]
    large = '{"input":"' + "x" * 50_000 + '"}'
    for number, age in enumerate(ages):
        id_, ended_at = f"e{number}", format_timestamp(now - age)
        await store.write_together(
            executions.accept,
            Acceptance(id_, "w", 1, None, None, None, large, 1, ended_at, _event(f"started {number}", id_)),
        )
        await store.write_together(executions.record, Progress(id_, 1, [], "completed", 1, ended_at, None, None, []))
    await store.write(audit_events.append, [_event("last of that day", "e0")])
    await store.write(workflows.delete, "w")
    await store.write(audit_events.append, [_event("newest", "e0", format_timestamp(now))])
    await store.stop()


def _event(event_id: str, resource_id: str, timestamp: str = NOON) -> AuditEvent:
    kind = EVENT_KINDS["EXECUTION_STARTED"]
    return AuditEvent(event_id, "EXECUTION_STARTED", *kind, resource_id, SYSTEM, timestamp)


def _leave_logs(_: str) -> None:
    """Logs go where this process has them."""
