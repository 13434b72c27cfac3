"""The document as a judge: what each operation accepts and answers, decided by openapi-core.

openapi-core looks everything up in the document again for every request, which costs milliseconds. So its own
finders, factories and deserializers run once per operation, at start, and what they yield is kept. Nothing is
judged by rules of our own: what is compiled here is compared with stock openapi-core on thousands of random
requests and answers in tests/conformance.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from jsonschema_path import SchemaPath
from openapi_core import Config, OpenAPI
from openapi_core.casting.schemas import oas31_schema_casters_factory
from openapi_core.deserializing.media_types.deserializers import MediaTypeDeserializer
from openapi_core.deserializing.media_types.exceptions import MediaTypeDeserializeError
from openapi_core.schema.parameters import get_style_and_explode
from openapi_core.templating.responses.exceptions import ResponseFinderError
from openapi_core.validation.request.validators import V31RequestValidator
from openapi_core.validation.response.validators import V31ResponseValidator
from openapi_core.validation.validators import BaseValidator

from flowker import jsontext
from flowker.domain.errors import FlowkerError, InvalidQuery, InvalidRequest
from flowker.http import parameters
from flowker.http.errors import classes_by_code
from flowker.http.parameters import MISSING, EXACT_TYPES, CompiledCasters, Parameter, ParameterRefused, Query, Sources
from flowker.http.schema_engine import CompiledSchemas, JudgingValidator
from flowker.http.violations import refusal

METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
JSON = "application/json"

THOROUGH_BYTES_MAX = 32_768
"""Up to this size of a body every violation is reported. Finding them all costs about 8 µs each, and a body of
1 MB can hold half a million: beyond this size the first one is reported, which costs nothing."""


class DocumentError(Exception):
    """The document asks for something that this service does not do, or its handlers do not fit it."""


class Body:
    """What an operation accepts as its body."""

    def __init__(self, *, required: bool, deserializer: MediaTypeDeserializer, validator: JudgingValidator) -> None:
        self.required = required
        self._deserializer = deserializer
        self._validator = validator

    def read(self, data: bytes, content_type: bytes | None) -> Any:
        """The body's value, None when it is absent and may be; raises the refusal that the document asks for."""
        if not data:
            if self.required:
                raise InvalidRequest(fields={"body": "is missing"})
            return None
        if content_type != b"application/json" and not _is_json(content_type):
            raise InvalidRequest("The content type of the body is not application/json.")
        try:
            value = self._deserializer.deserialize(data)
        except MediaTypeDeserializeError as error:
            raise InvalidRequest(fields={"body": str(error.__context__)}) from None
        if not self._validator.is_valid(value):
            raise refusal(self._validator.violations(value, thorough=len(data) <= THOROUGH_BYTES_MAX))
        return value


class Response:
    """What an operation may answer with one status."""

    def __init__(self, validator: JudgingValidator | None, headers: list[Parameter]) -> None:
        self._validator = validator
        self._headers = headers

    def complaints(self, content_type: bytes | None, headers: list[tuple[bytes, bytes]], body: bytes) -> list[str]:
        """Everything in which the answer departs from the document; values are not repeated."""
        found = self._headers_complaints(headers) if self._headers else []
        if self._validator is None:
            if body:
                found.append("body: the document has none")
            return found
        if content_type != b"application/json":
            return [*found, "content-type: is not application/json"]
        try:
            value = jsontext.decode(body)
        except ValueError:
            return [*found, "body: is not JSON"]
        if not self._validator.is_valid(value):
            found += [f"{violation.field}: {violation.text}" for violation in self._validator.violations(value)]
        return found

    def _headers_complaints(self, headers: list[tuple[bytes, bytes]]) -> list[str]:
        sources = Sources(path={}, query=Query(b""), headers=dict(reversed(headers)), cookies={})
        found = []
        for header in self._headers:
            try:
                header.read(sources)
            except ParameterRefused as refused:
                found.append(f"{header.name}: {refused}")
        return found


