"""Files that commands write: complete before they have their name, and for their owner alone."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FileUnusable(Exception):
    """A file cannot be written or read; the message says which and why."""


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """An empty file to be filled, which gets the name `path` when that was done, and is gone otherwise.

    Raises `FileUnusable`, also when there is a file of that name: none is ever overwritten.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        require_free(path)
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise FileUnusable(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield fresh
        _sync(fresh)
        require_free(path)
        fresh.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise FileUnusable(f"{path} cannot be written: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def require_free(path: Path) -> None:
    """Raise FileExistsError when there is something with this name."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
