"""The keys that seal secrets, in a file beside the database, where no setting names them.

One key a line in base64, the first one seals. Only its owner can read the file; a backup of the database without it
has no readable secrets.
"""

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flowker.storage.vault import KEY_BYTES, make_key

SUFFIX: Final = ".secret"


class KeysUnusable(Exception):
    """The file of the keys cannot be read or has something else in it; the message says which."""


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
    """The keys of a file, which is made with a new key when it is not there. Raises `KeysUnusable`."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return _make(path)
    except OSError as error:
        raise KeysUnusable(f"{path} cannot be read: {error.strerror}") from error
    try:
        keys = [decode_key(line) for line in text.split()]
    except ValueError:
        keys = []
    if not keys:
        raise KeysUnusable(f"{path} holds something else than keys of {KEY_BYTES} bytes in base64")
    return keys


def replace(path: Path, keys: Sequence[bytes]) -> None:
    """Write these keys over those of the file: it has the ones or the others, whatever happens meanwhile."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    _write(fresh, keys)
    fresh.replace(path)
    _sync_directory(path.parent)


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
