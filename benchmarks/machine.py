"""What the figures were measured on and with."""

import os
import platform
import shutil
import sqlite3
import subprocess
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.databases import PostgresqlServer
from benchmarks.node import N8N, NODE_RED
from flowker import __version__

PACKAGES = ("starlette", "uvicorn", "fastapi", "sqlmodel", "sqlalchemy", "connexion", "openapi-core", "dbos")
FLUSHES = 50


def describe(postgresql: PostgresqlServer | None) -> dict[str, Any]:
    return {
        "measured_at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "flush_ms": round(_flush_ms(), 2),
        "load_before": round(os.getloadavg()[0], 1),
        "versions": _versions(postgresql),
    }


def _versions(postgresql: PostgresqlServer | None) -> dict[str, str]:
    found = {
        "flowker": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "wrk": _wrk_version(),
        **{name: _version(name) for name in PACKAGES},
        "postgresql": postgresql.version if postgresql else None,
        "node-red": NODE_RED.installed_version(),
        "n8n": N8N.installed_version(),
    }
    return {name: text for name, text in found.items() if text}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _wrk_version() -> str | None:
    if shutil.which("wrk") is None:
        return None
    told = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return told.split()[1].removeprefix("debian/") if told else None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _flush_ms() -> float:
    """What the disk takes for one small write that is flushed: the floor of everything durable."""
    times = []
    with tempfile.NamedTemporaryFile(prefix="benchmark-") as file:
        for _ in range(FLUSHES):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return median(times)
