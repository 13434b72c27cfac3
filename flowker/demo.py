"""A sample workflow for newcomers, made and run through the public API like anybody's.

It validates a payment: the currency must be known and the amount within a limit, else it is rejected. With a
screening service (`--screening-url`) a call to that service decides as well, in a workflow of its own.
"""

import http.client
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any

from flowker import jsontext

WORKFLOW_NAME = "Payment validation (sample)"
WEBHOOK_PATH = "demo/payments"
PAYMENT = '{"paymentId": "p-1001", "amount": 100.10, "currency": "BRL", "debtor": "Ada", "creditor": "Grace"}'
"""Text, so that the amount keeps its digits on the way."""

TIMEOUT_S = 10.0


class DemoFailed(Exception):
    """The service did not answer as it should; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Client:
    """The API of one running service."""

    url: str
    key: str | None

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Any answer of the service to a body (JSON text, or a value); raises DemoFailed when there is none."""
        try:
            with self._send(method, path, body) as response:
                return Answer(response.status, dict(response.headers), jsontext.decode(response.read()))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DemoFailed(f"no Flowker answers at {self.url}: {error}") from error

    def expect(self, status: int, method: str, path: str, body: Any = None) -> Answer:
        """The answer with this status; raises DemoFailed for any other."""
        answer = self.call(method, path, body)
        if answer.status != status:
            raise DemoFailed(f"{method} {path} answered {answer.status}: {as_json(answer.body)}")
        return answer

    def _send(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(self.url + path, method=method)  # noqa: S310 - the address is the user's
        if self.key is not None:
            request.add_header("X-API-Key", self.key)
        if body is not None:
            request.data = body.encode() if isinstance(body, str) else jsontext.encode(body)
            request.add_header("Content-Type", "application/json")
        try:
            return _opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            return error  # It is an answer too.


# The service is near: what the environment says about proxies is not meant for it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def as_json(value: Any) -> str:
    """A value as one line, with the digits that its numbers came with."""
    return jsontext.encode(value).decode()


def answers(url: str) -> bool:
    """Whether a service listens there."""
    try:
        return Client(url, None).call("GET", "/health/live").status == 200
    except DemoFailed:
        return False


@dataclass(frozen=True, slots=True)
class Sample:
    """The sample workflow, or the one that also calls the screening service of a provider configuration."""

    screening_configuration_id: str | None = None

    @property
    def name(self) -> str:
        return f"Screened payment {self._mark} (sample)" if self.screening_configuration_id else WORKFLOW_NAME

    @property
    def webhook_path(self) -> str:
        return f"{WEBHOOK_PATH}/{self._mark}" if self.screening_configuration_id else WEBHOOK_PATH

    @property
    def _mark(self) -> str:
        """Tells the workflows of several screening services apart: ids that are made together begin alike."""
        return (self.screening_configuration_id or "")[-8:]


PLAIN = Sample()


def sample_workflow(sample: Sample = PLAIN) -> dict[str, Any]:
    """The definition of a sample, as a client sends it."""
    screening_configuration_id = sample.screening_configuration_id
    nodes = [_trigger(sample.webhook_path), _CHECK, _APPROVED, _REJECTED]
    edges = [
        {"id": "e1", "source": "payment-received", "target": "within-limits"},
        {"id": "e2", "source": "within-limits", "target": "approved", "sourceHandle": "true", "label": "Approved"},
        {"id": "e3", "source": "within-limits", "target": "rejected", "sourceHandle": "false", "label": "Rejected"},
    ]
    if screening_configuration_id is not None:
        nodes.append(_screening(screening_configuration_id))
        edges[0]["target"] = "screening"
        edges.append({"id": "e4", "source": "screening", "target": "within-limits"})
        edges.append({"id": "e5", "source": "screening", "target": "rejected", "sourceHandle": "error"})
    return {
        "name": sample.name,
        "description": "Approves payments in known currencies up to 10000.",
        "nodes": nodes,
        "edges": edges,
        "metadata": {"sample": True},
    }


def ensure_sample(client: Client, sample: Sample = PLAIN) -> str:
    """The id of the active sample workflow, which is made when it is not there."""
    found = find_sample(client, sample)
    if found is None:
        found = client.expect(201, "POST", "/v1/workflows", sample_workflow(sample)).body
    workflow_id = str(found.get("id") or found["workflowId"])
    if found["status"] == "inactive":
        client.expect(200, "POST", f"/v1/workflows/{workflow_id}/draft")
    if found["status"] != "active":
        client.expect(200, "POST", f"/v1/workflows/{workflow_id}/activate")
    return workflow_id


def has_workflows(client: Client) -> bool:
    """Whether the service has any workflow at all."""
    return bool(client.expect(200, "GET", "/v1/workflows?limit=1").body["items"])


def find_sample(client: Client, sample: Sample = PLAIN) -> dict[str, Any] | None:
    """The sample workflow, if the service has it."""
    return _find_by_name(client, "/v1/workflows", sample.name)


def ensure_screening(client: Client, url: str) -> str:
    """The id of the active configuration for the screening service at an address, made when it is not there."""
    path = "/v1/provider-configurations"
    name = f"Screening (sample) {str(uuid.uuid5(uuid.NAMESPACE_URL, url))[:8]}"
    found = _find_by_name(client, path, name)
    if found is None:
        wanted = {"name": name, "providerId": "http", "config": {"base_url": url}}
        found = client.expect(201, "POST", path, wanted).body
    configuration_id = str(found["id"])
    if found["status"] == "disabled":
        client.expect(200, "POST", f"{path}/{configuration_id}/enable")
    return configuration_id


def send_payment(client: Client, sample: Sample = PLAIN) -> Answer:
    """Deliver one payment to a sample's webhook."""
    return client.expect(201, "POST", f"/v1/webhooks/{sample.webhook_path}", PAYMENT)


def await_results(client: Client, execution_id: str) -> Any:
    """The results of an execution that is about to end."""
    patience = time.monotonic() + TIMEOUT_S
    while True:
        answer = client.call("GET", f"/v1/executions/{execution_id}/results")
        if answer.status == 200:
            return answer.body
        if answer.status != 422 or time.monotonic() > patience:
            raise DemoFailed(f"the results answered {answer.status}: {as_json(answer.body)}")
        time.sleep(0.02)


def curl(url: str, key: str | None) -> str:
    """A command that delivers the sample payment, to be pasted into a shell; the key may be a shell variable."""
    quote = '"' if key and key.startswith("$") else "'"
    shown = f" \\\n  -H {quote}X-API-Key: {key}{quote}" if key else ""
    content = "-H 'Content-Type: application/json'"
    return f"curl -i {url}/v1/webhooks/{WEBHOOK_PATH}{shown} \\\n  {content} \\\n  -d '{PAYMENT}'"


def _find_by_name(client: Client, path: str, name: str) -> dict[str, Any] | None:
    """The item of a list that has the name."""
    cursor = ""
    while True:
        page = client.expect(200, "GET", f"{path}?limit=100&sortBy=name&cursor={cursor}").body
        for item in page["items"]:
            if item["name"] == name:
                return dict(item)
        if not page["hasMore"]:
            return None
        cursor = page["nextCursor"]


def _trigger(webhook_path: str) -> dict[str, Any]:
    return {
        "id": "payment-received",
        "type": "trigger",
        "name": "Payment received",
        "position": {"x": 0, "y": 0},
        "data": {"triggerId": "webhook", "method": "POST", "path": webhook_path},
    }


_CHECK = {
    "id": "within-limits",
    "type": "conditional",
    "name": "Known currency, amount within the limit",
    "position": {"x": 200, "y": 0},
    "data": {"condition": 'workflow.currency in ["BRL", "EUR", "USD"] AND workflow.amount <= 10000'},
}
_APPROVED = {
    "id": "approved",
    "type": "action",
    "name": "Approve",
    "position": {"x": 400, "y": -80},
    "data": {
        "action": "set_output",
        "output": {"decision": "approved", "paymentId": "{{workflow.paymentId}}", "amount": "{{workflow.amount}}"},
    },
}
_REJECTED = {
    "id": "rejected",
    "type": "action",
    "name": "Reject",
    "position": {"x": 400, "y": 80},
    "data": {"action": "set_output", "output": {"decision": "rejected", "paymentId": "{{workflow.paymentId}}"}},
}


def _screening(configuration_id: str) -> dict[str, Any]:
    return {
        "id": "screening",
        "type": "executor",
        "name": "Screen the payment",
        "position": {"x": 100, "y": 0},
        "data": {"executorId": "http.request", "providerConfigId": configuration_id, "method": "POST", "path": ""},
    }
