"""One byte, row or order changed anywhere in the audit trail: `verify` names the first entry that is bad, always.

The attacker can write to the database file, and has dropped the triggers that refuse it. The trail is one that the
service wrote itself, on PostgreSQL a copy of it.
"""

import os
import random
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, CursorResult, insert, select

from flowker import demo
from flowker.domain import audit
from flowker.storage import audit_events, tables
from flowker.storage.audit_verification import Verification, advance
from flowker.storage.database import _engine as make_engine
from flowker.storage.vault import Vault
from tests.reliability.conftest import KEY, ForkedService
from tests.reliability.zygote import Zygote

MUTATIONS = int(os.environ.get("FLOWKER_TEST_MUTATIONS", "300"))
SEED = int(os.environ.get("FLOWKER_TEST_MUTATIONS_SEED", secrets.randbits(32)))
DELIVERIES = 60

SHARES = {"sqlite": 1, "postgresql": 5}
"""One of so many is made there: each takes longer, and what is found is found by the same code."""

KEYLESS = Vault(list)

TEXTS = (
    "event_id",
    "event_type",
    "action",
    "result",
    "resource_type",
    "resource_id",
    "actor_type",
    "actor_id",
    "actor_ip",
    "context",
    "metadata",
    "timestamp",
    "hash",
    "previous_hash",
)

Mutation = Callable[[Connection, random.Random, int], int]
"""Changes the trail of so many entries somewhere; returns the first that is bad then."""


def change_byte(connection: Connection, chance: random.Random, entries: int) -> int:
    """Any byte of any column, to any other: letters, control characters, what is no UTF-8 if it can be stored."""
    sequence, column = chance.randint(1, entries), chance.choice(TEXTS)
    text = _read(connection, sequence, column)
    content = bytearray((text or "x").encode())
    place = chance.randrange(len(content))
    content[place] = (content[place] + chance.randint(1, 255)) % 256
    if _is_postgresql(connection):
        _write(connection, sequence, column, "?", content.decode(errors="replace").replace("\0", "\1"))
    else:
        _write(connection, sequence, column, "CAST(? AS TEXT)", bytes(content))
    return sequence


def change_length(connection: Connection, chance: random.Random, entries: int) -> int:
    """A byte more, or one less."""
    sequence, column = chance.randint(1, entries), chance.choice(TEXTS)
    text = _read(connection, sequence, column) or ""
    place = chance.randrange(len(text) + 1)
    shorter = text[:place] + text[place + 1 :]
    changed = f"{text[:place]}{chance.choice('a 0')}{text[place:]}" if chance.random() < 0.5 else shorter
    _write(connection, sequence, column, "?", changed if changed != text else f"{text} ")
    return sequence


def change_type(connection: Connection, chance: random.Random, entries: int) -> int:
    """The same bytes as a blob; nothing where there was a text, and a text where there was nothing."""
    sequence, column = chance.randint(1, entries), chance.choice(TEXTS)
    text = _read(connection, sequence, column)
    if text is None:
        _write(connection, sequence, column, "?", "")
    elif column in {"actor_id", "actor_ip"} and chance.random() < 0.5:
        _write(connection, sequence, column, "?", None)
    elif _is_postgresql(connection):
        # Columns keep their type there: a number in the column of a text is a text.
        _write(connection, sequence, column, "?", f"{text}0")
    else:
        _write(connection, sequence, column, "?", text.encode())
    return sequence


def copy_column(connection: Connection, chance: random.Random, entries: int) -> int:
    """A good value, of another entry."""
    while True:
        (source, sequence), column = chance.sample(range(1, entries + 1), 2), chance.choice(TEXTS)
        text = _read(connection, source, column)
        if column != "event_id" and text != _read(connection, sequence, column):
            break
    _write(connection, sequence, column, "?", text)
    return sequence


def change_number(connection: Connection, chance: random.Random, entries: int) -> int:
    """An entry is moved to where there was none."""
    sequence = chance.randint(1, entries - 1)
    number = chance.choice([-chance.randrange(1_000), entries + chance.randint(1, 1_000)])
    _run(connection, "UPDATE audit_events SET sequence = ? WHERE sequence = ?", number, sequence)
    return min(number, sequence)


def delete(connection: Connection, chance: random.Random, entries: int) -> int:
    """One entry or some, and never the last."""
    first = chance.randint(1, entries - 1)
    last = min(entries - 1, first + chance.randrange(5))
    _run(connection, "DELETE FROM audit_events WHERE sequence BETWEEN ? AND ?", first, last)
    return first


