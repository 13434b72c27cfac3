"""The demo: a client of the public API, and a sample workflow that anybody can make with it."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import uvicorn
from pytest_httpserver import HTTPServer

from flowker import demo
from flowker.app import build
from flowker.demo import Client, DemoFailed, Sample
from flowker.settings import load_settings

KEY = "demo-key"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a running service."""
    database = tmp_path_factory.mktemp("demo") / "flowker.db"
    service = build(load_settings({"API_KEY": KEY, "FLOWKER_DATABASE_URL": f"sqlite:///{database}"}))
    server = uvicorn.Server(uvicorn.Config(service.asgi, lifespan="on", log_config=None, access_log=False))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    yield Client(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY)
    server.should_exit = True
    thread.join()


@pytest.fixture
def stub(httpserver: HTTPServer) -> Client:
    """Of something that answers as the test says."""
    return Client(httpserver.url_for("").rstrip("/"), KEY)


class TestSample:
    def test_it_is_made_once_and_runs(self, client: Client) -> None:
        """Asked for again, it is the same; its amount keeps its digits to the end."""
        made = demo.ensure_sample(client)
        again = demo.ensure_sample(client)
        accepted = demo.send_payment(client)
        results = demo.await_results(client, accepted.body["executionId"])

        assert made == again == accepted.body["workflowId"]
        assert results["status"] == "completed"
        assert demo.as_json(results["finalOutput"]) == '{"decision":"approved","paymentId":"p-1001","amount":100.10}'

    @pytest.mark.parametrize(
        ("payment", "decision"),
        [
            ({"amount": 10_000, "currency": "EUR"}, "approved"),
            ({"amount": Decimal("10000.01"), "currency": "EUR"}, "rejected"),
            ({"amount": 1, "currency": "XXX"}, "rejected"),
        ],
    )
    def test_it_decides_by_amount_and_currency(self, payment: dict[str, Any], decision: str, client: Client) -> None:
        """Up to the limit, in known currencies."""
        demo.ensure_sample(client)

        accepted = client.expect(201, "POST", f"/v1/webhooks/{demo.WEBHOOK_PATH}", payment)
        results = demo.await_results(client, accepted.body["executionId"])

        assert results["finalOutput"]["decision"] == decision

    @pytest.mark.parametrize("steps", [["deactivate"], ["deactivate", "draft"]])
    def test_it_is_activated_again_when_somebody_switched_it_off(self, steps: list[str], client: Client) -> None:
        """Whether it is inactive or a draft by now."""
        workflow_id = demo.ensure_sample(client)
        for step in steps:
            client.expect(200, "POST", f"/v1/workflows/{workflow_id}/{step}")

        again = demo.ensure_sample(client)

        found = demo.find_sample(client)
        assert again == workflow_id
        assert found is not None
        assert found["status"] == "active"

    def test_it_is_looked_for_on_every_page(self, stub: Client, httpserver: HTTPServer) -> None:
        """The list goes on after a hundred workflows."""
        first = {"items": [{"name": "another"}], "hasMore": True, "nextCursor": "c2"}
        second = {"items": [{"name": demo.WORKFLOW_NAME, "id": "1"}], "hasMore": False, "nextCursor": ""}
        httpserver.expect_request("/v1/workflows", query_string="limit=100&sortBy=name&cursor=").respond_with_json(
            first
        )
        httpserver.expect_request("/v1/workflows", query_string="limit=100&sortBy=name&cursor=c2").respond_with_json(
            second
        )

        assert demo.find_sample(stub) == {"name": demo.WORKFLOW_NAME, "id": "1"}

    def test_there_may_be_none(self, client: Client) -> None:
        """On a service where nobody has made it."""
        assert demo.find_sample(client, Sample("99999999-9")) is None

    def test_each_screening_service_has_a_sample_of_its_own(self) -> None:
        """Otherwise the second run would silently call the first one's service."""
        samples = [Sample(), Sample("11111111-1"), Sample("22222222-2")]
        definitions = [demo.sample_workflow(sample) for sample in samples]

        assert len({sample.name for sample in samples}) == 3
        assert len({definition["nodes"][0]["data"]["path"] for definition in definitions}) == 3
        assert all(len(sample.name) <= 100 for sample in samples)

    def test_a_screening_that_fails_rejects(self) -> None:
        """The call stands between the trigger and the check, and its error leads to the rejection."""
        definition = demo.sample_workflow(Sample("11111111-1"))

        edges = {(edge["source"], edge["target"], edge.get("sourceHandle")) for edge in definition["edges"]}
        assert {
            ("payment-received", "screening", None),
            ("screening", "within-limits", None),
            ("screening", "rejected", "error"),
        } <= edges
        assert definition["nodes"][-1]["data"]["providerConfigId"] == "11111111-1"


