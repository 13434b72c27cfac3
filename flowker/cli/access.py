"""The settings of a command that serves or asks, and the key that it uses itself."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from flowker.cli.console import err
from flowker.settings import InvalidSettings, Settings, load_settings
from flowker.storage.database import path_beside


@dataclass(frozen=True, slots=True)
class Access:
    """The settings with the key that this process uses itself, and where that one came from."""

    settings: Settings
    key_path: Path | None = None
    """The file of the key that was made for the database; None when the key is the environment's or there is none."""

    @property
    def key(self) -> str | None:
        return self.settings.api_key[0] if self.settings.api_key else None

    @property
    def shown_key(self) -> str | None:
        """The key as it may be printed: one from the environment only by its name."""
        if self.key is None or self.key_path is not None:
            return self.key
        return "$API_KEY" if len(self.settings.api_key) == 1 else "${API_KEY%%,*}"


def load_settings_for(host: str | None, port: int | None) -> Settings:
    settings = load_settings(serving=True)
    if host is None and port is None:
        return settings
    address = f"{host or settings.host}:{settings.port if port is None else port}"
    return settings.model_copy(update={"server_address": address})


def grant(settings: Settings, *, may_make_key: bool = True) -> Access:
    """See that there is a key when one is needed: the environment's, or the one that is kept beside the database."""
    if not settings.api_key_enabled:
        err.print("API_KEY_ENABLED=false: everybody who reaches this service may use it.", style="yellow")
    if settings.api_key or not settings.api_key_enabled:
        return Access(settings)
    path = path_beside(settings.database_url, ".key")
    if not (may_make_key or path.exists()):
        return Access(settings)
    try:
        key = _make_or_read_key(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"API_KEY: none is set, and {path} cannot be used: {error}") from error
    if not key:
        raise InvalidSettings(f"API_KEY: none is set, and {path} is empty; without that file a new key is made")
    return Access(settings.model_copy(update={"api_key": (key,)}), path)


def url_of(host: str, port: int) -> str:
    """Where a service that listens on this address is reached from this machine."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - shown, not bound
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _make_or_read_key(path: Path) -> str:
    """The key that was made for this database, or a new one in a file that only its owner can read."""
    key = f"flk_{secrets.token_urlsafe(24)}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
    return key
