import http
import json

import pytest

from flowker.domain import errors
from flowker.domain.errors import FlowkerError
from flowker.http.errors import STATUS, TITLES, classes_by_code, render


def test_every_refusal_has_a_status() -> None:
    """The table is the only one: a class that is not in it could not be answered."""
    missing = {kind.__name__ for kind in classes_by_code().values() if kind.__module__.startswith("flowker.")}

    assert missing == {kind.__name__ for kind in STATUS}


def test_codes_are_unique() -> None:
    """One class is one code."""
    assert len(classes_by_code()) == len(STATUS)


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
def test_a_refusal_is_rendered_in_the_one_shape(kind: type[FlowkerError]) -> None:
    """Code, title and message, nothing else, and all of them text."""
    reply = render(kind())

    assert reply.status == STATUS[kind]
    assert json.loads(reply.body) == {"code": kind.code, "title": TITLES[reply.status], "message": kind.message}
    assert (b"content-length", b"%d" % len(reply.body)) in reply.headers


def test_message_fields_and_headers_are_rendered() -> None:
    """What the raiser knows better than the class."""
    reply = render(errors.InternalError("Busy.", fields={"a[0].b": "is missing"}, headers={"Retry-After": "1"}))

    assert json.loads(reply.body)["message"] == "Busy."
    assert json.loads(reply.body)["fields"] == {"a[0].b": "is missing"}
    assert (b"retry-after", b"1") in reply.headers


def test_fields_are_rendered_beside_the_usual_message() -> None:
    """The prepared body of a class is for refusals without fields only."""
    reply = render(errors.MissingField(fields={"name": "is missing"}))

    assert json.loads(reply.body) == {
        "code": "FLK-0301",
        "title": "Bad Request",
        "message": errors.MissingField.message,
        "fields": {"name": "is missing"},
    }


@pytest.mark.parametrize("kind", [errors.InputTooLarge, errors.WebhookBodyTooLarge])
def test_too_much_closes_the_connection(kind: type[FlowkerError]) -> None:
    """Nothing more is read from it, so it cannot carry another request."""
    assert (b"connection", b"close") in render(kind()).headers


def test_titles_are_the_phrases_of_their_statuses() -> None:
    """As RFC 7231 has them, whatever the Python version calls 413 and 422."""
    renamed = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}

    assert {status: renamed.get(status, http.HTTPStatus(status).phrase) for status in TITLES} == TITLES
