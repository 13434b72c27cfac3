"""The compiled contract beside stock openapi-core: thousands of random requests and answers, one verdict.

Stock openapi-core is the oracle. Where the two may differ stands below as data, each difference with its reason; any
other one fails. The random numbers are seeded with the operation's name, so a failure comes back.
"""

import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.templating.media_types.exceptions import MediaTypeFinderError
from openapi_core.validation.request.exceptions import ParameterValidationError, SecurityValidationError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from flowker.domain.errors import FlowkerError
from flowker.http.compiler import compile_document
from flowker.http.contract import OperationContract, is_json
from flowker.http.document import load

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    "library": ROOT / "tests" / "unit" / "http" / "library.yaml",
    "flowker": ROOT / "openapi" / "flowker.yaml",
}
REQUESTS_PER_OPERATION = 200
ANSWERS_PER_OPERATION = 100
HOST = "https://host.example"

UUID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
TEXTS = ["", " ", "a", "é", "x" * 9, "y" * 600, UUID, UUID.upper(), UUID[:-1], UUID.replace("-", ""), "true", "a\nb"]
TEXTS += ["2026-03-17T14:35:00Z", "2026-03-17T14:35:00.000001+01:00", "2026-02-30T00:00:00Z", "2026-03-17 14:35:00Z"]
TEXTS += ["2026-03-17", "2026-03-17T14:35:00", "2026-03-17t14:35:00z", "2026-03-17T24:00:00Z", "2026-12-31T23:59:60Z"]
PARAMETER_TEXTS = [
    "1_0",
    "+5",
    " 5",
    "007",
    "nan",
    "1e2",
    "1.50",
    ".5",
    "5.",
    "yes",
    "True",
    "-0",
    "1,2",
    "a,b",
    "null",
]
NUMBERS = [0, -1, 1, 2, 100, 101, 10**30, 0.5, 0.07, 0.075, 1.0, 99.99, 99.995, 1e300, -0.0]
JUNK = [None, True, "text", 3, 2.5, [], {}, [1], {"x": 1}]
CONTENT_TYPES = ["application/json"] * 12 + [
    None,
    "text/plain",
    "Application/JSON",
    "application/json; charset=utf-8",
    'application/json;charset="UTF-8"',
    "application/json; charset=utf-16",
    "application/json; charset",
    "application/jsonx",
    "application/*",
]
RAW_BODIES = [
    b"",
    b"{",
    b"null",
    b"NaN",
    b"[1e400]",
    b'{"a":NaN}',
    b'{"a":1,"a":2}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\u0000"}',
    b'{"a":"\xff"}',
    b'{"a":1e400}',
    '{"a":1}'.encode("utf-16"),
    b'{"a":' + b"[" * 70 + b"]" * 70 + b"}",
    b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
]


@dataclass
class Probe:
    """A request as both sides get it."""

    path: dict[str, str] = field(default_factory=dict)
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    body: bytes = b""

    def values(self) -> list[str]:
        return [
            *self.path.values(),
            *self.headers.values(),
            *self.cookies.values(),
            *(value for _, value in self.query),
        ]


@dataclass(frozen=True)
class Difference:
    reason: str
    ours: str
    stock: str
    """Verdicts, as regular expressions."""
    applies: Callable[[Probe], bool]
    operation: str
    example: Probe
    """A request to the small document that shows the difference."""


def some_value(pattern: str) -> Callable[[Probe], bool]:
    compiled = re.compile(pattern)
    return lambda probe: any(compiled.fullmatch(part) for value in probe.values() for part in value.split(","))


def body_has(pattern: bytes) -> Callable[[Probe], bool]:
    return lambda probe: re.search(pattern, probe.body, re.DOTALL) is not None


def repeats_a_name(probe: Probe) -> bool:
    return len({name for name, _ in probe.query}) != len(probe.query)


def hook(body: bytes, content_type: str = "application/json") -> Probe:
    return Probe(path={"path": "a"}, content_type=content_type, body=body)