@dataclass(slots=True)
class OperationContract:
    operation_id: str
    method: str
    path: str
    parameters: list[Parameter]
    body: Body | None
    responses: dict[int, Response]
    needs_key: bool
    default_status: int
    reads_query: bool
    reads_cookies: bool

    def read_parameters(self, path: Mapping[str, str], query: bytes, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
        """The arguments for the handler; raises the refusal that the document asks for."""
        sources = Sources(
            path,
            Query(query) if self.reads_query else _NO_QUERY,
            headers,
            parameters.parse_cookies(headers) if self.reads_cookies else {},
        )
        arguments: dict[str, Any] = {}
        refused: list[tuple[Parameter, str]] = []
        for parameter in self.parameters:
            try:
                arguments[parameter.argument] = parameter.read(sources)
            except ParameterRefused as reason:
                refused.append((parameter, str(reason)))
        if refused:
            raise refused[0][0].refusal(fields={parameter.name: reason for parameter, reason in refused})
        return arguments

    def complaints(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> list[str]:
        response = self.responses.get(status)
        if response is None:
            return [f"status: {status} is not documented"]
        return response.complaints(_content_type(headers), headers, body)


class Contract:
    """Every operation of a document, compiled."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        schemas = CompiledSchemas(document)
        config = Config(
            # document.py has validated it already, and asked for more than openapi-core does.
            spec_validator_cls=None,
            request_validator_cls=RequestCompiler,
            response_validator_cls=ResponseCompiler,
            schema_validators_factory=schemas,
            schema_casters_factory=CompiledCasters(
                oas31_schema_casters_factory.schema_validators_factory, EXACT_TYPES
            ),
            extra_media_type_deserializers={JSON: _decode},
        )
        self._openapi = OpenAPI.from_dict(document, config=config)
        self.operations = {contract.operation_id: contract for contract in self._compile()}

    def _compile(self) -> Iterator[OperationContract]:
        requests = self._openapi.request_validator
        responses = self._openapi.response_validator
        for path_name, path in (self._openapi.spec / "paths").str_items():
            for method in METHODS.intersection(path.str_keys()):
                operation = path / method
                statuses = responses.compile(operation)
                found = requests.compile_parameters(path, operation)
                yield OperationContract(
                    operation_id=(operation / "operationId").read_str(),
                    method=method.upper(),
                    path=path_name,
                    parameters=[parameter for _, parameter in found],
                    body=requests.compile_body(operation),
                    responses=statuses,
                    needs_key=requests.compile_security(operation),
                    default_status=min((status for status in statuses if 200 <= status < 300), default=200),
                    reads_query=any(location == "query" for location, _ in found),
                    reads_cookies=any(location == "cookie" for location, _ in found),
                )


class _Compiler(BaseValidator):
    """What requests and answers have in common: a parameter and a header are read in the same way."""

    def _schema_validator(self, schema: SchemaPath) -> JudgingValidator:
        return self.schema_validators_factory.create(self.spec, schema)

    def _reader(self, owner: SchemaPath, name: str) -> tuple[Callable[[Any], Any], JudgingValidator | None]:
        """How the parameter's or header's raw value becomes its value, and what judges it then."""
        if "content" in owner:
            return lambda raw: self._get_param_or_header_and_schema(owner, {name: raw}, name=name)[0], None
        schema = owner / "schema"
        style, explode = get_style_and_explode(owner)
        deserializer = self.style_deserializers_factory.create(self.spec, schema, style, explode, name=name)
        if style == "deepObject":
            return deserializer.deserialize, self._schema_validator(schema)
        return lambda raw: deserializer.deserialize({name: raw}), self._schema_validator(schema)


class RequestCompiler(_Compiler, V31RequestValidator):
    def compile_parameters(self, path: SchemaPath, operation: SchemaPath) -> list[tuple[str, Parameter]]:
        """The parameters by location; an operation's own come before its path's and replace them."""
        found: dict[tuple[str, str], Parameter] = {}
        for param in chain(_items(operation, "parameters"), _items(path, "parameters")):
            name, location = (param / "name").read_str(), (param / "in").read_str()
            if (location, name) not in found:
                found[location, name] = self._parameter(param, name, location)
        return [(location, parameter) for (location, _), parameter in found.items()]

    def compile_body(self, operation: SchemaPath) -> Body | None:
        if "requestBody" not in operation:
            return None
        body = operation / "requestBody"
        if list((body / "content").str_keys()) != [JSON]:
            raise DocumentError(f"{_name(operation)}: a body can only be {JSON}")
        schema = body / "content" / JSON / "schema"
        validator = self._schema_validator(schema)
        deserializer = self.media_type_deserializers_factory.create(
            self.spec,
            JSON,
            schema=schema,
            schema_validator=validator,
            extra_media_type_deserializers=self.extra_media_type_deserializers,
        )
        required = (body / "required").read_bool(default=False)
        return Body(required=required, deserializer=deserializer, validator=validator)

    def compile_security(self, operation: SchemaPath) -> bool:
        """Whether the operation needs an API key: the only scheme that there is."""
        owner = operation if "security" in operation else self.spec
        requirements = (owner / "security").read_value() if "security" in owner else []
        schemes = self.spec / "components" / "securitySchemes"
        for requirement in requirements:
            for scheme in requirement:
                described = (schemes / scheme).read_value()
                if (described["type"], described.get("in"), described.get("name")) != ("apiKey", "header", "X-API-Key"):
                    raise DocumentError(f"{_name(operation)}: {scheme} is not a key in the X-API-Key header")
        return bool(requirements) and all(requirements)

    def _parameter(self, param: SchemaPath, name: str, location: str) -> Parameter:
        convert, validator = self._reader(param, name)
        schema = param / "schema"
        return Parameter(
            name,
            required=(param / "required").read_bool(default=False),
            refusal=_refusal(param, location),
            find=_finder(param, name, location),
            convert=convert,
            validator=validator,
            default=(schema / "default").read_value() if "content" not in param and "default" in schema else None,
            may_be_ignored=location not in {"path", "query"},
        )


class ResponseCompiler(_Compiler, V31ResponseValidator):
    def compile(self, operation: SchemaPath) -> dict[int, Response]:
        """The answers by status: a range or `default` is spelled out, as openapi-core's finder resolves it."""
        compiled: dict[str, Response] = {}
        found = {}
        for status in range(100, 600):
            try:
                described = self._find_operation_response(status, operation)
            except ResponseFinderError:
                continue
            key = str(described)
            if key not in compiled:
                compiled[key] = self._response(operation, described)
            found[status] = compiled[key]
        return found

    def _response(self, operation: SchemaPath, described: SchemaPath) -> Response:
        headers = [self._header(name, header) for name, header in _members(described, "headers")]
        if "content" not in described:
            return Response(None, headers)
        if list((described / "content").str_keys()) != [JSON]:
            raise DocumentError(f"{_name(operation)}: an answer can only be {JSON}")
        return Response(self._schema_validator(described / "content" / JSON / "schema"), headers)

    def _header(self, name: str, header: SchemaPath) -> Parameter:
        convert, validator = self._reader(header, name)
        return Parameter(
            name,
            required=(header / "required").read_bool(default=False),
            refusal=InvalidRequest,
            find=parameters.in_header(name),
            convert=convert,
            validator=validator,
        )


def _finder(param: SchemaPath, name: str, location: str) -> Callable[[Sources], Any]:
    if location == "path":
        return parameters.in_path(name)
    if location == "header":
        return parameters.in_header(name)
    if location == "cookie":
        return parameters.in_cookie(name)
    if "content" in param:
        return parameters.in_query(name)
    style, explode = get_style_and_explode(param)
    if style == "deepObject":
        return parameters.in_whole_query(name)
    if explode and (param / "schema" / "type").read_str_or_list(None) == "array":
        return parameters.in_query_repeated(name)
    return parameters.in_query(name)


def _refusal(param: SchemaPath, location: str) -> type[FlowkerError]:
    code = (param / "x-code").read_str(None)
    if code is None:
        return InvalidQuery if location == "query" else InvalidRequest
    return classes_by_code()[code]


def _items(owner: SchemaPath, key: str) -> Iterator[SchemaPath]:
    return iter(owner / key) if key in owner else iter(())


def _members(owner: SchemaPath, key: str) -> Iterator[tuple[str, SchemaPath]]:
    return (owner / key).str_items() if key in owner else iter(())


def _name(operation: SchemaPath) -> str:
    return (operation / "operationId").read_str("an operation without operationId")


def _decode(data: bytes | str, **_: str) -> Any:
    return jsontext.decode_strict(data if isinstance(data, bytes) else data.encode())


def _content_type(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    return next((value for name, value in headers if name == b"content-type"), None)


def _is_json(content_type: bytes | None) -> bool:
    """Whether a content type is JSON. Parameters mean nothing to JSON (RFC 8259, 11), but a charset that is not
    UTF-8 says that the sender wrote something else."""
    if content_type is None:
        return False
    essence, *attributes = content_type.lower().split(b";")
    if essence.strip() != b"application/json":
        return False
    pairs = [attribute.partition(b"=") for attribute in attributes]
    charsets = {value.strip(b' \t"') for name, _, value in pairs if name.strip() == b"charset"}
    return charsets <= {b"", b"utf-8", b"utf8", b"us-ascii"}


_NO_QUERY = Query(b"")
