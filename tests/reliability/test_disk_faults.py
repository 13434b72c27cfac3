"""A disk that is full, read-only, or fails to write or to flush, under a service on SQLite."""

import errno
import os
import random
import secrets
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.reliability.conftest import Api
from tests.reliability.faulty_disk import Call, FaultyDisk
from tests.reliability.senders import Senders, await_ends, short_workflow

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

Make = Callable[..., "ServiceProcess"]
Record = Callable[[str, object], None]

ROW = "disk full and fsync errors"

FAULTS_S = float(os.environ.get("FLOWKER_TEST_DISK_FAULTS_S", "8"))
"""How long faults come and go."""

FAULT_MAX_S = 0.6
BETWEEN_MAX_S = 0.3

REFUSED_WITHIN_S = 20.0

RECOVERS_WITHIN_S = 10.0
"""With the next request, or the next attempt of the engine; the rest is the machine's."""

SMALL_DISK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Machine:
    """A service, and the disk under it."""

    service: "ServiceProcess"
    disk: FaultyDisk

    @property
    def elsewhere(self) -> Path:
        return self.log.parent / "elsewhere"

    @property
    def log(self) -> Path:
        return Path(self.service.database_url.removeprefix("sqlite:///") + "-wal")

    def fails_to_flush_the_log(self) -> None:
        self.disk.fail(Call.FLUSH, errno.EIO, on="-wal")

    def has_no_room_to_flush(self) -> None:
        """What network file systems tell with the flush, and not with the write."""
        self.disk.fail(Call.FLUSH, errno.ENOSPC, on="-wal")

    def fails_to_write(self) -> None:
        self.disk.fail(Call.WRITE, errno.EIO)

    def is_full(self) -> None:
        self.disk.fail(Call.WRITE, errno.ENOSPC)

    def is_beyond_its_quota(self) -> None:
        self.disk.fail(Call.WRITE, errno.EDQUOT, on="-wal")

    def is_read_only(self) -> None:
        """Mounted anew, as systems do after errors."""
        for call in Call:
            self.disk.fail(call, errno.EROFS)

    def has_the_largest_files(self) -> None:
        """No file may grow any more: a limit of the system, without anything between it and the process."""
        limit_file_size(self.service.process, self.log.stat().st_size + 1)

    def has_lost_the_database(self) -> None:
        """Somebody has taken it away, with its log."""
        self.elsewhere.mkdir(exist_ok=True)
        for path in sorted(self.log.parent.glob("flowker.db*")):  # The database first.
            path.rename(self.elsewhere / path.name)

    def has_ended(self) -> bool:
        return self.service.process.status() == psutil.STATUS_ZOMBIE

    def start_again(self) -> None:
        """As a supervisor does. Only where a flush failed while the log was copied does a service end itself."""
        assert self.service.await_exit() == os.EX_IOERR
        self.service.start()

    def is_well(self) -> None:
        self.disk.mend()
        # The database comes last: without its log it would be an older one.
        for path in sorted(self.elsewhere.glob("flowker.db*"), reverse=True):
            path.rename(self.log.parent / path.name)
        if not self.has_ended():
            limit_file_size(self.service.process, psutil.RLIM_INFINITY)

    @property
    def faults(self) -> list[Callable[[], None]]:
        return [
            self.fails_to_flush_the_log,
            self.has_no_room_to_flush,
            self.fails_to_write,
            self.is_full,
            self.is_beyond_its_quota,
            self.is_read_only,
            self.has_the_largest_files,
            self.has_lost_the_database,
        ]


@pytest.fixture
def machine(tmp_path: Path, make_service: Make) -> Iterator[Machine]:
    """The service ends before its disk does: without it nothing would answer."""
    disk = FaultyDisk(tmp_path)
    service = make_service()
    service.launcher = disk.launcher
    _start(service)
    yield Machine(service, disk)
    disk.mend()
    service.close()
    disk.close()


