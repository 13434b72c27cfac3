"""From the document to the contracts of its operations, through openapi-core.

openapi-core looks everything up in the document again for every request, which costs milliseconds. So its own
finders, factories and deserializers run once per operation, at start, and what they yield is kept. No rule of
OpenAPI is written down here a second time: tests/conformance compares what comes out with stock openapi-core on
thousands of random requests and answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, cast

import jsonschema_rs
from jsonschema_path import SchemaPath
from openapi_core import Config, OpenAPI
from openapi_core.schema.parameters import get_style_and_explode
from openapi_core.templating.responses.exceptions import ResponseFinderError
from openapi_core.validation.request.validators import V31RequestValidator
from openapi_core.validation.response.validators import V31ResponseValidator
from openapi_core.validation.validators import BaseValidator

from flowker import jsontext
from flowker.domain.errors import FlowkerError, InvalidQuery, InvalidRequest
from flowker.http import parameters
from flowker.http.contract import DECODERS, Body, DocumentError, OperationContract, Response
from flowker.http.errors import classes_by_code
from flowker.http.parameters import CompiledCasters, Parameter, Sources
from flowker.http.schema_engine import ASSERTED_FORMATS, CompiledSchemas, JudgingValidator

METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
JSON = "application/json"
API_KEY = ("apiKey", "header", "X-API-Key")
"""The one security scheme that there is: its type, location and name."""

PLACES_MAX = 10_000
"""Places in the document that are looked up once, and not each time: there are fewer, and a start is faster by it."""

_STYLES = {
    "path": {"simple"},
    "query": {"form", "deepObject", "pipeDelimited"},
    "header": {"simple"},
    "cookie": {"form"},
}
"""What Connexion's routing and openapi-core's deserializers understand between them. openapi-core's own
spaceDelimited waits for a `%20` that every server has decoded."""

_ANNOTATIONS = frozenset({"title", "description", "default", "example", "examples", "deprecated", "x-codes"})


def compile_document(document: Mapping[str, Any]) -> dict[str, OperationContract]:
    """The contract of every operation by its operationId; raises `DocumentError`."""
    problems = sorted(set(_unknown_codes(document)) | set(_unasserted_formats(document)))
    if problems:
        raise DocumentError("The document asks for what there is not:\n" + "\n".join(problems))
    schemas = CompiledSchemas(document)
    config = Config(
        # document.py has validated it already.
        spec_validator_cls=None,
        request_validator_cls=RequestCompiler,
        response_validator_cls=ResponseCompiler,
        schema_validators_factory=schemas,
        schema_casters_factory=CompiledCasters(),
        extra_media_type_deserializers={JSON: _decode},
    )
    openapi = OpenAPI(SchemaPath.from_dict(document, resolved_cache_maxsize=PLACES_MAX), config=config)
    try:
        return {contract.operation_id: contract for contract in _contracts(openapi)}
    except jsonschema_rs.ValidationError as error:
        raise DocumentError(f"A schema cannot be compiled: {error.message}") from error


def _contracts(openapi: OpenAPI) -> Iterator[OperationContract]:
    requests = cast("RequestCompiler", openapi.request_validator)
    responses = cast("ResponseCompiler", openapi.response_validator)
    for path_name, path in (openapi.spec / "paths").str_items():
        for method in sorted(METHODS.intersection(path.str_keys())):
            operation = path / method
            if "operationId" not in operation:
                raise DocumentError(f"{method.upper()} {path_name} has no operationId")
            found = requests.compile_parameters(path, operation)
            statuses = responses.compile(operation)
            yield OperationContract(
                operation_id=(operation / "operationId").read_str(),
                method=method.upper(),
                path=path_name,
                parameters=[parameter for _, parameter in found],
                body=requests.compile_body(operation),
                responses=statuses,
                default_status=min((status for status in statuses if 200 <= status < 300), default=200),
                needs_key=requests.compile_security(operation),
                reads_query=any(location == "query" for location, _ in found),
                reads_cookies=any(location == "cookie" for location, _ in found),
                is_admitted=operation.get("x-admitted", default=False) is True,
            )


class _Compiler(BaseValidator):
    """What requests and answers have in common: a parameter and a header are read in the same way."""

    def _schema_validator(self, schema: SchemaPath) -> JudgingValidator:
        return cast("JudgingValidator", self.schema_validators_factory.create(self.spec, schema))

    def _converter(self, owner: SchemaPath, name: str) -> Callable[[Any], Any] | None:
        """How the raw text of a parameter or header becomes its value; None when it is its value."""
        if "content" in owner:
            # openapi-core decodes and judges these itself.
            return lambda raw: self._get_param_or_header_and_schema(owner, {name: raw}, name=name)[0]
        schema = owner / "schema"
        style, explode = get_style_and_explode(owner)
        if style in {"simple", "form"} and (schema / "type").read_str_or_list(None) == "string":
            return None
        deserializer = self.style_deserializers_factory.create(self.spec, schema, style, explode, name=name)
        if style == "deepObject":
            return deserializer.deserialize
        return lambda raw: deserializer.deserialize({name: raw})

    def _judge(self, owner: SchemaPath) -> JudgingValidator | None:
        """What judges the value; None for text that may be any text."""
        if "content" in owner:
            return None
        contents = (owner / "schema").read_value()
        if (
            isinstance(contents, Mapping)
            and contents.keys() - _ANNOTATIONS == {"type"}
            and contents["type"] == "string"
        ):
            return None
        return self._schema_validator(owner / "schema")


class RequestCompiler(_Compiler, V31RequestValidator):
    """The request validator in openapi-core's `Config`, asked once per operation instead of once per request."""

    def compile_parameters(self, path: SchemaPath, operation: SchemaPath) -> list[tuple[str, Parameter]]:
        """The parameters with their locations; an operation's own come before its path's and replace them."""
        found: dict[tuple[str, str], Parameter] = {}
        for param in chain(_items(operation, "parameters"), _items(path, "parameters")):
            name, location = (param / "name").read_str(), (param / "in").read_str()
            if (location, name) not in found:
                found[location, name] = self._parameter(param, name, location)
        arguments = [parameter.argument for parameter in found.values()]
        if len(set(arguments) - {"body", "request"}) != len(arguments):
            raise DocumentError(f"{_name(operation)}: two parameters would be the same argument, or body, or request")
        return [(location, parameter) for (location, _), parameter in found.items()]

    def compile_body(self, operation: SchemaPath) -> Body | None:
        if "requestBody" not in operation:
            return None
        body = operation / "requestBody"
        if list((body / "content").str_keys()) != [JSON]:
            raise DocumentError(f"{_name(operation)}: a body can only be {JSON}")
        required = (body / "required").read_bool(default=False)
        any_text = (body / "x-any-text").read_bool(default=False)
        return Body(self._schema_validator(body / "content" / JSON / "schema"), required=required, any_text=any_text)

    def compile_security(self, operation: SchemaPath) -> bool:
        """Whether the operation needs an API key."""
        owner = operation if "security" in operation else self.spec
        requirements: list[Mapping[str, Any]] = []
        if "security" in owner:
            requirements = cast("list[Mapping[str, Any]]", (owner / "security").read_value())
        for name in chain.from_iterable(requirements):
            scheme = self.spec / "components" / "securitySchemes" / name
            if tuple((scheme / key).read_str(None) for key in ("type", "in", "name")) != API_KEY:
                raise DocumentError(f"{_name(operation)}: {name} is not an API key in the header {API_KEY[-1]}")
        # An empty requirement among others makes the key optional.
        return bool(requirements) and all(requirements)

    def _parameter(self, param: SchemaPath, name: str, location: str) -> Parameter:
        schema = param / "schema"
        has_default = "content" not in param and "default" in schema
        if "content" not in param and get_style_and_explode(param)[0] not in _STYLES[location]:
            raise DocumentError(f"parameter {name}: its style is not supported in {location}")
        parameter = Parameter(
            name,
            required=(param / "required").read_bool(default=False),
            refusal=_refusal(param, location),
            find=_finder(param, name, location),
            convert=self._converter(param, name),
            validator=self._judge(param),
            default=(schema / "default").read_value() if has_default else None,
            may_be_ignored=location not in {"path", "query"},
        )
        if has_default and not self._schema_validator(schema).is_valid(parameter.default):
            raise DocumentError(f"parameter {name}: its default does not fit its schema")
        return parameter


