from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from flowker.domain.errors import FlowkerError, InvalidRequest, NameTooLong
from flowker.http.compiler import compile_document
from flowker.http.contract import THOROUGH_BYTES_MAX, Body, OperationContract, is_json
from flowker.http.document import load


@pytest.fixture(scope="module")
def contracts(loaded_library: dict[str, Any]) -> dict[str, OperationContract]:
    return compile_document(loaded_library)


@pytest.fixture
def book(contracts: dict[str, OperationContract]) -> Body:
    body = contracts["createBook"].body
    assert body is not None
    return body


@pytest.fixture
def hook(contracts: dict[str, OperationContract]) -> Body:
    body = contracts["callHook"].body
    assert body is not None
    return body


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"Application/JSON",
        b"application/json; charset=utf-8",
        b'application/json;charset="UTF-8"',
        b"application/json; charset",
        b"application/json;",
        b"application/json; ;=;",
        b"application/json; version=1; charset=us-ascii",
    ],
)
def test_json_is_recognised(hook: Body, content_type: bytes) -> None:
    """With any parameters that do not contradict it; openapi-core stumbles over those without a value."""
    assert hook.read(b"{}", content_type) == {}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        b"",
        b"text/plain",
        b"application/jsonx",
        b"application/problem+json",
        b"application/*",
        b"*/*",
        b"application/json; charset=utf-16",
        b"\xff",
    ],
)
def test_another_content_type_is_refused(hook: Body, content_type: bytes | None) -> None:
    """A missing one too: nobody guesses what a body is."""
    assert not is_json(content_type)
    with pytest.raises(InvalidRequest, match="content type"):
        hook.read(b"{}", content_type)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b'{"a":"b\\u0000"}', {"a": "has the character U+0000"}),
        (b'{"a":[0,{"b":"\\u0000"}]}', {"a[1].b": "has the character U+0000"}),
        (b'{"a":{"\\u0000b":1}}', {"a": "has a name with the character U+0000"}),
        (b'{"\\u0000":1}', {"body": "has a name with the character U+0000"}),
    ],
)
def test_a_character_that_not_every_store_has_room_for_is_refused(
    hook: Body, body: bytes, fields: dict[str, str]
) -> None:
    """Where it is, on every database alike."""
    with pytest.raises(InvalidRequest) as refused:
        hook.read(body, b"application/json")

    assert refused.value.fields == fields


def test_text_that_only_speaks_of_that_character_is_kept(hook: Body) -> None:
    """A backslash before it makes it six letters."""
    assert hook.read(b'{"a":"\\\\u0000"}', b"application/json") == {"a": "\\u0000"}


def test_an_input_of_an_execution_may_be_any_text() -> None:
    """It is not ours; it is stored as JSON, which writes that character in letters."""
    contracts = compile_document(load(Path(__file__).parents[3] / "openapi" / "flowker.yaml"))
    data = b'{"inputData":{"\\u0000":"\\u0000"}}'

    bodies = [contract.body for contract in contracts.values() if contract.body and contract.body._any_text]
    read = [body.read(data, b"application/json") for body in bodies]

    assert read == [{"inputData": {"\0": "\0"}}] * 6


def test_an_answer_of_many_operations_is_compiled_once() -> None:
    """Most of a document's answers are the same few refusals; each object takes its time and its room."""
    contracts = compile_document(load(Path(__file__).parents[3] / "openapi" / "flowker.yaml"))

    answers = [response for contract in contracts.values() for response in contract.responses.values()]

    assert (len(answers) > 350, len(set(map(id, answers))) < 150) == (True, True)
    assert contracts["getWorkflow"].responses[500] is contracts["deleteWorkflow"].responses[500]


def test_any_number_that_json_can_write_is_kept(hook: Body) -> None:
    """1e400 is infinite to a float, and the long integer is another one to orjson."""
    value = hook.read(b'{"a":1e400,"b":123456789012345678901234567890,"c":0.10}', b"application/json")

    assert [str(number) for number in value.values()] == ["1E+400", "123456789012345678901234567890", "0.10"]


def test_complaints_about_an_answer_are_bounded(contracts: dict[str, OperationContract]) -> None:
    """A list of a thousand wrong books is one mistake."""
    headers = [(b"content-type", b"application/json"), (b"x-total", b"1")]

    for count, named in ((2, 2), (1000, 20), (50_000, 1)):
        assert len(contracts["listBooks"].complaints(200, headers, b"[" + b"1," * (count - 1) + b"1]")) == named


