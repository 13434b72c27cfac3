"""Measures the service beside what a user would pick instead, in one run, and writes results.md.

Usage: python -m benchmarks.run [--only NAME …] [--also NAME …] [--seconds S] [--rounds N] [--no-growth]

Rounds are interleaved: what else the machine does meanwhile hits all alike. CPU time per request is steadier than
rates where a machine is shared. With `--only` the page is printed, and the results of the last whole run stay.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks import catalog, growth, machine, plots, report, wrk
from benchmarks.contender import Contender, Unavailable
from benchmarks.databases import postgresql_server
from benchmarks.measuring import Surroundings, WrongAnswer, measure
from benchmarks.processes import move_to_load_core
from benchmarks.serving import far_side
from benchmarks.targets import Rounds, Run

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def main() -> int:
    options = _options()
    try:
        wrk.require()
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    results = _measure(options)
    page = "\n".join(report.lines_of(results))
    print(page)
    if not options.only:
        _write(results, page)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], choices=catalog.NAMES, metavar="NAME")
    parser.add_argument("--also", nargs="+", default=[], choices=catalog.NAMES, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (default: 5)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-growth", action="store_true", help="leave out how costs grow with what is stored")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> report.Results:
    missing: dict[str, str] = {}
    contenders = _installed(catalog.chosen(options.only, options.also), missing)
    move_to_load_core()
    with ExitStack() as stack:
        far_side_url = stack.enter_context(far_side())
        needs_server = any(contender.database == "postgresql" for contender in contenders)
        postgresql = stack.enter_context(postgresql_server()) if needs_server else None
        described = machine.describe(postgresql)
        around = Surroundings(far_side_url, postgresql, options.seconds)
        rounds = _rounds(contenders, around, options.rounds, missing)
    return {
        "machine": described,
        "seconds": options.seconds,
        "round_count": options.rounds,
        "rounds": rounds,
        "missing": missing,
        "growth": {} if options.no_growth or options.only else growth.measure(),
    }


def _installed(contenders: list[Contender], missing: dict[str, str]) -> list[Contender]:
    """Those that can be had; why the others cannot goes into `missing`."""
    found = []
    for contender in contenders:
        try:
            contender.install()
            found.append(contender)
        except Unavailable as error:
            missing[contender.name] = str(error)
    return found


def _rounds(contenders: list[Contender], around: Surroundings, count: int, missing: dict[str, str]) -> Rounds:
    rounds: Rounds = {}
    for number in range(1, count + 1):
        for contender in contenders:
            if contender.name in missing:
                continue
            try:
                figures = measure(contender, around)
            except (WrongAnswer, RuntimeError, OSError, TimeoutError) as error:
                missing[contender.name] = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
                rounds.pop(contender.name, None)
                _tell(f"{number}/{count} {contender.name}: {missing[contender.name]}")
                continue
            rounds.setdefault(contender.name, []).append(figures)
            _tell(f"{number}/{count} {contender.name}: {figures['rate']:,.0f}/s, {figures['cpu_us']:,.0f} us CPU")
    return rounds


def _write(results: report.Results, page: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    for name in ("rounds", "growth"):
        kept = {name: results[name], "machine": results["machine"], "missing": results["missing"]}
        (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    drawn = plots.draw(Run(results["rounds"], results["growth"]), RESULTS)
    pictures = [f"![{name}](results/{name})\n" for name in drawn]
    (HERE / "results.md").write_text(page + "\n" + "\n".join(pictures))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