class ResponseCompiler(_Compiler, V31ResponseValidator):
    """The response validator in openapi-core's `Config`, asked once per operation instead of once per answer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._made: dict[int, tuple[Any, Response]] = {}

    def compile(self, operation: SchemaPath) -> dict[int, Response]:
        """The answers by status; ranges and `default` are spelled out as openapi-core's finder resolves them."""
        documented = list((operation / "responses").str_keys())
        exact = all(status.isdigit() for status in documented)
        found = {}
        for status in map(int, documented) if exact else range(100, 600):
            try:
                described = self._find_operation_response(status, operation)
            except ResponseFinderError:
                continue
            found[status] = self._known_or_new(operation, described)
        return found

    def _known_or_new(self, operation: SchemaPath, described: SchemaPath) -> Response:
        """One object for each description, however many operations and statuses refer to it."""
        with described.resolve() as resolved:
            contents = resolved.contents
        known = self._made.get(id(contents))
        if known is None:
            # The description is kept beside it: while it lives no other one can get its identity.
            known = self._made[id(contents)] = contents, self._response(operation, described)
        return known[1]

    def _response(self, operation: SchemaPath, described: SchemaPath) -> Response:
        # openapi-core does not judge a documented Content-Type header either: the media types decide on it.
        documented = (described / "headers").str_items() if "headers" in described else ()
        headers = [self._header(name, header) for name, header in documented if name.lower() != "content-type"]
        if "content" not in described:
            return Response(None, headers)
        media_type, *others = (described / "content").str_keys()
        if media_type not in DECODERS or others:
            raise DocumentError(f"{_name(operation)}: an answer can only be one of {', '.join(DECODERS)}")
        validator = self._schema_validator(described / "content" / media_type / "schema")
        return Response(validator, headers, media_type)

    def _header(self, name: str, header: SchemaPath) -> Parameter:
        return Parameter(
            name,
            required=(header / "required").read_bool(default=False),
            refusal=InvalidRequest,
            find=parameters.in_header(name),
            convert=self._converter(header, name),
            validator=self._judge(header),
        )


