"""Identical deliveries at once: however many copies arrive, wherever, exactly one execution starts."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowker import demo
from tests.reliability.conftest import KEY, await_ends, read_rows

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

KEYS = int(os.environ.get("FLOWKER_TEST_DUPLICATES", "200"))
"""As many of them are delivered on SQLite; where a process is killed in the middle, a quarter of them."""

COPIES = 64
SENDERS = 2

Make = Callable[..., "ServiceProcess"]
Record = Callable[[str, object], None]

row = pytest.mark.row(f"{COPIES} identical deliveries at once")


class Senders:
    """Processes that deliver the same event at the same moment."""

    def __init__(self, *services: "ServiceProcess") -> None:
        command = [sys.executable, "-m", "tests.reliability.duplicate_sender", KEY, str(COPIES // SENDERS)]
        self._processes = [
            subprocess.Popen(
                [*command, *(service.url for service in services)],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(SENDERS)
        ]

    def begin(self, key: str) -> None:
        """Deliver copies of the event with this key."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{key}\n")
            process.stdin.flush()

    def answers(self) -> list[dict[str, Any]]:
        """What each sender heard for the event that was begun last."""
        heard = []
        for process in self._processes:
            assert process.stdout is not None
            heard.append(json.loads(process.stdout.readline()))
        return heard

    def stop(self) -> None:
        for process in self._processes:
            process.communicate(timeout=30)


@contextmanager
def senders(*services: "ServiceProcess") -> Iterator[Senders]:
    started = Senders(*services)
    try:
        yield started
    finally:
        started.stop()


@row
def test_copies_of_one_delivery_start_one_execution(make_forked: Make, record_property: Record) -> None:
    """One of them is told that it was accepted, all others are told by which execution it was."""
    service = make_forked()
    service.start()
    demo.ensure_sample(demo.Client(service.url, KEY))

    heard: dict[str, list[dict[str, Any]]] = {}
    with senders(service) as sending:
        for number in range(KEYS):
            sending.begin(f"event-{number}")
            heard[f"event-{number}"] = sending.answers()
    stored = await_ends(service)

    record_property("deliveries", KEYS * COPIES)
    record_property("executions", len(stored))
    assert [each["again"] for both in heard.values() for each in both if each["again"]] == []
    assert {key: _statuses(both) for key, both in heard.items()} == {key: {201: 1, 409: COPIES - 1} for key in heard}
    _assert_one_execution_each(service, stored, heard)


@row
def test_copies_start_one_execution_while_another_process_takes_over(
    make_forked: Make, postgresql_environment: dict[str, str], record_property: Record
) -> None:
    """Some were accepted by the process that was killed, and nobody heard of it."""
    first, second = make_forked("first", **postgresql_environment), make_forked("second", **postgresql_environment)
    first.start()
    demo.ensure_sample(demo.Client(first.url, KEY))
    second.start(standing_by=True)
    keys = [f"event-{number}" for number in range(KEYS // 4)]

    heard: dict[str, list[dict[str, Any]]] = {}
    with senders(first, second) as sending:
        for number, key in enumerate(keys):
            sending.begin(key)
            if number == len(keys) // 2:
                first.kill()
            heard[key] = sending.answers()
    stored = await_ends(second)

    again = [status for both in heard.values() for each in both for status in each["again"]]
    record_property("deliveries", len(keys) * COPIES)
    record_property("executions", len(stored))
    record_property("sent again", len(again))
    assert again
    assert set(again) <= {0, 500}
    assert all(sum(_statuses(both).values()) == COPIES for both in heard.values())
    assert all(_statuses(both)[201] <= 1 for both in heard.values())
    _assert_one_execution_each(second, stored, heard)


def _statuses(both: list[dict[str, Any]]) -> Counter[int]:
    return Counter(status for each in both for status, _ in each["answers"])


def _assert_one_execution_each(
    service: "ServiceProcess", stored: list[dict[str, Any]], heard: dict[str, list[dict[str, Any]]]
) -> None:
    """Every answer names the one execution of its key, which was started once and ended once."""
    named = {key: {id_ for each in both for _, id_ in each["answers"]} for key, both in heard.items()}
    audited = read_rows(service.database_url, "SELECT resource_id, event_type FROM audit_events")
    ids = {row["id"] for row in stored}
    assert len(stored) == len(heard)
    assert named == {row["idempotency_key"]: {row["id"]} for row in stored}
    assert {row["status"] for row in stored} == {"completed"}
    assert Counter((row["resource_id"], row["event_type"]) for row in audited if row["resource_id"] in ids) == {
        (id_, type_): 1 for id_ in ids for type_ in ("EXECUTION_STARTED", "EXECUTION_COMPLETED")
    }