def delete_and_close_up(connection: Connection, chance: random.Random, entries: int) -> int:
    """The numbers have no gap after it."""
    sequence = chance.randint(1, entries - 1)
    _run(connection, "DELETE FROM audit_events WHERE sequence = ?", sequence)
    _shift(connection, sequence, -1)
    return sequence


def swap(connection: Connection, chance: random.Random, entries: int) -> int:
    """Two entries are in each other's place."""
    one, other = chance.sample(range(1, entries + 1), 2)
    for number, sequence in ((-1, one), (one, other), (other, -1)):
        _run(connection, "UPDATE audit_events SET sequence = ? WHERE sequence = ?", number, sequence)
    return min(one, other)


def duplicate(connection: Connection, chance: random.Random, entries: int) -> int:
    """An entry is there once more, behind itself or behind another, or at the end."""
    source, behind = chance.randint(1, entries), chance.randint(1, entries)
    _shift(connection, behind, 1)
    source += source > behind
    columns = ", ".join(column for column in TEXTS if column != "event_id")
    _run(
        connection,
        f"INSERT INTO audit_events (sequence, event_id, {columns}) "  # noqa: S608 - the names are from above
        f"SELECT ?, 'copy', {columns} FROM audit_events WHERE sequence = ?",
        behind + 1,
        source,
    )
    return behind + 1


