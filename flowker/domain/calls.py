"""Executor nodes: which call they make, through which configuration, with what input.

A call goes through a provider configuration, or through an endpoint of an executor configuration, which says its
method and path itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from flowker.domain.actions import InvalidMember, check_members
from flowker.domain.checks import STRICT, Checks
from flowker.domain.errors import ProviderConfigurationUnusable, UnknownExecutor
from flowker.domain.mappings import ValueMapping
from flowker.domain.preparing import NO_PREPARATION, Preparation, compile_output, compile_preparation
from flowker.domain.retries import RetryPolicy, compile_retry
from flowker.domain.webhooks import METHODS

CALL_TIMEOUT_MAX_S = 300

ENDPOINT_EXECUTOR = "http.request"
"""What calls an endpoint of an executor configuration."""


@dataclass(frozen=True, slots=True)
class EndpointName:
    """An endpoint of an executor configuration."""

    configuration_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ExecutorCall:
    """A call to the outside through a configuration. With an endpoint, method and path are the endpoint's."""

    executor_id: str
    provider_configuration_id: str | None
    method: str
    path: str
    timeout_s: float | None
    retry: RetryPolicy
    success_status_codes: frozenset[int] | None
    static_input: Mapping[str, Any]
    preparation: Preparation = NO_PREPARATION
    endpoint: EndpointName | None = None
    validate_input: bool = False
    output_mapping: ValueMapping | None = None


def compile_call(
    data: Mapping[str, Any], where: str, executors: Mapping[str, str], checks: Checks = STRICT
) -> ExecutorCall:
    """Compile the data of an executor node; `executors` maps each executor of the catalog to its provider."""
    checks = check_members(checks, where)
    endpoint = checks(_endpoint, data)
    return ExecutorCall(
        checks(_executor_id, data, where, executors),
        checks(_provider_configuration_id, data, where),
        checks(_method, data),
        checks(_path, data),
        checks(_timeout_s, data),
        checks(_retry, data),
        checks(_success_status_codes, data),
        {name: value for name, value in data.items() if name not in _MEMBERS},
        compile_preparation(data, where, checks),
        endpoint,
        checks(_validate_input, data),
        compile_output(data, where, checks),
    )


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


_MEMBERS = frozenset(
    {
        "executorId",
        "providerConfigId",
        "executorConfigId",
        "endpointName",
        "method",
        "path",
        "timeout",
        "inputMapping",
        "outputMapping",
        "transforms",
        "retry",
        "successStatusCodes",
        "validateInput",
        "join",
    }
)
"""What describes the call itself; every other member of an executor node's data is static input."""


def _endpoint(data: Mapping[str, Any]) -> EndpointName | None:
    configuration_id, name = data.get("executorConfigId"), data.get("endpointName")
    if configuration_id in _UNSAID and name in _UNSAID:
        return None
    for member, value, other in (
        ("executorConfigId", configuration_id, "endpointName"),
        ("endpointName", name, "executorConfigId"),
    ):
        if not isinstance(value, str) or not value:
            raise InvalidMember(member, f"must be a string, since there is {other}")
    if data.get("providerConfigId") not in _UNSAID:
        raise InvalidMember("providerConfigId", "cannot be given together with executorConfigId")
    for member in ("method", "path"):
        if data.get(member) is not None:
            raise InvalidMember(member, "cannot be given together with endpointName: the endpoint has its own")
    return EndpointName(str(configuration_id), str(name))


def _executor_id(data: Mapping[str, Any], where: str, executors: Mapping[str, str]) -> str:
    executor_id = data.get("executorId")
    endpoint = _endpoint(data)
    if endpoint is not None and (executor_id is None or executor_id == ENDPOINT_EXECUTOR):
        return ENDPOINT_EXECUTOR
    if not isinstance(executor_id, str):
        raise InvalidMember("executorId", "must name an executor")
    if executor_id not in executors:
        raise UnknownExecutor(fields={f"{where}.executorId": "is not in the catalog"})
    if endpoint is not None:
        raise InvalidMember("executorId", f"must be {ENDPOINT_EXECUTOR}, or left out, for an executor configuration")
    return executor_id


def _provider_configuration_id(data: Mapping[str, Any], where: str) -> str | None:
    configuration_id = data.get("providerConfigId")
    if configuration_id is not None and not isinstance(configuration_id, str):
        raise ProviderConfigurationUnusable(fields={f"{where}.providerConfigId": "must be a string"})
    return configuration_id


def _validate_input(data: Mapping[str, Any]) -> bool:
    wanted = data.get("validateInput") or False
    if not isinstance(wanted, bool):
        raise InvalidMember("validateInput", "must be true or false")
    return wanted


def _method(data: Mapping[str, Any]) -> str:
    method = data.get("method", "POST")
    if method not in METHODS:
        raise InvalidMember("method", f"must be one of {', '.join(METHODS)}")
    return str(method)


def _path(data: Mapping[str, Any]) -> str:
    path = data.get("path", "")
    if not isinstance(path, str) or len(path) > 2000:
        raise InvalidMember("path", "must be a string of at most 2000 characters")
    return path


def _timeout_s(data: Mapping[str, Any]) -> float | None:
    timeout_s = data.get("timeout")
    if timeout_s is None:
        return None
    if not is_number(timeout_s) or not 1 <= timeout_s <= CALL_TIMEOUT_MAX_S:
        raise InvalidMember("timeout", f"must be a number within 1 and {CALL_TIMEOUT_MAX_S} seconds")
    return float(timeout_s)


def _retry(data: Mapping[str, Any]) -> RetryPolicy:
    retry = data.get("retry", {})
    if not isinstance(retry, Mapping):
        raise InvalidMember("retry", "must be an object")
    try:
        return compile_retry(retry)
    except ValueError as error:
        raise InvalidMember("retry", str(error)) from None


def _success_status_codes(data: Mapping[str, Any]) -> frozenset[int] | None:
    codes = data.get("successStatusCodes")
    if codes is None:
        return None
    fits = isinstance(codes, list) and codes and all(isinstance(code, int) and 100 <= code <= 599 for code in codes)
    if not fits:
        raise InvalidMember("successStatusCodes", "must be a list of HTTP status codes")
    return frozenset(codes)


_UNSAID: Sequence[Any] = (None, "")
