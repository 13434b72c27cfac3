"""A new key for everything that is sealed."""

import base64
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, insert, select

from flowker import cli, jsontext
from flowker.app import StoreInUse, open_vault
from flowker.domain.errors import ChangedMeanwhile
from flowker.rotation import rotate
from flowker.settings import Settings, load_settings
from flowker.storage import database, keys, workflows
from flowker.storage import provider_configurations as provider_configurations_module
from flowker.storage.database import EngineLock, Store, upgrade
from flowker.storage.migrations import upgrading
from flowker.storage.rotation import PAGE
from flowker.storage.tables import audit_events, executor_configurations, provider_configurations
from flowker.storage.vault import SecretUnreadable, Vault, make_key
from flowker.storage.workflows import StoredWorkflow

NOON = "2026-03-17T12:00:00.000000Z"
CONFIGURATIONS = {"description": "", "metadata": "{}", "revision": 1, "created_at": NOON, "updated_at": NOON}


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'flowker.db'}"
    upgrade(url)
    return url


def settings_of(url: str, *secret_keys: bytes) -> Settings:
    text = ",".join(base64.b64encode(key).decode() for key in secret_keys)
    return load_settings({"FLOWKER_DATABASE_URL": url} | ({"FLOWKER_SECRET_KEY": text} if text else {}))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = Store(url)
    await store.start()
    yield store
    await store.stop()


def fill(connection: Connection, vault: Vault, providers: int = 1) -> None:
    """Secrets in each place where there are any, and a workflow without."""
    for number in range(providers):
        config = vault.seal({"base_url": "https://example.com", "api_key": f"key {number}"}, f"p{number}")
        connection.execute(
            insert(provider_configurations).values(
                id=f"p{number}",
                name=f"p{number}",
                provider_id="tracer",
                config=jsontext.encode(config).decode(),
                status="active",
                **CONFIGURATIONS,
            )
        )
    authentication = vault.seal({"type": "bearer", "config": {"token": "token"}}, "e")
    connection.execute(
        insert(executor_configurations).values(
            id="e",
            name="e",
            base_url="https://example.com",
            endpoints="[]",
            authentication=jsontext.encode(authentication).decode(),
            status="configured",
            **CONFIGURATIONS,
        )
    )
    guarded = {"id": "t", "type": "trigger", "data": {"path": "p", "verify_token": "guard"}}
    for id_, node in (("w1", guarded), ("w2", {"id": "t", "type": "trigger"})):
        nodes = workflows.seal_nodes(vault, id_, [node])
        workflows.insert(connection, StoredWorkflow(id_, id_, "", "draft", 1, nodes, [], {}, NOON, NOON))


def read_secrets(connection: Connection, vault: Vault, providers: int = 1) -> list[Any]:
    """All that `fill` sealed, in clear."""
    configs = connection.execute(select(provider_configurations.c.id, provider_configurations.c.config)).all()
    authentication = connection.execute(select(executor_configurations.c.authentication)).scalar_one()
    nodes = workflows.open_nodes(vault, "w1", workflows.get(connection, "w1").nodes)
    assert len(configs) == providers
    return [
        *(vault.open(jsontext.decode(text), id_)["api_key"] for id_, text in configs),
        vault.open(jsontext.decode(authentication), "e")["config"]["token"],
        nodes[0]["data"]["verify_token"],
    ]


def resealed_events(connection: Connection) -> list[tuple[str, str, str]]:
    columns = (audit_events.c.event_type, audit_events.c.resource_type, audit_events.c.resource_id)
    return [tuple(row) for row in connection.execute(select(*columns).order_by(audit_events.c.sequence))]


async def test_everything_is_sealed_with_the_key_that_was_made(url: str, tmp_path: Path) -> None:
    """The file has the new key alone, and each row that changed has its audit event."""
    old = keys.read_or_make(tmp_path / "flowker.db.secret")
    async with opened(url) as store:
        await store.write(fill, open_vault(settings_of(url)))

    resealed = await rotate(settings_of(url))

    [new] = keys.read_or_make(tmp_path / "flowker.db.secret")
    assert new not in old
    async with opened(url) as store:
        assert await store.read(read_secrets, Vault(lambda: [new])) == ["key 0", "token", "guard"]
        assert await store.read(resealed_events) == [
            ("PROVIDER_CONFIG_RESEALED", "provider_config", "p0"),
            ("EXECUTOR_CONFIG_RESEALED", "executor_config", "e"),
            ("WORKFLOW_RESEALED", "workflow", "w1"),
        ]
    assert resealed == 3


async def test_with_keys_of_the_settings_the_service_may_run(url: str) -> None:
    """It has both of them. What is done already is left alone."""
    old, new = make_key(), make_key()
    lock = EngineLock(url)
    assert lock.acquire()
    async with opened(url) as store:
        await store.write(fill, Vault(lambda: [old]))

        first = await rotate(settings_of(url, new, old))
        second = await rotate(settings_of(url, new, old))

        assert (first, second) == (3, 0)
        assert await store.read(read_secrets, Vault(lambda: [new])) == ["key 0", "token", "guard"]
    lock.release()


