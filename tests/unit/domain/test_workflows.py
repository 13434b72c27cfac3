"""A workflow's definition: what is refused when it is saved and when it is activated, and its life."""

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.domain.errors import FlowkerError, IllegalStatusChange, WorkflowNotEditable
from flowker.domain.validation import Findings
from flowker.domain.workflows import (
    TIMEOUT_DEFAULT_S,
    TIMEOUT_MAX_S,
    TRANSITIONS,
    ConfigurationFacts,
    Definition,
    EndpointFacts,
    References,
    Status,
    check_activation,
    compile_definition,
    references,
    require_deletable,
    require_editable,
    require_transition,
    version_text,
    webhooks,
)

EXECUTORS = {"http.request": "http", "tracer.validate-transaction": "tracer"}
CONFIGURATIONS = {
    "good": ConfigurationFacts("http", active=True),
    "off": ConfigurationFacts("http", active=False),
    "tracer": ConfigurationFacts("tracer", active=True),
}

START = {"id": "start", "type": "trigger", "data": {}}
TELL = {"id": "tell", "type": "action", "data": {"action": "log"}}
CHECK = {"id": "check", "type": "conditional", "data": {"condition": "workflow.a == 1"}}
ASK = {"id": "ask", "type": "action", "data": {"action": "approval"}}
CALL = {"id": "call", "type": "executor", "data": {"executorId": "http.request", "providerConfigId": "good"}}
SCREEN = {"id": "screen", "type": "executor", "data": {"executorConfigId": "e", "endpointName": "screen"}}


def edge(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"id": f"{source}-{target}", "source": source, "target": target, **more}


def define(
    nodes: list[dict[str, Any]], edges: list[dict[str, Any]] | None = None, metadata: dict[str, Any] | None = None
) -> Definition:
    return compile_definition(nodes, edges or [], metadata or {}, EXECUTORS)


def activate(definition: Definition) -> None:
    check_activation(definition, EXECUTORS, CONFIGURATIONS)


def refusal_of(action: Callable[[], object]) -> tuple[str, list[str]]:
    """Code and field paths."""
    with pytest.raises(FlowkerError) as caught:
        action()
    return caught.value.code, list(caught.value.fields)


