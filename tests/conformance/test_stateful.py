"""Resources along their lives: what an operation answers leads to the next one, by the links of the document."""

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import Phase, settings

from flowker.app import document_path

if TYPE_CHECKING:
    from conftest import World

CONFIG = document_path().parents[1] / "schemathesis.toml"
STEPS_MAX = 12
"""Longer than the life of a workflow with an execution: create, activate, execute, results, deactivate, delete."""

described = schemathesis.openapi.from_path(document_path(), config=schemathesis.Config.from_path(CONFIG))


def test_every_walk_along_the_links_is_answered_as_documented(world: "World") -> None:
    """Each walk starts with a store without workflows."""

    class Walk(described.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            world.api.delete_all_workflows()

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return {"app": world.app, "headers": world.credentials}

    Walk.run(settings=settings(stateful_step_count=STEPS_MAX, phases=[Phase.generate]))
