"""One round of one contender: are its answers right, what does it cost, how long do they take."""

import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import open_model, wrk
from benchmarks.contender import KEY, TOKEN, Contender, Place
from benchmarks.databases import PostgresqlServer, database_for
from benchmarks.processes import cpu_s, memory_mb
from benchmarks.serving import Server, free_port, serving

Figures = dict[str, Any]

WARM_UP_S = 1
DRAIN_S_MAX = 20.0
"""How long is waited for executions that were acknowledged; who is not done by then is counted with what is done."""

ASKED_EVERY_S = 0.1
STILL_S = 0.3
"""When nothing was stored for so long, nothing is under way any more."""

KEEPS_UP = 1.2
"""A contender that does less than this many times the fixed rate has no latency there: its queue would grow."""

SETTLE_S = 0.5
"""After a start: until what it still does by itself is done."""

RIGHT_WITHIN_S = 20.0


class WrongAnswer(Exception):
    """A contender did not do what is measured; the message tells what it did."""


@dataclass(frozen=True)
class Surroundings:
    """What all contenders of a run share."""

    far_side_url: str
    postgresql: PostgresqlServer | None
    seconds: float


def measure(contender: Contender, around: Surroundings) -> Figures:
    """The figures of one round, with a server and a database of its own."""
    with _place(contender, around) as place, serving(contender, place) as server:
        time.sleep(SETTLE_S)
        idle_mb = memory_mb(server.process)
        contender.prepare(place)
        check_answers(contender, place)
        wrk.saturate(contender, place, "warm", WARM_UP_S)
        _drain(contender, place)
        figures = _saturate(contender, place, server, around)
        return {
            "ready_s": server.ready_s,
            "idle_mb": idle_mb,
            **figures,
            **_latency(contender, place, around, figures),
        }


def check_answers(contender: Contender, place: Place) -> None:
    """One request that is right, one that is not, and what was stored of both."""
    before = _count(contender, place)
    status, body = _first_right_answer(contender, place)
    if not contender.answers_with <= set(body):
        raise WrongAnswer(f"answered {status} with {sorted(body)}")
    if contender.refused is not None:
        status, _ = _send(contender, place, contender.refused, "refused")
        if status not in {400, 422}:
            raise WrongAnswer(f"answered {status} to a body that is wrong")
    _drain(contender, place)
    if contender.count and _count(contender, place) != before + 1:
        raise WrongAnswer(f"stored {_count(contender, place) - before} of 1 delivery")


def _saturate(contender: Contender, place: Place, server: Server, around: Surroundings) -> Figures:
    stored_before, cpu_before = _count(contender, place), _cpu(contender, server, around)
    begun = time.perf_counter()
    saturated = wrk.saturate(contender, place, "full", around.seconds)
    left_open, ended = _drain(contender, place)
    server_s, database_s = (
        after - before for after, before in zip(_cpu(contender, server, around), cpu_before, strict=True)
    )
    good = saturated.requests - saturated.errors
    stored = _count(contender, place) - stored_before if contender.count else good
    # What was under way when wrk stopped is stored, and was never counted as answered.
    if not good <= stored <= saturated.requests + saturated.errors + wrk.CONNECTIONS:
        raise WrongAnswer(f"stored {stored} of {good} deliveries that it acknowledged")
    done = stored - left_open
    return {
        **asdict(saturated),
        "stored": stored if contender.count else None,
        "left_open": left_open,
        "done_rate": done / (ended - begun) if contender.open_count else None,
        "cpu_us": server_s * 1e6 / max(stored, 1),
        "database_cpu_us": database_s * 1e6 / max(stored, 1) if contender.database == "postgresql" else None,
    }


def _latency(contender: Contender, place: Place, around: Surroundings, saturated: Figures) -> Figures:
    able = min(saturated["rate"], saturated["done_rate"] or saturated["rate"])
    if able < KEEPS_UP * contender.rate:
        return {"fixed": None}
    return {"fixed": asdict(open_model.offer(contender, place, "fixed", around.seconds))}


def _cpu(contender: Contender, server: Server, around: Surroundings) -> tuple[float, float]:
    """Of the server with all below it, and of PostgreSQL where it is used."""
    if contender.database == "postgresql" and around.postgresql is not None:
        return cpu_s(server.process), cpu_s(around.postgresql.process)
    return cpu_s(server.process), 0.0


def _count(contender: Contender, place: Place) -> int:
    return place.database.ask(contender.count) if contender.count and place.database else 0


def _drain(contender: Contender, place: Place) -> tuple[int, float]:
    """Wait until nothing is under way; how many have not come to their good end, and when the last one did."""
    deadline = time.perf_counter() + DRAIN_S_MAX
    seen, since = _stored_and_open(contender, place), time.perf_counter()
    while contender.count and (now := time.perf_counter()) < deadline and (seen[1] or now < since + STILL_S):
        time.sleep(ASKED_EVERY_S)
        if (latest := _stored_and_open(contender, place)) != seen:
            seen, since = latest, time.perf_counter()
    return seen[1], since


def _stored_and_open(contender: Contender, place: Place) -> tuple[int, int]:
    is_open = place.database.ask(contender.open_count) if contender.open_count and place.database else 0
    return _count(contender, place), is_open


@contextmanager
def _place(contender: Contender, around: Surroundings) -> Iterator[Place]:
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as directory,
        database_for(contender.database, Path(directory), around.postgresql) as database,
    ):
        yield Place(Path(directory), free_port(), database, around.far_side_url)


def _first_right_answer(contender: Contender, place: Place) -> tuple[int, Any]:
    """The first answer with the right status: some listen before they know their routes."""
    deadline = time.monotonic() + RIGHT_WITHIN_S
    while True:
        status, body = _send(contender, place, contender.payload, "right")
        if status == contender.status:
            return status, body
        if status != 404 or time.monotonic() > deadline:
            raise WrongAnswer(f"answered {status} instead of {contender.status}: {body}")
        time.sleep(0.1)


def _send(contender: Contender, place: Place, body: str, key: str) -> tuple[int, Any]:
    request = urllib.request.Request(place.url + contender.path, body.encode(), method="POST")  # noqa: S310 - ours
    named = {"Content-Type": "application/json", "X-API-Key": KEY, "X-Webhook-Token": TOKEN, "Idempotency-Key": key}
    for name, value in named.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - same
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()[:500]
