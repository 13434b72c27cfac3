"""The nodes of a workflow: what each type takes in its data, and which refusal names what is wrong with it."""

import contextlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.domain.actions import LogAction
from flowker.domain.calls import ExecutorCall
from flowker.domain.errors import FlowkerError, InvalidCondition, InvalidNodeData
from flowker.domain.mappings import compile_input_mapping, compile_output_mapping
from flowker.domain.nodes import Conditional, Node, Trigger, compile_node, parse_condition_at
from flowker.domain.preparing import Preparation
from flowker.domain.retries import RetryPolicy
from flowker.domain.transforms import compile_transforms

EXECUTORS = {"http.request": "http", "tracer.validate-transaction": "tracer"}


def compile_data(type_: str, data: dict[str, Any] | None, **more: Any) -> Node:
    node = {"id": "n", "type": type_, "data": data, **more}
    return compile_node(node, "nodes[3]", EXECUTORS)


def compile_trigger(**data: Any) -> Trigger:
    behaviour = compile_data("trigger", data).behaviour
    assert isinstance(behaviour, Trigger)
    return behaviour


def compile_call(**data: Any) -> ExecutorCall:
    behaviour = compile_data("executor", {"executorId": "http.request", **data}).behaviour
    assert isinstance(behaviour, ExecutorCall)
    return behaviour


def refusal_of(type_: str, data: dict[str, Any]) -> tuple[str, str, str]:
    """Code, field path and reason."""
    with pytest.raises(FlowkerError) as caught:
        compile_data(type_, data)
    ((path, reason),) = caught.value.fields.items()
    return caught.value.code, path.removeprefix("nodes[3].data."), reason


def test_a_step_is_called_by_the_name_of_its_node() -> None:
    """Else by type and id."""
    assert compile_data("action", {"action": "log"}, name="Tell").step_name == "Tell"
    assert compile_data("action", {"action": "log"}, name="").step_name == "action_n"
    assert compile_data("action", {"action": "log"}, name=None).step_name == "action_n"
    assert compile_data("conditional", {"condition": "true"}).step_name == "conditional_n"


@pytest.mark.parametrize(("type_", "data"), [("trigger", {}), ("conditional", {"condition": "true"})])
def test_a_join_waits_for_any_unless_it_says_all(type_: str, data: dict[str, Any]) -> None:
    """`data.join` belongs to every type of node."""
    assert compile_data(type_, data).join == "any"
    assert compile_data(type_, {**data, "join": "any"}).join == "any"
    assert compile_data(type_, {**data, "join": "all"}).join == "all"


@pytest.mark.parametrize("join", ["ALL", "", None, 1, ["all"], {"all": 1}])
@pytest.mark.parametrize("type_", ["trigger", "executor", "conditional", "action"])
def test_another_join_is_refused(type_: str, join: Any) -> None:
    """Of any type, a list included."""
    assert refusal_of(type_, {"join": join}) == ("FLK-0119", "join", "must be any or all")


