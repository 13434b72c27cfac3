import functools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from flowker.domain.errors import ApiKeyRefused, WebhookTaken
from flowker.http.contract import DocumentError
from flowker.http.document import build_asgi
from flowker.http.security import ApiKeys

Ask = Callable[..., Awaitable[Any]]
Serve = Callable[..., Any]
MakeScope = Callable[..., dict[str, Any]]
Connect = Callable[..., Any]
MakeHandler = Callable[..., Any]

LIST_BOOKS = ("limit", "sort_order", "price", "lent", "tag", "pages", "filter_", "near", "cursor")
JSON = {"x-api-key": "good", "content-type": "application/json"}
BOOK = {"id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890", "name": "Emma", "createdAt": "2026-03-17T14:35:00.000000Z"}


class TestAdmission:
    """What more wait for than can be done soon is refused, for as little as possible."""

    async def test_it_is_refused_before_anything_is_looked_at(
        self, library: dict[str, Any], handlers: dict[str, Any], scope: MakeScope, connect: Connect
    ) -> None:
        """Not even the key; nothing is read, and no line is logged for each."""
        app = build_asgi(library, handlers, keys=ApiKeys(["good"]), refuses=lambda: True)
        connection = connect([b"{"])

        with capture_logs() as logs:
            await app(scope("POST", "/hooks/a", {"x-api-key": "bad"}), connection.receive, connection.send)

        answer = connection.answer()
        assert (answer.status, answer.json()["code"]) == (500, "FLK-9999")
        assert answer.headers["retry-after"] == "1"
        assert connection.received == 0
        assert logs == []

    async def test_other_operations_are_not_asked_about(
        self, library: dict[str, Any], handlers: dict[str, Any], ask: Ask
    ) -> None:
        """What is not admitted goes on to be answered."""
        app = build_asgi(library, handlers, keys=None, refuses=lambda: True)

        answer = await ask(app, "GET", "/version")

        assert answer.status == 200

    async def test_what_is_admitted_is_answered(
        self, library: dict[str, Any], handlers: dict[str, Any], ask: Ask
    ) -> None:
        """Asked for each request anew."""
        verdicts = iter([True, False])
        app = build_asgi(library, handlers, keys=None, refuses=lambda: next(verdicts))

        statuses = [(await ask(app, "POST", "/hooks/a", {"a": 1})).status for _ in range(2)]

        assert statuses == [500, 200]


class TestTheOrderOfChecks:
    """Key, parameters, size, text, schema: whoever fails the first hears nothing of the others."""

    async def test_the_key_comes_before_everything(self, serve: Serve, scope: MakeScope, connect: Connect) -> None:
        """Wrong parameters, an announced giant and no JSON: only the key is spoken of, and nothing is read."""
        connection = connect([b"{"])
        request = scope("POST", "/books?x=%ff", {"x-api-key": "bad", "content-length": "9999999"})

        await serve()(request, connection.receive, connection.send)

        assert connection.answer().json()["code"] == ApiKeyRefused.code
        assert connection.received == 0

    async def test_a_missing_key_is_a_wrong_key(self, serve: Serve, scope: MakeScope, connect: Connect) -> None:
        """And the first of two counts, as everywhere."""
        request = scope("POST", "/books/featured")
        twice = scope("POST", "/books/featured", {"x-api-key": "bad"})
        twice["headers"].append((b"x-api-key", b"good"))

        for each in (request, twice):
            connection = connect([b""])
            await serve()(each, connection.receive, connection.send)
            assert connection.answer().status == 401

    async def test_parameters_come_before_the_body(self, serve: Serve, scope: MakeScope, connect: Connect) -> None:
        """Not a byte is read for a request that is refused anyway."""
        connection = connect([b"{"])

        await serve()(scope("POST", "/books", JSON), connection.receive, connection.send)

        assert connection.answer().json()["code"] == "FLK-0509"
        assert connection.received == 0

    async def test_an_announced_giant_is_refused_unread(
        self, serve: Serve, scope: MakeScope, connect: Connect
    ) -> None:
        """Its length is enough."""
        connection = connect([b"{"])
        request = scope("POST", "/hooks/a", {**JSON, "content-length": "1048577"})

        await serve()(request, connection.receive, connection.send)

        answer = connection.answer()
        assert (answer.status, answer.json()["code"]) == (413, "FLK-0506")
        assert answer.headers["connection"] == "close"
        assert connection.received == 0

    async def test_a_public_operation_needs_no_key(self, serve: Serve, scope: MakeScope, connect: Connect) -> None:
        """`security: []` in the document."""
        connection = connect([b""])

        await serve()(scope("GET", "/version"), connection.receive, connection.send)

        assert connection.answer().status == 200

    async def test_keys_can_be_switched_off(self, serve: Serve, scope: MakeScope, connect: Connect) -> None:
        """API_KEY_ENABLED=false: every operation is public, and there is no fingerprint."""
        seen = []

        async def feature_book(*, request: Any) -> Any:
            seen.append(request.key_fingerprint)

        connection = connect([b""])

        await serve(None, featureBook=feature_book)(
            scope("POST", "/books/featured"), connection.receive, connection.send
        )

        assert connection.answer().status == 204
        assert seen == [None]


