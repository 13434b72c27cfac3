"""The document itself: valid, consistent, told in full, and still the contract that was published.

Each rule is a function from a document to what is wrong with it. The rules are applied to the document, where they
find nothing, and to documents that are spoiled in one place, where they find that place.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from flowker.domain.workflows import check_activation, compile_definition
from flowker.http.compiler import compile_document
from flowker.http.document import load
from flowker.http.errors import STATUS, TITLES, classes_by_code

ROOT = Path(__file__).parents[2]
SEED = Path(__file__).parent / "seed" / "trigger_webhook.yaml"

METHODS = ("get", "post", "put", "patch", "delete")
WEBHOOK = "/v1/webhooks/{path}"
LITERALS = frozenset({"example", "examples", "default", "enum", "const"})
"""Keys whose values are data: what stands below them is no part of the document's structure."""

ADDED_HEADERS = {
    "200": {"Location", "X-Webhook-Workflow-ID", "X-Webhook-Execution-ID"},
    "201": {"Location", "X-Webhook-Workflow-ID", "X-Webhook-Execution-ID"},
    "409": {"X-Webhook-Workflow-ID", "X-Webhook-Execution-ID"},
    "500": {"Retry-After"},
}
"""What the answers of the webhook say beyond what was published."""

NODE_DATA = "#/components/schemas/Node/properties/data"

USER_CONTENT = frozenset(
    {
        "#/components/schemas/Metadata",
        NODE_DATA,
        "#/components/schemas/ExecuteInput/properties/inputData",
        "#/components/schemas/CatalogExecutorConfig/properties/config",
        "#/components/schemas/CatalogTemplateParameters/properties/params",
        "#/components/schemas/WorkflowFromTemplateInput/properties/params",
        "#/components/schemas/ExecutorConfigurationAuthenticationInput/properties/config",
        "#/components/schemas/ExecutorConfigurationMetadata",
        "#/components/schemas/ProviderConfigurationInput/properties/config",
        "#/components/schemas/ProviderConfigurationUpdate/properties/config",
        "#/components/schemas/ProviderConfigurationMetadata",
        "#/components/requestBodies/WebhookPayload/content/application~1json/schema",
    }
)
"""The only objects of a request that may have any member: their content is the user's."""

NOT_ALL_REQUIRED = {
    "ExecutionCreateOutput": set(),
    "ErrorResponse": {"code", "message", "title"},
    "HashChainVerification": {"isValid", "totalChecked", "message"},
}
"""Outputs as they were published, and one that names an entry only when one is bad; every other output promises all
of its members."""

NO_CHECKS = frozenset({"getVersion", "getMetrics"})
"""Operations of the Health API that answer no findings."""

TEXTS = {("getMetrics", "200"): "text/plain"}
"""The only answers that are not JSON, for those who read nothing else."""

Document = dict[str, Any]
Rule = Callable[[Document], list[str]]


@dataclass(frozen=True)
class Operation:
    document: Document
    path: str
    method: str

    @property
    def described(self) -> dict[str, Any]:
        return dict(self.document["paths"][self.path][self.method])

    @property
    def id(self) -> str:
        return str(self.described.get("operationId", f"{self.method} {self.path}"))

    @property
    def secured(self) -> bool:
        return bool(self.described.get("security", self.document["security"]))

    @property
    def parameters(self) -> dict[tuple[str, str], dict[str, Any]]:
        """By location and name; the operation's own replace those of its path."""
        owners = [*self.document["paths"][self.path].get("parameters", ()), *self.described.get("parameters", ())]
        resolved = [resolve(self.document, parameter) for parameter in owners]
        return {(parameter["in"], parameter["name"]): parameter for parameter in resolved}

    @property
    def responses(self) -> dict[str, dict[str, Any]]:
        return {status: resolve(self.document, each) for status, each in self.described["responses"].items()}


@cache
def loaded(path: Path) -> Document:
    return load(path)


def flowker() -> Document:
    """A copy, to be spoiled at will."""
    return deepcopy(loaded(ROOT / "openapi" / "flowker.yaml"))


