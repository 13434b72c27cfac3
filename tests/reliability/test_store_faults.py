"""A PostgreSQL server that goes away again and again, in every way in which servers do."""

import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest

from tests.conftest import PostgresqlServer
from tests.reliability.conftest import Api
from tests.reliability.fault_proxy import FaultProxy
from tests.reliability.senders import Senders, await_ends, short_workflow

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

Make = Callable[..., "ServiceProcess"]
Record = Callable[[str, object], None]
Outage = Callable[[], AbstractContextManager[None]]

OUTAGES_S = float(os.environ.get("FLOWKER_TEST_OUTAGES_S", "15"))
"""How long the server goes away and comes back."""

OUTAGE_MAX_S = 2.0
BETWEEN_MAX_S = float(os.environ.get("FLOWKER_TEST_OUTAGES_BETWEEN_S", "1.5"))

SENDERS = 4
SENDERS_PAUSE_S = 0.02

ROW = "PostgreSQL stopped again and again"

RECOVERS_WITHIN_S = 15.0
"""A second or two to get the lock again; the rest is the machine's."""

ANSWERS_WITHIN_S = 15.0
"""What a request may take at most, with a server that says nothing: 9 s, and the rest is the machine's."""


@dataclass(frozen=True)
class Network:
    """What is between a service and its server, and the server itself."""

    proxy: FaultProxy
    server: PostgresqlServer
    url: str

    @contextmanager
    def lost(self) -> Iterator[None]:
        """What is sent arrives nowhere, and no connection ends."""
        self.proxy.pause()
        yield
        self.proxy.mend()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Connections end, and nobody gets a new one."""
        self.proxy.refuse()
        self.proxy.cut()
        yield
        self.proxy.mend()

    @contextmanager
    def reset(self) -> Iterator[None]:
        """The same without a word."""
        self.proxy.refuse()
        self.proxy.reset()
        yield
        self.proxy.mend()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The processes of the server stand still."""
        assert self.server.process is not None
        self.server.process.freeze()
        try:
            yield
        finally:
            self.server.process.thaw()

    @contextmanager
    def crashed(self) -> Iterator[None]:
        """The server ends without finishing anything, and starts again."""
        assert self.server.process is not None
        self.server.process.crash()
        try:
            yield
        finally:
            self.server.process.start()
            self.server.reconnect()

    @property
    def outages(self) -> list[Outage]:
        """What can be done to this server: one that is not ours has no processes that we may stop."""
        of_the_network: list[Outage] = [self.lost, self.cut, self.reset]
        return of_the_network if self.server.process is None else [*of_the_network, self.frozen, self.crashed]


@pytest.fixture
def network(postgresql_url: str, postgresql_server: PostgresqlServer) -> Iterator[Network]:
    with psycopg.connect(postgresql_url) as connection:
        told = connection.info
        host, port, user, password, database = told.host, told.port, told.user, told.password, told.dbname
    address = (f"{host}/.s.PGSQL.{port}", 0) if host.startswith("/") else (host, port)
    with FaultProxy(*address) as proxy:
        url = f"postgresql://{quote(user)}:{quote(password)}@127.0.0.1:{proxy.port}/{database}?sslmode=disable"
        yield Network(proxy, postgresql_server, url)


@pytest.fixture
def service(make_forked: Make, postgresql_environment: dict[str, str], network: Network) -> "ServiceProcess":
    made = make_forked(**postgresql_environment | {"FLOWKER_DATABASE_URL": network.url})
    made.start()
    with made.client() as client:
        Api(client).activate(short_workflow("outages"))
    return made


@pytest.mark.row(ROW)
def test_a_server_that_goes_away_again_and_again_loses_nothing(
    service: "ServiceProcess", network: Network, record_property: Record
) -> None:
    """Every delivery is acknowledged and there once, or refused and told to come again."""
    seed = int(os.environ.get("FLOWKER_TEST_OUTAGES_SEED", secrets.randbelow(10**6)))
    record_property("seed", seed)
    chance = random.Random(seed)  # noqa: S311 - when to stop is no secret
    senders = Senders(service.url, "outages", count=SENDERS, pause_s=SENDERS_PAUSE_S)
    senders.await_count(10)

    outages: Counter[str] = Counter()
    recoveries_s: list[float] = []
    until = time.monotonic() + OUTAGES_S
    kinds: list[Outage] = []
    while time.monotonic() < until or kinds:
        kinds = kinds or chance.sample(network.outages, len(network.outages))
        outage = kinds.pop()
        with outage():
            time.sleep(chance.uniform(0, OUTAGE_MAX_S))  # The outage itself: it is this long.
        recoveries_s.append(senders.await_acceptance(time.monotonic()))
        outages[outage.__name__] += 1
        time.sleep(chance.uniform(0, BETWEEN_MAX_S))
    senders.stop()

    statuses = await_ends(network.url)
    verified = service.run("audit", "verify")
    record_property("outages", outages.total())
    record_property("kinds", " ".join(sorted(outages)))
    if network.server.process is None:
        record_property("not done", "frozen and crashed: the server is not ours")
    record_property("accepted", len(senders.accepted))
    record_property("refused", len(senders.refused))
    record_property("longest answer", f"{senders.longest_s:.1f} s")
    record_property("longest recovery", f"{max(recoveries_s):.1f} s")
    assert senders.broken == []
    assert {(refusal.status, refusal.retry_after) for refusal in senders.refused} <= {(500, "1")}
    assert sorted(statuses) == sorted(senders.accepted.values())
    assert set(statuses.values()) == {"completed"}
    assert verified.returncode == 0, verified.stderr
    assert senders.longest_s < ANSWERS_WITHIN_S
    assert max(recoveries_s) < RECOVERS_WITHIN_S


@pytest.mark.row(ROW)
def test_nobody_waits_for_a_server_that_says_nothing(
    service: "ServiceProcess", network: Network, record_property: Record
) -> None:
    """However long it says nothing, and however many ask: each of them is refused in time."""
    senders = Senders(service.url, "outages", count=50)
    senders.await_count(100)

    network.proxy.pause()
    paused_at = time.monotonic()
    while len(senders.refused) < 200:
        assert time.monotonic() - paused_at < 60, "nobody is refused"
        time.sleep(0.05)
    network.proxy.mend()
    recovery_s = senders.await_acceptance(time.monotonic())
    senders.stop()

    record_property("senders", 50)
    record_property("longest answer", f"{senders.longest_s:.1f} s")
    record_property("recovery", f"{recovery_s:.1f} s")
    statuses = await_ends(network.url)
    assert senders.broken == []
    assert {(refusal.status, refusal.retry_after) for refusal in senders.refused} == {(500, "1")}
    assert sorted(statuses) == sorted(senders.accepted.values())
    assert senders.longest_s < ANSWERS_WITHIN_S
    assert recovery_s < RECOVERS_WITHIN_S