@pytest.mark.parametrize(
    ("headers", "body", "complaint"),
    [
        ([(b"content-type", b"text/plain")], b"{}", "content-type: is not application/json"),
        ([(b"content-type", b"application/json")], b"{", "body: is not JSON"),
        ([(b"content-type", b"application/json")], b"", "body: is not JSON"),
        ([(b"content-type", b"application/json")], b'{"a":NaN}', "body: is not JSON"),
        ([(b"content-type", b"application/json")], b"[]", "body: must be an object"),
    ],
)
def test_an_answer_is_judged_on_its_bytes(
    contracts: dict[str, OperationContract], headers: list[tuple[bytes, bytes]], body: bytes, complaint: str
) -> None:
    """Not on the value that they were made from."""
    assert contracts["getVersion"].complaints(200, headers, body) == [complaint]


@pytest.mark.parametrize(
    ("headers", "body", "complaints"),
    [
        ([(b"content-type", b"text/plain; version=0.0.4")], b"# x", []),
        ([(b"content-type", b"application/json")], b'"# x"', ["content-type: is not text/plain"]),
        ([(b"content-type", b"text/plain")], b"# \xff", ["body: is not UTF-8"]),
        ([(b"content-type", b"text/plain")], b"x", ["body: does not have the expected form"]),
    ],
)
def test_a_text_is_judged_on_its_bytes(
    loaded_library: dict[str, Any], headers: list[tuple[bytes, bytes]], body: bytes, complaints: list[str]
) -> None:
    """In the same way, as one string."""
    library = deepcopy(loaded_library)
    schema = {"type": "string", "pattern": "^# "}
    library["components"]["responses"]["Text"]["content"] = {"text/plain": {"schema": schema}}
    get_version = compile_document(library)["getVersion"]

    assert get_version.complaints(200, headers, body) == complaints


def test_an_empty_body_is_absent(hook: Body, book: Body) -> None:
    """Where it is optional; where it is required it is missing."""
    assert hook.read(b"", None) is None
    with pytest.raises(InvalidRequest) as raised:
        book.read(b"", b"application/json")
    assert raised.value.fields == {"body": "is missing"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "it is not JSON"),
        (b'{"a":"\xff"}', "it is not UTF-8"),
        (b'{"a":1,"a":1}', "an object has the same key twice"),
        (b'{"a":NaN}', "NaN and Infinity are not JSON"),
        (b'{"a":"\\ud800"}', "a string has half of a surrogate pair"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "it is nested over 64 levels"),
        (b"[" * 100_000, "it is nested too deeply"),
        ('{"a":1}'.encode("utf-16"), "it is not UTF-8"),
        (b"\xef\xbb\xbf{}", "it is not JSON"),
    ],
)
def test_text_that_is_no_acceptable_json_is_refused_with_the_reason(hook: Body, data: bytes, reason: str) -> None:
    """All of it passes Python's json, openapi-core, or both, or makes them crash."""
    with pytest.raises(InvalidRequest) as raised:
        hook.read(data, b"application/json")

    assert raised.value.fields == {"body": reason}


@pytest.mark.parametrize("data", [b"null", b"[]", b"3", b'"text"'])
def test_a_body_of_another_type_is_refused(hook: Body, data: bytes) -> None:
    """null is a body, not none."""
    with pytest.raises(InvalidRequest) as raised:
        hook.read(data, b"application/json")

    assert raised.value.fields == {"body": "must be an object"}


def test_a_body_that_does_not_fit_names_everything_that_is_wrong(book: Body) -> None:
    """The code is the first one's, the outermost before the inner ones."""
    data = b'{"name":"01234567890","chapters":[{"id":"1","pages":0},{"id":""},7]}'

    with pytest.raises(NameTooLong) as raised:
        book.read(data, b"application/json")

    assert raised.value.fields == {
        "name": "must have at most 10 characters",
        "chapters[2]": "must be an object",
        "chapters[0].pages": "must be at least 1",
        "chapters[1].id": "must have at least 1 character",
    }


def test_a_huge_body_names_only_the_first_thing(book: Body) -> None:
    """Half a million violations would take seconds to find, and nobody reads them."""
    data = b'{"chapters":[' + b"7," * THOROUGH_BYTES_MAX + b"7]}"

    with pytest.raises(FlowkerError) as raised:
        book.read(data, b"application/json")

    assert len(raised.value.fields) == 1


def test_a_discriminated_body_is_judged_by_the_schema_that_it_names(contracts: dict[str, OperationContract]) -> None:
    """To JSON Schema alone a cat with tricks would also be a dog."""
    animal = contracts["createAnimal"].body
    assert animal is not None

    assert animal.read(b'{"kind":"cat","tricks":3,"weight":1.5}', b"application/json")
    with pytest.raises(InvalidRequest) as raised:
        animal.read(b'{"kind":"dog","tricks":3}', b"application/json")
    assert raised.value.fields == {"tricks": "must be an array"}
