"""A started service whose operations are called without HTTP, for what no request can bring about."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flowker.app import build
from flowker.domain.errors import FlowkerError, InputTooLarge
from flowker.operations.context import Context
from flowker.settings import load_settings


@dataclass
class Asked:
    """A request as the operations see it."""

    method: str = "POST"
    headers: list[tuple[str, str]] = field(default_factory=list)
    query: list[tuple[str, str]] = field(default_factory=list)
    client_address: str | None = "192.0.2.1"
    key_fingerprint: str | None = "0123456789ab"
    content: dict[str, Any] | None = None
    data: bytes = b""

    def header(self, name: str) -> str | None:
        return dict(reversed(self.headers)).get(name)

    async def raw_body(self, too_large: type[FlowkerError] = InputTooLarge) -> bytes:  # noqa: ARG002 - as it is called
        return self.data

    async def body(self, too_large: type[FlowkerError] = InputTooLarge) -> Any:  # noqa: ARG002 - as it is called
        return self.content

    def release(self) -> None:
        self.content, self.data = None, b""


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def context(tmp_path: Path) -> AsyncIterator[Context]:
    service = build(load_settings({"API_KEY": "k", "FLOWKER_DATABASE_URL": f"sqlite:///{tmp_path / 'flowker.db'}"}))
    await service.start()
    yield service.context
    await service.stop()