class TestWhatAHandlerGets:
    async def test_parameters_are_typed_and_named_as_in_python(
        self, serve: Serve, ask: Ask, handler: MakeHandler
    ) -> None:
        """Defaults for what is absent, None where there is no default."""
        seen: list[dict[str, Any]] = []

        def note(given: dict[str, Any]) -> Any:
            seen.append(given)
            return [], 200, {"X-Total": "0"}

        list_books = handler(note, *LIST_BOOKS, "x_trace", "x_depths", "session")
        query = "price=1.50&lent=true&tag=a&tag=b&pages=1,2&filter[year]=1816&near=%7B%22x%22:1.10%7D"
        headers = {"x-depths": "3,-4", "cookie": "session=abcd; other=1"}

        answer = await ask(serve(listBooks=list_books), "GET", f"/books?{query}", headers=headers)

        assert answer.status == 200
        assert seen[0] == {
            "limit": 10,
            "sort_order": "DESC",
            "price": Decimal("1.50"),
            "lent": True,
            "tag": ["a", "b"],
            "pages": [1, 2],
            "filter_": {"year": 1816},
            "near": {"x": Decimal("1.10")},
            "cursor": None,
            "x_trace": None,
            "x_depths": [3, -4],
            "session": "abcd",
        }

    async def test_a_body_keeps_its_numbers_exactly(self, serve: Serve, ask: Ask) -> None:
        """Money in is money out, digit for digit."""
        body = b'{"amount":100.10,"large":12345678901234567890123,"tiny":1e-400}'

        answer = await ask(serve(), "POST", "/hooks/a", body)

        assert answer.body == b'{"path":"a","body":{"amount":100.10,"large":12345678901234567890123,"tiny":1E-400}}'

    async def test_an_absent_body_is_none_where_it_is_optional(self, serve: Serve, ask: Ask) -> None:
        """Whatever content type came with the nothing."""
        answer = await ask(serve(), "POST", "/hooks/a", b"", headers={"content-type": "text/plain"})

        assert answer.json() == {"path": "a", "body": None}

    async def test_a_body_that_the_document_does_not_have_is_not_read(
        self, serve: Serve, scope: MakeScope, connect: Connect
    ) -> None:
        """However large it says that it is."""
        connection = connect([b"x"])
        request = scope("POST", "/books/featured", {**JSON, "content-length": "99999999"})

        await serve()(request, connection.receive, connection.send)

        assert connection.answer().status == 204
        assert connection.received == 0

    async def test_the_request_says_who_asks_for_what(self, serve: Serve, ask: Ask) -> None:
        """All of it decoded, in the order in which it came."""
        seen = []

        async def feature_book(*, request: Any) -> Any:
            seen.append(request)

        headers = {"x-one": "é"}
        await ask(serve(featureBook=feature_book), "POST", "/books/featured?b=2&a=%C3%A9&b=+1", headers=headers)

        [request] = seen
        assert (request.operation_id, request.method, request.path) == ("featureBook", "POST", "/books/featured")
        assert request.client_address == "192.0.2.1"
        assert request.key_fingerprint == ApiKeys(["good"]).authenticate(b"good")
        assert request.query == [("b", "2"), ("a", "é"), ("b", " 1")]
        assert request.headers[-1] == ("x-one", "é")
        assert request.header("X-One") == "é"
        assert request.header("x-two") is None
        assert await request.body() is None

    async def test_a_handler_may_choose_when_the_body_is_read(
        self, serve: Serve, scope: MakeScope, connect: Connect
    ) -> None:
        """The webhook looks up its route and token before a byte of the body."""
        connection = connect([b'{"a"', b":1}"])
        read_before = []

        async def call_hook(*, path: str, request: Any) -> Any:
            read_before.append(connection.received)
            first = await request.body()
            return {"path": path, "body": [first, await request.body()]}

        await serve(callHook=call_hook)(scope("POST", "/hooks/a", JSON), connection.receive, connection.send)

        assert read_before == [0]
        assert connection.answer().json()["body"] == [{"a": 1}, {"a": 1}]

    async def test_a_bound_context_is_no_parameter(self, serve: Serve, ask: Ask) -> None:
        """app.py binds it with functools.partial."""

        async def get_version(context: str) -> Any:
            return {"context": context}

        answer = await ask(serve(getVersion=functools.partial(get_version, "bound")), "GET", "/version")

        assert answer.json() == {"context": "bound"}


