"""A delivery to a workflow that is changed in the same moment."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from flowker.domain.audit import Actor
from flowker.domain.errors import (
    IdempotencyKeyUsed,
    InternalError,
    WebhookNotFound,
    WebhookTokenRefused,
    WorkflowNotActive,
)
from flowker.domain.webhooks import sign
from flowker.engine.admission import PLACES_AT_FIRST
from flowker.engine.embedded import WAITING_MAX
from flowker.engine.refusals import Refusal
from flowker.operations import webhooks, workflows
from flowker.operations.context import Context
from flowker.storage import webhook_routes
from flowker.storage.executions import WorkflowMoved

if TYPE_CHECKING:
    from tests.unit.operations.conftest import Asked


class AlwaysTooLate:
    """Accepting on a store where the workflow has always just moved."""

    def __init__(self) -> None:
        self.asked = 0

    async def accept(self, *_: Any) -> WorkflowMoved:
        self.asked += 1
        return WorkflowMoved()


def definition(**trigger: Any) -> Any:
    return {"name": "w", "nodes": [{"id": "t", "type": "trigger", "data": {"path": "p", **trigger}}], "edges": []}


async def activate(context: Context, asked: "Asked", **trigger: Any) -> str:
    created = (await workflows.create_workflow(context, body=definition(**trigger), request=asked))[0]
    await workflows.activate_workflow(context, id_=created["workflowId"], request=asked)
    return str(created["workflowId"])


async def replace_trigger(context: Context, asked: "Asked", id_: str, **trigger: Any) -> None:
    """Take an active workflow through a change of its trigger."""
    await workflows.deactivate_workflow(context, id_=id_, request=asked)
    await workflows.move_workflow_to_draft(context, id_=id_, request=asked)
    await workflows.update_workflow(context, id_=id_, body=definition(**trigger), request=asked)
    await workflows.activate_workflow(context, id_=id_, request=asked)


async def test_a_delivery_follows_a_workflow_to_its_next_revision(context: Context, asked: "Asked") -> None:
    """The route that is remembered is of the revision before."""
    id_ = await activate(context, asked)
    await webhooks.trigger_webhook(context, path="p", request=asked)
    await replace_trigger(context, asked, id_)

    body, status, _ = await webhooks.trigger_webhook(context, path="p", request=asked)

    assert status == 201
    assert body["workflowId"] == id_


async def test_the_token_of_the_next_revision_counts(context: Context, asked: "Asked") -> None:
    """Whoever has no right to it does not get in by way of the former one."""
    id_ = await activate(context, asked)
    await webhooks.trigger_webhook(context, path="p", request=asked)
    await replace_trigger(context, asked, id_, verify_token="secret")

    with pytest.raises(WebhookTokenRefused):
        await webhooks.trigger_webhook(context, path="p", request=asked)
    with_token = replace(asked, headers=[("x-webhook-token", "secret")])
    assert (await webhooks.trigger_webhook(context, path="p", request=with_token))[1] == 201


async def test_a_workflow_that_was_switched_off_is_told_to_be(context: Context, asked: "Asked") -> None:
    """And one that is a draft again has no webhook."""
    id_ = await activate(context, asked)
    await webhooks.trigger_webhook(context, path="p", request=asked)

    await workflows.deactivate_workflow(context, id_=id_, request=asked)
    with pytest.raises(WorkflowNotActive):
        await webhooks.trigger_webhook(context, path="p", request=asked)
    await workflows.move_workflow_to_draft(context, id_=id_, request=asked)
    with pytest.raises(WebhookNotFound):
        await webhooks.trigger_webhook(context, path="p", request=asked)


async def test_a_delivery_does_not_follow_for_ever(context: Context, asked: "Asked") -> None:
    """The sender is told to come again."""
    await activate(context, asked)
    late: Any = AlwaysTooLate()

    with pytest.raises(InternalError) as refused:
        await webhooks.trigger_webhook(replace(context, accepting=late), path="p", request=asked)

    assert refused.value.headers == {"Retry-After": "1"}
    assert late.asked == webhooks.MOVES_MAX


async def test_a_route_to_a_node_that_is_no_trigger_is_a_bug(context: Context, asked: "Asked") -> None:
    """Somebody changed the row behind our back: nothing may be started by it."""
    nodes = [*definition()["nodes"], {"id": "a", "type": "action", "data": {"action": "log"}}]
    created = (await workflows.create_workflow(context, body={"name": "w", "nodes": nodes}, request=asked))[0]
    await workflows.activate_workflow(context, id_=created["workflowId"], request=asked)
    route = webhook_routes.Route("POST", "p", "a")
    await context.store.write(webhook_routes.claim, created["workflowId"], 1, [route])

    with pytest.raises(TypeError, match=r"node a of workflow .* is no trigger"):
        await webhooks.trigger_webhook(context, path="p", request=asked)


async def test_a_token_is_compared_by_its_bytes(context: Context, asked: "Asked") -> None:
    """Header values arrive as latin-1, whatever text the author's token is."""
    await activate(context, asked, verify_token="sécret")
    on_the_wire = "sécret".encode().decode("latin-1")
    with_token = replace(asked, headers=[("x-webhook-token", on_the_wire)])

    assert (await webhooks.trigger_webhook(context, path="p", request=with_token))[1] == 201
    for wrong in (None, "", "secret", "sécret", on_the_wire[:-1], "€"):
        headers = [] if wrong is None else [("x-webhook-token", wrong)]
        with pytest.raises(WebhookTokenRefused):
            await webhooks.trigger_webhook(context, path="p", request=replace(asked, headers=headers))


