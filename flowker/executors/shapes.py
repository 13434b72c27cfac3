"""Pieces of JSON Schema that the schemas of several providers share."""

from collections.abc import Mapping, Sequence
from typing import Any

Shape = Mapping[str, Any]

_URL = r"^https?://(\[[0-9A-Fa-f:.]+\]|[^/?#@:\\\s\[\]]+)(:[0-9]{1,5})?"

TEXT: Shape = {"type": "string"}

FILLED: Shape = {"type": "string", "minLength": 1}

UUID: Shape = {"type": "string", "format": "uuid"}

DATE_TIME: Shape = {"type": "string", "format": "date-time"}

AMOUNT: Shape = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "description": "A decimal number, as text."}

OPEN: Shape = {"type": "object"}

METADATA: Shape = {"type": "object", "description": "Anything that the far side shall keep with it."}

BASE_URL: Shape = {
    "type": "string",
    "format": "uri",
    "pattern": rf"{_URL}([/?][^#\s]*)?$",
    "description": "An http or https URL without user name and password.",
}

ISSUER_URL: Shape = {
    "type": "string",
    "format": "uri",
    "pattern": rf"{_URL}(/[^?#\s]*)?$",
    "description": "Where the OIDC issuer is; its configuration is read from below.",
}

HEADERS: Shape = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "maxProperties": 100,
    "description": "Headers that are sent with every call.",
}

TIMEOUT_SECONDS: Shape = {
    "type": "number",
    "minimum": 1,
    "maximum": 300,
    "default": 30,
    "description": "How long a call may take, unless its node says otherwise.",
}

PAGE_SIZE: Shape = {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}


def text(characters_max: int) -> Shape:
    return {"type": "string", "maxLength": characters_max}


def closed(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """An object that has these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def document(properties: Mapping[str, Any], required: Sequence[str] = ()) -> Shape:
    """A closed object that is a whole schema."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **closed(properties, required)}
