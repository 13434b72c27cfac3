"""Copies of one store that is set up, each with a service of its own that may die."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.reliability.conftest import Api, ForkedService, read_rows
from tests.reliability.promises import Stored
from tests.reliability.scenarios import set_up

if TYPE_CHECKING:
    from tests.conftest import PostgresqlServer
    from tests.reliability.zygote import Zygote

ENVIRONMENT = {"FLOWKER_EGRESS_ALLOW": "127.0.0.0/8"}


@dataclass
class Stores:
    """Makes copies of one store that is set up, each for a service of its own."""

    directory: Path
    zygote: "Zygote"
    environment: dict[str, str]
    server: "PostgresqlServer | None" = None
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    def begin(self, far_side_url: str) -> None:
        service = self._service(self.directory / "first", self.environment)
        service.start()
        with service.client() as client:
            set_up(Api(client), far_side_url)
        service.stop()
        service.close()

    @contextmanager
    def copy(self) -> Iterator[ForkedService]:
        directory = self.directory / str(next(self.numbers))
        if self.server is None:
            shutil.copytree(self.directory / "first", directory)
            yield from self._lent(directory, self.environment)
        else:
            with self.server.database(copy_of=self.environment["FLOWKER_DATABASE_URL"]) as url:
                yield from self._lent(directory, self.environment | {"FLOWKER_DATABASE_URL": url})

    @contextmanager
    def empty(self) -> Iterator[ForkedService]:
        """A service whose database has nothing in it."""
        directory = self.directory / str(next(self.numbers))
        if self.server is None:
            yield from self._lent(directory, self.environment)
        else:
            with self.server.database(empty=True) as url:
                yield from self._lent(directory, self.environment | {"FLOWKER_DATABASE_URL": url})

    def look_at(self, service: ForkedService) -> Stored:
        """What is stored. Whoever opens a file after a crash mends it: that is left to the service."""
        if self.server is not None:
            return Stored(partial(read_rows, service.database_url))
        path = Path(service.database_url.removeprefix("sqlite:///"))
        seen = path.parent / "seen"
        seen.mkdir(exist_ok=True)
        for name in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copy(f"{path}{name}", seen / f"seen.db{name}")
        return Stored(partial(read_rows, f"sqlite:///{seen / 'seen.db'}"))

    def _lent(self, directory: Path, environment: dict[str, str]) -> Iterator[ForkedService]:
        service = self._service(directory, environment)
        try:
            yield service
        finally:
            service.close()

    def _service(self, directory: Path, environment: dict[str, str]) -> ForkedService:
        directory.mkdir(exist_ok=True)
        return ForkedService(directory, environment, self.zygote)
