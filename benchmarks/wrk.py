"""As many requests as a contender can answer, by wrk (Debian package `wrk`) over connections that are kept."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contender import KEY, TOKEN, Contender, Place, Unavailable

CONNECTIONS = 32
"""Enough to fill a commit of a group, few enough that latency is not only standing in line."""

TIMEOUT_S = 20

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = "KEY"
wrk.headers["X-Webhook-Token"] = "TOKEN"
local n = 0
local run = "MARK"
function request()
  n = n + 1
  wrk.headers["Idempotency-Key"] = run .. "-" .. tostring(n)
  return wrk.format(nil, nil, nil, [[PAYLOAD]])
end
"""


@dataclass(frozen=True)
class Saturated:
    """What wrk saw."""

    requests: int
    errors: int
    """Answers that were no success, connections that broke, and answers that never came."""
    rate: float
    p50_ms: float
    p99_ms: float


def require() -> None:
    if shutil.which("wrk") is None:
        raise Unavailable("wrk is not installed (Debian: apt-get install wrk)")


def saturate(contender: Contender, place: Place, mark: str, seconds: float) -> Saturated:
    """Load it so many seconds; no two marks of a round may be the same, they begin the idempotency keys."""
    script = place.directory / "load.lua"
    text = (
        _SCRIPT.replace("KEY", KEY)
        .replace("TOKEN", TOKEN)
        .replace("MARK", mark)
        .replace("PAYLOAD", contender.payload)
    )
    script.write_text(text)
    return _read(_run(place.url + contender.path, script, seconds))


def _run(url: str, script: Path, seconds: float) -> str:
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--latency", f"--timeout={TIMEOUT_S}s"]
    command = ["wrk", *options, "-s", str(script), url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _read(report: str) -> Saturated:
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    return Saturated(
        requests=int(_find(r"(\d+) requests in", report)),
        errors=(sum(map(int, broken.groups())) if broken else 0) + (int(refused[1]) if refused else 0),
        rate=float(_find(r"Requests/sec:\s+([\d.]+)", report)),
        p50_ms=_milliseconds(_find(r"\n +50% +(\S+)", report)),
        p99_ms=_milliseconds(_find(r"\n +99% +(\S+)", report)),
    )


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk printed something unexpected:\n{text}")
    return found[1]


def _milliseconds(text: str) -> float:
    number = float(text.rstrip("ums"))
    return number * {"us": 0.001, "ms": 1, "s": 1000}[text.lstrip("0123456789.")]
