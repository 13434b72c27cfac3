"""What has to be reached: each target is a figure of one run, and a limit."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

Rounds = dict[str, list[dict[str, Any]]]
Growth = dict[str, Any]


class NotMeasured(Exception):
    """A figure that a target needs is not there; the message names it."""


@dataclass(frozen=True)
class Run:
    """All figures of a run: medians of the rounds of each contender, and how costs grow."""

    rounds: Rounds
    growth: Growth

    def of(self, name: str, figure: str) -> float:
        """The median of the rounds; `fixed.p50_ms` is the member of a member."""
        values = [_member(one, figure) for one in self.rounds.get(name, ())]
        known = [value for value in values if value is not None]
        if not known:
            raise NotMeasured(f"{name} ({figure})")
        return float(median(known))

    def ratio(self, name: str, other: str, figure: str, other_figure: str | None = None) -> float:
        return self.of(name, figure) / self.of(other, other_figure or figure)

    def growth_of(self, figure: str, size: int) -> float:
        try:
            return float(self.growth[figure][str(size)])
        except KeyError:
            raise NotMeasured(f"growth ({figure})") from None


def _member(figures: dict[str, Any], path: str) -> Any:
    value: Any = figures
    for name in path.split("."):
        value = None if value is None else value.get(name)
    return value


@dataclass(frozen=True)
class Target:
    what: str
    figure: Callable[[Run], float]
    limit: float
    unit: str
    at_least: bool = False

    def is_met_by(self, figure: float) -> bool:
        return figure >= self.limit if self.at_least else figure <= self.limit


def at_most(limit: float, unit: str, what: str, figure: Callable[[Run], float]) -> Target:
    return Target(what, figure, limit, unit)


def at_least(limit: float, unit: str, what: str, figure: Callable[[Run], float]) -> Target:
    return Target(what, figure, limit, unit, at_least=True)


TARGETS = (
    at_most(
        1.3,
        "x",
        "Validated, nothing stored: CPU per request beside a bare Starlette route",
        lambda run: run.ratio("validated", "starlette", "cpu_us"),
    ),
    at_most(
        2.5,
        "x",
        "Durable acknowledged webhook: CPU beside a hand-written group commit",
        lambda run: run.ratio("durable", "group-commit", "cpu_us"),
    ),
    at_least(
        5,
        "x",
        "Durable acknowledged webhook: rate beside FastAPI + SQLModel on SQLite",
        lambda run: run.ratio("durable", "fastapi", "rate"),
    ),
    at_least(
        50, "x", "Durable acknowledged webhook: rate beside n8n", lambda run: run.ratio("durable", "n8n", "rate")
    ),
    at_least(
        30,
        "x",
        "Durable acknowledged webhook: rate beside DBOS on SQLite",
        lambda run: run.ratio("durable", "dbos", "rate"),
    ),
    at_most(3, "ms", "Acknowledgement at 200/s: p50", lambda run: run.of("durable", "fixed.p50_ms")),
    at_most(30, "ms", "Acknowledgement at 200/s: p99", lambda run: run.of("durable", "fixed.p99_ms")),
    at_least(1500, "/s", "Three nodes, end to end: executions", lambda run: run.of("executed", "done_rate")),
    at_least(
        10,
        "x",
        "Three nodes, end to end: beside DBOS on SQLite",
        lambda run: run.ratio("executed", "dbos", "done_rate"),
    ),
    at_least(
        14,
        "x",
        "Three nodes, end to end: beside n8n",
        lambda run: run.ratio("executed", "n8n", "done_rate"),
    ),
    at_most(6, "ms", "Three nodes, answered when done, at 100/s: p50", lambda run: run.of("sync", "fixed.p50_ms")),
    at_least(600, "/s", "One HTTP call per execution: executions", lambda run: run.of("called", "done_rate")),
    at_most(
        1.1,
        "x",
        "Route lookup among 10,000 webhooks beside 10",
        lambda run: run.growth_of("route_us", 10_000) / run.growth_of("route_us", 10),
    ),
    at_most(20, "ms", "List page of 1,000,000 executions: p95", lambda run: run.growth_of("list_p95_ms", 1_000_000)),
    at_most(
        1.2,
        "x",
        "CPU of an acknowledgement with 1,000,000 executions stored beside 10",
        lambda run: run.growth_of("ack_cpu_us", 1_000_000) / run.growth_of("ack_cpu_us", 10),
    ),
    at_least(
        100_000,
        "/s",
        "Audit verify: entries",
        lambda run: run.growth_of("audit_entries_per_s", 1_000_000),
    ),
    at_most(1.5, "s", "Start to ready", lambda run: run.of("durable", "ready_s")),
    at_most(120, "MB", "Memory when idle (USS)", lambda run: run.of("durable", "idle_mb")),
)