async def test_a_new_token_is_good_from_its_first_delivery_on(context: Context, asked: "Asked") -> None:
    """The route that is remembered still has the token before: its refusal is not believed."""
    id_ = await activate(context, asked, verify_token="before")
    with_former = replace(asked, headers=[("x-webhook-token", "before")])
    with_new = replace(asked, headers=[("x-webhook-token", "after")])
    await webhooks.trigger_webhook(context, path="p", request=with_former)
    await replace_trigger(context, asked, id_, verify_token="after")

    assert (await webhooks.trigger_webhook(context, path="p", request=with_new))[1] == 201
    with pytest.raises(WebhookTokenRefused):
        await webhooks.trigger_webhook(context, path="p", request=with_former)


async def test_a_path_that_was_taken_over_has_the_token_of_its_new_owner(context: Context, asked: "Asked") -> None:
    """The former owner is gone; nothing of it may refuse or let in."""
    id_ = await activate(context, asked, verify_token="before")
    with_former = replace(asked, headers=[("x-webhook-token", "before")])
    await webhooks.trigger_webhook(context, path="p", request=with_former)
    await workflows.deactivate_workflow(context, id_=id_, request=asked)
    await workflows.delete_workflow(context, id_=id_, request=asked)
    owner = await activate(context, asked)

    body, status, _ = await webhooks.trigger_webhook(context, path="p", request=asked)

    assert (status, body["workflowId"]) == (201, owner)


async def test_a_webhook_that_is_gone_is_not_found_whatever_comes(context: Context, asked: "Asked") -> None:
    """A missing token and a bad body are of no interest then."""
    id_ = await activate(context, asked, verify_token="before")
    with_token = replace(asked, headers=[("x-webhook-token", "before")])
    await webhooks.trigger_webhook(context, path="p", request=with_token)
    await workflows.deactivate_workflow(context, id_=id_, request=asked)
    await workflows.move_workflow_to_draft(context, id_=id_, request=asked)

    with pytest.raises(WebhookNotFound):
        await webhooks.trigger_webhook(context, path="p", request=asked)


async def test_a_repeated_delivery_is_told_so_after_deactivation_too(context: Context, asked: "Asked") -> None:
    """It arrived: its sender need not try again later."""
    id_ = await activate(context, asked)
    with_key = replace(asked, headers=[("idempotency-key", "k")])
    first = (await webhooks.trigger_webhook(context, path="p", request=with_key))[0]
    await workflows.deactivate_workflow(context, id_=id_, request=asked)

    with pytest.raises(IdempotencyKeyUsed) as refused:
        await webhooks.trigger_webhook(context, path="p", request=with_key)

    assert refused.value.headers["X-Webhook-Execution-ID"] == first["executionId"]