class TestSaving:
    def test_an_empty_workflow_can_be_saved(self) -> None:
        """A draft grows; what is missing counts when it is activated."""
        definition = define([])

        assert (dict(definition.nodes), definition.edges, definition.triggers) == ({}, (), [])

    def test_nodes_and_edges_are_compiled_in_order(self) -> None:
        """With their handles and conditions; a blank one is none."""
        definition = define(
            [START, CHECK, TELL],
            [
                edge("start", "check", condition="workflow.b", label="x"),
                edge("check", "tell", sourceHandle="true"),
                edge("start", "tell", sourceHandle="", condition="  "),
                {**edge("start", "tell", sourceHandle=None, condition=None), "id": "e"},
            ],
        )

        assert list(definition.nodes) == ["start", "check", "tell"]
        assert [node.id for node in definition.triggers] == ["start"]
        assert [one.id for one in definition.edges] == ["start-check", "check-tell", "start-tell", "e"]
        assert [one.handle for one in definition.edges] == [None, "true", None, None]
        assert [one.condition is None for one in definition.edges] == [False, True, True, True]

    @pytest.mark.parametrize(
        ("nodes", "edges", "code", "path"),
        [
            ([START, {**TELL, "data": {"action": "x"}}], [], "FLK-0119", "nodes[1].data.action"),
            ([{**START, "data": {"method": "x"}}], [], "FLK-0118", "nodes[0].data.method"),
            ([START, {**CALL, "data": {"executorId": "x"}}], [], "FLK-0104", "nodes[1].data.executorId"),
            ([START, {**CHECK, "data": {"condition": "(("}}], [], "FLK-0105", "nodes[1].data.condition"),
            ([START, {**TELL, "data": {"action": "log", "join": 1}}], [], "FLK-0119", "nodes[1].data.join"),
            ([START, {**TELL, "id": "start"}], [], "FLK-0117", "nodes[1].id"),
            ([START, TELL, {**CHECK, "id": "tell"}], [], "FLK-0117", "nodes[2].id"),
            ([START, TELL], [edge("start", "tell"), edge("start", "tell")], "FLK-0117", "edges[1].id"),
            ([START, TELL], [edge("start", "nobody")], "FLK-0115", "edges[0].target"),
            ([START, TELL], [edge("start", "tell"), edge("nobody", "tell")], "FLK-0115", "edges[1].source"),
            ([START, TELL], [edge("tell", "start")], "FLK-0115", "edges[0].target"),
            ([START, TELL], [edge("start", "tell", condition="a =")], "FLK-0105", "edges[0].condition"),
            ([START, CHECK, TELL], [edge("check", "tell", sourceHandle="yes")], "FLK-0119", "edges[0].sourceHandle"),
            (
                [START, CHECK, TELL],
                [edge("check", "tell", sourceHandle="error")],
                "FLK-0119",
                "edges[0].sourceHandle",
            ),
            *[
                ([START, ASK, TELL], [edge("ask", "tell", sourceHandle=handle)], "FLK-0119", "edges[0].sourceHandle")
                for handle in ("yes", "true", "approve", "APPROVED", "error")
            ],
            ([START, TELL], [edge("tell", "tell", sourceHandle="error")], "FLK-0119", "edges[0].sourceHandle"),
        ],
    )
    def test_the_first_element_that_is_wrong_is_named(
        self, nodes: list[dict[str, Any]], edges: list[dict[str, Any]], code: str, path: str
    ) -> None:
        """With its place in the definition."""
        assert refusal_of(lambda: define(nodes, edges)) == (code, [path])

    @pytest.mark.parametrize("handle", [None, "", "approved", "rejected"])
    def test_an_approval_leads_on_by_its_decision(self, handle: str | None) -> None:
        """Or whatever it is."""
        definition = define([START, ASK, TELL], [edge("ask", "tell", sourceHandle=handle)])

        assert definition.edges[0].handle == (handle or None)

    @pytest.mark.parametrize(
        ("member", "code", "place"),
        [
            ("inputMapping", "FLK-0140", "[0].source"),
            ("outputMapping", "FLK-0141", "[0].source"),
            ("transforms", "FLK-0142", "[0].operation"),
        ],
    )
    def test_mappings_are_refused_with_the_code_of_their_member(self, member: str, code: str, place: str) -> None:
        """FLK-0140, 0141 and 0142."""
        call = {**CALL, "data": {**CALL["data"], member: [{}]}}  # type: ignore[dict-item]

        assert refusal_of(lambda: define([call])) == (code, [f"nodes[0].data.{member}{place}"])

    @pytest.mark.parametrize("seconds", [1, TIMEOUT_MAX_S, Decimal("3E+2"), Decimal("60.0")])
    def test_the_time_limit_is_a_day_at_most(self, seconds: Any) -> None:
        """A whole number of seconds, in whatever spelling JSON has for it; 300 when nothing is said."""
        limit_s = define([], metadata={"timeoutSeconds": seconds}).timeout_s

        assert limit_s == seconds
        assert type(limit_s) is int
        assert define([], metadata={"team": "payments"}).timeout_s == TIMEOUT_DEFAULT_S == 300

    @pytest.mark.parametrize(
        "seconds", [0, -1, 86_401, Decimal("0.5"), Decimal("1.5"), True, "300", None, [], {}, Decimal("1E+999999999")]
    )
    def test_another_time_limit_is_refused(self, seconds: Any) -> None:
        """At once, and without making an integer of a billion digits."""
        action = lambda: define([], metadata={"timeoutSeconds": seconds})  # noqa: E731

        assert refusal_of(action) == ("FLK-0001", ["metadata.timeoutSeconds"])


