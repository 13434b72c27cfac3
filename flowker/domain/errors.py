"""Every refusal that Flowker can answer: one class, one code.

A refusal is an expected answer to a caller, never a bug. The HTTP status of each class stands in one table,
`flowker.http.errors.STATUS`; docs/errors.md lists every class, and a test compares the three.

FlowkerError
├── InvalidRequest and its kin      the request cannot be understood
├── NotFound kin                    the resource is not there
├── Conflict kin                    somebody else was first
└── state kin                       the resource is there, and in the wrong state
"""

from collections.abc import Mapping
from typing import ClassVar


class FlowkerError(Exception):
    """A refusal with its stable code (`FLK-…`).

    `message` is for people and never repeats what the caller sent; `fields` says per field path what is wrong
    with it; `headers` are response headers that help the caller go on.
    """

    code: ClassVar[str]
    message: str

    def __init__(
        self,
        message: str | None = None,
        *,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message or type(self).message
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})
        super().__init__(self.message)


class InvalidRequest(FlowkerError):
    code = "FLK-0001"
    message = "The request body cannot be read or does not fit its schema."


class InvalidId(FlowkerError):
    code = "FLK-0002"
    message = "The id is not a UUID."


class WorkflowNotFound(FlowkerError):
    code = "FLK-0100"
    message = "No workflow has this id."


class WorkflowNameTaken(FlowkerError):
    code = "FLK-0101"
    message = "Another workflow has this name."


class IllegalStatusChange(FlowkerError):
    code = "FLK-0102"
    message = "The workflow cannot change to this status from the one it has."


class WorkflowNotEditable(FlowkerError):
    code = "FLK-0103"
    message = "The workflow cannot be changed or deleted in the status it has."


class UnknownExecutor(FlowkerError):
    code = "FLK-0104"
    message = "A node names an executor that the catalog does not have."


class InvalidCondition(FlowkerError):
    code = "FLK-0105"
    message = "A condition does not parse."


class NameMissing(FlowkerError):
    code = "FLK-0110"
    message = "The name is missing or blank."


class NameTooLong(FlowkerError):
    code = "FLK-0111"
    message = "The name is longer than 100 characters."


class NoNodes(FlowkerError):
    code = "FLK-0112"
    message = "The workflow has no nodes."


class TooManyNodes(FlowkerError):
    code = "FLK-0113"
    message = "The workflow has more than 100 nodes."


class TooManyEdges(FlowkerError):
    code = "FLK-0114"
    message = "The workflow has more than 200 edges."


class UnknownEdgeNode(FlowkerError):
    code = "FLK-0115"
    message = "An edge names a node that the workflow does not have."


class NoTrigger(FlowkerError):
    code = "FLK-0116"
    message = "The workflow has no trigger."


class DuplicateElementId(FlowkerError):
    code = "FLK-0117"
    message = "Two nodes or two edges have the same id."


class InvalidTrigger(FlowkerError):
    code = "FLK-0118"
    message = "The data of a trigger is not valid."


class InvalidNodeData(FlowkerError):
    code = "FLK-0119"
    message = "The data of an action or conditional is not valid."


class NodeIdMissing(FlowkerError):
    code = "FLK-0120"
    message = "A node has no id."


class NodeTypeMissing(FlowkerError):
    code = "FLK-0121"
    message = "A node has no type."


class EdgeIdMissing(FlowkerError):
    code = "FLK-0130"
    message = "An edge has no id."


class EdgeSourceMissing(FlowkerError):
    code = "FLK-0131"
    message = "An edge has no source."


class EdgeTargetMissing(FlowkerError):
    code = "FLK-0132"
    message = "An edge has no target."


class InvalidInputMapping(FlowkerError):
    code = "FLK-0140"
    message = "An inputMapping is not valid."


class InvalidOutputMapping(FlowkerError):
    code = "FLK-0141"
    message = "An outputMapping is not valid."


class InvalidTransforms(FlowkerError):
    code = "FLK-0142"
    message = "The transforms of a node are not valid."


class ProviderConfigurationUnusable(FlowkerError):
    code = "FLK-0150"
    message = "The configuration of a node is missing, unknown or not active, or lacks the endpoint."


