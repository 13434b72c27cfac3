"""Types of the API, generated from openapi/flowker.yaml by `tox -e generate`; not to be edited."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


class ExecutionCreateOutput(TypedDict):
    executionId: NotRequired[str]
    startedAt: NotRequired[str]
    status: NotRequired[str]
    workflowId: NotRequired[str]


class ErrorResponse(TypedDict):
    code: str
    message: str
    title: str
    fields: NotRequired[dict[str, str]]


WorkflowStatus: TypeAlias = Literal["draft", "active", "inactive"]


ExecutionState: TypeAlias = Literal["pending", "running", "completed", "failed"]


class Position(TypedDict):
    x: NotRequired[float]
    y: NotRequired[float]


class Node(TypedDict):
    id: str
    type: Literal["trigger", "executor", "conditional", "action"]
    name: NotRequired[str]
    position: NotRequired[Position]
    data: NotRequired[dict[str, Any]]


class Edge(TypedDict):
    id: str
    source: str
    target: str
    sourceHandle: NotRequired[str]
    condition: NotRequired[str]
    label: NotRequired[str]


class Metadata(TypedDict):
    timeoutSeconds: NotRequired[int]


class WorkflowInput(TypedDict):
    name: str
    description: NotRequired[str]
    nodes: NotRequired[list[Node]]
    edges: NotRequired[list[Edge]]
    metadata: NotRequired[Metadata]


class CloneInput(TypedDict):
    name: str


class WorkflowCreateOutput(TypedDict):
    workflowId: str
    status: WorkflowStatus
    version: str
    createdAt: str


class Workflow(TypedDict):
    id: str
    name: str
    description: str
    status: WorkflowStatus
    version: str
    nodes: list[Node]
    edges: list[Edge]
    metadata: Metadata
    createdAt: str
    updatedAt: str


class WorkflowList(TypedDict):
    items: list[Workflow]
    nextCursor: str
    hasMore: bool


class WorkflowFinding(TypedDict):
    code: str
    severity: Literal["error", "warning"]
    message: str
    nodeId: str | None
    edgeId: str | None
    field: str | None


class ExecuteInput(TypedDict):
    inputData: dict[str, Any]


class ExecutionStatus(TypedDict):
    executionId: str
    workflowId: str
    status: ExecutionState
    currentStepNumber: int
    totalSteps: int
    startedAt: str
    completedAt: str | None
    errorMessage: str | None


class ExecutionAttempt(TypedDict):
    number: int
    startedAt: str
    durationMs: int | None
    statusCode: int | None
    outcome: Literal["running", "succeeded", "failed", "unknown"]
    errorMessage: str | None


class CancelInput(TypedDict):
    reason: NotRequired[str]


class SignalInput(TypedDict):
    decision: Literal["approved", "rejected"]
    comment: NotRequired[str]


class ApprovalDecision(TypedDict):
    executionId: str
    nodeId: str
    decision: Literal["approved", "rejected"]
    comment: str | None
    decidedAt: str
    decidedBy: str


class ExecutionList(TypedDict):
    items: list[ExecutionStatus]
    nextCursor: str
    hasMore: bool


class StepResult(TypedDict):
    stepNumber: int
    stepName: str
    nodeId: str
    status: Literal["completed", "failed", "skipped"]
    output: Any
    executedAt: str
    durationMs: int
    errorMessage: str | None
    attempts: int


class ExecutionResults(TypedDict):
    executionId: str
    workflowId: str
    status: ExecutionState
    stepResults: list[StepResult]
    finalOutput: Any
    startedAt: str
    completedAt: str | None
    errorMessage: str | None


class Version(TypedDict):
    version: str
    requestDate: str


class HealthCheck(TypedDict):
    status: Literal["healthy", "unhealthy"]
    message: str


class Health(TypedDict):
    status: Literal["healthy", "unhealthy"]
    version: str
    uptime: str
    timestamp: str
    checks: dict[str, HealthCheck]


class CatalogExecutor(TypedDict):
    id: str
    name: str
    category: str
    version: str
    providerId: str
    schema: str


class CatalogTrigger(TypedDict):
    id: str
    name: str
    version: str
    schema: str


class CatalogProvider(TypedDict):
    id: str
    name: str
    description: str
    version: str
    configSchema: str


class CatalogTemplate(TypedDict):
    id: str
    name: str
    description: str
    version: str
    category: str
    paramSchema: str


class CatalogValidation(TypedDict):
    valid: Literal[True]


class CatalogExecutorConfig(TypedDict):
    config: dict[str, Any]


class CatalogTemplateParameters(TypedDict):
    params: dict[str, Any]


class WorkflowFromTemplateInput(TypedDict):
    templateId: str
    params: dict[str, Any]


ExecutorConfigurationStatus: TypeAlias = Literal["unconfigured", "configured", "tested", "active", "disabled"]


class ExecutorConfigurationMetadata(TypedDict):
    pass


class ExecutorConfigurationEndpointInput(TypedDict):
    name: str
    path: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    timeout: NotRequired[int]


class ExecutorConfigurationAuthenticationInput(TypedDict):
    type: Literal["none", "api_key", "bearer", "basic", "oidc_client_credentials", "oidc_user"]
    config: NotRequired[dict[str, Any]]


class ExecutorConfigurationInput(TypedDict):
    name: str
    description: NotRequired[str]
    baseUrl: str
    endpoints: list[ExecutorConfigurationEndpointInput]
    authentication: ExecutorConfigurationAuthenticationInput
    metadata: NotRequired[ExecutorConfigurationMetadata]


class ExecutorConfigurationUpdate(TypedDict):
    name: NotRequired[str]
    description: NotRequired[str]
    baseUrl: NotRequired[str]
    endpoints: NotRequired[list[ExecutorConfigurationEndpointInput]]
    authentication: NotRequired[ExecutorConfigurationAuthenticationInput]
    metadata: NotRequired[ExecutorConfigurationMetadata]


class ExecutorConfigurationCreateOutput(TypedDict):
    id: str
    name: str
    status: ExecutorConfigurationStatus
    createdAt: str


class ExecutorConfigurationEndpoint(TypedDict):
    name: str
    path: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    timeout: int


class ExecutorConfigurationAuthentication(TypedDict):
    type: Literal["none", "api_key", "bearer", "basic", "oidc_client_credentials", "oidc_user"]
    config: dict[str, Any]


class ExecutorConfiguration(TypedDict):
    id: str
    name: str
    description: str
    baseUrl: str
    endpoints: list[ExecutorConfigurationEndpoint]
    authentication: ExecutorConfigurationAuthentication
    status: ExecutorConfigurationStatus
    metadata: ExecutorConfigurationMetadata
    createdAt: str
    updatedAt: str
    lastTestedAt: str | None


class ExecutorConfigurationList(TypedDict):
    items: list[ExecutorConfiguration]
    nextCursor: str
    hasMore: bool


ProviderConfigurationStatus: TypeAlias = Literal["active", "disabled"]


class ProviderConfigurationMetadata(TypedDict):
    pass


class ProviderConfigurationInput(TypedDict):
    name: str
    description: NotRequired[str]
    providerId: str
    config: dict[str, Any]
    metadata: NotRequired[ProviderConfigurationMetadata]


class ProviderConfigurationUpdate(TypedDict):
    name: NotRequired[str]
    description: NotRequired[str]
    config: NotRequired[dict[str, Any]]
    metadata: NotRequired[ProviderConfigurationMetadata]


class ProviderConfigurationCreateOutput(TypedDict):
    id: str
    name: str
    status: ProviderConfigurationStatus
    createdAt: str


class ProviderConfiguration(TypedDict):
    id: str
    name: str
    description: str
    providerId: str
    config: dict[str, Any]
    status: ProviderConfigurationStatus
    metadata: ProviderConfigurationMetadata
    createdAt: str
    updatedAt: str


class ProviderConfigurationList(TypedDict):
    items: list[ProviderConfiguration]
    nextCursor: str
    hasMore: bool


class TestStage(TypedDict):
    name: Literal["dns_resolution", "connectivity", "authentication", "end_to_end"]
    status: Literal["passed", "failed", "skipped"]
    message: str
    durationMs: int
    details: dict[str, Any]
    error: str | None


class TestResult(TypedDict):
    overallStatus: Literal["passed", "failed", "partial"]
    stages: list[TestStage]
    summary: str
    durationMs: int
    startedAt: str
    completedAt: str


class DashboardWorkflowCount(TypedDict):
    status: WorkflowStatus
    count: int


class DashboardExecutionSummary(TypedDict):
    total: int
    completed: int
    failed: int
    pending: int
    running: int


AuditAction: TypeAlias = Literal["CREATE", "UPDATE", "DELETE", "ACTIVATE", "DEACTIVATE", "DRAFT", "EXECUTE"]


AuditResult: TypeAlias = Literal["SUCCESS", "FAILED"]


AuditResourceType: TypeAlias = Literal["workflow", "execution", "provider_config", "executor_config"]


class AuditActor(TypedDict):
    type: Literal["user", "system", "api_key"]
    id: str | None
    ipAddress: str | None


class AuditEvent(TypedDict):
    eventId: str
    eventType: str
    action: AuditAction
    result: AuditResult
    resourceId: str
    resourceType: AuditResourceType
    actor: AuditActor
    context: dict[str, Any]
    metadata: dict[str, Any]
    timestamp: str
    hash: str
    previousHash: str


class AuditEventList(TypedDict):
    items: list[AuditEvent]
    nextCursor: str
    hasMore: bool


class HashChainVerification(TypedDict):
    isValid: bool
    firstInvalidId: NotRequired[int]
    totalChecked: int
    message: str


class WorkflowValidation(TypedDict):
    valid: bool
    findings: list[WorkflowFinding]


class ExecutionStep(TypedDict):
    nodeId: str
    stepName: str
    nodeType: Literal["executor", "conditional", "action"]
    status: Literal["pending", "running", "waiting", "completed", "failed", "skipped"]
    attempts: list[ExecutionAttempt]
    nextAttemptAt: str | None
    startedAt: str | None
    completedAt: str | None
    durationMs: int | None
    errorMessage: str | None


class DashboardWorkflowSummary(TypedDict):
    total: int
    active: int
    byStatus: list[DashboardWorkflowCount]


class ExecutionStepList(TypedDict):
    items: list[ExecutionStep]
