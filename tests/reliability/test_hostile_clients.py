"""Clients that attack, by size, by slowness and by nonsense: a steady client beside them does not notice."""

import asyncio
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from tests.reliability.conftest import Api, ServiceProcess, read_rows
from tests.reliability.hostile import (
    BODY_BYTES_MAX,
    KEY,
    LARGE_BODIES,
    Reply,
    SteadyClient,
    assert_in_the_one_shape,
    exchange,
    head,
    malformed,
)

CONNECTIONS = int(os.environ.get("FLOWKER_TEST_HOSTILE_CONNECTIONS", "200"))
MALFORMED = int(os.environ.get("FLOWKER_TEST_MALFORMED_REQUESTS", "300"))

PEAK_BYTES_MAX = 400 * 2**20
P99_MS_MAX = 250.0

LARGE_BESIDE = 4
LARGE_WITHIN_S = 5.0
"""Half of what slow clients may take: who waited for their room would come after them."""

WORKFLOW = {
    "name": "hostile",
    "nodes": [
        {"id": "in", "type": "trigger", "data": {"triggerType": "webhook", "path": "hostile", "method": "POST"}},
        {"id": "out", "type": "action", "data": {"actionType": "set_output", "output": {"taken": True}}},
    ],
    "edges": [{"id": "on", "source": "in", "target": "out"}],
}

Record = Callable[[str, object], None]


class Attacked:
    """A service, and the client that it must go on serving."""

    def __init__(self, service: ServiceProcess) -> None:
        self.service = service
        self.steady = SteadyClient(service.url)

    def assert_unharmed(self, started: int, record: Record) -> None:
        """Only the steady client and so many others started something; it was served, and the service is well."""
        record("p99 of the steady client, ms", self.steady.p99_ms())
        record("peak memory, MB", self.service.peak_memory_bytes() // 2**20)
        record("connections", CONNECTIONS)
        assert self.service.is_ready()
        assert self.steady.statuses.keys() == {201}
        assert self.steady.connections == 1
        assert self.service.peak_memory_bytes() < PEAK_BYTES_MAX
        assert self.steady.p99_ms() < P99_MS_MAX
        log = self.service.log()
        assert "Traceback" not in log
        assert log.count("\n") < 20
        self.service.stop()
        [row] = read_rows(self.service.database_url, "SELECT count(*) AS n FROM executions")
        assert row["n"] == self.steady.statuses[201] + started


@pytest.fixture
def attacked(make_forked: Callable[..., ServiceProcess]) -> Attacked:
    service = make_forked(API_KEY=KEY)
    service.start()
    with service.client() as client:
        Api(client).activate(WORKFLOW)
    return Attacked(service)


@pytest.mark.quiet
@pytest.mark.row("200 connections with 1 MB each")
async def test_large_bodies_on_many_connections_are_taken_one_after_the_other(
    attacked: Attacked, record_property: Record
) -> None:
    """All at once they would need a gigabyte; none is refused."""
    body = LARGE_BODIES["ordinary"]
    data = head(len(body)) + body

    with attacked.steady.delivering():
        found = await asyncio.gather(*[exchange(attacked.service.url, data) for _ in range(CONNECTIONS)])

    assert Counter(reply.status for [reply] in found) == {201: CONNECTIONS}
    attacked.assert_unharmed(CONNECTIONS, record_property)


@pytest.mark.quiet
@pytest.mark.row("200 connections with 1 MB each")
async def test_large_bodies_of_the_worst_kinds_hold_nobody_up(attacked: Attacked, record_property: Record) -> None:
    """A megabyte of the smallest values takes a hundred times as long as one of text. Some are refused as absurd."""
    url = attacked.service.url
    sent = [head(len(body)) + body for body in LARGE_BODIES.values() for _ in range(4)]

    with attacked.steady.delivering():
        found = await asyncio.gather(*[exchange(url, data) for data in sent])

    statuses = Counter(reply.status for [reply] in found)
    record_property("statuses", dict(statuses))
    assert statuses.keys() == {201, 400}
    assert statuses[400] == 4
    attacked.assert_unharmed(statuses[201], record_property)


@pytest.mark.quiet
@pytest.mark.row("slow headers and slow bodies")
async def test_clients_that_take_their_time_are_cut(attacked: Attacked, record_property: Record) -> None:
    """A byte now and again does not keep a connection: 10 s for the headers, 10 s and its share for the body.

    Nor does it keep room: large bodies that others send meanwhile are taken.
    """
    url, share = attacked.service.url, CONNECTIONS // 4
    sent = [
        head(1000)[:60],
        head(BODY_BYTES_MAX) + b"{",
        head().replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"5;",
        b"",
    ]
    drips = [b"x", b" ", b"x", b""]

    with attacked.steady.delivering():
        began = time.monotonic()
        slow = asyncio.gather(
            *[exchange(url, data, drip=drip) for data, drip in zip(sent, drips, strict=True) for _ in range(share)]
        )
        large_s = await deliver_large(url)
        found = await slow
        took_s = time.monotonic() - began

    record_property("closed within, s", round(took_s, 1))
    record_property("longest of a large body beside them, s", round(max(large_s), 1))
    assert [statuses_of(found[i * share : (i + 1) * share]) for i in range(4)] == [
        {(408,): share},
        {(408,): share},
        {(408,): share},
        {(): share},
    ]
    for [reply] in found[: 3 * share]:
        assert_in_the_one_shape(reply)
    assert max(large_s) < LARGE_WITHIN_S
    attacked.assert_unharmed(len(large_s), record_property)


@pytest.mark.quiet
@pytest.mark.row("300 malformed requests")
async def test_what_is_no_request_starts_nothing(attacked: Attacked, record_property: Record) -> None:
    """Each is answered with 4xx in the one shape or not at all, and the connection is closed."""
    seed = int(os.environ.get("FLOWKER_TEST_MALFORMED_SEED", secrets.randbits(32)))
    record_property("seed", seed)
    random = Random(seed)  # noqa: S311 - which nonsense comes is no secret
    requests = [malformed(random) for _ in range(MALFORMED)]
    at_once = asyncio.Semaphore(20)

    async def ask(data: bytes, *, ends: bool) -> list[Reply]:
        async with at_once:
            return await exchange(attacked.service.url, data, ends=ends)

    with attacked.steady.delivering():
        found = await asyncio.gather(*[ask(data, ends=ends) for _, data, ends in requests])

    answered = 0
    for (kind, data, _), given in zip(requests, found, strict=True):
        assert len(given) <= 1, (kind, data)
        for reply in given:
            answered += 1
            assert 400 <= reply.status < 500, (kind, data, reply)
            assert_in_the_one_shape(reply)
    record_property("malformed", MALFORMED)
    record_property("answered with 4xx", answered)
    attacked.assert_unharmed(0, record_property)


async def deliver_large(url: str) -> list[float]:
    """How long large bodies take, one each second."""
    body = LARGE_BODIES["ordinary"]
    taken_s = []
    for _ in range(LARGE_BESIDE):
        await asyncio.sleep(1)
        began = time.monotonic()
        [reply] = await exchange(url, head(len(body)) + body)
        taken_s.append(time.monotonic() - began)
        assert reply.status == 201, reply
    return taken_s


def statuses_of(found: list[list[Reply]]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(reply.status for reply in given) for given in found)