class TestTrigger:
    def test_without_data_it_is_started_by_the_api_alone(self) -> None:
        """POST, asynchronous, ten seconds, no token and no path."""
        assert compile_data("trigger", {}).behaviour == Trigger("POST", None, None, sync=False, response_timeout_s=10)
        assert compile_data("trigger", None).behaviour == Trigger()

    @pytest.mark.parametrize("member", ["triggerId", "triggerType"])
    def test_both_spellings_of_the_type_register(self, member: str) -> None:
        """Both occur in published examples."""
        assert compile_trigger(**{member: "webhook", "path": "/orders/paid/"}).path == "orders/paid"

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    def test_it_has_one_of_five_methods(self, method: str) -> None:
        """As the document has operations for them."""
        assert compile_trigger(method=method).method == method

    def test_its_members_are_read(self) -> None:
        """All of them at once."""
        trigger = compile_trigger(
            triggerId="webhook", path="a", verify_token="t0k", responseMode="sync", responseTimeout=Decimal("2.5")
        )

        assert trigger == Trigger("POST", "a", "t0k", sync=True, response_timeout_s=2.5)

    def test_no_token_means_that_none_is_asked_for(self) -> None:
        """Left out or null. An empty text, as of a variable that is not set, must not say so."""
        assert compile_trigger().verify_token is None
        assert compile_trigger(verify_token=None).verify_token is None
        assert refusal_of("trigger", {"verify_token": ""}) == (
            "FLK-0118",
            "verify_token",
            "must be a string of 1 to 512 characters",
        )

    @pytest.mark.parametrize("length", [16, 512])
    def test_a_signing_secret_has_16_to_512_characters(self, length: int) -> None:
        """Both are allowed; a shorter one could be guessed from one signed delivery."""
        assert compile_trigger(signing_secret="s" * length).signing_secret == "s" * length
        assert compile_trigger().signing_secret is None

    @pytest.mark.parametrize("member", ["methd", "verifyToken", "Path", "executorId", ""])
    def test_a_member_that_it_does_not_know_is_refused(self, member: str) -> None:
        """`{"methd": "GET"}` would register a webhook for POST."""
        assert refusal_of("trigger", {member: "GET"}) == ("FLK-0118", member, "is not expected")

    @pytest.mark.parametrize("member", ["label", "name", "description"])
    def test_a_note_changes_nothing(self, member: str) -> None:
        """Editors of workflows keep them in the data."""
        assert compile_trigger(**{member: "Payment received"}) == Trigger()

    @pytest.mark.parametrize("timeout", [1, 30, Decimal("1.0"), Decimal("30.00")])
    def test_the_answer_waits_for_1_to_30_seconds(self, timeout: Any) -> None:
        """The bounds belong to the range."""
        assert compile_trigger(responseTimeout=timeout).response_timeout_s == timeout

    @pytest.mark.parametrize(
        ("member", "value"),
        [
            ("triggerId", "schedule"),
            ("triggerId", None),
            ("triggerId", ["webhook"]),
            ("method", "post"),
            ("method", "OPTIONS"),
            ("method", None),
            ("method", ["GET"]),
            ("responseMode", "later"),
            ("responseMode", None),
            ("responseMode", ["sync"]),
            ("responseMode", {}),
            ("verify_token", 0),
            ("verify_token", False),
            ("verify_token", []),
            ("verify_token", {}),
            ("verify_token", 12345),
            ("verify_token", "t" * 513),
            ("signing_secret", ""),
            ("signing_secret", "s" * 15),
            ("signing_secret", "s" * 513),
            ("signing_secret", ["s" * 16]),
            ("responseTimeout", 0),
            ("responseTimeout", Decimal("30.1")),
            ("responseTimeout", True),
            ("responseTimeout", "10"),
            ("responseTimeout", None),
            ("responseTimeout", 10**400),
            ("path", ""),
            ("path", "//"),
            ("path", "a/../b"),
            ("path", "a\x00"),
            ("path", "a" * 501),
            ("path", "%c3%a9" * 501),
            ("path", 1),
            ("path", []),
            ("path", False),
        ],
    )
    def test_bad_data_is_refused_by_its_member(self, member: str, value: Any) -> None:
        """FLK-0118. A token that is no text must not mean that none is asked for."""
        code, field, _ = refusal_of("trigger", {member: value})

        assert (code, field) == ("FLK-0118", member)

    def test_the_other_spelling_is_checked_too(self) -> None:
        """There is one type of trigger."""
        assert refusal_of("trigger", {"triggerType": "schedule"})[0] == "FLK-0118"


