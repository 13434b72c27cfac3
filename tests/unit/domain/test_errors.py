"""The refusals: one class, one code, one sentence."""

import re

import pytest

from flowker.domain import errors
from flowker.domain.errors import FlowkerError, WorkflowNotFound

REFUSALS = [
    member
    for member in vars(errors).values()
    if isinstance(member, type) and issubclass(member, FlowkerError) and member is not FlowkerError
]


def test_every_refusal_has_a_code_of_its_own() -> None:
    """The code says which class it was, so none inherits one either."""
    codes = [vars(refusal)["code"] for refusal in REFUSALS]

    assert len(REFUSALS) > 40
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_has_a_stable_code_and_a_sentence(refusal: type[FlowkerError]) -> None:
    """`FLK-` and four digits; a message begins with a capital letter and ends with a period."""
    assert re.fullmatch(r"FLK-[0-9]{4}", refusal.code)
    assert re.fullmatch(r"[A-Z][^\n]+\.", refusal.message)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_every_refusal_can_be_raised_as_it_is(refusal: type[FlowkerError]) -> None:
    """Its message is the class's, fields and headers are empty."""
    with pytest.raises(refusal) as caught:
        raise refusal

    assert caught.value.message == str(caught.value) == refusal.message
    assert (caught.value.fields, caught.value.headers) == ({}, {})


def test_a_refusal_carries_what_the_caller_needs() -> None:
    """A message of its own, fields and headers, which are copies."""
    fields = {"name": "is required"}
    refusal = WorkflowNotFound("It was here.", fields=fields, headers={"Retry-After": "1"})
    fields.clear()

    assert refusal.message == str(refusal) == "It was here."
    assert refusal.fields == {"name": "is required"}
    assert refusal.headers == {"Retry-After": "1"}
    assert WorkflowNotFound.message == "No workflow has this id."


def test_the_published_codes_are_where_they_were() -> None:
    """Clients of version 1.1.0 know these codes."""
    known = {refusal.code: refusal.__name__ for refusal in REFUSALS}
    published = {
        "FLK-0001": "InvalidRequest",
        "FLK-0002": "InvalidId",
        "FLK-0100": "WorkflowNotFound",
        "FLK-0101": "WorkflowNameTaken",
        "FLK-0102": "IllegalStatusChange",
        "FLK-0103": "WorkflowNotEditable",
        "FLK-0104": "UnknownExecutor",
        "FLK-0105": "InvalidCondition",
        "FLK-0110": "NameMissing",
        "FLK-0111": "NameTooLong",
        "FLK-0112": "NoNodes",
        "FLK-0113": "TooManyNodes",
        "FLK-0114": "TooManyEdges",
        "FLK-0115": "UnknownEdgeNode",
        "FLK-0116": "NoTrigger",
        "FLK-0117": "DuplicateElementId",
        "FLK-0118": "InvalidTrigger",
        "FLK-0119": "InvalidNodeData",
        "FLK-0120": "NodeIdMissing",
        "FLK-0121": "NodeTypeMissing",
        "FLK-0130": "EdgeIdMissing",
        "FLK-0131": "EdgeSourceMissing",
        "FLK-0132": "EdgeTargetMissing",
        "FLK-0140": "InvalidInputMapping",
        "FLK-0141": "InvalidOutputMapping",
        "FLK-0142": "InvalidTransforms",
        "FLK-0150": "ProviderConfigurationUnusable",
        "FLK-0151": "ProviderConfigurationMismatch",
        "FLK-0200": "CatalogExecutorNotFound",
        "FLK-0201": "ExecutorInputInvalid",
        "FLK-0210": "CatalogTriggerNotFound",
        "FLK-0230": "CatalogProviderNotFound",
        "FLK-0240": "CatalogTemplateNotFound",
        "FLK-0242": "TemplateParametersInvalid",
        "FLK-0250": "ExecutorConfigurationNotFound",
        "FLK-0251": "ExecutorConfigurationNameTaken",
        "FLK-0252": "ExecutorConfigurationNotModifiable",
        "FLK-0260": "ExecutorConfigurationNameMissing",
        "FLK-0261": "ExecutorConfigurationNameTooLong",
        "FLK-0262": "BaseUrlMissing",
        "FLK-0263": "BaseUrlInvalid",
        "FLK-0264": "BaseUrlTooLong",
        "FLK-0265": "NoEndpoints",
        "FLK-0266": "AuthenticationMissing",
        "FLK-0267": "ExecutorConfigurationDescriptionTooLong",
        "FLK-0268": "AuthenticationTypeMissing",
        "FLK-0269": "AuthenticationInvalid",
        "FLK-0270": "EndpointNameInvalid",
        "FLK-0271": "EndpointPathInvalid",
        "FLK-0272": "EndpointMethodMissing",
        "FLK-0273": "EndpointMethodInvalid",
        "FLK-0290": "ProviderConfigurationNotFound",
        "FLK-0291": "ProviderConfigurationNameTaken",
        "FLK-0292": "ProviderConfigurationStatusUnchanged",
        "FLK-0293": "ProviderConfigInvalid",
        "FLK-0294": "UnknownProvider",
        "FLK-0295": "ProviderConfigurationNameMissing",
        "FLK-0296": "ProviderConfigurationNameTooLong",
        "FLK-0298": "ProviderConfigEmpty",
        "FLK-0299": "ProviderConfigurationDescriptionTooLong",
        "FLK-0300": "UnexpectedField",
        "FLK-0301": "MissingField",
        "FLK-0302": "InvalidDashboardQuery",
        "FLK-0304": "InvalidQuery",
        "FLK-0305": "InvalidTime",
        "FLK-0308": "RangeReversed",
        "FLK-0309": "LimitOutOfRange",
        "FLK-0310": "InvalidSortOrder",
        "FLK-0341": "TestAddressNotAllowed",
        "FLK-0350": "ChangedMeanwhile",
        "FLK-0360": "WebhookTaken",
        "FLK-0361": "WebhookNotFound",
        "FLK-0362": "WebhookTokenRefused",
        "FLK-0363": "WebhookBodyTooLarge",
        "FLK-0401": "ApiKeyRefused",
        "FLK-0404": "PathNotFound",
        "FLK-0405": "MethodNotAllowed",
        "FLK-0500": "ExecutionNotFound",
        "FLK-0501": "WorkflowNotActive",
        "FLK-0502": "ExecutionInProgress",
        "FLK-0505": "IdempotencyKeyUsed",
        "FLK-0506": "InputTooLarge",
        "FLK-0508": "WorkflowCycle",
        "FLK-0509": "IdempotencyKeyMissing",
        "FLK-0600": "AuditEventNotFound",
        "FLK-9999": "InternalError",
    }

    assert published.items() <= known.items()