@pytest.mark.row(ROW)
def test_a_disk_that_fails_loses_nothing_that_was_acknowledged(machine: Machine, record_property: Record) -> None:
    """It fails in every way, again and again; what is refused is told to come again, and is there once."""
    seed = int(os.environ.get("FLOWKER_TEST_DISK_FAULTS_SEED", secrets.randbelow(10**6)))
    record_property("seed", seed)
    chance = random.Random(seed)  # noqa: S311 - when to fail is no secret
    senders = Senders(machine.service.url, "disk", count=4)
    senders.await_count(10)

    seen: Counter[str] = Counter()
    ended = 0
    recoveries_s: list[float] = []
    until = time.monotonic() + FAULTS_S
    faults: list[Callable[[], None]] = []
    while time.monotonic() < until or faults:
        faults = faults or chance.sample(machine.faults, len(machine.faults))
        fault = faults.pop()
        refused = len(senders.refused)
        fault()
        time.sleep(chance.uniform(0, FAULT_MAX_S))  # The fault itself: it is this long.
        if fault.__name__ not in seen:
            _until(lambda refused=refused: len(senders.refused) > refused or machine.has_ended())  # type: ignore[misc]
        machine.is_well()
        seen[fault.__name__] += 1
        if machine.has_ended():
            machine.start_again()
            senders.url, ended = machine.service.url, ended + 1
        recoveries_s.append(senders.await_acceptance(time.monotonic()))
        time.sleep(chance.uniform(0, BETWEEN_MAX_S))
    senders.stop()

    record_property("kinds", len(seen))
    record_property("ended itself", ended)
    assert ended or senders.broken == []
    judge(machine.service, senders, recoveries_s, record_property)


@pytest.mark.row(ROW)
def test_what_is_acknowledged_while_flushes_fail_survives_a_kill(machine: Machine, record_property: Record) -> None:
    """What was refused may be found in the log by the next start, which puts it on disk before it goes on."""
    service, disk = machine.service, machine.disk
    senders = Senders(service.url, "disk", count=4)
    senders.await_count(20)
    disk.fail(Call.FLUSH, errno.EIO, on="-wal")
    _until(lambda: len(senders.refused) > 20)
    accepted = senders.accepted.copy()
    service.kill()
    disk.fail(Call.FLUSH, errno.EIO)
    senders.give_up()

    with pytest.raises(AssertionError, match="the database cannot be used: Input/output error"):
        service.start()
    status = service.await_exit()
    disk.mend()
    service.start()
    statuses = await_ends(service.database_url)

    record_property("accepted", len(accepted))
    assert status == 1
    assert set(accepted.values()) <= statuses.keys()
    assert set(statuses.values()) == {"completed"}
    assert service.run("audit", "verify").returncode == 0


@pytest.mark.row(ROW)
def test_a_database_that_cannot_be_flushed_ends_the_process(machine: Machine, record_property: Record) -> None:
    """Pages that were copied into it may be lost; they are copied again by the next start, from the log."""
    service, disk = machine.service, machine.disk
    senders = Senders(service.url, "disk", count=8)
    senders.await_count(20)
    disk.fail(Call.FLUSH, errno.EIO, on="flowker.db")
    status = service.await_exit()
    disk.mend()
    senders.give_up()
    accepted = senders.accepted.copy()
    frames_left = (Path(service.database_url.removeprefix("sqlite:///") + "-wal").stat().st_size - 32) // 4120
    service.start()
    statuses = await_ends(service.database_url)

    record_property("accepted", len(accepted))
    record_property("pages in the log", frames_left)
    assert status == os.EX_IOERR
    assert "the disk failed to flush the database" in service.log()
    assert set(accepted.values()) <= statuses.keys()
    assert set(statuses.values()) == {"completed"}
    assert service.run("audit", "verify").returncode == 0


