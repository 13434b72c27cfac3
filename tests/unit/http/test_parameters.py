from decimal import Decimal
from typing import Any

import pytest

from flowker.domain.errors import FlowkerError, InvalidId, InvalidQuery, LimitOutOfRange
from flowker.http.compiler import compile_document
from flowker.http.contract import OperationContract
from flowker.http.parameters import Query, argument_name, parse_cookies


@pytest.fixture(scope="module")
def list_books(loaded_library: dict[str, Any]) -> OperationContract:
    return compile_document(loaded_library)["listBooks"]


def _read(contract: OperationContract, query: str = "", headers: dict[bytes, bytes] | None = None) -> dict[str, Any]:
    return contract.read_parameters({}, query.encode(), headers or {})


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("workflowId", "workflow_id"),
        ("sortBy", "sort_by"),
        ("Idempotency-Key", "idempotency_key"),
        ("X-Webhook-Token", "x_webhook_token"),
        ("X-API-Key", "x_api_key"),
        ("status", "status"),
        ("id", "id_"),
        ("type", "type_"),
        ("from", "from_"),
    ],
)
def test_a_parameter_is_an_argument_in_snake_case(name: str, argument: str) -> None:
    """What would shadow a builtin or is a keyword has an underscore behind it."""
    assert argument_name(name) == argument


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("limit=100", "limit", 100),
        ("", "limit", 10),
        ("price=-0.50", "price", Decimal("-0.50")),
        ("price=1e2", "price", Decimal("1E+2")),
        ("price=12", "price", Decimal(12)),
        ("lent=true", "lent", True),
        ("lent=false", "lent", False),
        ("tag=a", "tag", ["a"]),
        ("tag=a&tag=b%2Cc", "tag", ["a", "b,c"]),
        ("pages=1,2,-3", "pages", [1, 2, -3]),
        ("filter[year]=1816&filter[other]=x", "filter_", {"year": 1816, "other": "x"}),
        ("filter=1&filtering[year]=2", "filter_", None),
        ("near=%7B%22x%22:0.10%7D", "near", {"x": Decimal("0.10")}),
        ("cursor=", "cursor", ""),
        ("cursor=%C3%A9+%2B", "cursor", "é +"),
        ("other=1", "cursor", None),
    ],
)
def test_a_query_parameter_has_its_documented_type(
    list_books: OperationContract, query: str, name: str, value: Any
) -> None:
    """Lists and objects in their styles, numbers exact, the default for what is absent."""
    assert _read(list_books, query)[name] == value


@pytest.mark.parametrize(
    ("query", "name", "reason"),
    [
        ("limit=0", "limit", "must be at least 1"),
        ("limit=1_0", "limit", "does not have the expected form"),
        ("limit=%2B5", "limit", "does not have the expected form"),
        ("limit=%D9%A3", "limit", "does not have the expected form"),
        ("limit=1.0", "limit", "does not have the expected form"),
        ("limit=" + "1" * 5000, "limit", "does not have the expected form"),
        ("limit=", "limit", "does not have the expected form"),
        ("limit=1&limit=1", "limit", "is given more than once"),
        ("price=nan", "price", "does not have the expected form"),
        ("price=1e400", "price", "must be at most 1000"),
        ("price=1e99999999999999999999", "price", "does not have the expected form"),
        ("lent=yes", "lent", "does not have the expected form"),
        ("tag=a&tag=", "tag", "must have at least 1 character"),
        ("tag=a&tag=b&tag=c&tag=d", "tag", "must have at most 3 items"),
        ("pages=1,x", "pages", "does not have the expected form"),
        ("filter[year]=old", "filter", "does not have the expected form"),
        ("near=%7B", "near", "does not have the expected form"),
        ("near=%7B%7D", "near", "does not have the expected form"),
        ("near=%7B%22x%22:NaN%7D", "near", "does not have the expected form"),
        ("sortOrder=UP", "sortOrder", "must be one of: ASC, DESC"),
        ("cursor=" + "x" * 21, "cursor", "must have at most 20 characters"),
        ("cursor=a%00", "cursor", "has the character U+0000"),
        ("tag=a&tag=b%00", "tag", "has the character U+0000"),
        ("filter[year]=%00", "filter", "has the character U+0000"),
    ],
)
def test_a_wrong_query_parameter_is_named_with_what_is_wrong(
    list_books: OperationContract, query: str, name: str, reason: str
) -> None:
    """In our own words, and without its value."""
    with pytest.raises(FlowkerError) as raised:
        _read(list_books, query)

    assert raised.value.fields == {name: reason}


def test_all_wrong_parameters_are_named_under_the_code_of_the_first(list_books: OperationContract) -> None:
    """First in the order of the document, whatever the order in the query."""
    with pytest.raises(LimitOutOfRange) as raised:
        _read(list_books, "price=x&limit=x", {b"x-trace": b"x"})

    assert list(raised.value.fields) == ["limit", "price", "X-Trace"]


def test_a_query_that_is_not_utf_8_is_refused(list_books: OperationContract) -> None:
    """Replacement characters would be another value than the one that was sent."""
    for query in (b"cursor=%ff", b"cursor=\xff"):
        with pytest.raises(InvalidQuery):
            list_books.read_parameters({}, query, {})


def test_headers_and_cookies_are_read(list_books: OperationContract) -> None:
    """By their names in any case, lists in the simple style."""
    values = _read(list_books, headers={b"x-depths": b"1,-2", b"cookie": b"a=b; session=abcd"})

    assert (values["x_depths"], values["session"]) == ([1, -2], "abcd")


@pytest.mark.parametrize(
    ("headers", "name"),
    [({b"x-trace": b"x"}, "X-Trace"), ({b"x-depths": b"1,x"}, "X-Depths"), ({b"cookie": b"session=abc"}, "session")],
)
def test_wrong_headers_and_cookies_are_refused(
    list_books: OperationContract, headers: dict[bytes, bytes], name: str
) -> None:
    """As every parameter."""
    with pytest.raises(FlowkerError) as raised:
        _read(list_books, headers=headers)

    assert list(raised.value.fields) == [name]


def test_a_path_parameter_has_its_documented_type(loaded_library: dict[str, Any]) -> None:
    """Also one with a hyphen, which the pattern of its route cannot have."""
    contracts = compile_document(loaded_library)

    assert contracts["getCopy"].read_parameters({"id": "x", "copy_number": "3"}, b"", {}) == {
        "id_": "x",
        "copy_number": 3,
    }
    with pytest.raises(InvalidId):
        contracts["getBook"].read_parameters({"id": "x"}, b"", {})


def test_a_default_that_can_be_changed_is_not_shared(library: dict[str, Any]) -> None:
    """What one handler does to its list is nobody else's business."""
    parameters = library["paths"]["/books"]["get"]["parameters"]
    parameters.append({"name": "sort", "in": "query", "schema": {"type": "array", "default": ["name"]}})
    contract = compile_document(library)["listBooks"]

    _read(contract)["sort"].append("price")

    assert _read(contract)["sort"] == ["name"]


def test_a_query_keeps_all_of_its_pairs() -> None:
    """The first value of a name for parameters, every pair for webhooks."""
    query = Query(b"a=1&b=2&a=3&c")

    assert query == {"a": "1", "b": "2", "c": ""}
    assert query.pairs == [("a", "1"), ("b", "2"), ("a", "3"), ("c", "")]
    assert query.all("a") == ["1", "3"]


def test_no_cookie_header_is_no_cookies() -> None:
    """The usual case."""
    assert parse_cookies({}) == {}
