"""Figures as Markdown: a table of the contenders, a table of the targets, how costs grow, and what it was run on."""

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.catalog import CONTENDERS
from benchmarks.contender import Contender
from benchmarks.targets import TARGETS, NotMeasured, Run, Target

Results = dict[str, Any]


def lines_of(results: Results) -> list[str]:
    """The whole page, but for its plots."""
    run = Run(results["rounds"], results["growth"])
    return [
        *_introduction(results),
        "## Contenders",
        "",
        *_contenders(run, results["missing"]),
        "## Targets",
        "",
        *_targets(run),
        *_growth(results["growth"]),
        "## Measured with",
        "",
        *_machine(results["machine"]),
    ]


_EXPLAINED = """
Made by `tox -e bench`. The server has one core; load, far side and PostgreSQL have another. CPU is that of the
server's processes for each request, until what it acknowledged has ended; PostgreSQL's is after the plus. Latencies
are those of 32 connections that never rest, and of requests sent by plan, counted from the planned moment: 200 a
second, 100 where it is answered when done. There “—” says that it cannot keep up. Before each round the answers to a
right and a wrong request are checked; after it, what was acknowledged is counted in the database.
"""


def _introduction(results: Results) -> list[str]:
    medians = f"Medians of {results['round_count']} interleaved rounds of {results['seconds']:g} s."
    return ["# Results", "", medians, *_EXPLAINED.splitlines(), ""]


Cell = Callable[[Run, Contender], str]


def _contenders(run: Run, missing: dict[str, str]) -> Iterable[str]:
    yield "| | " + " | ".join(_COLUMNS) + " |"
    yield "|---|" + "---|" * 2 + "--:|" * (len(_COLUMNS) - 2)
    for contender in CONTENDERS:
        if contender.name in run.rounds:
            cells = [_cell(column, run, contender) for column in _COLUMNS.values()]
            yield f"| {contender.title} | " + " | ".join(cells) + " |"
    yield ""
    for contender in CONTENDERS:
        if contender.name in missing:
            yield f"- {contender.title}: not measured. {missing[contender.name]}"
        elif errors := sum(one["errors"] for one in run.rounds.get(contender.name, ())):
            yield f"- {contender.title}: {errors} requests were refused or never answered; they count nowhere."
    yield ""


def _cell(column: Cell, run: Run, contender: Contender) -> str:
    try:
        return column(run, contender)
    except NotMeasured:
        return "—"


def _cpu(run: Run, contender: Contender) -> str:
    own = f"{run.of(contender.name, 'cpu_us'):,.0f}"
    if contender.database != "postgresql":
        return own
    return f"{own} + {run.of(contender.name, 'database_cpu_us'):,.0f}"


def _pair(kind: str) -> Cell:
    return lambda run, contender: " / ".join(
        _short(run.of(contender.name, f"{kind}{quantile}_ms")) for quantile in ("p50", "p99")
    )


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


_COLUMNS: dict[str, Cell] = {
    "Stores": lambda _, contender: contender.stores,
    "Judges": lambda _, contender: contender.judges,
    "Answers/s": lambda run, contender: f"{run.of(contender.name, 'rate'):,.0f}",
    "Ended/s": lambda run, contender: f"{run.of(contender.name, 'done_rate'):,.0f}",
    "CPU µs": _cpu,
    "× Starlette": lambda run, contender: f"{run.ratio(contender.name, 'starlette', 'cpu_us'):.2f}",
    "p50 / p99 ms, full load": _pair(""),
    "p50 / p99 ms, fixed rate": _pair("fixed."),
    "Idle MB": lambda run, contender: f"{run.of(contender.name, 'idle_mb'):.0f}",
    "Ready s": lambda run, contender: f"{run.of(contender.name, 'ready_s'):.2f}",
}


def _targets(run: Run) -> Iterable[str]:
    yield "| Target | Limit | Measured | |"
    yield "|---|--:|--:|---|"
    for target in TARGETS:
        yield _target(target, run)
    yield ""


def _target(target: Target, run: Run) -> str:
    limit = f"{'≥' if target.at_least else '≤'} {target.limit:,g} {target.unit}"
    try:
        figure = target.figure(run)
    except NotMeasured as missing:
        return f"| {target.what} | {limit} | | not measured: {missing} |"
    met = "met" if target.is_met_by(figure) else "**not met**"
    shown = f"{figure:,.2f}" if figure < 100 else f"{figure:,.0f}"
    return f"| {target.what} | {limit} | {shown} {target.unit} | {met} |"


_GROWTH = {
    "route_us": "Route lookup, first time, among so many webhooks: µs",
    "ack_cpu_us": "CPU of an acknowledgement with so many executions stored: µs",
    "list_p95_ms": "List page of so many executions, p95: ms",
    "audit_entries_per_s": "Audit verify of so many entries: entries/s",
    "ready_s": "Start to ready with so many executions stored: s",
}


def _growth(growth: dict[str, dict[str, float]]) -> Iterable[str]:
    if not growth:
        return
    yield "## Growth"
    yield ""
    for name, title in _GROWTH.items():
        sizes = growth[name]
        yield f"- {title}. " + ", ".join(f"{int(size):,}: {_short(figure)}" for size, figure in sizes.items())
    yield ""


def _machine(machine: dict[str, Any]) -> Iterable[str]:
    yield (
        f"{machine['measured_at']} UTC, {machine['processor']}, {machine['cores']} cores, {machine['system']}; "
        f"a flushed write of 4 KB takes {machine['flush_ms']} ms; load before the run {machine['load_before']}."
    )
    yield ""
    yield ", ".join(f"{name} {text}" for name, text in machine["versions"].items()) + "."
    yield ""
