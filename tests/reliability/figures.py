"""The table of what was promised and what was seen, printed at the end of a run.

A test that a row of the table tells of has the row's words in its marker, and its figures as properties:

    @pytest.mark.row("kill -9 at random moments under load")
    def test_...(record_property): record_property("kills", 25)

Several tests may share a row. With `FLOWKER_TEST_FIGURES` naming a file, runs add to it, and each prints all of it.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "FLOWKER_TEST_FIGURES"
ROW = "row"
OUTCOMES = ("passed", "failed", "error")

WHOLE = "all of them, in the short form within 300 s on two processors"

Line = dict[str, Any]

_BEGAN_S = time.monotonic()


def lines_of(reports: Iterable[Any]) -> list[Line]:
    """What the reports of one run tell, a line for each test that has a row."""
    lines: list[Line] = []
    for report in reports:
        if not hasattr(report, "when"):  # A test that was left out.
            continue
        properties = dict(getattr(report, "user_properties", ()))
        # What was deselected is among them too, and is no report.
        if ROW in properties and hasattr(report, "when") and (report.when == "call" or report.outcome == "failed"):
            row = properties.pop(ROW)
            lines.append(
                {
                    "row": row,
                    "test": report.nodeid.rsplit("::", 1)[-1],
                    "outcome": report.outcome,
                    "seconds": round(report.duration, 1),
                    "figures": {name: str(value) for name, value in properties.items()},
                }
            )
    return lines


def line_of_run(stats: Mapping[str, Sequence[Any]]) -> Line:
    """What this run was, and what it took by the clock."""
    counts = {outcome: len(stats[outcome]) for outcome in OUTCOMES if stats.get(outcome)}
    failed = counts.keys() - {"passed"}
    return {
        "row": WHOLE,
        "test": f"run {os.getpid()}",
        "outcome": "failed" if failed else "passed",
        "seconds": round(time.monotonic() - _BEGAN_S, 1),
        "figures": {outcome: str(count) for outcome, count in counts.items()},
    }


def gather(lines: list[Line]) -> list[Line]:
    """These lines with those of the runs before, which are kept in the file of the environment."""
    name = os.environ.get(FILE)
    if name is None:
        return lines
    path = Path(name)
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return [json.loads(line) for line in dict.fromkeys(path.read_text().splitlines())]


def table(lines: list[Line]) -> list[str]:
    """The lines as a table in Markdown, row by row."""
    shown = ["| What | Test | Seen | Seconds | |", "|---|---|---|---|---|"]
    for line in sorted(lines, key=lambda line: (line["row"], line["test"])):
        seen = ", ".join(f"{name} {value}" for name, value in line["figures"].items())
        shown.append(f"| {line['row']} | {line['test']} | {seen} | {line['seconds']} | {line['outcome']} |")
    whole_s = sum(line["seconds"] for line in lines if line["row"] == WHOLE)
    return [*shown, "", f"{whole_s:.0f} s, {WHOLE}"]