class TestActivation:
    def test_a_sound_definition_passes(self) -> None:
        """Nothing is said about it."""
        activate(define([START, CHECK, TELL, CALL], [edge("start", "check"), edge("check", "call")]))

    @pytest.mark.parametrize(
        ("nodes", "edges", "code", "paths"),
        [
            ([], [], "FLK-0112", []),
            ([TELL], [], "FLK-0116", []),
            ([START, TELL], [edge("tell", "tell")], "FLK-0508", ["edges"]),
            ([START, TELL, CHECK], [edge("tell", "check"), edge("check", "tell")], "FLK-0508", ["edges"]),
        ],
    )
    def test_what_the_whole_lacks_is_refused(
        self, nodes: list[dict[str, Any]], edges: list[dict[str, Any]], code: str, paths: list[str]
    ) -> None:
        """At least one node, one trigger, and no cycle, also where no run comes to."""
        assert refusal_of(lambda: activate(define(nodes, edges))) == (code, paths)

    def test_the_nodes_of_a_cycle_are_named(self) -> None:
        """And only they."""
        definition = define(
            [START, TELL, CHECK], [edge("start", "tell"), edge("tell", "check"), edge("check", "tell")]
        )

        with pytest.raises(FlowkerError) as caught:
            activate(definition)

        assert caught.value.fields == {"edges": "lead from tell to check to tell"}

    @pytest.mark.parametrize(
        ("configuration_id", "code"),
        [(None, "FLK-0150"), ("", "FLK-0150"), ("unknown", "FLK-0150"), ("off", "FLK-0150"), ("tracer", "FLK-0151")],
    )
    def test_every_call_needs_an_active_configuration_of_its_provider(
        self, configuration_id: str | None, code: str
    ) -> None:
        """Missing, unknown, inactive, or of another provider."""
        call = {**CALL, "data": {"executorId": "http.request", "providerConfigId": configuration_id}}
        definition = define([START, TELL, call])

        assert refusal_of(lambda: activate(definition)) == (code, ["nodes[2].data.providerConfigId"])

    def test_an_executor_that_left_the_catalog_is_refused(self) -> None:
        """A definition may be older than the catalog."""
        definition = define([START, CALL])

        action = lambda: check_activation(definition, {}, CONFIGURATIONS)  # noqa: E731

        assert refusal_of(action) == ("FLK-0104", ["nodes[1].data.executorId"])

    @pytest.mark.parametrize(
        ("configurations", "field"),
        [
            ({}, "executorConfigId"),
            ({"e": EndpointFacts(frozenset({"screen"}), active=False)}, "executorConfigId"),
            ({"e": EndpointFacts(frozenset({"other"}), active=True)}, "endpointName"),
        ],
    )
    def test_an_endpoint_has_to_be_one_of_an_active_configuration(
        self, configurations: dict[str, EndpointFacts], field: str
    ) -> None:
        """FLK-0150, with the member that names what is not there."""
        definition = define([START, SCREEN])

        action = lambda: check_activation(definition, EXECUTORS, {}, configurations)  # noqa: E731

        assert refusal_of(action) == ("FLK-0150", [f"nodes[1].data.{field}"])
        check_activation(definition, EXECUTORS, {}, {"e": EndpointFacts(frozenset({"screen"}), active=True)})

    @pytest.mark.parametrize(
        ("second", "taken", "code"),
        [
            ({"path": "/a/"}, set(), "FLK-0360"),
            ({"path": "b"}, {("POST", "b")}, "FLK-0360"),
            ({"path": "b"}, {("PUT", "b"), ("POST", "c")}, None),
            ({"path": "a", "method": "PUT"}, set(), None),
            ({}, set(), None),
        ],
    )
    def test_a_webhook_has_one_owner(
        self, second: dict[str, Any], taken: set[tuple[str, str]], code: str | None
    ) -> None:
        """Among the triggers of the workflow and among all workflows, by method and path."""
        definition = define([{**START, "data": {"path": "a"}}, {**START, "id": "second", "data": second}])

        def action() -> None:
            check_activation(definition, {}, {}, taken_webhooks=taken)

        if code is None:
            action()
        else:
            assert refusal_of(action) == (code, ["nodes[1].data.path"])

    def test_the_webhooks_are_those_of_triggers_with_a_path(self) -> None:
        """Method and path as they are registered."""
        paths = [{"path": "/a%2Fb/"}, {}, {"path": "c", "method": "GET"}]
        triggers = [{**START, "id": f"t{number}", "data": data} for number, data in enumerate(paths)]

        assert webhooks(define([*triggers, TELL])) == {"t0": ("POST", "a/b"), "t2": ("GET", "c")}

    def test_the_configurations_to_look_up_are_those_that_are_named(self) -> None:
        """Once each."""
        nodes = [{**CALL, "id": f"call{n}"} for n in range(3)]
        other = {"id": "x", "type": "executor", "data": {"executorId": "http.request", "providerConfigId": "off"}}
        silent = {"id": "y", "type": "executor", "data": {"executorId": "http.request"}}

        used = references(define([START, *nodes, other, silent, SCREEN]))

        assert used == References(frozenset({"good", "off"}), frozenset({"e"}))


class TestPlan:
    def test_a_run_has_only_what_its_trigger_reaches(self) -> None:
        """An edge from elsewhere is not waited for."""
        other = {**START, "id": "other"}
        definition = define(
            [START, other, TELL, CHECK, CALL],
            [edge("start", "tell"), edge("other", "tell"), edge("other", "check"), edge("tell", "call")],
        )

        plan = definition.plan("start")

        assert set(plan.nodes) == {"start", "tell", "call"}
        assert [one.source for one in plan.incoming["tell"]] == ["start"]
        assert plan.total_steps == 2
        assert definition.plan("other").total_steps == 3

    def test_a_plan_is_made_once(self) -> None:
        """Every execution of a revision shares it."""
        definition = define([START, TELL], [edge("start", "tell")])

        assert definition.plan("start") is definition.plan("start")