def operations(document: Document) -> list[Operation]:
    return [
        Operation(document, path, method)
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def resolve(document: Document, node: Any) -> Any:
    """What a reference leads to, with the members beside the reference laid over it."""
    while "$ref" in node:
        beside = {key: value for key, value in node.items() if key != "$ref"}
        node = {**find(document, node["$ref"]), **beside}
    return node


def expand(document: Document, node: Any) -> Any:
    """The node without any reference and without our own extensions."""
    if isinstance(node, Mapping):
        resolved = resolve(document, node)
        return {key: expand(document, child) for key, child in resolved.items() if not key.startswith("x-")}
    if isinstance(node, list):
        return [expand(document, child) for child in node]
    return node


def find(document: Document, pointer: str) -> Any:
    node: Any = document
    for step in filter(None, pointer.removeprefix("#").split("/")):
        key = step.replace("~1", "/").replace("~0", "~")
        node = node[int(key) if isinstance(node, list) else key]
    return node


def walk(node: Any, pointer: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the document's structure with its pointer."""
    if isinstance(node, dict):
        yield pointer, node
        for key, child in node.items():
            if key not in LITERALS or pointer.endswith("/properties"):
                yield from walk(child, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from walk(child, f"{pointer}/{index}")


def schemas(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema with its pointer, those inside of others included."""
    in_schema = re.compile(r"#/components/schemas/[^/]+|#/.*/schema")
    below = re.compile(r"(/properties/[^/]+|/items|/not|/additionalProperties)*")
    for pointer, node in walk(document):
        start = in_schema.match(pointer)
        if start and below.fullmatch(pointer[start.end() :]):
            yield pointer, node


def examples(document: Document) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every example and default: where it stands, its schema, and itself."""
    for pointer, schema in schemas(document):
        yield from ((pointer, schema, schema[key]) for key in ("example", "default") if key in schema)
        yield from ((pointer, schema, example) for example in schema.get("examples", ()))
    for pointer, node in walk(document):
        if isinstance(node.get("schema"), dict):
            if "example" in node:
                yield pointer, node["schema"], node["example"]
            yield from ((pointer, node["schema"], example["value"]) for example in node.get("examples", {}).values())


def errors(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    """The answers that refuse, except the health checks, which answer their findings with 503."""
    for status, response in operation.responses.items():
        if int(status) >= 400 and (status, operation.described["tags"]) != ("503", ["Health API"]):
            yield status, response


def invalid(document: Document) -> list[str]:
    return [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def unidentified(document: Document) -> list[str]:
    """Operations without a name of their own in lowerCamelCase."""
    ids = [operation.id for operation in operations(document)]
    return [id_ for id_ in ids if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", id_) or ids.count(id_) > 1]


def untold(document: Document) -> list[str]:
    """What a reader is not told: the tag, summary and description of an operation, the description of a part."""
    tags = [tag["name"] for tag in document["tags"]]
    found = []
    for operation in operations(document):
        told = operation.described
        if len(told.get("tags", ())) != 1 or told["tags"][0] not in tags:
            found.append(f"{operation.id}: tag")
        if not 0 < len(told.get("summary", "")) <= 60 or told["summary"].endswith("."):
            found.append(f"{operation.id}: summary")
        if not told.get("description", "").endswith("."):
            found.append(f"{operation.id}: description")
    part = re.compile(r"#/.*/(parameters|headers|responses|requestBodies|links|properties|schemas)/[^/]+")
    for pointer, node in walk(document):
        published = pointer.rpartition("/")[2] in NOT_ALL_REQUIRED
        of_link = re.search(r"/links/[^/]+/parameters", pointer)
        if (
            part.fullmatch(pointer)
            and not of_link
            and not published
            and not resolve(document, node).get("description")
        ):
            found.append(f"{pointer}: description")
    return found


def unused(document: Document) -> list[str]:
    """Components that nothing refers to."""
    used = {node["$ref"] for _, node in walk(document) if "$ref" in node}
    sections = {name: section for name, section in document["components"].items() if name != "securitySchemes"}
    return [
        pointer
        for name, section in sections.items()
        for each in section
        if (pointer := f"#/components/{name}/{each}") not in used
    ]


def misfits(document: Document) -> list[str]:
    """Examples and defaults that do not fit their schemas."""
    components = {"components": document["components"]}
    return [
        f"{pointer}: {error.message}"
        for pointer, schema, example in examples(document)
        for error in Draft202012Validator({**schema, **components}, validate_formats=True).iter_errors(example)
    ]


def wrong_statuses(document: Document) -> list[str]:
    """Operations whose statuses are not those that follow from what they take."""
    found = []
    for operation in operations(document):
        has_body = "requestBody" in operation.described
        wanted = {
            "400": has_body or bool(operation.parameters),
            "401": operation.secured,
            "413": has_body,
            "500": True,
            "503": operation.described["tags"] == ["Health API"] and operation.id not in NO_CHECKS,
            "405": False,
        }
        found += [
            f"{operation.id}: {each}"
            for each, is_wanted in wanted.items()
            if is_wanted != (each in operation.responses)
        ]
        if not any(status.startswith("2") for status in operation.responses):
            found.append(f"{operation.id}: no success")
    return found


def misshapen_answers(document: Document) -> list[str]:
    """Answers without a schema, and errors of another shape than ErrorResponse."""
    error = {"$ref": "#/components/schemas/ErrorResponse"}
    found = []
    for operation in operations(document):
        for status, response in operation.responses.items():
            content = response.get("content", {})
            wanted = TEXTS.get((operation.id, status), "application/json")
            if status != "204" and list(content) != [wanted]:
                found.append(f"{operation.id} {status}: content")
            if status == "204" and content:
                found.append(f"{operation.id} {status}: has content")
        found += [
            f"{operation.id} {status}: schema"
            for status, response in errors(operation)
            if response.get("content", {}).get("application/json", {}).get("schema") != error
        ]
    return found


def wrong_codes(document: Document) -> list[str]:
    """Codes that are no refusal's, or a refusal's of another status than the answer that names them."""
    kinds = classes_by_code()
    statuses = {code: str(STATUS[kind]) for code, kind in kinds.items()}
    found = []
    for pointer, node in walk(document):
        codes = [*([node["x-code"]] if "x-code" in node else []), *node.get("x-codes", {}).values()]
        found += [f"{pointer}: {code}" for code in codes if statuses.get(code) != "400"]
        keywords = set(node.get("x-codes", {})) - {"required"}
        found += [f"{pointer}: x-codes without {keyword}" for keyword in keywords if keyword not in node]
    for operation in operations(document):
        for status, response in errors(operation):
            named = re.findall(r"FLK-\d{4}", response["description"])
            found += [f"{operation.id} {status}: {code}" for code in named if statuses.get(code) != status]
            example = response["content"]["application/json"].get("example")
            if example and (statuses.get(example["code"]), TITLES[int(status)]) != (status, example["title"]):
                found.append(f"{operation.id} {status}: example")
    return found


def unrequired_codes(document: Document) -> list[str]:
    """Codes for a missing member of a body that its object does not require."""
    return [
        f"{pointer}/properties/{name}"
        for pointer, schema in schemas(document)
        for name, member in schema.get("properties", {}).items()
        if "required" in member.get("x-codes", {}) and name not in schema.get("required", ())
    ]


def open_inputs(document: Document) -> list[str]:
    """Objects of a request that take members which nobody described."""
    found: list[str] = []
    waiting = [pointer for pointer, _ in schemas(document) if "/requestBod" in pointer]
    seen = set(waiting)
    while waiting:
        pointer = waiting.pop()
        for inner, node in walk(find(document, pointer), pointer):
            if node.get("type") == "object":
                closed = node.get("additionalProperties") is False
                found += [inner] if closed == (inner in USER_CONTENT) else []
            reference = node.get("$ref")
            if reference and reference not in seen:
                seen.add(reference)
                waiting.append(reference)
    return found


def unpromised_outputs(document: Document) -> list[str]:
    """Answers that do not promise all of their members."""
    answers = {"#/components/schemas/" + name for name in document["components"]["schemas"]} - {
        pointer for pointer, schema in schemas(document) if schema.get("additionalProperties") is False
    }
    found = []
    for pointer, schema in schemas(document):
        if pointer not in answers - USER_CONTENT or schema["type"] != "object":
            continue
        promised = NOT_ALL_REQUIRED.get(pointer.rpartition("/")[2], set(schema["properties"]))
        if set(schema.get("required", ())) != promised:
            found.append(pointer)
    return found


def unformatted(document: Document) -> list[str]:
    """Ids without the format of an id, and times without the format of a time."""
    formats = {
        "uuid": re.compile(r"id|workflowId|executionId|.*-ID"),
        "date-time": re.compile(r".*At|timestamp|.*Date"),
    }
    own_ids = re.compile(r"#/components/schemas/(Node|Edge|AuditActor|Catalog\w+)/properties/id")
    members = [
        (pointer, pointer.rpartition("/")[2], schema)
        for pointer, schema in schemas(document)
        if re.search(r"/properties/[^/]+$", pointer) and not own_ids.fullmatch(pointer)
    ]
    members += [
        (f"{operation.id} {location} {name}", name, parameter["schema"])
        for operation in operations(document)
        for (location, name), parameter in operation.parameters.items()
        if not of_catalog(operation)
    ]
    return [
        where
        for where, name, schema in members
        for wanted, pattern in formats.items()
        if pattern.fullmatch(name) and schema.get("format") != wanted
    ]


def of_catalog(operation: Operation) -> bool:
    """The catalog is part of the program: its ids are names, and its lists are short."""
    return bool(operation.described["tags"] == ["Catalog API"])


WHOLE_LISTS = frozenset({"listExecutionSteps"})
"""Lists that are answered whole: a run has no more steps than a workflow has nodes."""


def misshapen_lists(document: Document) -> list[str]:
    """Lists whose pages or parameters are not those of every list; of the catalog, those that are no plain arrays."""
    found = []
    for operation in operations(document):
        if not operation.id.startswith(("list", "search")) or operation.id in WHOLE_LISTS:
            continue
        if of_catalog(operation):
            schema = operation.responses["200"]["content"]["application/json"]["schema"]
            asked_for = [name for location, name in operation.parameters if location != "path"]
            found += [f"{operation.id}: array"] if schema.get("type") != "array" or asked_for else []
            continue
        # What is searched is in the order of its chain, and nothing else.
        is_search = operation.id.startswith("search")
        page = expand(document, operation.responses["200"])["content"]["application/json"]["schema"]
        if {name: member["type"] for name, member in page["properties"].items()} != PAGE or set(
            page["required"]
        ) != set(PAGE):
            found.append(f"{operation.id}: page")
        schemas_by_name = {name: expand(document, each["schema"]) for (_, name), each in operation.parameters.items()}
        asked = {
            name: schemas_by_name.get(name, {}).get("default") for name in ("limit", "cursor", "sortBy", "sortOrder")
        }
        if asked | {"sortBy": None} != {
            "limit": 20 if is_search else 10,
            "cursor": None,
            "sortBy": None,
            "sortOrder": "DESC",
        }:
            found.append(f"{operation.id}: defaults")
        limit = schemas_by_name.get("limit", {})
        if (limit.get("minimum"), limit.get("maximum")) != (1, 100) or ("sortBy" in schemas_by_name) == is_search:
            found.append(f"{operation.id}: parameters")
    return found


PAGE = {"items": "array", "nextCursor": "string", "hasMore": "boolean"}


def broken_links(document: Document) -> list[str]:
    """Links to no operation, with parameters that it does not take, or from what the answer does not have."""
    targets = {operation.id: operation for operation in operations(document)}
    found = []
    for operation in operations(document):
        for status, response in operation.responses.items():
            for name, link in response.get("links", {}).items():
                where = f"{operation.id} {status} {name}"
                followed = resolve(document, link)
                target = targets.get(followed["operationId"])
                if target is None:
                    found.append(f"{where}: operation")
                    continue
                in_path = {each for location, each in target.parameters if location == "path"}
                given = set(followed["parameters"])
                if not in_path <= given <= {each for _, each in target.parameters}:
                    found.append(f"{where}: parameters")
                expressions = followed["parameters"].values()
                found += [f"{where}: {each}" for each in expressions if not is_known(operation, response, each)]
    return found


def is_known(operation: Operation, response: dict[str, Any], expression: str) -> bool:
    """Whether the request or its answer has what the runtime expression of a link asks for."""
    if expression.startswith("$request.path."):
        return ("path", expression.removeprefix("$request.path.")) in operation.parameters
    return is_in(operation.document, response, expression)


def is_in(document: Document, response: dict[str, Any], expression: str) -> bool:
    """Whether the answer has what the runtime expression of a link asks for."""
    if expression.startswith("$response.header."):
        return expression.removeprefix("$response.header.") in response.get("headers", {})
    schema = expand(document, response["content"]["application/json"]["schema"])
    for step in expression.removeprefix("$response.body#/").split("/"):
        if schema == expand(document, find(document, NODE_DATA)):
            return True  # What stands further below is the user's.
        schema = schema.get("items") if step.isdigit() else schema.get("properties", {}).get(step)
        if schema is None:
            return False
    return True


def unguarded(document: Document) -> list[str]:
    """Changes and deletions of what has an `ETag` that take no `If-Match`, and other operations that do."""
    found = []
    for operation in operations(document):
        read = Operation(document, operation.path, "get")
        is_tagged = "get" in document["paths"][operation.path] and "ETag" in read.responses["200"].get("headers", ())
        guards = is_tagged and operation.method in {"put", "patch", "delete"}
        if (("header", "If-Match") in operation.parameters) != guards:
            found.append(f"{operation.id}: If-Match")
        if guards and "409" not in operation.responses:
            found.append(f"{operation.id}: 409")
    return found


def departures(document: Document) -> list[str]:
    """In what the document says something else than what was published of it."""
    published = loaded(SEED)
    found = [part for part in HEADER if find(document, part) != find(published, part)]
    operation = Operation(document, WEBHOOK, "post")
    found += [
        f"{status}: headers"
        for status, response in operation.responses.items()
        if set(response.get("headers", ())) != ADDED_HEADERS.get(status, set())
    ]
    ours, theirs = meaning(operation), meaning(Operation(published, WEBHOOK, "post"))
    found += [part for part in theirs if ours.get(part) != theirs[part]]
    return found + [f"{part}: added" for part in ours if part not in theirs]


HEADER = ("openapi", "info", "servers", "security", "tags", "components/securitySchemes")


def meaning(operation: Operation) -> dict[str, Any]:
    """An operation without references, and without what may be added to what was published."""
    expanded = expand(operation.document, operation.described)
    expanded["parameters"] = [expand(operation.document, each) for _, each in sorted(operation.parameters.items())]
    for status, response in expanded["responses"].items():
        for added in ("headers", "links"):
            response.pop(added, None)
        media_type = response["content"]["application/json"]
        media_type.pop("example", None)
        if int(status) >= 400:
            media_type["schema"]["properties"].pop("fields", None)
    return dict(expanded)


def unlike_siblings(document: Document) -> list[str]:
    """Webhook operations that differ from the published one in more than their names."""
    post = meaning(Operation(document, WEBHOOK, "post"))
    named = {"operationId", "summary", "description"}
    found = []
    for method in ("get", "put", "patch", "delete"):
        other = meaning(Operation(document, WEBHOOK, method))
        found += [f"{method}: {part}" for part in {*post, *other} - named if post.get(part) != other.get(part)]
    return found


RULES: tuple[Rule, ...] = (
    invalid,
    unidentified,
    untold,
    unused,
    misfits,
    wrong_statuses,
    misshapen_answers,
    wrong_codes,
    unrequired_codes,
    open_inputs,
    unpromised_outputs,
    unformatted,
    misshapen_lists,
    broken_links,
    unguarded,
    departures,
    unlike_siblings,
)

GONE = object()
PATHS = "paths/~1v1~1workflows"
CATALOG = "paths/~1v1~1catalog~1executors"
POST = "paths/~1v1~1webhooks~1{path}/post"
OBJECTS = "components/schemas"
ANSWERS = "components/responses"

SPOILED: tuple[tuple[Rule, str, Any], ...] = (
    (invalid, "info/title", GONE),
    (invalid, f"{PATHS}/get/parameters/0/in", "body"),
    (unidentified, f"{PATHS}/get/operationId", "createWorkflow"),
    (unidentified, f"{PATHS}/get/operationId", "list_workflows"),
    (untold, f"{PATHS}/get/tags", ["Workflow API"]),
    (untold, f"{PATHS}/get/summary", GONE),
    (untold, f"{PATHS}/get/description", GONE),
    (untold, f"{OBJECTS}/Node/properties/type/description", GONE),
    (untold, "components/parameters/Limit/description", GONE),
    (unused, "components/headers/Unused", {"schema": {"type": "string"}}),
    (misfits, f"{OBJECTS}/Workflow/properties/createdAt/examples", ["yesterday"]),
    (misfits, f"{OBJECTS}/Workflow/properties/id/examples", ["7"]),
    (misfits, f"{OBJECTS}/ErrorResponse/properties/code/example", 1),
    (misfits, f"{OBJECTS}/WorkflowInput/examples/0/edges/0/target", GONE),
    (misfits, f"{ANSWERS}/WorkflowNotFound/content/application~1json/example/title", GONE),
    (misfits, "components/parameters/WorkflowId/example", "7"),
    (misfits, "components/parameters/Limit/schema/default", 0),
    (wrong_statuses, f"{PATHS}/get/responses/400", GONE),
    (wrong_statuses, f"{PATHS}/get/responses/401", GONE),
    (wrong_statuses, f"{PATHS}/post/responses/413", GONE),
    (wrong_statuses, f"{PATHS}/get/responses/413", {"$ref": "#/components/responses/PayloadTooLarge"}),
    (wrong_statuses, "paths/~1health/get/responses/401", {"$ref": "#/components/responses/Unauthorized"}),
    (wrong_statuses, "paths/~1health/get/responses/503", GONE),
    (wrong_statuses, "paths/~1version/get/responses/500", GONE),
    (wrong_statuses, "paths/~1version/get/responses/200", GONE),
    (misshapen_answers, f"{ANSWERS}/Unauthorized/content", GONE),
    (misshapen_answers, f"{ANSWERS}/Unauthorized/content/application~1json/schema", {"type": "object"}),
    (misshapen_answers, f"{PATHS}/get/responses/200/content", GONE),
    (wrong_codes, "components/parameters/Limit/x-code", "FLK-0000"),
    (wrong_codes, f"{OBJECTS}/Node/properties/id/x-codes/required", "FLK-0100"),
    (wrong_codes, f"{OBJECTS}/Node/properties/id/minLength", GONE),
    (wrong_codes, f"{ANSWERS}/WorkflowNotFound/description", "No workflow has this name (`FLK-0101`)."),
    (wrong_codes, f"{ANSWERS}/WorkflowNotFound/content/application~1json/example/code", "FLK-0101"),
    (wrong_codes, f"{ANSWERS}/WorkflowNotFound/content/application~1json/example/title", "Missing"),
    (unrequired_codes, f"{OBJECTS}/Edge/required", ["id", "source"]),
    (open_inputs, f"{OBJECTS}/CloneInput/additionalProperties", GONE),
    (open_inputs, f"{OBJECTS}/Position/additionalProperties", True),
    (open_inputs, f"{OBJECTS}/Metadata/additionalProperties", False),
    (unpromised_outputs, f"{OBJECTS}/StepResult/required", ["stepNumber"]),
    (unpromised_outputs, f"{OBJECTS}/ExecutionCreateOutput/required", ["executionId"]),
    (unformatted, f"{OBJECTS}/Workflow/properties/updatedAt/format", GONE),
    (unformatted, f"{OBJECTS}/ExecutionStatus/properties/workflowId/format", GONE),
    (unformatted, "components/parameters/ExecutionId/schema/format", GONE),
    (misshapen_lists, f"{CATALOG}/get/responses/200/content/application~1json/schema", {"type": "object"}),
    (misshapen_lists, f"{CATALOG}/get/parameters", [{"$ref": "#/components/parameters/Limit"}]),
    (misshapen_lists, f"{OBJECTS}/WorkflowList/required", ["items"]),
    (misshapen_lists, f"{OBJECTS}/ExecutionList/properties/total", {"type": "integer"}),
    (misshapen_lists, "components/parameters/Limit/schema/maximum", 1000),
    (misshapen_lists, "components/parameters/Limit/schema/default", 20),
    (misshapen_lists, "components/parameters/SortOrder/schema/default", "ASC"),
    (misshapen_lists, "components/parameters/AuditLimit/schema/default", 10),
    (misshapen_lists, "paths/~1v1~1audit-events/get/parameters/0/name", "sortBy"),
    (broken_links, "components/links/GetWorkflow/operationId", "readWorkflow"),
    (broken_links, "components/links/ExecuteWorkflow/parameters", {"id": "$response.body#/id"}),
    (broken_links, "components/links/GetWorkflow/parameters/id", "$response.body#/id"),
    (broken_links, "components/links/CancelThisExecution/parameters/id", "$request.path.executionId"),
    (broken_links, "components/links/GetFirstExecutionStatus/parameters/id", "$response.header.Location"),
    (unguarded, "paths/~1v1~1workflows~1{id}/put/parameters", GONE),
    (unguarded, "paths/~1v1~1executors~1{id}/delete/responses/409", GONE),
    (
        unguarded,
        "paths/~1v1~1workflows~1{id}~1activate/post/parameters",
        [{"$ref": "#/components/parameters/IfMatch"}],
    ),
    (unguarded, "components/parameters/IfMatch/name", "If-None-Match"),
    (departures, "info/version", "1.2.0"),
    (departures, "security", []),
    (departures, "tags/0/name", "Health"),
    (departures, "components/securitySchemes/ApiKeyAuth/name", "X-Key"),
    (departures, f"{POST}/description", "Triggers."),
    (departures, f"{POST}/deprecated", True),
    (departures, f"{POST}/requestBody", GONE),
    (departures, f"{POST}/responses/422", GONE),
    (departures, f"{POST}/responses/503", {"$ref": "#/components/responses/InternalError"}),
    (departures, "paths/~1v1~1webhooks~1{path}/parameters/0/schema/type", "integer"),
    (departures, "paths/~1v1~1webhooks~1{path}/parameters/1/schema/maxLength", 255),
    (departures, "paths/~1v1~1webhooks~1{path}/parameters/2/required", True),
    (departures, "components/requestBodies/WebhookPayload/required", True),
    (departures, f"{ANSWERS}/WebhookNotActive/description", "Not active."),
    (departures, f"{ANSWERS}/WebhookConflict/headers/Location", {"$ref": "#/components/headers/ExecutionLocation"}),
    (departures, f"{ANSWERS}/WebhookAccepted/headers", GONE),
    (departures, f"{OBJECTS}/ExecutionCreateOutput/properties/startedAt/format", GONE),
    (departures, f"{OBJECTS}/ExecutionCreateOutput/required", ["status"]),
    (departures, f"{OBJECTS}/ErrorResponse/required", ["code"]),
    (departures, f"{OBJECTS}/ErrorResponse/properties/detail", {"type": "string"}),
    (unlike_siblings, "paths/~1v1~1webhooks~1{path}/get/requestBody", GONE),
    (unlike_siblings, "paths/~1v1~1webhooks~1{path}/put/responses/409", GONE),
)


@pytest.mark.parametrize("rule", RULES)
def test_the_document_keeps_every_rule(rule: Rule) -> None:
    """A rule answers what is wrong: nothing."""
    assert rule(flowker()) == []


@pytest.mark.parametrize(
    ("rule", "pointer", "value"), SPOILED, ids=[f"{rule.__name__}-{at}" for rule, at, _ in SPOILED]
)
def test_a_rule_notices_what_is_spoiled(rule: Rule, pointer: str, value: Any) -> None:
    """One change in one place is enough."""
    document = flowker()
    put(document, pointer, value)

    assert rule(document) != []


def test_every_rule_has_something_to_notice() -> None:
    """A rule that was never seen to fail proves nothing."""
    assert {rule for rule, _, _ in SPOILED} == set(RULES)


def test_the_service_can_be_built_from_the_document() -> None:
    """No format that nobody checks, no style that nobody reads, no unknown code."""
    document = flowker()

    assert sorted(compile_document(document)) == sorted(operation.id for operation in operations(document))


def test_example_workflows_can_be_activated() -> None:
    """Who copies an example has a workflow that runs."""
    found = flowker()["components"]["schemas"]["WorkflowInput"]["examples"]

    assert found
    for example in found:
        definition = compile_definition(example["nodes"], example["edges"], example.get("metadata", {}), {})
        check_activation(definition, {}, {})


class TestGeneratedTypes:
    def test_they_are_what_the_document_says(self, tmp_path: Path) -> None:
        """The check that guards every change passes."""
        assert check_drift(copy_tree(tmp_path)) == 0

    def test_a_change_of_the_document_is_noticed(self, tmp_path: Path) -> None:
        """A member more in the document is a member too few in the types."""
        document = copy_tree(tmp_path) / "openapi" / "flowker.yaml"
        member = "        requestDate:\n"
        text = document.read_text()
        document.write_text(text.replace(member, f"        commit:\n          type: string\n{member}", 1))

        assert text.count(member) == 1
        assert check_drift(tmp_path) == 1

    def test_a_change_of_the_document_that_changes_no_type_is_noticed(self, tmp_path: Path) -> None:
        """A start would check it again, each time."""
        document = copy_tree(tmp_path) / "openapi" / "flowker.yaml"
        document.write_text(document.read_text() + "\n")

        assert check_drift(tmp_path) == 1

    def test_an_invalid_document_is_never_noted_as_valid(self, tmp_path: Path) -> None:
        """The digest stands for the check."""
        document = copy_tree(tmp_path) / "openapi" / "flowker.yaml"
        document.write_text(document.read_text().replace("\ninfo:\n", "\ninfo:\n  summary: 1\n", 1))
        noted = (tmp_path / "flowker" / "release.py").read_bytes()

        written = subprocess.run(
            [sys.executable, "tools/generate_schemas.py"], cwd=tmp_path, check=False, capture_output=True
        )

        assert written.returncode != 0
        assert b"info/summary" in written.stderr
        assert (tmp_path / "flowker" / "release.py").read_bytes() == noted

    def test_a_change_of_the_types_is_noticed(self, tmp_path: Path) -> None:
        """They are not to be edited."""
        types = copy_tree(tmp_path) / "flowker" / "schemas.py"
        types.write_text(types.read_text() + "\n")

        assert check_drift(tmp_path) == 1


def put(document: Document, pointer: str, value: Any) -> None:
    """Set the member at the pointer, or take it away."""
    parent, _, last = pointer.rpartition("/")
    owner = find(document, parent)
    key = int(last) if isinstance(owner, list) else last
    if value is GONE:
        del owner[key]
    else:
        owner[key] = value


def copy_tree(target: Path) -> Path:
    """What the generator reads, at another place."""
    made = ("flowker/schemas.py", "flowker/release.py")
    for name in ("pyproject.toml", "openapi/flowker.yaml", "tools/generate_schemas.py", *made):
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    return target


def check_drift(root: Path) -> int:
    command = [sys.executable, "tools/generate_schemas.py", "--check"]
    return subprocess.run(command, cwd=root, check=False, capture_output=True).returncode