def _finder(param: SchemaPath, name: str, location: str) -> Callable[[Sources], Any]:
    if location == "query" and "content" not in param:
        style, explode = get_style_and_explode(param)
        if style == "deepObject":
            return parameters.in_query_members(name)
        if explode and (param / "schema" / "type").read_str_or_list(None) == "array":
            return parameters.in_query_repeated(name)
    finders = {
        "path": parameters.in_path,
        "query": parameters.in_query,
        "header": parameters.in_header,
        "cookie": parameters.in_cookie,
    }
    return finders[location](name)


def _refusal(param: SchemaPath, location: str) -> type[FlowkerError]:
    code = (param / "x-code").read_str(None)
    if code is None:
        return InvalidQuery if location == "query" else InvalidRequest
    return classes_by_code()[code]


def _items(owner: SchemaPath, key: str) -> Iterable[SchemaPath]:
    return owner / key if key in owner else ()


def _name(operation: SchemaPath) -> str:
    return (operation / "operationId").read_str()


def _decode(text: bytes | str, **_: str) -> Any:
    return jsontext.decode_strict(text if isinstance(text, bytes) else text.encode())


def _unknown_codes(node: Any) -> Iterator[str]:
    known = classes_by_code()
    for mapping in _mappings(node):
        named = [mapping["x-code"]] if isinstance(mapping.get("x-code"), str) else []
        if isinstance(mapping.get("x-codes"), Mapping):
            named += mapping["x-codes"].values()
        yield from (f"{code}: no error has this code" for code in named if code not in known)


def _unasserted_formats(node: Any) -> Iterator[str]:
    for mapping in _mappings(node):
        name = mapping.get("format")
        if isinstance(name, str) and "type" in mapping and name not in ASSERTED_FORMATS:
            yield f"format {name}: nothing asserts it"


def _mappings(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        yield node
        for child in node.values():
            yield from _mappings(child)
    elif isinstance(node, list):
        for child in node:
            yield from _mappings(child)