class ProviderConfigurationMismatch(FlowkerError):
    code = "FLK-0151"
    message = "The provider configuration of a node belongs to another provider."


class CatalogExecutorNotFound(FlowkerError):
    code = "FLK-0200"
    message = "The catalog has no executor with this id."


class ExecutorInputInvalid(FlowkerError):
    code = "FLK-0201"
    message = "The config does not fit the schema of the executor."


class CatalogTriggerNotFound(FlowkerError):
    code = "FLK-0210"
    message = "The catalog has no trigger with this id."


class CatalogProviderNotFound(FlowkerError):
    code = "FLK-0230"
    message = "The catalog has no provider with this id."


class CatalogTemplateNotFound(FlowkerError):
    code = "FLK-0240"
    message = "The catalog has no template with this id."


class TemplateParametersInvalid(FlowkerError):
    code = "FLK-0242"
    message = "The params do not fit the template."


class ExecutorConfigurationNotFound(FlowkerError):
    code = "FLK-0250"
    message = "No executor configuration has this id."


class ExecutorConfigurationNameTaken(FlowkerError):
    code = "FLK-0251"
    message = "Another executor configuration has this name."


class ExecutorConfigurationNotModifiable(FlowkerError):
    code = "FLK-0252"
    message = "The executor configuration does not allow this in the status it has."


class ConfigurationInUse(FlowkerError):
    code = "FLK-0253"
    message = "The configuration is used by active workflows."


class ExecutorConfigurationNameMissing(FlowkerError):
    code = "FLK-0260"
    message = "The name is missing or blank."


class ExecutorConfigurationNameTooLong(FlowkerError):
    code = "FLK-0261"
    message = "The name is longer than 100 characters."


class BaseUrlMissing(FlowkerError):
    code = "FLK-0262"
    message = "The base URL is missing."


class BaseUrlInvalid(FlowkerError):
    code = "FLK-0263"
    message = "The base URL is not an http or https URL that can be called."


class BaseUrlTooLong(FlowkerError):
    code = "FLK-0264"
    message = "The base URL is too long."


class NoEndpoints(FlowkerError):
    code = "FLK-0265"
    message = "The executor configuration has no endpoints."


class AuthenticationMissing(FlowkerError):
    code = "FLK-0266"
    message = "The authentication is missing."


class ExecutorConfigurationDescriptionTooLong(FlowkerError):
    code = "FLK-0267"
    message = "The description is longer than 500 characters."


class AuthenticationTypeMissing(FlowkerError):
    code = "FLK-0268"
    message = "The type of the authentication is missing."


class AuthenticationInvalid(FlowkerError):
    code = "FLK-0269"
    message = "The authentication is not valid."


class EndpointNameInvalid(FlowkerError):
    code = "FLK-0270"
    message = "The name of an endpoint is missing, too long or used twice."


class EndpointPathInvalid(FlowkerError):
    code = "FLK-0271"
    message = "The path of an endpoint is missing or not valid."


class EndpointMethodMissing(FlowkerError):
    code = "FLK-0272"
    message = "The method of an endpoint is missing."


class EndpointMethodInvalid(FlowkerError):
    code = "FLK-0273"
    message = "The method of an endpoint is not valid."


class ProviderConfigurationNotFound(FlowkerError):
    code = "FLK-0290"
    message = "No provider configuration has this id."


class ProviderConfigurationNameTaken(FlowkerError):
    code = "FLK-0291"
    message = "Another provider configuration has this name."


class ProviderConfigurationStatusUnchanged(FlowkerError):
    code = "FLK-0292"
    message = "The provider configuration cannot change to this status from the one it has."


class ProviderConfigInvalid(FlowkerError):
    code = "FLK-0293"
    message = "The config does not fit the schema of the provider."


class UnknownProvider(FlowkerError):
    code = "FLK-0294"
    message = "The catalog does not have this provider."


class ProviderConfigurationNameMissing(FlowkerError):
    code = "FLK-0295"
    message = "The name is missing or blank."


class ProviderConfigurationNameTooLong(FlowkerError):
    code = "FLK-0296"
    message = "The name is longer than 100 characters."


class ProviderConfigEmpty(FlowkerError):
    code = "FLK-0298"
    message = "The config is missing or empty."


