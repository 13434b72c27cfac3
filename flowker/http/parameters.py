"""Parameters of a request and headers of an answer: found, taken apart by their style, cast and judged.

openapi-core's style deserializers do the taking apart. Casting is ours, through its `schema_casters_factory` hook:
a parameter is an integer, a number or a boolean when it is one in JSON, not whenever Python's `int()`, `float()`
or a list of English words would take it for one.
"""

import builtins
import keyword
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from jsonschema_path import SchemaPath
from openapi_core.casting.schemas import oas31_casters_dict, oas31_schema_casters_factory
from openapi_core.casting.schemas.casters import AnyCaster, PrimitiveCaster, SchemaCaster, TypesCaster
from openapi_core.casting.schemas.exceptions import CastError
from openapi_core.casting.schemas.factories import SchemaCastersFactory
from openapi_core.exceptions import OpenAPIError
from starlette.requests import cookie_parser

from flowker.domain.errors import FlowkerError, InvalidQuery
from flowker.http.schema_engine import JudgingValidator

MISSING = object()

HOLDS_NUL = "has the character U+0000"


class ParameterRefused(Exception):
    """Says what is wrong with one parameter; the value itself is not repeated."""


class Query(dict[str, str]):
    """The query's first values by name, and all of its pairs in their order."""

    def __init__(self, raw: bytes) -> None:
        try:
            self.pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict") if raw else []
        except UnicodeDecodeError:
            raise InvalidQuery("The query is not UTF-8.") from None
        super().__init__(reversed(self.pairs))

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def repeats(self, name: str) -> bool:
        return len(self.pairs) != len(self) and len(self.all(name)) > 1


NO_QUERY = Query(b"")


class Sources(NamedTuple):
    """Where parameters come from. `headers` has the first value of each name, of a list all of them, as bytes."""

    path: Mapping[str, str]
    query: Query
    headers: Mapping[bytes, bytes]
    cookies: Mapping[str, str]


def parse_cookies(headers: Mapping[bytes, bytes]) -> Mapping[str, str]:
    raw = headers.get(b"cookie")
    return cookie_parser(raw.decode("latin-1")) if raw else {}


class Parameter:
    """One parameter of one operation, everything about it decided."""

    def __init__(
        self,
        name: str,
        *,
        required: bool,
        refusal: type[FlowkerError],
        find: Callable[[Sources], Any],
        convert: Callable[[Any], Any] | None,
        validator: JudgingValidator | None,
        default: Any = None,
        may_be_ignored: bool = True,
    ) -> None:
        self.name = name
        self.may_be_ignored = may_be_ignored
        self.argument = argument_name(name)
        self.required = required
        self.refusal = refusal
        self._find = find
        self._convert = convert
        self._validator = validator
        self.default = default

    def read(self, sources: Sources) -> Any:
        """The value that the handler gets; raises `ParameterRefused`."""
        raw = self._find(sources)
        if raw is MISSING:
            if self.required:
                raise ParameterRefused("is missing")
            return deepcopy(self.default) if isinstance(self.default, dict | list) else self.default
        if _holds_nul(raw):
            raise ParameterRefused(HOLDS_NUL)
        value = raw if self._convert is None else _converted(self._convert, raw)
        if self._validator is not None and not self._validator.is_valid(value):
            raise ParameterRefused(self._validator.violations(value, thorough=False)[0].text)
        return value


def _holds_nul(raw: Any) -> bool:
    """Of a parameter's text, or of the several that a list or an object came as."""
    if isinstance(raw, str):
        return "\0" in raw
    return any("\0" in text for text in (raw.values() if isinstance(raw, dict) else raw))


def _converted(convert: Callable[[Any], Any], raw: Any) -> Any:
    try:
        return convert(raw)
    except OpenAPIError:
        raise ParameterRefused("does not have the expected form") from None


