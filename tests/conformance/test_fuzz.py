"""Whatever is sent, fitting or not, is answered as the document says: Schemathesis with every check that it has."""

from typing import Any

import pytest
import schemathesis
from schemathesis import checks

from flowker.app import document_path
from tests.conformance.conftest import CREDENTIALS, FUZZED_WEBHOOK, SCHEMATHESIS, World


class Door:
    """Stands for the service while tests are collected; the service behind it comes with a fixture."""

    behind: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.behind(scope, receive, send)


door = Door()
described = schemathesis.openapi.from_path(document_path(), config=schemathesis.Config.from_path(SCHEMATHESIS))
described.app = door
described.config.update(headers=dict(CREDENTIALS))


@pytest.fixture(scope="module")
def fuzzed(module_world: World) -> None:
    """The service has the webhook that Schemathesis delivers to, for every method."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        module_world.api.active(path=FUZZED_WEBHOOK, method=method)
    door.behind = module_world.app


@described.parametrize()
@pytest.mark.usefixtures("fuzzed")
def test_a_request_is_answered_as_documented(case: schemathesis.Case[Any]) -> None:
    """Examples, boundaries, and random requests, of which half do not fit."""
    case.call_and_validate(headers=CREDENTIALS)


def test_no_check_is_switched_off() -> None:
    """What is expected by meaning or by state is a status that is named, not a check that looks away."""
    checks.load_all_checks()

    operations: Any = described.get_all_operations()
    for operation in operations:
        configured = described.config.checks_config_for(operation=operation.ok())
        off = [name for name in checks.CHECKS.get_all_names() if not configured.get_by_name(name=name).enabled]
        assert off == []