class TestScreening:
    def test_its_configuration_is_made_once_for_an_address(self, client: Client) -> None:
        """Asked for again, it is the same; another address has another, and a workflow of its own."""
        first = demo.ensure_screening(client, "http://screening.example/")
        again = demo.ensure_screening(client, "http://screening.example/")
        other = demo.ensure_screening(client, "http://screening.example/other")

        made = client.expect(200, "GET", f"/v1/provider-configurations/{first}").body
        assert first == again
        assert (made["providerId"], made["config"]) == ("http", {"base_url": "http://screening.example/"})
        assert Sample(first).name != Sample(other).name

    def test_its_configuration_is_enabled_again_when_somebody_disabled_it(self, client: Client) -> None:
        """A workflow that needs it could not be activated."""
        made = demo.ensure_screening(client, "http://screening.example/disabled")
        client.expect(200, "POST", f"/v1/provider-configurations/{made}/disable")

        again = demo.ensure_screening(client, "http://screening.example/disabled")

        found = client.expect(200, "GET", f"/v1/provider-configurations/{again}").body
        assert (again, found["status"]) == (made, "active")

    def test_an_address_that_cannot_be_called_is_told(self, client: Client) -> None:
        """With what is wrong with it."""
        with pytest.raises(DemoFailed, match="answered 422"):
            demo.ensure_screening(client, "gopher://screening.example")


class TestClient:
    def test_it_sends_the_key_and_the_body(self, stub: Client, httpserver: HTTPServer) -> None:
        """Numbers with their digits; a text as it is."""
        httpserver.expect_request("/x", method="PUT").respond_with_json({"ok": True}, status=201)

        answer = stub.call("PUT", "/x", {"amount": Decimal("1.10")})
        stub.call("PUT", "/x", '{"amount": 2.20}')

        (first, _), (second, _) = httpserver.log
        assert (answer.status, answer.body) == (201, {"ok": True})
        assert (first.get_data(), second.get_data()) == (b'{"amount":1.10}', b'{"amount": 2.20}')
        assert first.headers["X-API-Key"] == KEY
        assert first.headers["Content-Type"] == "application/json"

    def test_without_a_key_it_sends_none(self, stub: Client, httpserver: HTTPServer) -> None:
        """And no content type without a body."""
        httpserver.expect_request("/x").respond_with_json({})

        replace(stub, key=None).call("GET", "/x")

        [(request, _)] = httpserver.log
        assert "X-API-Key" not in request.headers
        assert "Content-Type" not in request.headers

    def test_a_refusal_is_an_answer(self, stub: Client, httpserver: HTTPServer) -> None:
        """With its body, which says why."""
        httpserver.expect_request("/x").respond_with_json({"code": "FLK-0100"}, status=404)

        assert (stub.call("GET", "/x").status, stub.call("GET", "/x").body) == (404, {"code": "FLK-0100"})

    def test_another_status_than_the_expected_one_is_told(self, stub: Client, httpserver: HTTPServer) -> None:
        """With what was asked and what was answered."""
        httpserver.expect_request("/x").respond_with_json({"code": "FLK-0401"}, status=401)

        with pytest.raises(DemoFailed, match=r'GET /x answered 401: \{"code":"FLK-0401"\}'):
            stub.expect(200, "GET", "/x")

    @pytest.mark.parametrize("status", [200, 404])
    def test_something_that_is_no_flowker_is_told(self, status: int, stub: Client, httpserver: HTTPServer) -> None:
        """It answers with a page."""
        httpserver.expect_request("/x").respond_with_data("<html>", status=status)

        with pytest.raises(DemoFailed, match="no Flowker answers at http://"):
            stub.call("GET", "/x")

    @pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:1", "http://[::1", "gopher://127.0.0.1"])
    def test_an_address_where_nobody_answers_is_told(self, url: str) -> None:
        """Or that is none."""
        with pytest.raises(DemoFailed, match="no Flowker answers at"):
            Client(url, None).call("GET", "/")

    def test_a_connection_that_breaks_off_is_told(self) -> None:
        """In the middle of an answer."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=_break_off, args=[listener])
            thread.start()
            with pytest.raises(DemoFailed, match="no Flowker answers at"):
                Client(f"http://127.0.0.1:{listener.getsockname()[1]}", None).call("GET", "/")
            thread.join()

    def test_proxies_are_not_asked(
        self, stub: Client, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The service is near; a proxy would look for it elsewhere."""
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        httpserver.expect_request("/x").respond_with_json({})

        assert stub.call("GET", "/x").status == 200


