"""Whatever is sent, fitting or not, is answered as the document says: Schemathesis with every check that it has."""

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis

from flowker import demo
from flowker.app import document_path

if TYPE_CHECKING:
    from conftest import World

CONFIG = document_path().parents[1] / "schemathesis.toml"

described = schemathesis.openapi.from_path(document_path(), config=schemathesis.Config.from_path(CONFIG))


@pytest.fixture(scope="module")
def world_with_sample(module_world: "World") -> "World":
    """The webhook that the configuration of Schemathesis names is registered, for every method."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        module_world.api.active(path=demo.WEBHOOK_PATH, method=method)
    return module_world


@described.parametrize()
def test_a_request_is_answered_as_documented(case: schemathesis.Case[Any], world_with_sample: "World") -> None:
    """Examples, boundaries, and random requests, of which half do not fit."""
    response = case.call_and_validate(app=world_with_sample.app, headers=world_with_sample.credentials)

    assert response.status_code < 500
