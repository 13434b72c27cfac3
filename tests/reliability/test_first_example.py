"""The first five minutes of a newcomer: a fresh copy, a fresh environment, `pip install .`, `flowker serve`.

What flowker needs is not fetched once more: the environment has what it declares, and what that declares, and nothing
else of the environment of the tests. A dependency that is missing from pyproject.toml is missing here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import distribution, distributions
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from packaging.requirements import Requirement

SOURCE = Path(__file__).parents[2]

READY_S = 5.0
"""From the start of the command to the first good answer of /health/ready, by the clock or by its processor time."""

INSTALLED = """
import json
from importlib.resources import files
from flowker.app import document_path
from flowker.storage import migrations
versions = [path.name for path in (files(migrations) / "versions").iterdir()]
print(json.dumps([str(document_path()), document_path().read_text(), versions]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new virtual environment into which a copy of the source was installed."""
    directory = tmp_path_factory.mktemp("newcomer")
    copy = _copy_source(directory / "flowker")
    _run([sys.executable, "-m", "venv", "--without-pip", directory / "venv"], directory)
    commands = directory / "venv" / "bin"
    install = [sys.executable, "-I", "-m", "pip", "--python", commands / "python", "install", "--no-deps"]
    _run([*install, "--quiet", "--disable-pip-version-check", "."], copy)
    [site] = (directory / "venv" / "lib").glob("python*/site-packages")
    [metadata] = distributions(name="flowker", path=[str(site)])
    _provide(metadata.requires or [], site, set())
    return commands


@pytest.fixture(scope="module")
def served(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, float]]:
    """What `flowker serve` printed, the address, and how long it took to be ready."""
    directory = tmp_path_factory.mktemp("served")
    began = time.monotonic()
    with (directory / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(
            [installed / "flowker", "serve", "--port", "0"],
            cwd=directory,
            env=_bare_environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield _read_until_ready(process, began)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_wheel_has_the_document_and_the_migrations(installed: Path, tmp_path: Path) -> None:
    """Nothing is looked for in a checkout."""
    told = json.loads(_run([installed / "python", "-c", INSTALLED], tmp_path))

    path, document, versions = told
    assert path.endswith("site-packages/flowker/flowker.yaml")
    assert document == (SOURCE / "openapi" / "flowker.yaml").read_text()
    assert "0001_initial.py" in versions


def test_the_service_is_ready_within_seconds(served: tuple[str, str, float]) -> None:
    """On a database that it has to make first."""
    _, _, ready_s = served

    assert ready_s < READY_S


def test_the_printed_command_starts_an_execution_that_completes(
    served: tuple[str, str, float], tmp_path: Path
) -> None:
    """Pasted into a shell as it is."""
    printed, url, _ = served
    command = printed.partition("Try it:\n")[2]
    key = re.search(r"API key (\S+)", printed)
    assert key is not None

    head, _, body = _run(["/bin/bash", "-c", command], tmp_path).partition("\n\n")
    results = _await_results(url, key[1], json.loads(body)["executionId"])

    assert head.startswith("HTTP/1.1 201 Created")
    assert results["status"] == "completed"
    assert results["finalOutput"]["decision"] == "approved"


def _copy_source(target: Path) -> Path:
    """What a clone would have: tracked files, and those that are about to be."""
    listed = _run(["git", "ls-files", "-co", "--exclude-standard", "-z"], SOURCE)
    for name in listed.split("\0"):
        if name and (SOURCE / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, target / name)
    return target


def _provide(requirements: Sequence[str], site: Path, seen: set[str], extra: str = "") -> None:
    """Link what these requirements are in the environment of the tests, and what they require."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in ("", *requirement.extras):
            found = distribution(requirement.name)
            if f"{requirement.name}[{wanted}]" in seen:
                continue
            seen.add(f"{requirement.name}[{wanted}]")
            for name in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
                if not (site / name).exists():
                    (site / name).symlink_to(Path(str(found.locate_file(name))))
            _provide(found.requires or [], site, seen, wanted)


def _run(command: list[Any], directory: Path) -> str:
    ended = subprocess.run(
        command, cwd=directory, env=_bare_environment(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _bare_environment() -> dict[str, str]:
    """Without anything that would let Python find this checkout, or that sets the service."""
    ours = ("PYTHON", "FLOWKER", "API_KEY", "VIRTUAL_ENV", "COV", "SERVER_ADDRESS", "LOG_LEVEL", "VERSION")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _read_until_ready(process: subprocess.Popen[str], began: float) -> tuple[str, str, float]:
    assert process.stdout is not None
    printed, url, ready_s = "", "", 0.0
    for line in process.stdout:
        printed += line
        if found := re.search(r"listens on (\S+)", line):
            url = found[1]
            # Others may have the processor: what the service itself took of it says as much.
            took_s = _await_ready(url) - began
            used = psutil.Process(process.pid).cpu_times()
            ready_s = min(took_s, used.user + used.system)
        if "-d '" in line:
            break
    return printed, url, ready_s


def _await_ready(url: str) -> float:
    """The moment of the first good answer."""
    deadline = time.monotonic() + 30
    while httpx.get(f"{url}/health/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return time.monotonic()


def _await_results(url: str, key: str, execution_id: str) -> Any:
    deadline = time.monotonic() + 10
    while True:
        answer = httpx.get(f"{url}/v1/executions/{execution_id}/results", headers={"X-API-Key": key})
        if answer.status_code == 200:
            return answer.json()
        assert answer.status_code == 422, answer.text
        assert time.monotonic() < deadline
        time.sleep(0.02)