def argument_name(name: str) -> str:
    """`Idempotency-Key` is `idempotency_key`, `sortBy` is `sort_by`, `id` is `id_`."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
    shadows = keyword.iskeyword(snake) or snake in _BUILTINS
    return f"{snake}_" if shadows else snake


def in_path(name: str) -> Callable[[Sources], Any]:
    # Connexion names the group of its pattern so, because a group cannot have a hyphen.
    group = name.replace("-", "_")
    return lambda sources: sources.path[group]


def in_header(name: str) -> Callable[[Sources], Any]:
    key = name.lower().encode("latin-1")

    def find(sources: Sources) -> Any:
        raw = sources.headers.get(key)
        return MISSING if raw is None else raw.decode("latin-1")

    return find


def in_cookie(name: str) -> Callable[[Sources], Any]:
    return lambda sources: sources.cookies.get(name, MISSING)


def in_query(name: str) -> Callable[[Sources], Any]:
    def find(sources: Sources) -> Any:
        query = sources.query
        if name not in query:
            return MISSING
        if query.repeats(name):
            raise ParameterRefused("is given more than once")
        return query[name]

    return find


def in_query_repeated(name: str) -> Callable[[Sources], Any]:
    return lambda sources: sources.query.all(name) if name in sources.query else MISSING


def in_query_members(name: str) -> Callable[[Sources], Any]:
    """The members of a deepObject parameter, `filter[year]` and its like, under their full names."""
    member = re.compile(re.escape(name) + r"\[\w+\]")

    def find(sources: Sources) -> Any:
        return {key: value for key, value in sources.query.items() if member.fullmatch(key)} or MISSING

    return find


class _Exact(PrimitiveCaster):
    pattern: re.Pattern[str]
    convert: Callable[[str], Any]

    def cast(self, value: Any) -> Any:
        if not isinstance(value, str) or not self.pattern.fullmatch(value):
            raise ValueError
        try:
            return type(self).convert(value)
        except ArithmeticError:
            # An exponent that no Decimal can have.
            raise ValueError from None


class ExactInteger(_Exact):
    # 4,300 digits is where int() itself refuses, with a ValueError of its own.
    pattern = re.compile(r"-?(?:0|[1-9][0-9]*)")
    convert = int


class ExactNumber(_Exact):
    pattern = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
    convert = Decimal


class ExactBoolean(_Exact):
    pattern = re.compile(r"true|false")
    convert = staticmethod("true".__eq__)


EXACT_TYPES = TypesCaster(
    {
        **oas31_casters_dict,
        "integer": ExactInteger,
        "number": ExactNumber,
        "boolean": ExactBoolean,
    },
    AnyCaster,
    multi=PrimitiveCaster,
)


class CompiledCaster(SchemaCaster):
    """openapi-core's caster, which for the plain types does not look into the schema again for every value."""

    def __init__(self, schema: SchemaPath, schema_validator: Any, types_caster: TypesCaster) -> None:
        super().__init__(schema, schema_validator, types_caster)
        kind = (schema / "type").read_str_or_list(None)
        self._plain = None
        if isinstance(kind, str) and kind in {"string", "integer", "number", "boolean"}:
            self._plain = self.get_type_caster(kind)

    def cast(self, value: Any) -> Any:
        if self._plain is None or value is None:
            return super().cast(value)
        try:
            return self._plain(value)
        except (ValueError, TypeError) as error:
            raise CastError("", "") from error


class CompiledCasters(SchemaCastersFactory):
    """The factory to put into openapi-core's `Config`."""

    def __init__(self) -> None:
        super().__init__(oas31_schema_casters_factory.schema_validators_factory, EXACT_TYPES)

    def create(self, spec: SchemaPath, schema: SchemaPath, *args: Any, **options: Any) -> SchemaCaster:
        inner = super().create(spec, schema, *args, **options)
        return CompiledCaster(schema, inner.schema_validator, inner.types_caster)


_BUILTINS = frozenset(dir(builtins))
