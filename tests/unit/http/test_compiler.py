from collections.abc import Callable
from typing import Any

import pytest

from flowker.domain.errors import InvalidQuery, InvalidRequest, LimitOutOfRange
from flowker.http.compiler import compile_document
from flowker.http.contract import DocumentError

Document = dict[str, Any]


def test_every_operation_has_a_contract(library: Document) -> None:
    """By its operationId, with the method and path that it has in the document."""
    contracts = compile_document(library)

    assert len(contracts) == 10
    assert (contracts["getCopy"].method, contracts["getCopy"].path) == ("GET", "/books/{id}/copies/{copy-number}")


def test_an_operation_without_a_name_stops_the_start(library: Document) -> None:
    """Nothing could be bound to it."""
    del library["paths"]["/version"]["get"]["operationId"]

    with pytest.raises(DocumentError, match="GET /version has no operationId"):
        compile_document(library)


def test_a_parameter_of_an_operation_replaces_its_paths(library: Document) -> None:
    """As OpenAPI says, by name and location; the others of the path stay."""
    path = library["paths"]["/books/{id}"]
    path["parameters"].append({"name": "verbose", "in": "query", "schema": {"type": "boolean"}})
    path["get"]["parameters"] = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]

    parameters = compile_document(library)["getBook"].parameters

    assert [(parameter.name, parameter.refusal) for parameter in parameters] == [
        ("id", InvalidRequest),
        ("verbose", InvalidQuery),
    ]


def test_x_code_names_the_refusal_of_a_parameter(library: Document) -> None:
    """Without it a query parameter has one code and all others another."""
    refusals = {parameter.name: parameter.refusal for parameter in compile_document(library)["listBooks"].parameters}

    assert refusals["limit"] is LimitOutOfRange
    assert refusals["price"] is InvalidQuery
    assert refusals["X-Trace"] is InvalidRequest


def test_a_key_is_needed_where_the_document_says_so(library: Document) -> None:
    """From the operation, else from the document; an empty alternative makes it optional."""
    library["paths"]["/books/featured"]["post"]["security"] = [{"ApiKeyAuth": []}, {}]

    contracts = compile_document(library)

    assert contracts["getBook"].needs_key
    assert not contracts["getVersion"].needs_key
    assert not contracts["featureBook"].needs_key


def test_no_security_at_all_is_public(library: Document) -> None:
    """A document without security has open operations only."""
    del library["security"]

    assert not compile_document(library)["getBook"].needs_key


def test_the_default_status_is_the_lowest_success(library: Document) -> None:
    """What a handler answers with when it only gives a body."""
    library["paths"]["/version"]["get"]["responses"] = {
        "500": {"description": ""},
        "202": {"description": ""},
        "201": {"description": ""},
    }

    assert compile_document(library)["getVersion"].default_status == 201


def test_ranges_and_the_default_are_spelled_out(library: Document) -> None:
    """The exact status before its range, the range before the default."""
    library["paths"]["/books/{id}"]["get"]["responses"]["default"] = {"description": "Anything else."}

    responses = compile_document(library)["getBook"].responses

    assert responses[404] is responses[418]
    assert responses[503] is responses[302]
    assert responses[404] is not responses[503]
    assert responses[200] not in {responses[404], responses[503]}


def test_without_a_default_other_statuses_stay_undocumented(library: Document) -> None:
    """A range is a hundred of them and no more."""
    library["paths"]["/version"]["get"]["responses"] = {"2XX": {"description": ""}}

    responses = compile_document(library)["getVersion"].responses

    assert sorted(responses) == list(range(200, 300))


def _other_scheme(document: Document) -> None:
    document["components"]["securitySchemes"]["ApiKeyAuth"] = {"type": "http", "scheme": "bearer"}


def _unknown_code(document: Document) -> None:
    document["paths"]["/books"]["get"]["parameters"][0]["x-code"] = "FLK-7777"


def _unknown_body_code(document: Document) -> None:
    document["components"]["schemas"]["BookInput"]["properties"]["name"]["x-codes"] = {"required": "FLK-7778"}


def _unasserted_format(document: Document) -> None:
    document["components"]["schemas"]["Cat"]["properties"]["lives"]["format"] = "int64"


def _other_body(document: Document) -> None:
    document["paths"]["/animals"]["post"]["requestBody"]["content"]["text/plain"] = {}


def _other_answer(document: Document) -> None:
    document["components"]["responses"]["Text"]["content"] = {"text/html": {}}


def _two_answers(document: Document) -> None:
    document["components"]["responses"]["Text"]["content"]["text/plain"] = {}


def _other_style(document: Document) -> None:
    document["paths"]["/books/{id}"]["parameters"][0]["style"] = "matrix"


def _wrong_default(document: Document) -> None:
    document["paths"]["/books"]["get"]["parameters"][0]["schema"]["default"] = 101


def _same_argument(document: Document) -> None:
    parameters = document["paths"]["/books"]["get"]["parameters"]
    parameters.append({"name": "sort-order", "in": "header", "schema": {"type": "string"}})


def _argument_body(document: Document) -> None:
    parameters = document["paths"]["/books"]["get"]["parameters"]
    parameters.append({"name": "Body", "in": "header", "schema": {"type": "string"}})


def _backtracking_pattern(document: Document) -> None:
    document["components"]["schemas"]["Id"]["pattern"] = "(?<=a)b"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_other_scheme, "ApiKeyAuth is not an API key in the header X-API-Key"),
        (_unknown_code, "FLK-7777: no error has this code"),
        (_unknown_body_code, "FLK-7778: no error has this code"),
        (_unasserted_format, "format int64: nothing asserts it"),
        (_other_body, "createAnimal: a body can only be application/json"),
        (_other_answer, "getVersion: an answer can only be one of application/json, text/plain"),
        (_two_answers, "getVersion: an answer can only be one of application/json, text/plain"),
        (_other_style, "parameter id: its style is not supported in path"),
        (_wrong_default, "parameter limit: its default does not fit its schema"),
        (_same_argument, "listBooks: two parameters would be the same argument"),
        (_argument_body, "listBooks: two parameters would be the same argument, or body"),
        (_backtracking_pattern, "A schema cannot be compiled"),
    ],
)
def test_what_this_service_does_not_do_stops_the_start(
    library: Document, spoil: Callable[[Document], None], message: str
) -> None:
    """Nothing in the document is silently left out."""
    spoil(library)

    with pytest.raises(DocumentError, match=message):
        compile_document(library)
