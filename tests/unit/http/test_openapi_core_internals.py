"""What the compiler uses of openapi-core and its companions below their documented surface, one test for each.

When an upgrade breaks one of these, the test says which assumption of `flowker/http` is gone.
"""

from typing import Any

import jsonschema_rs
import pytest
from jsonschema_path import SchemaPath
from openapi_core import Config, OpenAPI
from openapi_core.casting.schemas import oas31_casters_dict, oas31_schema_casters_factory
from openapi_core.casting.schemas.casters import PrimitiveCaster
from openapi_core.casting.schemas.exceptions import CastError
from openapi_core.deserializing.exceptions import DeserializeError
from openapi_core.exceptions import OpenAPIError
from openapi_core.templating.responses.exceptions import ResponseFinderError
from openapi_core.validation.schemas import oas31_schema_validators_factory
from openapi_core.validation.schemas.exceptions import ValidateError
from openapi_core.validation.schemas.factories import DialectSchemaValidatorsFactory
from openapi_schema_validator import OAS31_BASE_DIALECT_ID, OAS30ReadValidator, OAS31Validator

from flowker.http.compiler import RequestCompiler, ResponseCompiler
from flowker.http.parameters import CompiledCaster, CompiledCasters
from flowker.http.schema_engine import CompiledSchema, CompiledSchemas


@pytest.fixture
def openapi(library: dict[str, Any]) -> OpenAPI:
    config = Config(
        spec_validator_cls=None,
        request_validator_cls=RequestCompiler,
        response_validator_cls=ResponseCompiler,
        schema_validators_factory=CompiledSchemas(library),
        schema_casters_factory=CompiledCasters(),
    )
    return OpenAPI.from_dict(library, config=config)


def test_the_configured_classes_are_the_validators(openapi: OpenAPI) -> None:
    """With the configured factories inside, under these names."""
    requests: Any = openapi.request_validator
    responses: Any = openapi.response_validator

    assert isinstance(requests, RequestCompiler)
    assert isinstance(responses, ResponseCompiler)
    assert isinstance(requests.schema_validators_factory, CompiledSchemas)
    assert isinstance(responses.schema_validators_factory, CompiledSchemas)


def test_the_style_deserializers_cast_with_the_configured_casters(openapi: OpenAPI) -> None:
    """The factory is made from the configured one, and hands its caster to every deserializer."""
    requests: Any = openapi.request_validator
    schema = SchemaPath.from_dict({"type": "integer"})

    deserializer = requests.style_deserializers_factory.create(openapi.spec, schema, "form", True, name="n")

    assert isinstance(deserializer.caster, CompiledCaster)
    assert deserializer.deserialize({"n": "3"}) == 3


def test_a_content_parameter_is_decoded_and_judged_by_openapi_core(openapi: OpenAPI) -> None:
    """By the method that the compiler leaves such parameters to."""
    requests: Any = openapi.request_validator
    parameters = openapi.spec / "paths" / "/books" / "get" / "parameters"
    near = next(param for param in parameters if (param / "name").read_str() == "near")

    assert requests._get_param_or_header_and_schema(near, {"near": '{"x": 1}'}, name="near")[0] == {"x": 1}
    with pytest.raises(ValidateError):
        requests._get_param_or_header_and_schema(near, {"near": "{}"}, name="near")


def test_the_finder_resolves_statuses(openapi: OpenAPI) -> None:
    """Exact, range, default, or an error; references are followed, and equal places are equal."""
    responses: Any = openapi.response_validator
    book = openapi.spec / "paths" / "/books/{id}" / "get"
    version = openapi.spec / "paths" / "/version" / "get"

    exact, ranged, default = (responses._find_operation_response(status, book) for status in (200, 418, 302))

    assert len({exact, ranged, default, responses._find_operation_response(404, book)}) == 3
    assert (ranged / "description").read_str() == "What went wrong."
    with pytest.raises(ResponseFinderError):
        responses._find_operation_response(404, version)


def test_what_goes_wrong_with_a_parameter_is_an_openapi_error() -> None:
    """One class to catch for all of it."""
    assert issubclass(CastError, OpenAPIError)
    assert issubclass(DeserializeError, OpenAPIError)
    assert issubclass(ValidateError, OpenAPIError)


def test_the_schema_factory_for_3_1_is_made_as_ours_is() -> None:
    """Same class, dialect and formats: ours only keeps what it made and asks another engine."""
    stock = oas31_schema_validators_factory

    assert type(stock) is DialectSchemaValidatorsFactory
    assert stock.schema_validator_cls is OAS31Validator
    assert stock.default_jsonschema_dialect_id == OAS31_BASE_DIALECT_ID
    assert stock.format_checker is OAS30ReadValidator.FORMAT_CHECKER


def test_the_casters_by_type_are_those_that_ours_replace() -> None:
    """Text and null stay as they are, lists and objects are openapi-core's own."""
    assert set(oas31_casters_dict) == {"object", "array", "boolean", "integer", "number", "string", "null"}
    assert oas31_casters_dict["string"] is PrimitiveCaster
    assert oas31_schema_casters_factory.schema_validators_factory is oas31_schema_validators_factory


def test_a_schema_path_reads_through_references(library: dict[str, Any]) -> None:
    """The contents are the document's own object, whose identity the factory keeps its validator by."""
    spec = SchemaPath.from_dict(library)
    schema = spec / "components" / "schemas" / "Book" / "properties" / "id"

    with schema.resolve() as resolved:
        assert resolved.contents is library["components"]["schemas"]["Id"]
    assert schema.read_value() == {"type": "string", "format": "uuid"}


def test_the_engine_names_keyword_place_and_way_of_an_error() -> None:
    """jsonschema-rs: kind, its value, where in the value, and over which references in the schema."""
    schema = {"$ref": "#/x/A", "x": {"A": {"properties": {"b": {"maxLength": 1}}}}}

    [error] = jsonschema_rs.Draft202012Validator(schema).iter_errors({"b": "long"})

    assert (error.kind.name, error.kind.value) == ("maxLength", 1)
    assert error.instance_path == ["b"]
    assert error.evaluation_path == ["$ref", "properties", "b", "maxLength"]


def test_a_schema_with_a_discriminator_is_left_to_the_stock_engine(library: dict[str, Any]) -> None:
    """Only where it occurs."""
    spec = SchemaPath.from_dict(library)
    schemas = CompiledSchemas(library)

    assert isinstance(schemas.create(spec, spec / "components" / "schemas" / "Cat"), CompiledSchema)
    assert not isinstance(schemas.create(spec, spec / "components" / "schemas" / "Animal"), CompiledSchema)