DIFFERENCES = {
    "lenient numbers": Difference(
        "A number in a parameter is a number as JSON writes it. int() and float() also take 1_0, +5, 007 and nan.",
        ours="parameters",
        stock="ok|body|media type",
        applies=some_value(r"[+ ].*|-?0\d+|.*_.*|nan|\.5|5\."),
        operation="listBooks",
        example=Probe(query=[("limit", "1_0")]),
    ),
    "lenient booleans": Difference(
        "A boolean in a parameter is true or false. openapi-core also takes yes, on, 1 and any capitals.",
        ours="parameters",
        stock="ok|body|media type",
        applies=some_value("yes|True|0|1"),
        operation="listBooks",
        example=Probe(query=[("lent", "yes")]),
    ),
    "repeated parameter": Difference(
        "A parameter that is no list and comes twice is refused: two layers could each choose another value.",
        ours="parameters",
        stock="ok|body|media type",
        applies=repeats_a_name,
        operation="listBooks",
        example=Probe(query=[("limit", "1"), ("limit", "2")]),
    ),
    "empty parameter": Difference(
        "Text may be empty where its schema lets it be. openapi-core wants allowEmptyValue, which it deprecates.",
        ours="ok|body|media type",
        stock="parameters",
        applies=lambda probe: any(not value for _, value in probe.query),
        operation="listBooks",
        example=Probe(query=[("cursor", "")]),
    ),
    "NaN": Difference(
        "NaN and Infinity are no JSON (RFC 8259, section 6); Python's json takes them.",
        ours="body",
        stock="ok",
        applies=body_has(rb"NaN|Infinity"),
        operation="callHook",
        example=hook(b'{"a":NaN}'),
    ),
    "duplicate keys": Difference(
        "The same key twice is refused (RFC 7493, section 2.3): two readers could each see another value.",
        ours="body",
        stock="ok",
        applies=body_has(rb'"a":1,"a":2'),
        operation="callHook",
        example=hook(b'{"a":1,"a":2}'),
    ),
    "lone surrogates": Difference(
        "Half of a surrogate pair cannot be written as UTF-8 again (RFC 7493, section 2.1).",
        ours="body",
        stock="ok",
        applies=body_has(rb"ud800"),
        operation="callHook",
        example=hook(b'{"a":"\\ud800"}'),
    ),
    "U+0000": Difference(
        "Not every store has room for it; only inputs of executions may hold it (`x-any-text`).",
        ours="body",
        stock="ok",
        applies=body_has(rb"u0000"),
        operation="callHook",
        example=hook(b'{"a":"\\u0000"}'),
    ),
    "other encodings": Difference(
        "JSON between systems is UTF-8 (RFC 8259, section 8.1). Python's json guesses UTF-16 and UTF-32.",
        ours="body",
        stock="ok",
        applies=body_has(rb"\xff\xfe"),
        operation="callHook",
        example=hook('{"a":1}'.encode("utf-16")),
    ),
    "depth": Difference(
        "Nesting over 64 levels is refused before anything can run out of stack on it.",
        ours="body",
        stock="ok",
        applies=body_has(rb"\[{70}"),
        operation="callHook",
        example=hook(b'{"a":' + b"[" * 70 + b"]" * 70 + b"}"),
    ),
    "stack overflow": Difference(
        "openapi-core lets a RecursionError out.",
        ours=".*",
        stock="crash: RecursionError",
        applies=body_has(rb"\[{2000}"),
        operation="callHook",
        example=hook(b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"),
    ),
    "charset": Difference(
        "JSON has no charset; one that says that the text is not UTF-8 is refused instead of ignored.",
        ours="media type",
        stock="ok|body|crash: RecursionError",
        applies=lambda probe: probe.content_type == "application/json; charset=utf-16",
        operation="callHook",
        example=hook(b"{}", "application/json; charset=utf-16"),
    ),
    "malformed media type": Difference(
        "openapi-core lets a ValueError out for a media type parameter without a value; it means nothing to JSON.",
        ours=".*",
        stock="crash: ValueError",
        applies=lambda probe: probe.content_type == "application/json; charset",
        operation="callHook",
        example=hook(b"{}", "application/json; charset"),
    ),
}


@dataclass(frozen=True)
class AnswerDifference:
    reason: str
    ours: str
    applies: Callable[[int, Mapping[str, str], bytes], bool]


ANSWER_DIFFERENCES = (
    AnswerDifference(
        "RFC 3339 has leap seconds; the validator that openapi-core uses does not.",
        ours="ok",
        applies=lambda _status, _headers, body: b":59:60" in body,
    ),
    AnswerDifference(
        "Where the document has no body none may go out; openapi-core does not look.",
        ours="misfit",
        applies=lambda status, _headers, body: status == 204 and body != b"",
    ),
    AnswerDifference(
        "A number in a header is a number as JSON writes it, as in parameters.",
        ours="misfit",
        applies=lambda _status, headers, _body: any(
            re.fullmatch(r"[+ ].*|-?0\d+|.*_.*", value) for value in headers.values()
        ),
    ),
)


class StockRequest:
    """The probe in the shape of openapi-core's request protocol."""

    host_url = HOST

    def __init__(self, probe: Probe, contract: OperationContract) -> None:
        self.path = self.path_pattern = contract.path
        self.method = contract.method.lower()
        self.body = probe.body
        self.content_type = probe.content_type or "application/octet-stream"
        self.parameters = RequestParameters(
            path=probe.path,
            query=ImmutableMultiDict(probe.query),
            header=Headers({**probe.headers, "X-API-Key": "any"}),
            cookie=ImmutableMultiDict(probe.cookies),
        )


@dataclass
class StockResponse:
    status_code: int
    headers: Headers
    data: bytes
    content_type: str


class Generator:
    """Random requests and answers for one operation: mostly right, often nearly right, sometimes junk."""

    def __init__(self, name: str, contract: OperationContract) -> None:
        self._document = document(name)
        self._random = random.Random(contract.operation_id)  # noqa: S311 (nothing here is secret)
        self._heat = 0.0
        path = self._document["paths"][contract.path]
        self._operation = path[contract.method.lower()]
        owners = [*self._operation.get("parameters", ()), *path.get("parameters", ())]
        described = [self._resolved(parameter) for parameter in owners]
        self._parameters = {(each["in"], each["name"]): each for each in reversed(described)}

    def request(self) -> Probe:
        probe = Probe()
        # At most one part of the request is made wrong on purpose: a second fault would hide behind the first.
        faulty = self._random.choice([*self._parameters, "body", None])
        for (location, name), parameter in self._parameters.items():
            self._heat = 3.0 if faulty == (location, name) else 0.0
            if location != "path" and self._chance(0.05 * self._heat if parameter.get("required") else 0.3):
                continue
            self._add_parameter(probe, location, name, parameter)
        self._heat = self._random.choice([0.5, 1, 3]) if faulty == "body" else 0.0
        if "requestBody" in self._operation:
            self._add_body(probe)
        return probe

    def answer(self) -> tuple[int, dict[str, str], bytes, str]:
        self._heat = self._random.choice([0.0, 0.5, 1.0])
        documented = list(self._operation["responses"])
        status = self._random.choice([*documented, "299", "599"])
        described = self._resolved(self._operation["responses"].get(status, {}))
        status = status.replace("XX", "18").replace("default", "503")
        headers = {}
        for name, header in described.get("headers", {}).items():
            if not self._chance(0.15 * self._heat):
                value = self._value(self._resolved(header)["schema"])
                text = self._random.choice(PARAMETER_TEXTS) if self._chance(0.2 * self._heat) else _text(value)
                headers[name] = text.replace("\n", " ")
        if "content" not in described:
            return int(status), headers, b"{}" if self._chance(0.1 * self._heat) else b"", "application/json"
        [media_type] = described["content"]
        value = self._value(described["content"][media_type]["schema"])
        spoilt = self._chance(0.1 * self._heat)
        text = str(value) if media_type == "text/plain" else json.dumps(value)
        body = self._random.choice([b"", b"{", b"nope"]) if spoilt else text.encode("utf-8", "replace")
        others = {"text/plain": "application/json", "application/json": "text/plain"}
        content_type = others[media_type] if self._chance(0.05 * self._heat) else media_type
        return int(status), headers, body, content_type

    def _add_parameter(self, probe: Probe, location: str, name: str, parameter: Mapping[str, Any]) -> None:
        if "content" in parameter:
            value = self._value(parameter["content"]["application/json"]["schema"])
            probe.query.append((name, "{" if self._chance(0.1 * self._heat) else json.dumps(value)))
            return
        value = self._value(parameter["schema"])
        if parameter.get("style") == "deepObject":
            members = value.items() if isinstance(value, dict) else ()
            probe.query += [(f"{name}[{member}]", _text(inner)) for member, inner in members]
            return
        if self._chance(0.2 * self._heat):
            value = self._random.choice(PARAMETER_TEXTS)
        if location == "query" and isinstance(value, list) and parameter.get("explode", True):
            probe.query += [(name, _text(item)) for item in value]
        elif location == "query":
            probe.query += [(name, _text(value))] * (2 if self._chance(0.03 * self._heat) else 1)
        else:
            text = _text(value).encode("latin-1", "replace").decode("latin-1").replace("\n", " ")
            {"path": probe.path, "header": probe.headers, "cookie": probe.cookies}[location][name] = text

    def _add_body(self, probe: Probe) -> None:
        probe.content_type = self._random.choice(CONTENT_TYPES) if self._heat else CONTENT_TYPES[0]
        if self._chance(0.2 * self._heat):
            probe.body = self._random.choice(RAW_BODIES)
            return
        schema = self._resolved(self._operation["requestBody"])["content"]["application/json"]["schema"]
        probe.body = json.dumps(self._value(schema), ensure_ascii=self._chance(0.5)).encode()

    def _value(self, schema: Any, depth: int = 0) -> Any:
        if self._chance(0.03 * self._heat):
            return self._random.choice(JUNK)
        schema = self._resolved(schema)
        for choice in ("oneOf", "anyOf"):
            if choice in schema:
                return self._value(self._random.choice(schema[choice]), depth)
        if "enum" in schema and not self._chance(0.05 * self._heat):
            return self._random.choice(schema["enum"])
        kind = schema.get("type", "object")
        kind = self._random.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            most = schema.get("maxItems", 3) if depth < 4 else 0
            count = self._random.randint(0, min(most, 4) + (1 if self._heat else 0))
            return [self._value(schema.get("items", {}), depth + 1) for _ in range(count)]
        return self._scalar(kind, schema)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        members = {}
        for name, inner in schema.get("properties", {}).items():
            left_out = 0.03 * self._heat if name in schema.get("required", ()) else 0.5
            if not self._chance(left_out):
                members[name] = self._value(inner, depth + 1)
        mapping = schema.get("discriminator", {}).get("mapping")
        if mapping and not self._chance(0.1 * self._heat):
            members[schema["discriminator"]["propertyName"]] = self._random.choice(list(mapping))
        if self._chance(0.08 * self._heat):
            members["unexpected"] = self._random.choice(JUNK)
        return members

    def _scalar(self, kind: str, schema: Mapping[str, Any]) -> Any:
        if kind == "boolean":
            return self._chance(0.5)
        if kind == "null":
            return None
        if kind in {"integer", "number"}:
            edges = [schema[edge] for edge in ("minimum", "maximum", "default") if edge in schema]
            return self._random.choice([*edges, *edges, *NUMBERS] if self._heat else [*edges, 2])
        edges = ["z" * schema[edge] for edge in ("minLength", "maxLength") if edge in schema]
        usual = {"uuid": UUID, "date-time": "2026-03-17T14:35:00.000000Z"}.get(schema.get("format", ""), "text")
        if not self._heat:
            return usual
        edges += ["z" * (schema["maxLength"] + 1)] if "maxLength" in schema else []
        return self._random.choice([usual] * 12 + edges * 2 + TEXTS)

    def _resolved(self, node: Any) -> Any:
        while isinstance(node, Mapping) and "$ref" in node:
            reference = node["$ref"]
            siblings = {key: value for key, value in node.items() if key != "$ref"}
            node = self._document
            for step in reference.split("/")[1:]:
                node = node[step]
            node = {**node, **siblings}
        return node

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability


@cache
def document(name: str) -> dict[str, Any]:
    return {**load(DOCUMENTS[name]), "servers": [{"url": HOST}]}


@cache
def contracts(name: str) -> dict[str, OperationContract]:
    return compile_document(document(name))


@cache
def stock(name: str) -> OpenAPI:
    return OpenAPI.from_dict(document(name))


def operations() -> list[Any]:
    return [
        pytest.param(name, operation_id, id=f"{name}-{operation_id}")
        for name, path in DOCUMENTS.items()
        if path.exists()
        for operation_id in contracts(name)
    ]


def our_verdict(contract: OperationContract, probe: Probe) -> str:
    headers = {name.lower().encode(): value.encode("latin-1") for name, value in probe.headers.items()}
    if probe.cookies:
        headers[b"cookie"] = "; ".join(f"{name}={value}" for name, value in probe.cookies.items()).encode("latin-1")
    path = {name.replace("-", "_"): value for name, value in probe.path.items()}
    content_type = None if probe.content_type is None else probe.content_type.encode()
    try:
        contract.read_parameters(path, urlencode(probe.query).encode(), headers)
    except FlowkerError:
        return "parameters"
    if contract.body is None:
        return "ok"
    if probe.body and not is_json(content_type):
        return "media type"
    try:
        contract.body.read(probe.body, content_type)
    except FlowkerError:
        return "body"
    return "ok"


def stock_verdict(openapi: OpenAPI, request: StockRequest) -> str:
    found = set()
    try:
        for error in openapi.iter_request_errors(request):
            if isinstance(error, SecurityValidationError):
                found.add("security")
            elif isinstance(error, ParameterValidationError):
                found.add("parameters")
            elif isinstance(error.__cause__, MediaTypeFinderError):
                found.add("media type")
            else:
                found.add("body")
    except Exception as error:  # noqa: BLE001 (whatever stock openapi-core cannot cope with is a verdict too)
        return f"crash: {type(error).__name__}"
    return next((kind for kind in ("security", "parameters", "media type", "body") if kind in found), "ok")


def stock_answer_verdict(openapi: OpenAPI, contract: OperationContract, response: StockResponse) -> str:
    request = StockRequest(Probe(path={"id": UUID, "path": "a", "copy-number": "1"}), contract)
    return "misfit" if list(openapi.iter_response_errors(request, response)) else "ok"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    return json.dumps(value)


@pytest.mark.parametrize(("name", "operation_id"), operations())
def test_requests_get_the_verdict_of_stock_openapi_core(name: str, operation_id: str) -> None:
    """Every random request is refused for the same kind of reason, or accepted, by both."""
    contract = contracts(name)[operation_id]
    generator = Generator(name, contract)

    unexplained = []
    for _ in range(REQUESTS_PER_OPERATION):
        probe = generator.request()
        ours = our_verdict(contract, probe)
        theirs = stock_verdict(stock(name), StockRequest(probe, contract))
        if ours != theirs and not _explained(probe, ours, theirs):
            unexplained.append((ours, theirs, probe))

    assert unexplained == []


@pytest.mark.parametrize(("name", "operation_id"), operations())
def test_answers_get_the_verdict_of_stock_openapi_core(name: str, operation_id: str) -> None:
    """Every random answer fits the document for both, or for neither."""
    contract = contracts(name)[operation_id]
    generator = Generator(name, contract)

    unexplained = []
    for _ in range(ANSWERS_PER_OPERATION):
        status, headers, body, content_type = generator.answer()
        sent = [(key.lower().encode(), value.encode("latin-1", "replace")) for key, value in headers.items()]
        sent.append((b"content-type", content_type.encode()))
        ours = "misfit" if contract.complaints(status, sent, body) else "ok"
        response = StockResponse(status, Headers(headers), body, content_type)
        theirs = stock_answer_verdict(stock(name), contract, response)
        explained = [each for each in ANSWER_DIFFERENCES if each.ours == ours and each.applies(status, headers, body)]
        if ours != theirs and not explained:
            unexplained.append((ours, theirs, response))

    assert unexplained == []


@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_listed_difference_is_one(difference: Difference) -> None:
    """The list holds no difference that an upgrade of openapi-core has taken away."""
    contract = contracts("library")[difference.operation]

    ours = our_verdict(contract, difference.example)
    theirs = stock_verdict(stock("library"), StockRequest(difference.example, contract))

    assert re.fullmatch(difference.ours, ours)
    assert re.fullmatch(difference.stock, theirs)
    assert ours != theirs
    assert difference.applies(difference.example)


def _explained(probe: Probe, ours: str, theirs: str) -> bool:
    return any(
        re.fullmatch(each.ours, ours) and re.fullmatch(each.stock, theirs) and each.applies(probe)
        for each in DIFFERENCES.values()
    )
