"""Replacing the key that seals stored secrets: `flowker secrets rotate`."""

import asyncio
from datetime import UTC, datetime

from flowker.app import StoreInUse, open_vault
from flowker.domain.timestamps import format_timestamp
from flowker.settings import Settings
from flowker.storage import keys
from flowker.storage.database import EngineLock, Store, has_files, path_beside, upgrade
from flowker.storage.rotation import reseal_all
from flowker.storage.vault import Vault, make_key


async def rotate(settings: Settings) -> int:
    """The number of rows that were sealed anew. Raises StoreInUse, KeysUnusable, SecretUnreadable, DatabaseUnusable.

    Keys of the settings are replaced by who sets them: every process has to know the new one before, and the old one
    until the end. The key of the file is known to the process that read it, so none may run meanwhile.
    """
    if settings.secret_key:
        return await _reseal(settings, open_vault(settings))
    if not has_files(settings.database_url):
        raise keys.KeysUnusable(
            "FLOWKER_SECRET_KEY: none is set, and with PostgreSQL there is no file to keep one in"
        )
    lock = EngineLock(settings.database_url)
    if not lock.acquire():
        raise StoreInUse("a service runs on this database; stop it first, or use FLOWKER_SECRET_KEY")
    try:
        return await _replace_file(settings)
    finally:
        lock.release()


async def _replace_file(settings: Settings) -> int:
    path = path_beside(settings.database_url, keys.SUFFIX)
    fresh, *old = make_key(), *keys.read_or_make(path)
    # Both are there until the last row was written: a rotation that is cut off loses nothing.
    keys.replace(path, [fresh, *old])
    resealed = await _reseal(settings, Vault(lambda: [fresh, *old]))
    keys.replace(path, [fresh])
    return resealed


async def _reseal(settings: Settings, vault: Vault) -> int:
    await asyncio.to_thread(upgrade, settings.database_url, vault)
    store = Store(settings.database_url)
    await store.start()
    try:
        return await reseal_all(store, vault, lambda: format_timestamp(datetime.now(UTC)))
    finally:
        await store.stop()
