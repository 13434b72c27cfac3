"""What is known of a contender before it is started, and the place that one round of it has."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.databases import Database

KEY = "benchmark-key"
TOKEN = "benchmark-token"  # noqa: S105 - it guards nothing

PAYMENT = {
    "paymentId": "p-1001",
    "amount": 100.25,
    "currency": "BRL",
    "debtor": {"name": "Ada", "account": "12345-6"},
    "creditor": {"name": "Grace", "account": "65432-1"},
    "reference": "invoice 4711, due within thirty days of receipt, see the terms",
}
PAYLOAD = json.dumps(PAYMENT)
"""250 bytes: a small delivery, so that what a framework does for each one shows."""

ACKNOWLEDGED_RATE = 200
SYNC_RATE = 100
"""Requests a second at which latencies are measured: a tenth of what the service can do, or less."""


class Unavailable(Exception):
    """The contender cannot be had on this machine; the message says why."""


@dataclass
class Place:
    """Where one round of a contender takes place: a folder, a port and a database of its own."""

    directory: Path
    port: int
    database: Database | None
    far_side_url: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _nothing(_: Place) -> None:
    pass


def _no_need() -> None:
    pass


def _no_settings(_: Place) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Contender:
    """One way to take a payment over HTTP."""

    name: str
    title: str
    stores: str
    """What is on disk when the answer is sent, in words for the table."""
    judges: str
    """What is validated."""
    command: Callable[[Place], list[str]]
    database: str = ""
    """`sqlite`, `postgresql`, or empty for one that stores nothing."""
    environment: Callable[[Place], Mapping[str, str]] = _no_settings
    path: str = "/payments"
    payload: str = PAYLOAD
    refused: str | None = "{}"
    """A body that has to be refused, by a contender that judges."""
    status: int = 201
    answers_with: frozenset[str] = frozenset({"executionId"})
    """Members that the answer has to have."""
    ready_path: str = "/"
    """Answered with anything below 500 when the contender is ready."""
    rate: int = ACKNOWLEDGED_RATE
    count: str | None = None
    """SQL that counts what it has stored."""
    open_count: str | None = None
    """SQL that counts what was stored and has not come to its good end."""
    install: Callable[[], object] = _no_need
    """Fetches what the environment does not have; raises `Unavailable`."""
    before_start: Callable[[Place], object] = _nothing
    prepare: Callable[[Place], object] = _nothing
    """What is done over its own API when it is ready, before anything is measured."""
    only_by_name: bool = False
