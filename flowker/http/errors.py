"""The HTTP face of every refusal: the only table of statuses, and the one shape that an error has."""

from collections.abc import Iterator
from typing import Any

from flowker import jsontext
from flowker.domain import errors
from flowker.domain.errors import FlowkerError
from flowker.http.reply import Reply, encode_headers, json_reply

STATUS: dict[type[FlowkerError], int] = {
    errors.InvalidRequest: 400,
    errors.InvalidId: 400,
    errors.WorkflowNotFound: 404,
    errors.WorkflowNameTaken: 409,
    errors.IllegalStatusChange: 422,
    errors.WorkflowNotEditable: 422,
    errors.UnknownExecutor: 404,
    errors.InvalidCondition: 422,
    errors.NameMissing: 400,
    errors.NameTooLong: 400,
    errors.NoNodes: 422,
    errors.TooManyNodes: 400,
    errors.TooManyEdges: 400,
    errors.UnknownEdgeNode: 400,
    errors.NoTrigger: 422,
    errors.DuplicateElementId: 400,
    errors.InvalidTrigger: 400,
    errors.InvalidNodeData: 400,
    errors.NodeIdMissing: 400,
    errors.NodeTypeMissing: 400,
    errors.EdgeIdMissing: 400,
    errors.EdgeSourceMissing: 400,
    errors.EdgeTargetMissing: 400,
    errors.InvalidInputMapping: 400,
    errors.InvalidOutputMapping: 400,
    errors.InvalidTransforms: 400,
    errors.ProviderConfigurationUnusable: 400,
    errors.ProviderConfigurationMismatch: 400,
    errors.CatalogExecutorNotFound: 404,
    errors.ExecutorInputInvalid: 400,
    errors.CatalogTriggerNotFound: 404,
    errors.CatalogProviderNotFound: 404,
    errors.CatalogTemplateNotFound: 404,
    errors.TemplateParametersInvalid: 400,
    errors.ExecutorConfigurationNotFound: 404,
    errors.ExecutorConfigurationNameTaken: 409,
    errors.ExecutorConfigurationNotModifiable: 422,
    errors.ConfigurationInUse: 409,
    errors.ExecutorConfigurationNameMissing: 400,
    errors.ExecutorConfigurationNameTooLong: 400,
    errors.BaseUrlMissing: 400,
    errors.BaseUrlInvalid: 400,
    errors.BaseUrlTooLong: 400,
    errors.NoEndpoints: 400,
    errors.AuthenticationMissing: 400,
    errors.ExecutorConfigurationDescriptionTooLong: 400,
    errors.AuthenticationTypeMissing: 400,
    errors.AuthenticationInvalid: 400,
    errors.EndpointNameInvalid: 400,
    errors.EndpointPathInvalid: 400,
    errors.EndpointMethodMissing: 400,
    errors.EndpointMethodInvalid: 400,
    errors.ProviderConfigurationNotFound: 404,
    errors.ProviderConfigurationNameTaken: 409,
    errors.ProviderConfigurationStatusUnchanged: 422,
    errors.ProviderConfigInvalid: 422,
    errors.UnknownProvider: 404,
    errors.ProviderConfigurationNameMissing: 400,
    errors.ProviderConfigurationNameTooLong: 400,
    errors.ProviderConfigEmpty: 400,
    errors.ProviderConfigurationDescriptionTooLong: 400,
    errors.UnexpectedField: 400,
    errors.MissingField: 400,
    errors.InvalidDashboardQuery: 400,
    errors.InvalidQuery: 400,
    errors.InvalidTime: 400,
    errors.RangeReversed: 400,
    errors.LimitOutOfRange: 400,
    errors.InvalidSortOrder: 400,
    errors.TestAddressNotAllowed: 422,
    errors.ChangedMeanwhile: 409,
    errors.WebhookTaken: 409,
    errors.WebhookNotFound: 404,
    errors.WebhookTokenRefused: 401,
    errors.WebhookBodyTooLarge: 413,
    errors.ApiKeyRefused: 401,
    errors.PathNotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTimeout: 408,
    errors.ExecutionNotFound: 404,
    errors.WorkflowNotActive: 422,
    errors.ExecutionInProgress: 422,
    errors.IdempotencyKeyUsed: 409,
    errors.InputTooLarge: 413,
    errors.WorkflowCycle: 422,
    errors.IdempotencyKeyMissing: 400,
    errors.ExecutionEnded: 422,
    errors.ExecutionNotFailed: 422,
    errors.ApprovalNotFound: 404,
    errors.ApprovalNotReached: 409,
    errors.ApprovalConflict: 409,
    errors.ApprovalOver: 409,
    errors.AuditEventNotFound: 404,
    errors.InternalError: 500,
}

# The phrases of RFC 7231 and RFC 4918: http.HTTPStatus renames two of them from Python 3.13 on.
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Request Entity Too Large",
    422: "Unprocessable Entity",
    500: "Internal Server Error",
}

BUG = "An internal error occurred."
"""What a caller hears of a bug. Unlike InternalError's own message it promises nothing about what was recorded."""


def render(error: FlowkerError) -> Reply:
    kind = type(error)
    status = STATUS[kind]
    if error.fields or error.message != kind.message:
        body = _encode(kind, status, error.message, error.fields)
    else:
        body = _PLAIN_BODIES[kind]
    headers = encode_headers(error.headers)
    if status == 413:
        # Whatever else the caller is still sending is not read any more.
        headers.append((b"connection", b"close"))
    return json_reply(status, body, headers)


def classes_by_code() -> dict[str, type[FlowkerError]]:
    return {kind.code: kind for kind in _descendants(FlowkerError)}


def _encode(kind: type[FlowkerError], status: int, message: str, fields: dict[str, str]) -> bytes:
    value: dict[str, Any] = {"code": kind.code, "title": TITLES[status], "message": message}
    if fields:
        value["fields"] = fields
    return jsontext.encode(value)


def _descendants(kind: type[FlowkerError]) -> Iterator[type[FlowkerError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


_PLAIN_BODIES = {kind: _encode(kind, status, kind.message, {}) for kind, status in STATUS.items()}