@pytest.mark.row(ROW)
def test_a_disk_without_room_is_not_ready_and_goes_on_when_there_is_room(
    make_service: Make, tmp_path: Path, record_property: Record
) -> None:
    """A real one of eight megabytes where the system lets us have one, else what the kernel says of one."""
    small = tmp_path / "small"
    small.mkdir()
    launcher = small_disk(small)
    record_property("disk", "a real one" if launcher else "none may be mounted here: only answers of the kernel")
    service = make_service(FLOWKER_DATABASE_URL=f"sqlite:///{small / 'flowker.db'}")
    service.launcher = launcher
    _start(service)
    seen = Path(f"/proc/{service.process.pid}/root{small}")
    senders = Senders(service.url, "disk", count=4)
    senders.await_count(10)

    recoveries_s: list[float] = []
    for _ in range(3):
        before = len(senders.refused)
        fill(service, seen / "ballast", real=bool(launcher))
        _await_refusals(service, senders, before + 5)
        make_room(service, seen / "ballast")
        recoveries_s.append(senders.await_acceptance(time.monotonic()))
    senders.stop()

    copy = make_service("beside")
    copy_files(service, seen, Path(copy.database_url.removeprefix("sqlite:///")).parent)
    assert senders.broken == []
    judge(copy, senders, recoveries_s, record_property)
    assert service.is_ready()


def judge(
    service: "ServiceProcess",
    senders: Senders,
    recoveries_s: list[float],
    record_property: Record,
) -> None:
    """Everything that is promised of a disk that failed and does not any more."""
    url = service.database_url
    statuses = await_ends(url)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
        integrity = file.execute("PRAGMA integrity_check").fetchall()
    record_property("times", len(recoveries_s))
    record_property("accepted", len(senders.accepted))
    record_property("refused", len(senders.refused))
    record_property("longest answer", f"{senders.longest_s:.1f} s")
    record_property("longest recovery", f"{max(recoveries_s):.1f} s")
    assert senders.refused
    assert {(refusal.status, refusal.retry_after) for refusal in senders.refused} == {(500, "1")}
    assert sorted(statuses) == sorted(senders.accepted.values())
    assert set(statuses.values()) == {"completed"}
    assert integrity == [("ok",)]
    assert service.run("audit", "verify").returncode == 0
    assert max(recoveries_s) < RECOVERS_WITHIN_S
    assert senders.longest_s < REFUSED_WITHIN_S


def limit_file_size(process: psutil.Process, bytes_: int) -> None:
    """No file of the process may be written behind there: what a limit of the system does."""
    _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (bytes_, hard))


def small_disk(directory: Path) -> list[str]:
    """A launcher that gives its process a small disk there, which nobody else sees; none if that is not allowed."""
    mount = f'mount -t tmpfs -o size={SMALL_DISK_BYTES} none "$1" && shift && exec "$@"'
    unshare = shutil.which("unshare")
    launcher = [unshare or "", "-Urm", "sh", "-c", mount, "sh", str(directory)]
    allowed = unshare and subprocess.run([*launcher, "true"], capture_output=True, check=False).returncode == 0
    return launcher if allowed else []


def fill(service: "ServiceProcess", ballast: Path, *, real: bool) -> None:
    if not real:
        limit_file_size(service.process, 1)
        return
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def make_room(service: "ServiceProcess", ballast: Path) -> None:
    ballast.unlink(missing_ok=True)
    limit_file_size(service.process, psutil.RLIM_INFINITY)


def copy_files(service: "ServiceProcess", source: Path, target: Path) -> None:
    """What is on a disk that only the service sees, when everything on it has ended."""
    with service.client() as client:
        _until(lambda: not client.get("/v1/executions", params={"status": "running"}).json()["items"])
    service.send(signal.SIGSTOP)
    for path in source.glob("flowker.db*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, target)
    service.send(signal.SIGCONT)


def _start(service: "ServiceProcess") -> None:
    service.start()
    with service.client() as client:
        Api(client).activate(short_workflow("disk"))


def _await_refusals(service: "ServiceProcess", senders: Senders, count: int) -> None:
    """Wait until so many deliveries were refused, and the service says that it is not ready."""
    _until(lambda: len(senders.refused) >= count and not service.is_ready())


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + REFUSED_WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
