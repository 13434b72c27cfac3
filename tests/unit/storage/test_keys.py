"""The keys beside the database."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from flowker.storage import keys
from flowker.storage.keys import KeysUnusable, decode_key, read_or_make
from flowker.storage.vault import KEY_BYTES, make_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flowker.db.secret"


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
    path.write_text(text)

    with pytest.raises(KeysUnusable, match="holds something else"):
        read_or_make(path)

    assert path.read_text() == text


def test_a_file_that_cannot_be_read_is_told(path: Path) -> None:
    """With the reason of the system."""
    path.mkdir()

    with pytest.raises(KeysUnusable, match="cannot be read: Is a directory"):
        read_or_make(path)


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
