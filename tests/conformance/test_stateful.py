"""Resources along their lives: what an operation answers leads to the next one, by the links of the document."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import Phase, settings

from flowker.app import document_path

if TYPE_CHECKING:
    from conftest import World

CONFIG = document_path().parents[1] / "schemathesis.toml"
STEPS_MAX = 12
"""Longer than the life of a workflow with an execution: create, activate, execute, results, deactivate, delete."""


def test_every_walk_along_the_links_is_answered_as_documented(
    make_world: Callable[[], "World"], credentials: Mapping[str, str]
) -> None:
    """Each walk starts in a service that is new."""
    worlds: list[World] = []

    async def service(scope: Any, receive: Any, send: Any) -> None:
        await worlds[-1].app(scope, receive, send)

    described = schemathesis.openapi.from_path(document_path(), config=schemathesis.Config.from_path(CONFIG))
    described.app = service
    described.config.update(headers=dict(credentials))

    class Walk(described.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            worlds.append(make_world())
            worlds[-1].start()

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return {"headers": credentials}

        def teardown(self) -> None:
            worlds[-1].stop()

    Walk.run(settings=settings(stateful_step_count=STEPS_MAX, phases=[Phase.generate]))

    statuses = {status for world in worlds for _, status in world.answered}
    assert {200, 201, 204} <= statuses
