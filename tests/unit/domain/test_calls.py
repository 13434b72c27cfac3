"""Executor nodes that call an endpoint of an executor configuration, and those that want their input checked."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker.domain.calls import EndpointName, ExecutorCall, compile_call
from flowker.domain.errors import FlowkerError, InvalidNodeData

EXECUTORS = {"http.request": "http", "tracer.validate-transaction": "tracer"}
ENDPOINT = {"executorConfigId": "c", "endpointName": "screen"}


def compiled(**data: Any) -> ExecutorCall:
    return compile_call(data, "nodes[3].data", EXECUTORS)


def refused(**data: Any) -> list[str]:
    """The fields of a refusal."""
    with pytest.raises(InvalidNodeData) as refusal:
        compiled(**data)
    return list(refusal.value.fields)


@pytest.mark.parametrize("executor", [{}, {"executorId": None}, {"executorId": "http.request"}])
def test_an_endpoint_is_called_by_the_http_executor(executor: dict[str, Any]) -> None:
    """Which may be left out."""
    call = compiled(**ENDPOINT, **executor, amount=1)

    assert (call.executor_id, call.endpoint) == ("http.request", EndpointName("c", "screen"))
    assert call.static_input == {"amount": 1}
    assert call.provider_configuration_id is None


def test_a_timeout_of_the_node_goes_before_that_of_the_endpoint() -> None:
    """Without one it is the endpoint's."""
    assert compiled(**ENDPOINT, timeout=5).timeout_s == 5
    assert compiled(**ENDPOINT).timeout_s is None


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"executorConfigId": "c"}, "endpointName"),
        ({"executorConfigId": "c", "endpointName": ""}, "endpointName"),
        ({"executorConfigId": "c", "endpointName": 1}, "endpointName"),
        ({"endpointName": "screen"}, "executorConfigId"),
        ({"endpointName": []}, "executorConfigId"),
        ({"executorConfigId": {}, "endpointName": "screen"}, "executorConfigId"),
        ({**ENDPOINT, "providerConfigId": "p"}, "providerConfigId"),
        ({**ENDPOINT, "method": "POST"}, "method"),
        ({**ENDPOINT, "path": "/screen"}, "path"),
        ({**ENDPOINT, "executorId": "tracer.validate-transaction"}, "executorId"),
        ({**ENDPOINT, "executorId": ["http.request"]}, "executorId"),
        ({"executorId": "http.request", "validateInput": "yes"}, "validateInput"),
    ],
)
def test_half_a_reference_or_two_of_them_are_refused(data: dict[str, Any], field: str) -> None:
    """With the member that is missing or too much: nothing of a node is ignored."""
    assert refused(**data) == [f"nodes[3].data.{field}"]


def test_an_empty_reference_is_none() -> None:
    """Editors write every member that they know."""
    call = compiled(executorId="http.request", providerConfigId="p", executorConfigId="", endpointName=None)

    assert (call.endpoint, call.provider_configuration_id) == (None, "p")


@pytest.mark.parametrize(("wanted", "checked"), [(True, True), (False, False), (None, False)])
def test_an_input_is_checked_where_the_node_wants_it(wanted: bool | None, checked: bool) -> None:
    """Not by default: existing workflows send other shapes."""
    assert compiled(executorId="http.request", validateInput=wanted).validate_input is checked
    assert compiled(executorId="http.request").validate_input is False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=5,
)
MEMBERS = ["executorId", "providerConfigId", "executorConfigId", "endpointName", "method", "path", "validateInput"]


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON | st.sampled_from(["http.request", "c"])))
def test_whatever_a_node_says_it_compiles_or_is_refused(data: dict[str, Any]) -> None:
    """Nothing else is raised."""
    try:
        assert isinstance(compiled(**data), ExecutorCall)
    except FlowkerError as refusal:
        assert refusal.fields  # noqa: PT017 - either way is right
