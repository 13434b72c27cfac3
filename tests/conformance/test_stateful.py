"""Resources along their lives: what an operation answers leads to the next one, by the links of the document."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import Phase, settings

from flowker.app import document_path
from tests.conformance.conftest import CREDENTIALS, SCHEMATHESIS, World

STEPS_MAX = 15
"""Longer than the life of a workflow: create, activate, execute, status, results, deactivate, draft, delete."""

WORKFLOWS = r"/v1/(workflows|executions|webhooks)"
PROVIDER_CONFIGURATIONS = r"/v1/provider-configurations"

REACHED = {
    WORKFLOWS: {("activateWorkflow", 200), ("deactivateWorkflow", 200), ("deleteWorkflow", 204)},
    PROVIDER_CONFIGURATIONS: {
        ("createProviderConfiguration", 201),
        ("updateProviderConfiguration", 200),
        ("testProviderConfiguration", 200),
        ("disableProviderConfiguration", 200),
        ("enableProviderConfiguration", 200),
        ("deleteProviderConfiguration", 204),
    },
}
"""What some walk among these paths must have come to, or the links lead nowhere."""


WALKS = {WORKFLOWS: 2 * settings().max_examples, PROVIDER_CONFIGURATIONS: settings().max_examples}
"""Enough to come to all of that: few of the steps that are made at random lead on."""


@pytest.mark.parametrize("paths", list(REACHED))
def test_every_walk_along_the_links_is_answered_as_documented(make_world: Callable[[], World], paths: str) -> None:
    """Each walk starts in a service of its own, which has a draft, an execution and a provider configuration."""
    worlds: list[World] = []

    async def service(scope: Any, receive: Any, send: Any) -> None:
        await worlds[-1].app(scope, receive, send)

    def elsewhere(context: Any) -> bool:
        return not re.match(paths, context.operation.path)

    described = schemathesis.openapi.from_path(document_path(), config=schemathesis.Config.from_path(SCHEMATHESIS))
    described.config.update(headers=dict(CREDENTIALS))
    described.app = service

    class Walk(described.exclude(elsewhere).as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            worlds.append(make_world())
            worlds[-1].start()
            worlds[-1].api.completed_execution()
            worlds[-1].api.draft()
            worlds[-1].api.provider_configuration()
            worlds[-1].answered.clear()

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:  # noqa: ARG002
            return {"headers": CREDENTIALS}

        def after_call(self, response: Any, case: schemathesis.Case[Any]) -> None:
            """Let an execution end before the next step: whether it has must not depend on who is faster."""
            super().after_call(response, case)
            if response.status_code == 201 and "executionId" in response.json():
                worlds[-1].api.results(response.json()["executionId"])

        def teardown(self) -> None:
            worlds[-1].stop()

    Walk.run(settings=settings(max_examples=WALKS[paths], stateful_step_count=STEPS_MAX, phases=[Phase.generate]))

    walked = {answer for world in worlds for answer in world.answered}
    assert walked >= REACHED[paths]
