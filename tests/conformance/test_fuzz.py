"""Whatever is sent, fitting or not, is answered as the document says: Schemathesis with every check that it has."""

from typing import Any

import pytest
import schemathesis

from flowker import demo
from flowker.app import document_path
from tests.conformance.conftest import CREDENTIALS, World

CONFIG = document_path().parents[1] / "schemathesis.toml"


class Door:
    """Stands for the service while tests are collected; the service behind it comes with a fixture."""

    behind: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.behind(scope, receive, send)


door = Door()
described = schemathesis.openapi.from_path(document_path(), config=schemathesis.Config.from_path(CONFIG))
described.app = door
described.config.update(headers=dict(CREDENTIALS))


@pytest.fixture(scope="module")
def fuzzed(module_world: World) -> None:
    """The service has the webhook that the configuration of Schemathesis names, for every method."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        module_world.api.active(path=demo.WEBHOOK_PATH, method=method)
    door.behind = module_world.app


@described.parametrize()
@pytest.mark.usefixtures("fuzzed")
def test_a_request_is_answered_as_documented(case: schemathesis.Case[Any]) -> None:
    """Examples, boundaries, and random requests, of which half do not fit."""
    case.call_and_validate(headers=CREDENTIALS)