class TestLife:
    @pytest.mark.parametrize("current", get_args(Status))
    @pytest.mark.parametrize("wanted", get_args(Status))
    def test_there_is_one_way_on_from_each_status(self, current: Status, wanted: Status) -> None:
        """draft -> active -> inactive -> draft; anything else is FLK-0102."""
        allowed = (current, wanted) in pairwise(["draft", "active", "inactive", "draft"])

        if allowed:
            require_transition(current, wanted)
        else:
            with pytest.raises(IllegalStatusChange):
                require_transition(current, wanted)
        assert (TRANSITIONS[current] == wanted) == allowed

    def test_a_status_that_does_not_exist_leads_nowhere(self) -> None:
        """Whatever a store holds."""
        with pytest.raises(IllegalStatusChange):
            require_transition("archived", "draft")

    @pytest.mark.parametrize("status", ["active", "inactive"])
    def test_only_a_draft_is_editable(self, status: str) -> None:
        """FLK-0103."""
        require_editable("draft")
        with pytest.raises(WorkflowNotEditable):
            require_editable(status)

    def test_all_but_an_active_workflow_can_be_deleted(self) -> None:
        """FLK-0103."""
        require_deletable("draft")
        require_deletable("inactive")
        with pytest.raises(WorkflowNotEditable):
            require_deletable("active")

    def test_the_version_rises_with_every_revision(self) -> None:
        """1.0.0 is the first."""
        assert [version_text(revision) for revision in (1, 2, 11)] == ["1.0.0", "1.1.0", "1.10.0"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(["log", "fail", "http.request", "webhook", "good", "{{a}}", Decimal("1E+999999"), 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
IDS = st.sampled_from(["a", "b", "c", "start"])
NODES = st.fixed_dictionaries(
    {
        "id": IDS,
        "type": st.sampled_from(["trigger", "executor", "conditional", "action"]),
        "data": st.dictionaries(
            st.sampled_from(["action", "executorId", "condition", "path", "join", "output", "providerConfigId"]), JSON
        )
        | st.sampled_from([CALL["data"], TELL["data"], CHECK["data"]]),
    },
    optional={"name": st.text(max_size=4)},
)
EDGES = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=2), "source": IDS, "target": IDS},
    optional={
        "sourceHandle": st.sampled_from(["true", "false", "error", ""]) | st.text(max_size=3),
        "condition": st.text(max_size=12) | st.sampled_from(["workflow.a == 1", "true"]),
        "label": st.text(max_size=3),
    },
)
METADATA = st.dictionaries(st.sampled_from(["timeoutSeconds", "team"]), JSON)


@given(st.lists(NODES, max_size=4), st.lists(EDGES, max_size=4), METADATA)
@settings(deadline=None, max_examples=200)
def test_any_definition_is_accepted_or_refused(
    nodes: list[dict[str, Any]], edges: list[dict[str, Any]], metadata: dict[str, Any]
) -> None:
    """What the contract lets through is a Definition or a FlowkerError, and so is its activation."""
    try:
        definition = define([START, *nodes], edges, metadata)
    except FlowkerError:
        return

    assert definition.plan("start").total_steps < len(definition.nodes)
    try:
        activate(definition)
    except FlowkerError as error:
        assert error.code in {"FLK-0150", "FLK-0151", "FLK-0508"}  # noqa: PT017 - both outcomes are fine


@given(st.lists(NODES, max_size=4), st.lists(EDGES, max_size=4), METADATA, st.booleans())
@settings(deadline=None, max_examples=300)
def test_the_first_finding_is_what_would_be_refused(
    nodes: list[dict[str, Any]], edges: list[dict[str, Any]], metadata: dict[str, Any], starts: bool
) -> None:
    """What is found of a definition is exactly what keeps it from being saved or activated, and what follows."""
    nodes = [START, *nodes] if starts else nodes
    findings = Findings(nodes, edges)
    sketch = compile_definition(nodes, edges, metadata, EXECUTORS, findings.checks)
    check_activation(sketch, EXECUTORS, CONFIGURATIONS, checks=findings.checks)
    findings.warn(sketch)

    try:
        activate(define(nodes, edges, metadata))
    except FlowkerError as refusal:
        found = findings.found[0]
        expected = (refusal.code, next(iter(refusal.fields), None), False)
        assert (found.code, found.field, findings.valid) == expected
    else:
        assert findings.valid