MUTATE: tuple[Mutation, ...] = (
    change_byte,
    change_byte,
    change_byte,
    change_length,
    change_type,
    copy_column,
    change_number,
    delete,
    delete_and_close_up,
    swap,
    duplicate,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> Iterator[Path]:
    """The database of a service that was used and has stopped."""
    directory = tmp_path_factory.mktemp("service")
    service = ForkedService(directory, {}, zygote)
    service.start()
    workflow_id = demo.ensure_sample(demo.Client(service.url, KEY))
    with service.client() as sender:
        _live_and_die(sender, workflow_id)
        for number in range(DELIVERIES):
            _deliver(sender, {"paymentId": f"p-{number}", "amount": number * 100, "currency": "BRL"})
    service.stop()
    yield directory / "flowker.db"
    service.close()


@pytest.fixture
def trail(written: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copy(written, tmp_path / "flowker.db"))


@pytest.mark.row("one byte, row or order changed anywhere in the audit table")
@pytest.mark.parametrize("database", SHARES)
def test_every_change_is_found(
    trail: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    database: str,
) -> None:
    """Each on the trail as it was, and each with the first entry that is bad."""
    record_property("seed", SEED)
    chance = random.Random(SEED)  # noqa: S311 - what is changed is no secret
    url = f"sqlite:///{trail}"
    if database == "postgresql":
        url = _copy(url, request.getfixturevalue("postgresql_url"))
    engine = make_engine(url, read_only=False)
    missed: list[tuple[str, int, int | None]] = []
    kinds: Counter[str] = Counter()
    with engine.connect() as connection:
        entries = _disarm(connection)

        for mutate in islice(cycle(MUTATE), MUTATIONS // SHARES[database]):
            with connection.begin() as transaction:
                expected = mutate(connection, chance, entries)
                found = _verify(connection)
                transaction.rollback()
            kinds[mutate.__name__] += 1
            if found.first_bad != expected:
                missed.append((mutate.__name__, expected, found.first_bad))

        with connection.begin():
            untouched = _verify(connection)
    engine.dispose()
    record_property("entries", entries)
    record_property("found", f"{kinds.total() - len(missed)} of {kinds.total()}")
    assert entries > 2 * DELIVERIES
    assert set(kinds) == {mutate.__name__ for mutate in MUTATE}
    assert missed == []
    assert (untouched.is_good, untouched.checked) == (True, entries)


@pytest.mark.row("one byte, row or order changed anywhere in the audit table")
def test_entries_that_are_cut_off_the_end_are_missed(
    trail: Path, record_property: Callable[[str, object], None]
) -> None:
    """However many: the executions that they told of are still there, and later than the last that is left."""
    engine = make_engine(f"sqlite:///{trail}", read_only=False)
    missed: list[int] = []
    with engine.connect() as connection:
        entries = _disarm(connection)
        for first in range(entries, 0, -1):
            with connection.begin() as transaction:
                _run(connection, "DELETE FROM audit_events WHERE sequence >= ?", first)
                found = _verify(connection)
                transaction.rollback()
            if (found.first_bad, found.is_cut) != (first, True):
                missed.append(first)
    engine.dispose()

    record_property("found", f"{entries - len(missed)} of {entries}")
    assert missed == []


def test_a_trail_that_was_written_anew_lacks_the_hash_that_was_noted(trail: Path) -> None:
    """Its hashes fit, since anybody can compute them: only what is kept elsewhere tells."""
    engine = make_engine(f"sqlite:///{trail}", read_only=False)
    with engine.connect() as connection:
        entries = _disarm(connection)
        with connection.begin():
            noted = frozenset({_verify(connection).hash})
            _forge(connection, entries // 2)

            found = _verify(connection)
            compared = _verify(connection, noted)
    engine.dispose()

    assert found.is_good
    assert (compared.first_bad, compared.is_good, compared.anchors) == (None, False, noted)


def _live_and_die(sender: httpx.Client, workflow_id: str) -> None:
    """A workflow that has everything happen to it."""
    definition = sender.get(f"/v1/workflows/{workflow_id}").json()
    clone = sender.post(f"/v1/workflows/{workflow_id}/clone", json={"name": "Short-lived"}).raise_for_status().json()
    path = f"/v1/workflows/{clone['workflowId']}"
    nodes = [
        {**node, "data": {**node["data"], "path": "elsewhere"}} if node["type"] == "trigger" else node
        for node in definition["nodes"]
    ]
    changed = {"name": "Ação über alles \u2028", "nodes": nodes, "edges": definition["edges"]}
    sender.put(path, json=changed).raise_for_status()
    for way in ("activate", "deactivate", "draft"):
        sender.post(f"{path}/{way}").raise_for_status()
    sender.delete(path).raise_for_status()


def _deliver(sender: httpx.Client, payment: dict[str, Any]) -> None:
    """One after the other, each to its end."""
    answer = sender.post(f"/v1/webhooks/{demo.WEBHOOK_PATH}", json=payment, headers={"Prefer": "wait=10"})
    assert answer.status_code == 200, answer.text


def _copy(source_url: str, target_url: str) -> str:
    """The trail of one database in another, which has none; the second one's URL."""
    source, target = make_engine(source_url, read_only=True), make_engine(target_url, read_only=False)
    with source.connect() as reading, target.connect() as writing, writing.begin():
        rows = reading.execute(select(tables.audit_events)).mappings().all()
        writing.execute(insert(tables.audit_events), [dict(row) for row in rows])
    source.dispose()
    target.dispose()
    return target_url


def _disarm(connection: Connection) -> int:
    """Drop what refuses changes; how many entries there are."""
    of_table = " ON audit_events" if _is_postgresql(connection) else ""
    with connection.begin():
        for name in ("audit_events_no_update", "audit_events_no_delete"):
            connection.exec_driver_sql(f"DROP TRIGGER {name}{of_table}")
        return audit_events.tail(connection).sequence


def _verify(connection: Connection, noted: frozenset[str] = frozenset()) -> Verification:
    found = Verification(anchors=noted)
    while not found.ended:
        found = advance(connection, KEYLESS, found, None, entries=100)
    return found


def _run(connection: Connection, statement: str, *values: Any) -> CursorResult[Any]:
    marked = statement.replace("?", "%s") if _is_postgresql(connection) else statement
    return connection.exec_driver_sql(marked, values)


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _read(connection: Connection, sequence: int, column: str) -> str | None:
    statement = f"SELECT {column} FROM audit_events WHERE sequence = ?"  # noqa: S608 - a name from above
    text: str | None = _run(connection, statement, sequence).scalar_one()
    return text


def _write(connection: Connection, sequence: int, column: str, how: str, value: str | bytes | None) -> None:
    _run(
        connection,
        f"UPDATE audit_events SET {column} = {how} WHERE sequence = ?",  # noqa: S608 - a name from above
        value,
        sequence,
    )


def _shift(connection: Connection, behind: int, by: int) -> None:
    """Number the entries behind one anew: by way of negative numbers, so that none is taken on the way."""
    _run(connection, "UPDATE audit_events SET sequence = -(sequence + ?) WHERE sequence > ?", by, behind)
    _run(connection, "UPDATE audit_events SET sequence = -sequence WHERE sequence < 0")


def _forge(connection: Connection, sequence: int) -> None:
    """Change an entry, and compute everything behind it anew."""
    entries = audit_events.read_entries(connection, sequence, None, 10_000)
    previous_hash = entries[0][14]
    for (
        number,
        event_id,
        type_,
        action,
        result,
        kind,
        id_,
        actor,
        actor_id,
        ip,
        context,
        metadata,
        time,
        *_,
    ) in entries:
        who = "somebody else" if number == sequence else actor_id
        text = audit._text(action, who, ip, actor, context, event_id, type_, metadata, id_, kind, result, time)
        hash_ = audit._hash(text, previous_hash)
        _run(
            connection,
            "UPDATE audit_events SET actor_id = ?, hash = ?, previous_hash = ? WHERE sequence = ?",
            who,
            hash_,
            previous_hash,
            number,
        )
        previous_hash = hash_