async def test_who_read_before_a_rotation_does_not_write_back_what_it_read(url: str) -> None:
    """It would be sealed with the key that is not needed any more. They are told that the row was changed."""
    old, new = make_key(), make_key()
    async with opened(url) as store:
        await store.write(fill, Vault(lambda: [old]))
        read = await store.read(provider_configurations_module.require, "p0")
        await rotate(settings_of(url, new, old))

        with pytest.raises(ChangedMeanwhile):
            await store.write(provider_configurations_module.replace, replace(read, status="disabled"), read.revision)

        assert await store.read(read_secrets, Vault(lambda: [new])) == ["key 0", "token", "guard"]


async def test_many_rows_take_many_transactions(url: str) -> None:
    """None is left out between two pages."""
    old, new = make_key(), make_key()
    many = 2 * PAGE
    async with opened(url) as store:
        await store.write(fill, Vault(lambda: [old]), many)

        assert await rotate(settings_of(url, new, old)) == many + 2
        secrets = await store.read(read_secrets, Vault(lambda: [new]), many)

    assert sorted(secrets) == sorted([*(f"key {number}" for number in range(many)), "token", "guard"])


async def test_the_file_is_not_touched_beside_a_running_service(url: str, tmp_path: Path) -> None:
    """It would not know the new key."""
    path = tmp_path / "flowker.db.secret"
    before = keys.read_or_make(path)
    lock = EngineLock(url)
    assert lock.acquire()

    with pytest.raises(StoreInUse, match="stop it first"):
        await rotate(settings_of(url))

    lock.release()
    assert keys.read_or_make(path) == before


async def test_on_a_server_there_is_no_key_to_replace(postgresql_url: str) -> None:
    """The keys are with whoever sets them; with a new one everything is sealed anew."""
    key = make_key()

    with pytest.raises(keys.KeysUnusable, match="no file to keep one in"):
        await rotate(settings_of(postgresql_url))

    assert await rotate(settings_of(postgresql_url, key)) == 0


async def test_a_rotation_that_fails_keeps_every_key(url: str, tmp_path: Path) -> None:
    """A row that nobody can open is told, and what was sealed with either key still opens."""
    path = tmp_path / "flowker.db.secret"
    old = keys.read_or_make(path)
    async with opened(url) as store:
        await store.write(fill, open_vault(settings_of(url)))
    _spoil(
        url, "UPDATE executor_configurations SET authentication = replace(authentication, 'sealed:1:', 'sealed:1:f')"
    )

    with pytest.raises(SecretUnreadable, match="is not here"):
        await rotate(settings_of(url))

    assert list(keys.read_or_make(path))[1:] == old
    async with opened(url) as store:
        config = await store.read(_first_config)
    assert open_vault(settings_of(url)).open(config, "p0")["api_key"] == "key 0"


def test_the_command_tells_how_many(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And ends with 1 and one line when it cannot be done."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWKER_DATABASE_URL", url)
    _run(cli.main, monkeypatch)
    told = capsys.readouterr().out
    (tmp_path / "flowker.db.secret").write_text("no key")
    code = _run(cli.main, monkeypatch)

    assert told == "0 rows were sealed with the new key; older keys are not needed any more\n"
    assert code == 1
    assert "holds something else than keys" in capsys.readouterr().err


def test_an_upgrade_seals_with_the_key_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By command as at a start: no other key is made beside the database."""
    key, path = make_key(), tmp_path / "older.db"
    _make_first_schema(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWKER_DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.setenv("FLOWKER_SECRET_KEY", base64.b64encode(key).decode())
    monkeypatch.setattr("sys.argv", ["flowker", "db", "upgrade"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code in {0, None}, capsys.readouterr().err
    assert not path.with_name("older.db.secret").exists()
    with closing(sqlite3.connect(path)) as raw:
        [(config,)] = raw.execute("SELECT config FROM provider_configurations")
    assert Vault(lambda: [key]).open(jsontext.decode(config), "p") == {"api_key": "canary"}
    assert b"canary" not in path.read_bytes()


def _make_first_schema(path: Path) -> None:
    """A database of the first version, with a secret in clear."""
    engine = database._engine(f"sqlite:///{path}", read_only=False, upgrading=True)
    with engine.begin() as connection:
        config = upgrading.make_config()
        config.attributes.update(connection=connection, vault=None)
        command.upgrade(config, "0001")
        row = ("p", "p", "", "tracer", '{"api_key":"canary"}', "active", "{}", NOON, NOON)
        connection.exec_driver_sql("INSERT INTO provider_configurations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    engine.dispose()


def _run(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["flowker", "secrets", "rotate"])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def _spoil(url: str, statement: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw, raw:
        raw.execute(statement)


def _first_config(connection: Connection) -> Any:
    return jsontext.decode(connection.execute(select(provider_configurations.c.config)).scalar_one())