class TestConditional:
    def test_the_condition_is_kept_with_its_text(self) -> None:
        """The text is a part of the output."""
        behaviour = compile_data("conditional", {"condition": "workflow.a == 1"}).behaviour

        assert isinstance(behaviour, Conditional)
        assert behaviour.text == "workflow.a == 1"
        assert behaviour.condition.evaluate({"workflow": {"a": 1}}) is True

    @pytest.mark.parametrize("condition", [None, "", "  ", 1, True, ["true"], {}])
    def test_a_missing_condition_is_refused(self, condition: Any) -> None:
        """FLK-0119: there is nothing to parse."""
        assert refusal_of("conditional", {"condition": condition}) == ("FLK-0119", "condition", "is required")
        assert refusal_of("conditional", {}) == ("FLK-0119", "condition", "is required")

    def test_a_condition_that_does_not_parse_is_refused_with_its_place(self) -> None:
        """FLK-0105, with the position and without the text."""
        code, field, reason = refusal_of("conditional", {"condition": "workflow.secret =="})

        assert (code, field) == ("FLK-0105", "condition")
        assert "column" in reason
        assert "secret" not in reason

    def test_the_place_of_a_condition_is_the_callers(self) -> None:
        """Edges have conditions too."""
        with pytest.raises(InvalidCondition) as caught:
            parse_condition_at("((", "edges[7].condition")

        assert list(caught.value.fields) == ["edges[7].condition"]
        assert parse_condition_at("true", "anywhere").evaluate({}) is True


class TestAction:
    def test_an_action_is_compiled(self) -> None:
        """The kinds are the business of another module."""
        assert isinstance(compile_data("action", {"actionType": "log"}).behaviour, LogAction)

    @pytest.mark.parametrize(
        ("data", "field"),
        [
            ({}, "action"),
            ({"actionType": "explode"}, "actionType"),
            ({"action": "delay", "seconds": -1}, "seconds"),
            ({"action": "set_output"}, "output"),
        ],
    )
    def test_bad_data_is_refused_by_its_member(self, data: dict[str, Any], field: str) -> None:
        """FLK-0119."""
        assert refusal_of("action", data)[:2] == ("FLK-0119", field)


@pytest.mark.parametrize("id_", ["..", ".", "a/../b", "a\0b"])
def test_an_approval_that_no_path_can_name_is_refused(id_: str) -> None:
    """Nobody could decide about it; another action may have such an id."""
    with pytest.raises(InvalidNodeData) as caught:
        compile_data("action", {"action": "approval"}, id=id_)

    assert caught.value.fields.keys() == {"nodes[3].id"}
    assert compile_data("action", {"action": "log"}, id=id_).id == id_
    assert compile_data("action", {"action": "approval"}, id="a/..b").id == "a/..b"


