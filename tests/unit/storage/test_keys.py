"""The keys beside the database."""

import base64
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from flowker import jsontext
from flowker.storage import keys, workflows
from flowker.storage.database import upgrade
from flowker.storage.keys import KeysUnusable, decode_key, read_or_make
from flowker.storage.vault import KEY_BYTES, SecretUnreadable, Vault, make_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flowker.db.secret"


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def store(database: Path, table: str, column: str, value: object) -> None:
    """Write a row with this value, and with something in each other column."""
    with closing(sqlite3.connect(database)) as connection:
        others = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})") if name != column]
        connection.execute(
            f"INSERT INTO {table} ({', '.join([column, *others])}) VALUES (?{', 1' * len(others)})",  # noqa: S608
            [jsontext.encode(value).decode()],
        )
        connection.commit()


def test_a_key_is_made_once_and_only_its_owner_can_read_it(path: Path) -> None:
    """Nothing else is left in the folder."""
    made = read_or_make(path)

    assert list(read_or_make(path)) == list(made)
    assert [len(key) for key in made] == [KEY_BYTES]
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_starts_at_once_agree_on_a_key(path: Path) -> None:
    """Four processes, one key."""
    program = "import sys; from pathlib import Path; from flowker.storage.keys import read_or_make;"
    program += "print(read_or_make(Path(sys.argv[1]))[0].hex())"
    command = [sys.executable, "-c", program, str(path)]

    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    told = {process.communicate()[0].strip().decode() for process in processes}

    assert told == {read_or_make(path)[0].hex()}


def test_keys_are_replaced_as_a_whole(path: Path) -> None:
    """In their order, and again only for their owner; a rest of an attempt that was cut off does no harm."""
    read_or_make(path)
    path.with_name(f"{path.name}.new").write_text("cut off")
    wanted = [make_key(), make_key()]

    keys.replace(path, wanted)

    assert list(read_or_make(path)) == wanted
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "\n", "not base64!", "c2hvcnQ=", f"{base64.b64encode(bytes(32)).decode()}\nx"])
def test_a_file_with_something_else_is_refused(path: Path, text: str) -> None:
    """Rather than make a new key, with which nothing that is stored would open."""
    write(path, text)

    with pytest.raises(KeysUnusable, match="holds something else"):
        read_or_make(path)

    assert path.read_text() == text


def test_a_file_that_is_no_text_is_refused(path: Path) -> None:
    """A key in bytes, as some tools write it."""
    path.touch(0o600)
    path.write_bytes(b"\xff" * KEY_BYTES)

    with pytest.raises(KeysUnusable, match="holds something else"):
        read_or_make(path)


def test_a_file_that_cannot_be_read_is_told(path: Path) -> None:
    """With the reason of the system."""
    path.mkdir()

    with pytest.raises(KeysUnusable, match="cannot be read: Is a directory"):
        read_or_make(path)


class TestALostFile:
    """The database is there, and the file of its keys is not."""

    VAULT = Vault(lambda: [make_key()])
    SEALED = VAULT.seal({"api_key": "k"}, "p")
    TRIGGER = workflows.seal_nodes(VAULT, "w", [{"id": "t", "type": "trigger", "data": {"verify_token": "guard"}}])

    @pytest.fixture
    def database(self, path: Path) -> Path:
        database = path.with_name("flowker.db")
        upgrade(f"sqlite:///{database}")
        return database

    @pytest.mark.parametrize(
        ("table", "column", "value"),
        [
            ("provider_configurations", "config", {"deep": [SEALED]}),
            ("executor_configurations", "authentication", {"type": "api_key", "config": SEALED}),
            ("workflow_revisions", "definition", {"nodes": [{"id": "a", "type": "action"}, *TRIGGER]}),
        ],
    )
    def test_is_not_made_anew_while_secrets_need_it(
        self, path: Path, database: Path, table: str, column: str, value: object
    ) -> None:
        """Wherever they stand; a vault of it neither seals nor opens."""
        store(database, table, column, value)
        vault = Vault(lambda: read_or_make(path))

        for ask in (read_or_make, keys.check):
            with pytest.raises(KeysUnusable, match="is not there, and the database has secrets"):
                ask(path)
        for use in (vault.seal, vault.open):
            with pytest.raises(SecretUnreadable, match="put the file back"):
                use(self.SEALED, "p")

        assert not path.exists()

    @pytest.mark.parametrize(
        ("table", "column", "value"),
        [
            ("provider_configurations", "config", {"note": SEALED["api_key"], "api_key": ""}),
            ("provider_configurations", "config", {"api_key": "sealed:1:"}),
            ("workflow_revisions", "definition", {"nodes": [{"id": "a", "type": "action", "data": SEALED}]}),
            ("workflow_revisions", "definition", {"nodes": [{"id": "t", "type": "trigger"}], "metadata": SEALED}),
        ],
    )
    def test_is_not_missed_for_what_only_looks_sealed(
        self, path: Path, database: Path, table: str, column: str, value: object
    ) -> None:
        """Texts that somebody sent, where no secret is kept."""
        store(database, table, column, value)

        keys.check(path)

        assert not path.exists()
        assert len(read_or_make(path)) == 1

    def test_is_not_missed_by_a_database_without_tables(self, path: Path) -> None:
        """It is about to be made."""
        sqlite3.connect(path.with_name("flowker.db")).close()

        keys.check(path)

        assert len(read_or_make(path)) == 1

    def test_is_not_made_beside_a_database_that_cannot_be_read(self, path: Path) -> None:
        """There may be secrets in it."""
        path.with_name("flowker.db").write_text("x" * 4096)

        with pytest.raises(KeysUnusable, match="whether it has to be cannot be told: file is not a database"):
            read_or_make(path)


class TestWhoCanReadIt:
    KEY = base64.b64encode(bytes(32)).decode()

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o666, 0o777])
    def test_a_file_that_everybody_can_get_at_is_refused(self, path: Path, mode: int) -> None:
        """With what mends it."""
        write(path, self.KEY, mode)

        with pytest.raises(KeysUnusable, match=f"chmod 600 {path}"):
            keys.check(path)

    @pytest.mark.parametrize("mode", [0o640, 0o660])
    def test_a_file_that_its_group_can_get_at_is_told(self, path: Path, mode: int) -> None:
        """A volume may do this to all of its files."""
        write(path, self.KEY, mode)

        with capture_logs() as logs:
            read = read_or_make(path)

        assert list(read) == [bytes(32)]
        assert [(line["event"], line["mode"]) for line in logs] == [("keys open to a group", f"{mode:o}")]

    def test_a_file_of_its_owner_alone_is_not_mentioned(self, path: Path) -> None:
        """As it is made."""
        read_or_make(path)

        with capture_logs() as logs:
            read_or_make(path)

        assert logs == []


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_both_alphabets_of_base64_are_read(encode: "type[bytes]") -> None:
    """Tools write one or the other."""
    key = bytes([0xFB, 0xFF] * 16)

    assert decode_key(encode(key).decode()) == key


@pytest.mark.parametrize("text", ["", "AAAA", "*" * 44, base64.b64encode(bytes(33)).decode()])
def test_other_texts_are_no_keys(text: str) -> None:
    """Too short, too long, other characters."""
    with pytest.raises(ValueError, match="32 bytes in base64"):
        decode_key(text)