class TestWhatGoesOut:
    async def test_an_answer_has_its_status_type_and_length(self, serve: Serve, ask: Ask) -> None:
        """Status and headers where the handler gives them."""
        answer = await ask(
            serve(), "POST", "/books", {"name": "Emma", "chapters": []}, headers={"idempotency-key": "k"}
        )

        assert answer.status == 201
        assert answer.headers["location"] == "/books/1"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-length"] == str(len(answer.body))

    async def test_no_body_is_no_content(self, serve: Serve, ask: Ask) -> None:
        """With the lowest success that the document has."""
        answer = await ask(serve(), "DELETE", f"/books/{BOOK['id']}")

        assert (answer.status, answer.body) == (204, b"")
        assert "content-type" not in answer.headers

    async def test_text_goes_out_as_it_is(self, serve: Serve, ask: Ask, library: dict[str, Any]) -> None:
        """Where the document has a text: it is judged as any other answer."""
        schema = {"type": "string", "pattern": "^# "}
        library["components"]["responses"]["Text"]["content"] = {"text/plain": {"schema": schema}}
        texts = iter(["# é", "é"])

        async def get_version() -> Any:
            return next(texts)

        app = serve(getVersion=get_version)
        with capture_logs() as logs:
            good, bad = [await ask(app, "GET", "/version") for _ in range(2)]

        assert (good.status, good.body) == (200, "# é".encode())
        assert good.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert (bad.status, bad.json()["code"]) == (500, "FLK-9999")
        [complaints] = [line["complaints"] for line in logs if "complaints" in line]
        assert complaints == ["body: does not have the expected form"]

    @pytest.mark.parametrize(
        ("given", "complaint"),
        [
            ("text", "content-type: is not application/json"),
            ({**BOOK, "id": "x"}, "id: is not a valid uuid"),
            ({"id": BOOK["id"], "name": "Emma"}, "createdAt: is missing"),
            ({**BOOK, "createdAt": "2026-03-17T14:35:00"}, "createdAt: is not a valid date-time"),
            ((BOOK, 299), "body: the document has none"),
            (None, "content-type: is not application/json"),
        ],
    )
    async def test_an_answer_that_does_not_fit_never_goes_out(
        self, serve: Serve, ask: Ask, handler: MakeHandler, library: dict[str, Any], given: Any, complaint: str
    ) -> None:
        """It is logged with all that is wrong, and the caller gets a 500."""
        library["paths"]["/books/{id}"]["get"]["responses"]["299"] = {"description": "Nothing."}

        with capture_logs() as logs:
            answer = await ask(serve(getBook=handler(lambda _: given, "id_")), "GET", f"/books/{BOOK['id']}")

        assert (answer.status, answer.json()["code"]) == (500, "FLK-9999")
        assert logs[0]["event"] == "answer departed from the document"
        assert logs[0]["operation"] == "getBook"
        assert logs[0]["complaints"] == [complaint]

    @pytest.mark.parametrize(
        ("headers", "complaint"),
        [
            ({}, "X-Total: is missing"),
            ({"X-Total": "many"}, "X-Total: does not have the expected form"),
            ({"x-total": "1", "X-Page": "one"}, "X-Page: is not a valid uuid"),
        ],
    )
    async def test_documented_headers_are_judged(
        self, serve: Serve, ask: Ask, handler: MakeHandler, headers: dict[str, str], complaint: str
    ) -> None:
        """As they go out, whatever the case of their names."""

        list_books = handler(lambda _: ([], 200, headers), *LIST_BOOKS)

        with capture_logs() as logs:
            answer = await ask(serve(listBooks=list_books), "GET", "/books")

        assert answer.status == 500
        assert logs[0]["complaints"] == [complaint]

    async def test_an_undocumented_refusal_never_goes_out(self, serve: Serve, ask: Ask) -> None:
        """Every status that an operation answers is in the document, or it is a bug."""

        async def feature_book() -> Any:
            raise WebhookTaken

        with capture_logs() as logs:
            answer = await ask(serve(featureBook=feature_book), "POST", "/books/featured")

        assert answer.status == 500
        assert logs[0]["complaints"] == ["status: 409 is not documented"]

    @pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), "\ud800", object()])
    async def test_what_is_not_json_never_goes_out(self, serve: Serve, ask: Ask, value: Any) -> None:
        """It is a bug as any other."""

        async def get_version() -> Any:
            return {"value": value}

        with capture_logs():
            answer = await ask(serve(getVersion=get_version), "GET", "/version")

        assert (answer.status, answer.json()["code"]) == (500, "FLK-9999")


def _positional(number: int) -> Any:
    return number


async def _surplus(*, id_: str, mood: str) -> Any:
    return id_, mood


async def _without_id() -> Any:
    return None


async def _without_body(*, idempotency_key: str) -> Any:
    return idempotency_key


async def _with_body(*, id_: str, body: Any) -> Any:
    return id_, body


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"getBook": _positional}, "getBook: the handler is not a coroutine function"),
        ({"getBook": _surplus}, "getBook: parameter mood is not documented"),
        ({"getBook": _without_id}, "getBook: parameter id_ is not taken"),
        ({"createBook": _without_body}, "createBook: neither body nor request is taken"),
        ({"getBook": _with_body}, "getBook: body is taken, and the document has none"),
    ],
)
def test_a_handler_that_does_not_fit_stops_the_start(serve: Serve, replaced: dict[str, Any], message: str) -> None:
    """Signatures are looked at once, at start."""
    with pytest.raises(DocumentError, match=message):
        serve(**replaced)