class TestExecutor:
    def test_what_it_does_not_say_has_defaults(self) -> None:
        """The configuration is asked for when the workflow is activated."""
        assert compile_call() == ExecutorCall("http.request", None, "POST", "", None, RetryPolicy(), None, {})

    def test_its_members_are_read_and_the_rest_is_static_input(self) -> None:
        """Members that describe the call itself are no input."""
        call = compile_call(
            providerConfigId="c",
            method="GET",
            path="/accounts/{id}",
            timeout=Decimal("1.5"),
            retry={"maxAttempts": 2},
            successStatusCodes=[200, 404],
            validateInput=False,
            join="all",
            endpointName=None,
            executorConfigId="",
            inputMapping=None,
            outputMapping=[],
            transforms={},
            currency="BRL",
            limit=Decimal("10.00"),
        )

        assert call == ExecutorCall(
            "http.request",
            "c",
            "GET",
            "/accounts/{id}",
            1.5,
            RetryPolicy(2),
            frozenset({200, 404}),
            {"currency": "BRL", "limit": Decimal("10.00")},
        )

    @pytest.mark.parametrize("executor_id", ["", "http", "HTTP.REQUEST"])
    def test_an_executor_that_is_not_in_the_catalog_is_refused(self, executor_id: str) -> None:
        """FLK-0104."""
        assert refusal_of("executor", {"executorId": executor_id}) == (
            "FLK-0104",
            "executorId",
            "is not in the catalog",
        )

    @pytest.mark.parametrize(
        "data", [{}, {"executorId": None}, {"executorId": 1}, {"executorId": ["http.request"]}, {"executorId": {}}]
    )
    def test_a_call_that_names_no_executor_is_refused(self, data: dict[str, Any]) -> None:
        """FLK-0119: data that is wrong for its type of node, and not a name that leads nowhere."""
        assert refusal_of("executor", data) == ("FLK-0119", "executorId", "must name an executor")

    @pytest.mark.parametrize("configuration_id", [1, True, [], {}])
    def test_a_configuration_that_is_no_text_is_refused(self, configuration_id: Any) -> None:
        """FLK-0150."""
        data = {"executorId": "http.request", "providerConfigId": configuration_id}

        assert refusal_of("executor", data)[:2] == ("FLK-0150", "providerConfigId")

    @pytest.mark.parametrize(
        ("member", "value"),
        [
            ("method", "get"),
            ("method", "HEAD"),
            ("method", None),
            ("method", []),
            ("path", None),
            ("path", 1),
            ("path", "x" * 2001),
            ("timeout", 0),
            ("timeout", 301),
            ("timeout", Decimal("0.99")),
            ("timeout", True),
            ("timeout", "5"),
            ("retry", None),
            ("retry", 3),
            ("retry", []),
            ("retry", {"maxAttempts": 0}),
            ("retry", {"maxAttempts": 11}),
            ("retry", {"tries": 1}),
            ("successStatusCodes", []),
            ("successStatusCodes", 200),
            ("successStatusCodes", {"200": True}),
            ("successStatusCodes", [99]),
            ("successStatusCodes", [600]),
            ("successStatusCodes", ["200"]),
            ("successStatusCodes", [True]),
            ("successStatusCodes", [Decimal("200.5")]),
            ("successStatusCodes", [[200]]),
        ],
    )
    def test_bad_data_is_refused_by_its_member(self, member: str, value: Any) -> None:
        """FLK-0119."""
        assert refusal_of("executor", {"executorId": "http.request", member: value})[:2] == ("FLK-0119", member)

    @pytest.mark.parametrize("timeout", [1, 300, Decimal("300.0")])
    def test_a_call_takes_1_to_300_seconds(self, timeout: Any) -> None:
        """The bounds belong to the range; null is the executor's own."""
        assert compile_call(timeout=timeout).timeout_s == timeout
        assert compile_call(timeout=None).timeout_s is None


@pytest.mark.parametrize(
    ("action", "member", "code"),
    [
        ("log", "inputMapping", "FLK-0140"),
        ("log", "outputMapping", "FLK-0141"),
        ("log", "transforms", "FLK-0142"),
        ("set_output", "outputMapping", "FLK-0141"),
        ("set_output", "transforms", "FLK-0142"),
        ("transform", "outputMapping", "FLK-0141"),
        ("emit_event", "transforms", "FLK-0142"),
        ("fail", "inputMapping", "FLK-0140"),
        ("delay", "transforms", "FLK-0142"),
    ],
)
@pytest.mark.parametrize("value", [[{"source": "a", "target": "b"}], {"a": "b"}, "a", 1, True, "", 0, False])
def test_a_mapping_that_an_action_does_not_look_at_is_refused_and_not_ignored(
    action: str, member: str, code: str, value: Any
) -> None:
    """Ignoring it would make something else than the author meant; what is malformed is refused too."""
    data = {"action": action, "output": {}, member: value}

    assert refusal_of("action", data) == (code, member, f"is not expected at the action {action}")