class TestAnswers:
    def test_a_service_answers(self, client: Client) -> None:
        """Its liveness needs no key."""
        assert demo.answers(client.url)

    def test_nobody_does_not(self, unused_tcp_port: int) -> None:
        """There, the demo starts a service of its own."""
        assert not demo.answers(f"http://127.0.0.1:{unused_tcp_port}")

    def test_something_else_does_not(self, stub: Client, httpserver: HTTPServer) -> None:
        """Whatever listens on the port."""
        httpserver.expect_request("/health/live").respond_with_json({}, status=500)

        assert not demo.answers(stub.url)


class TestResults:
    def test_they_are_waited_for(self, stub: Client, httpserver: HTTPServer) -> None:
        """422 says that the execution is still in progress."""
        path = "/v1/executions/1/results"
        httpserver.expect_ordered_request(path).respond_with_json({"code": "FLK-0502"}, status=422)
        httpserver.expect_ordered_request(path).respond_with_json({"status": "completed"})

        assert demo.await_results(stub, "1") == {"status": "completed"}

    def test_they_are_not_waited_for_without_end(
        self, stub: Client, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An execution that hangs is told."""
        monkeypatch.setattr(demo, "TIMEOUT_S", 0.1)
        httpserver.expect_request("/v1/executions/1/results").respond_with_json({"code": "FLK-0502"}, status=422)

        with pytest.raises(DemoFailed, match="the results answered 422"):
            demo.await_results(stub, "1")

    def test_a_refusal_is_told_at_once(self, stub: Client, httpserver: HTTPServer) -> None:
        """Waiting would not change it."""
        httpserver.expect_request("/v1/executions/1/results").respond_with_json({"code": "FLK-9999"}, status=500)

        with pytest.raises(DemoFailed, match="the results answered 500"):
            demo.await_results(stub, "1")


class TestCurl:
    def test_a_key_is_quoted(self) -> None:
        """So that the shell leaves it alone."""
        command = demo.curl("http://h", "k$1")

        assert command.startswith("curl -i http://h/v1/webhooks/demo/payments")
        assert "-H 'X-API-Key: k$1'" in command
        assert json.loads(command.partition("-d '")[2].rstrip("'"))["paymentId"] == "p-1001"

    def test_a_variable_is_left_to_the_shell(self) -> None:
        """A key that the environment has is not shown."""
        assert '-H "X-API-Key: $API_KEY"' in demo.curl("http://h", "$API_KEY")

    def test_without_a_key_there_is_no_header(self) -> None:
        """Nobody asks for one."""
        assert "X-API-Key" not in demo.curl("http://h", None)


def _break_off(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
