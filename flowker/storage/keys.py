"""The keys that seal secrets, in a file beside the database, where no setting names them.

One key a line in base64, the first one seals. Only its owner can read the file; a backup of the database without it
has no readable secrets. It is made with the first secret, and not again: a new key would open nothing that is stored.
"""

import base64
import binascii
import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from flowker.storage.sealed import has_sealed
from flowker.storage.vault import KEY_BYTES, SecretUnreadable, make_key

SUFFIX: Final = ".secret"

_log = structlog.get_logger(__name__)


class KeysUnusable(SecretUnreadable):
    """The file of the keys is lost, cannot be read, can be read by all, or has something else in it.

    The message says which. Nothing can be sealed or opened.
    """


def decode_key(text: str) -> bytes:
    """The key that a text of base64 (plain or URL-safe) holds; raises ValueError."""
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key is {KEY_BYTES} bytes in base64")
    return key


def read_or_make(path: Path) -> Sequence[bytes]:
    """The keys of a file, which is made with a new key when it never was there. Raises `KeysUnusable`."""
    keys = _read(path)
    if keys is None:
        # Whoever made the file meanwhile may have sealed with it already.
        keys = _read(path) if _is_lost(path) else _make(path)
    if keys is None:
        raise KeysUnusable(
            f"{path} is not there, and the database has secrets that were sealed with its key, or a checkpoint that"
            " was signed with it: put the file back,"
            " or set FLOWKER_SECRET_KEY when its key was that"
        )
    return keys


def check(path: Path) -> None:
    """Raise `KeysUnusable` when the keys are not what they have to be; makes nothing."""
    if _read(path) is None and _is_lost(path):
        read_or_make(path)


def replace(path: Path, keys: Sequence[bytes]) -> None:
    """Write these keys over those of the file: it has the ones or the others, whatever happens meanwhile."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    _write(fresh, keys)
    fresh.replace(path)
    _sync_directory(path.parent)


def _read(path: Path) -> Sequence[bytes] | None:
    """The keys of the file; None when it is not there."""
    try:
        with path.open() as file:
            _require_private(path, os.fstat(file.fileno()).st_mode)
            text = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeysUnusable(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    try:
        keys = [decode_key(line) for line in text.split()]
    except ValueError:
        keys = []
    if not keys:
        raise KeysUnusable(f"{path} holds something else than keys of {KEY_BYTES} bytes in base64")
    return keys


def _require_private(path: Path, mode: int) -> None:
    """A group may be what a volume gives to every file on it; everybody is never meant."""
    if mode & stat.S_IRWXO:
        raise KeysUnusable(f"{path} has keys, and every user of this machine can get at them: chmod 600 {path}")
    if mode & stat.S_IRWXG:
        _log.warning("keys open to a group", path=str(path), mode=f"{stat.S_IMODE(mode):o}")


def _is_lost(path: Path) -> bool:
    """Whether secrets were sealed with keys of a file that is not there."""
    try:
        return has_sealed(path.with_name(path.name.removesuffix(SUFFIX)))
    except sqlite3.Error as error:
        raise KeysUnusable(f"{path} is not there, and whether it has to be cannot be told: {error}") from error


def _make(path: Path) -> Sequence[bytes]:
    keys = [make_key()]
    # Complete before it has its name: two starts at once agree on the file of the one that was first.
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    _write(fresh, keys)
    try:
        os.link(fresh, path)
    except FileExistsError:
        return read_or_make(path)
    finally:
        fresh.unlink()
    _sync_directory(path.parent)
    return keys


def _write(path: Path, keys: Sequence[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{base64.b64encode(key).decode()}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