SECRET = "a signing secret"


async def test_a_refusal_that_is_not_believed_is_not_noted(context: Context, asked: "Asked") -> None:
    """The route that is remembered has the token before; the sender with the new one was never refused."""
    id_ = await activate(context, asked, verify_token="before")
    with_former = replace(asked, headers=[("x-webhook-token", "before")])
    with_new = replace(asked, headers=[("x-webhook-token", "after")])
    await webhooks.trigger_webhook(context, path="p", request=with_former)
    await replace_trigger(context, asked, id_, verify_token="after")
    noted = Noted()

    await webhooks.trigger_webhook(replace(context, refusals=noted.as_refusals), path="p", request=with_new)
    before = list(noted.refusals)
    with pytest.raises(WebhookTokenRefused):
        await webhooks.trigger_webhook(replace(context, refusals=noted.as_refusals), path="/p/", request=with_former)

    assert before == []
    assert noted.refusals == [
        Refusal(id_, "POST", "p", "token", Actor("api_key", asked.key_fingerprint, asked.client_address))
    ]


async def test_a_signature_that_became_wanted_counts(context: Context, asked: "Asked") -> None:
    """The bytes are signed with the secret of the next revision."""
    id_ = await activate(context, asked)
    await webhooks.trigger_webhook(context, path="p", request=asked)
    await replace_trigger(context, asked, id_, signing_secret=SECRET)
    signed = replace(asked, data=b"{}", headers=[("x-webhook-signature", sign(SECRET, b"{}"))])

    with pytest.raises(WebhookTokenRefused, match="signature"):
        await webhooks.trigger_webhook(context, path="p", request=asked)
    assert (await webhooks.trigger_webhook(context, path="p", request=signed))[1] == 201


class Noted:
    """Refusals that are only remembered."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []

    def note(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    @property
    def as_refusals(self) -> Any:
        return self


async def test_what_more_wait_for_than_can_be_committed_soon_is_refused(context: Context, asked: "Asked") -> None:
    """Nothing was recorded, and the engine has nothing to look for."""
    await activate(context, asked)
    places = [context.admission.place() for _ in range(PLACES_AT_FIRST)]

    with pytest.raises(InternalError) as refusal:
        await webhooks.trigger_webhook(context, path="p", request=asked)
    for place in places:
        with place:
            pass
    accepted = await webhooks.trigger_webhook(context, path="p", request=asked)

    assert refusal.value.headers == {"Retry-After": "1"}
    assert accepted[1] == 201
    assert context.tallies.accepted == 1
    assert context.admission.taken == 0


async def test_a_refused_delivery_leaves_nobody_waiting(context: Context, asked: "Asked") -> None:
    """A delivery of the same workflow that waits for the end finds its place afterwards."""
    await activate(context, asked, responseMode="sync")
    places = [context.admission.place() for _ in range(PLACES_AT_FIRST)]
    with pytest.raises(InternalError):
        await webhooks.trigger_webhook(context, path="p", request=asked)
    for place in places:
        with place:
            pass

    body, status, _ = await webhooks.trigger_webhook(context, path="p", request=asked)

    assert (status, body["status"]) == (200, "completed")
    assert context.tallies.accepted == 1


async def test_so_many_answers_may_wait_for_an_end(context: Context, asked: "Asked") -> None:
    """One more is answered at once: it was accepted all the same."""
    await activate(context, asked, responseMode="sync")
    waiting = [context.engine.expect(str(number)) for number in range(WAITING_MAX)]

    body, status, _ = await webhooks.trigger_webhook(context, path="p", request=asked)

    assert (status, body["status"]) == (201, "running")
    assert not any(future.done() for future in waiting)


async def test_an_answer_that_waits_keeps_nothing_of_the_body(context: Context, asked: "Asked") -> None:
    """A thousand of them could keep gigabytes."""
    asked.content, asked.data = {"large": "x"}, b"large"
    await activate(context, asked, responseMode="sync")

    await webhooks.trigger_webhook(context, path="p", request=asked)

    assert not asked.content
    assert not asked.data
