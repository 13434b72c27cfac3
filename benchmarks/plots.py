"""Two pictures of a run: what a request costs, and how long it takes at a fixed rate."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.catalog import CONTENDERS, OURS
from benchmarks.contender import Contender
from benchmarks.targets import NotMeasured, Run

OUR_COLOUR, OTHERS_COLOUR = "#1b6ca8", "#b8b8b8"

# The same figures make the same file, a small one with its text as text.
mpl.rcParams.update({"svg.hashsalt": "flowker", "svg.fonttype": "none", "font.size": 9})


def draw(run: Run, directory: Path) -> list[str]:
    """The names of the files that were written."""
    _draw_cost(run, directory / "cost.svg")
    _draw_latency(run, directory / "latency.svg")
    return ["cost.svg", "latency.svg"]


def _draw_cost(run: Run, path: Path) -> None:
    bars = _known(run, "cpu_us")
    figure = Figure(figsize=(8, 0.3 * len(bars) + 1), layout="constrained")
    axes = figure.subplots()
    titles = [contender.title for contender, _ in bars]
    drawn = axes.barh(titles, [us for _, us in bars], color=[_colour(contender) for contender, _ in bars])
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
    axes.set_xscale("log")
    figure.suptitle("CPU time of the server for each request, µs (less is better)")
    _finish(figure, path)


def _draw_latency(run: Run, path: Path) -> None:
    lines = [
        (contender, p50, run.of(contender.name, "fixed.p99_ms")) for contender, p50 in _known(run, "fixed.p50_ms")
    ]
    figure = Figure(figsize=(8, 0.3 * len(lines) + 1), layout="constrained")
    axes = figure.subplots()
    for contender, p50, p99 in lines:
        axes.plot([p50, p99], [contender.title] * 2, "o-", color=_colour(contender))
    axes.set_xscale("log")
    figure.suptitle("From p50 to p99 at a fixed rate, ms (less is better)")
    _finish(figure, path)


def _finish(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def _known(run: Run, figure: str) -> list[tuple[Contender, float]]:
    known = []
    for contender in CONTENDERS:
        try:
            known.append((contender, run.of(contender.name, figure)))
        except NotMeasured:
            continue
    return known


def _colour(contender: Contender) -> str:
    return OUR_COLOUR if contender in OURS else OTHERS_COLOUR