class ProviderConfigurationDescriptionTooLong(FlowkerError):
    code = "FLK-0299"
    message = "The description is longer than 500 characters."


class UnexpectedField(FlowkerError):
    code = "FLK-0300"
    message = "The request body has a field that is not part of its schema."


class MissingField(FlowkerError):
    code = "FLK-0301"
    message = "A required field of the request body is missing."


class InvalidDashboardQuery(FlowkerError):
    code = "FLK-0302"
    message = "A parameter of the dashboard is not valid."


class InvalidQuery(FlowkerError):
    code = "FLK-0304"
    message = "A parameter or the cursor is not valid."


class InvalidTime(FlowkerError):
    code = "FLK-0305"
    message = "A time is not RFC 3339 with a zone."


class RangeReversed(FlowkerError):
    code = "FLK-0308"
    message = "The range ends before it begins."


class LimitOutOfRange(FlowkerError):
    code = "FLK-0309"
    message = "The limit is not within 1 and 100."


class InvalidSortOrder(FlowkerError):
    code = "FLK-0310"
    message = "The sort order is neither ASC nor DESC."


class TestAddressNotAllowed(FlowkerError):
    code = "FLK-0341"
    message = "The address of the configuration must not be called."


class ChangedMeanwhile(FlowkerError):
    code = "FLK-0350"
    message = "It was changed by somebody else meanwhile."


class WebhookTaken(FlowkerError):
    code = "FLK-0360"
    message = "Another active workflow owns this webhook method and path."


class WebhookNotFound(FlowkerError):
    code = "FLK-0361"
    message = "No webhook is registered for this method and path."


class WebhookTokenRefused(FlowkerError):
    code = "FLK-0362"
    message = "The webhook token is missing or wrong."


class WebhookBodyTooLarge(FlowkerError):
    code = "FLK-0363"
    message = "The webhook body is larger than 1 MB."


class ApiKeyRefused(FlowkerError):
    code = "FLK-0401"
    message = "The API key is missing or wrong."


class PathNotFound(FlowkerError):
    code = "FLK-0404"
    message = "No operation has this path."


class MethodNotAllowed(FlowkerError):
    code = "FLK-0405"
    message = "The operation at this path does not have this method."


class RequestTimeout(FlowkerError):
    code = "FLK-0408"
    message = "The request did not arrive in time. Nothing was recorded."


class ExecutionNotFound(FlowkerError):
    code = "FLK-0500"
    message = "No execution has this id."


class WorkflowNotActive(FlowkerError):
    code = "FLK-0501"
    message = "The workflow is not active."


class ExecutionInProgress(FlowkerError):
    code = "FLK-0502"
    message = "The execution is still in progress."


class IdempotencyKeyUsed(FlowkerError):
    code = "FLK-0505"
    message = "The idempotency key was already used."


class InputTooLarge(FlowkerError):
    code = "FLK-0506"
    message = "The request body is larger than 1 MB."


class WorkflowCycle(FlowkerError):
    code = "FLK-0508"
    message = "The edges of the workflow form a cycle."


class IdempotencyKeyMissing(FlowkerError):
    code = "FLK-0509"
    message = "The Idempotency-Key header is missing."


class ExecutionEnded(FlowkerError):
    code = "FLK-0511"
    message = "The execution has ended."


class ExecutionNotFailed(FlowkerError):
    code = "FLK-0512"
    message = "Only an execution that has failed can be continued."


class ApprovalNotFound(FlowkerError):
    code = "FLK-0513"
    message = "The execution has no approval node with this id."


class ApprovalNotReached(FlowkerError):
    code = "FLK-0514"
    message = "The execution does not wait for this approval yet."


class ApprovalConflict(FlowkerError):
    code = "FLK-0515"
    message = "The approval was decided otherwise before."


class ApprovalOver(FlowkerError):
    code = "FLK-0516"
    message = "The execution no longer waits for this approval."


class AuditEventNotFound(FlowkerError):
    code = "FLK-0600"
    message = "No audit event has this id."


class InternalError(FlowkerError):
    """Not the caller's fault. A full queue or a database that is away comes with a Retry-After header."""

    code = "FLK-9999"
    message = "The service could not do this. Nothing was recorded."