class TestMappings:
    def test_they_are_compiled_with_the_node(self) -> None:
        """And are no static input."""
        entries = [{"source": "workflow.amount", "target": "send.value", "required": True}]
        answer = [{"source": "body.id", "target": "id"}]
        operations = [{"operation": "pass"}]

        call = compile_call(inputMapping=entries, outputMapping=answer, transforms=operations)

        assert call.preparation == Preparation(compile_input_mapping(entries), compile_transforms(operations))
        assert call.output_mapping == compile_output_mapping(answer)
        assert call.static_input == {}

    @pytest.mark.parametrize(
        ("member", "value", "code", "field"),
        [
            ("inputMapping", "a", "FLK-0140", "inputMapping"),
            ("inputMapping", [{"source": "a"}], "FLK-0140", "inputMapping[0].target"),
            ("inputMapping", [{"source": "a", "target": "b"}, 7], "FLK-0140", "inputMapping[1]"),
            ("outputMapping", [{"source": "workflow.a", "target": "b"}], "FLK-0141", "outputMapping[0].source"),
            ("transforms", [{"operation": "pass"}, {}], "FLK-0142", "transforms[1].operation"),
            (
                "transforms",
                [{"operation": "delete", "spec": {"paths": [1]}}],
                "FLK-0142",
                "transforms[0].spec.paths[0]",
            ),
        ],
    )
    def test_a_bad_one_is_refused_by_its_entry(self, member: str, value: Any, code: str, field: str) -> None:
        """With the code of its member."""
        assert refusal_of("executor", {"executorId": "http.request", member: value})[:2] == (code, field)

    @pytest.mark.parametrize("action", ["set_output", "transform"])
    def test_actions_are_refused_by_the_entry_too(self, action: str) -> None:
        """As a call is."""
        data = {"action": action, "inputMapping": [{"source": "a", "target": "b[*]"}]}

        assert refusal_of("action", data)[:2] == ("FLK-0140", "inputMapping[0].target")


@pytest.mark.parametrize("member", ["inputMapping", "outputMapping", "transforms"])
@pytest.mark.parametrize("value", [None, [], {}])
def test_an_empty_mapping_is_none(member: str, value: Any) -> None:
    """Editors write them."""
    assert compile_call(**{member: value}) == compile_call()
    assert isinstance(compile_data("action", {"action": "log", member: value}).behaviour, LogAction)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**30), 1, 5, 200])
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.sampled_from([Decimal("1E+999999"), Decimal("-0"), Decimal("1E-999999")])
    | st.text(max_size=8)
    | st.sampled_from(["webhook", "POST", "sync", "all", "log", "set_output", "fail", "delay", "http.request"])
    | st.sampled_from(["{{workflow.a}}", "{{}}", "workflow.a > 1", "((", "a matches '('", "date('x') < 1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = [
    *("triggerId", "triggerType", "path", "method", "verify_token", "signing_secret", "responseMode"),
    *("responseTimeout", "executorId", "providerConfigId", "timeout", "retry", "successStatusCodes", "validateInput"),
    *("inputMapping", "outputMapping", "transforms"),
    *("condition", "action", "actionType", "message", "level", "output", "seconds", "join"),
]
USUAL = {
    "triggerId": "webhook",
    "executorId": "http.request",
    "condition": "workflow.a == 1",
    "action": "log",
    "output": {},
    "seconds": 1,
}
DATA = st.builds(
    lambda usual, odd: {**usual, **odd},
    st.sampled_from([{}, USUAL]),
    st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=5), JSON, max_size=4),
)
CODES = {
    "trigger": {"FLK-0118", "FLK-0119"},
    "conditional": {"FLK-0105", "FLK-0119"},
    "action": {"FLK-0119", "FLK-0140", "FLK-0141", "FLK-0142"},
    "executor": {"FLK-0104", "FLK-0119", "FLK-0140", "FLK-0141", "FLK-0142", "FLK-0150"},
}


@pytest.mark.parametrize("type_", CODES)
@given(data=DATA)
@settings(deadline=None, max_examples=100)
def test_any_data_is_a_node_or_a_refusal_that_names_the_member(type_: str, data: dict[str, Any]) -> None:
    """Nothing that a workflow's author writes is an internal error."""
    refused: FlowkerError | None = None
    try:
        compile_data(type_, data)
    except FlowkerError as error:
        refused = error

    if refused is not None:
        assert refused.code in CODES[type_]
        assert all(path.startswith("nodes[3].data.") for path in refused.fields)
        assert refused.fields


@given(st.text(max_size=40) | st.text(alphabet="ab.[]()\"'\\ 01=<>!&|-*{}ORANDNTin,", max_size=40))
@settings(deadline=None, max_examples=200)
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    """With FLK-0105 and nothing else."""
    with contextlib.suppress(InvalidCondition):
        parse_condition_at(text, "edges[0].condition")
