"""What is found of a definition: every refusal with its node or edge and its field, and what is hardly meant."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from flowker.domain.checks import STRICT, Checks
from flowker.domain.errors import FlowkerError, InvalidNodeData, NoNodes
from flowker.domain.validation import FINDINGS_MAX, WARNINGS, Finding, Findings
from flowker.domain.workflows import ConfigurationFacts, check_activation, compile_definition

EXECUTORS = {"http.request": "http"}
CONFIGURATIONS = {"good": ConfigurationFacts("http", active=True)}
START: dict[str, Any] = {"id": "start", "type": "trigger"}
TELL: dict[str, Any] = {"id": "tell", "type": "action", "data": {"action": "log"}}
CALL: dict[str, Any] = {
    "id": "call",
    "type": "executor",
    "data": {"executorId": "http.request", "providerConfigId": "good"},
}

Elements = Sequence[Mapping[str, Any]]


def edge(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"id": f"{source}-{target}", "source": source, "target": target, **more}


def calling(**data: Any) -> dict[str, Any]:
    return {**CALL, "data": {**CALL["data"], **data}}


def find(nodes: Elements, edges: Elements = (), metadata: Mapping[str, Any] | None = None) -> Findings:
    """All that there is to say of a definition."""
    findings = Findings(nodes, edges)
    sketch = compile_definition(nodes, edges, metadata or {}, EXECUTORS, findings.checks)
    check_activation(sketch, EXECUTORS, CONFIGURATIONS, {}, {("POST", "taken")}, findings.checks)
    findings.warn(sketch)
    return findings


def found(nodes: Elements, edges: Elements = (), metadata: Mapping[str, Any] | None = None) -> list[tuple[str, Any]]:
    """Code and field of each finding."""
    return [(each.code, each.field) for each in find(nodes, edges, metadata).found]


class TestChecks:
    def test_strict_ones_raise_what_is_refused(self) -> None:
        """And give what a check makes."""
        assert STRICT(int, "7") == 7
        with pytest.raises(NoNodes):
            STRICT(refuse, NoNodes())

    def test_others_go_on_with_nothing_in_place_of_what_was_refused(self) -> None:
        """In the order in which it was refused."""
        noted: list[FlowkerError] = []
        checks = Checks(noted.append)
        refusals = [NoNodes(), InvalidNodeData()]

        assert [checks(refuse, refusal) for refusal in refusals] == [None, None]
        assert noted == refusals

    def test_an_error_that_is_translated_is_a_refusal(self) -> None:
        """Of the strict ones too; any other error is none."""
        noted: list[FlowkerError] = []

        for bare in (Checks(noted.append), STRICT):
            checks = bare.translating(ZeroError, no_nodes)
            with contextlib.suppress(NoNodes):
                assert checks(refuse, ZeroError("zero")) is None
            with pytest.raises(ValueError, match="one"):
                checks(refuse, ValueError("one"))

        [refusal] = noted
        assert refusal.message == "zero"

    def test_a_bug_is_no_finding(self) -> None:
        """Only refusals are noted."""
        with pytest.raises(ZeroDivisionError):
            Checks(lambda _: None)(divmod, 1, 0)


def no_nodes(error: Exception) -> FlowkerError:
    return NoNodes(str(error))


class ZeroError(ValueError):
    """What a check raises that knows no code; its text becomes the message of a refusal."""


def refuse(refusal: Exception) -> None:
    raise refusal


class TestFindings:
    def test_a_sound_definition_has_none(self) -> None:
        """Neither an error nor a warning."""
        findings = find([START, TELL, CALL], [edge("start", "tell"), edge("tell", "call")])

        assert (findings.found, findings.valid) == ([], True)

    def test_a_finding_of_a_node_names_it(self) -> None:
        """With what a refusal would say of it."""
        findings = find([START, calling(method="SPEAK")], [edge("start", "call")])

        assert findings.found == [
            Finding(
                "FLK-0119",
                "error",
                "The data of an action or conditional is not valid: must be one of GET, POST, PUT, PATCH, DELETE.",
                "nodes[1].data.method",
                node_id="call",
            )
        ]
        assert not findings.valid

    def test_a_reason_that_is_a_sentence_is_the_message(self) -> None:
        """As of a condition, which tells line and column."""
        [finding] = find([START, TELL], [edge("start", "tell", condition="a =")]).found

        assert finding.message.startswith("The condition is not valid at line 1, column ")
        assert not finding.message.endswith("..")

    def test_a_finding_of_an_edge_names_it(self) -> None:
        """Also when the edge leads nowhere."""
        [finding] = find([START], [edge("start", "nobody")]).found

        assert (finding.field, finding.node_id, finding.edge_id) == ("edges[0].target", None, "start-nobody")

    def test_a_finding_of_the_whole_names_neither(self) -> None:
        """A workflow that is empty."""
        assert find([]).found == [Finding("FLK-0112", "error", "The workflow has no nodes.")]

    def test_every_member_of_a_trigger_is_looked_at(self) -> None:
        """Six mistakes are six findings."""
        data = {
            "triggerId": "timer",
            "pth": "x",
            "method": "SPEAK",
            "responseMode": "later",
            "verify_token": "",
            "signing_secret": "short",
            "responseTimeout": 31,
            "path": "..",
        }

        assert found([{**START, "data": data}]) == [
            ("FLK-0118", f"nodes[0].data.{member}")
            for member in (
                "triggerId",
                "pth",
                "method",
                "responseMode",
                "verify_token",
                "signing_secret",
                "responseTimeout",
                "path",
            )
        ]

    def test_every_member_of_a_call_is_looked_at(self) -> None:
        """And its configuration, which is looked up although its call could not be saved."""
        broken = calling(
            providerConfigId="unknown",
            join="some",
            method=1,
            path=2,
            timeout=0,
            retry={"maxAttempts": 11},
            successStatusCodes=[],
            validateInput="yes",
            inputMapping=[{}],
        )

        assert sorted(found([START, broken], [edge("start", "call")])) == sorted(
            [
                ("FLK-0140", "nodes[1].data.inputMapping[0].source"),
                ("FLK-0150", "nodes[1].data.providerConfigId"),
                *(
                    ("FLK-0119", f"nodes[1].data.{member}")
                    for member in (
                        "join",
                        "method",
                        "path",
                        "timeout",
                        "retry",
                        "successStatusCodes",
                        "validateInput",
                    )
                ),
            ]
        )

    @pytest.mark.parametrize(
        ("data", "members"),
        [
            ({"action": "log", "level": "loud", "message": "{{a..b}}"}, ["level", "message"]),
            ({"action": "emit_event", "eventType": "{{a..b}}", "payload": "{{a..b}}"}, ["eventType", "payload"]),
            ({"action": "approval", "timeoutSeconds": 0, "onTimeout": "wait"}, ["timeoutSeconds", "onTimeout"]),
            ({"action": "delay", "seconds": -1, "join": "some"}, ["join", "seconds"]),
            ({"action": "set_output", "inputMapping": [7]}, ["inputMapping[0]"]),
            ({"action": "fail", "transforms": [1], "inputMapping": [1]}, ["inputMapping", "transforms"]),
            (
                {"action": "transform", "inputMapping": [{}, 7], "transforms": [{}, {"operation": "pass"}, 7]},
                ["inputMapping[0].source", "inputMapping[1]", "transforms[0].operation", "transforms[2]"],
            ),
        ],
    )
    def test_every_member_of_an_action_is_looked_at(self, data: dict[str, Any], members: list[str]) -> None:
        """And every entry of its mappings and transforms."""
        nodes = [START, {**TELL, "data": data}]

        assert [field for _, field in found(nodes, [edge("start", "tell")])] == [
            f"nodes[1].data.{member}" for member in members
        ]

    def test_every_entry_of_a_mapping_is_looked_at(self) -> None:
        """Overlaps count between entries that are sound; a source of an answer has to lie in it."""
        overlapping = [{"source": "a", "target": "x"}, {"source": "b", "target": "x.y"}]
        beside = [{"source": "workflow.a", "target": "a"}, {}, {"source": "body", "target": "b"}, {"source": "x"}]

        fields = [
            field
            for _, field in found(
                [START, calling(inputMapping=overlapping, outputMapping=beside)], [edge("start", "call")]
            )
        ]

        assert fields == [
            "nodes[1].data.inputMapping[1].target",
            "nodes[1].data.outputMapping[1].source",
            "nodes[1].data.outputMapping[3].target",
            "nodes[1].data.outputMapping[0].source",
        ]

    @pytest.mark.parametrize(
        ("data", "code", "member"),
        [
            ({"providerConfigId": 7}, "FLK-0150", "providerConfigId"),
            ({"executorId": "fax.send"}, "FLK-0104", "executorId"),
            ({"executorId": 7, "providerConfigId": "unknown"}, "FLK-0119", "executorId"),
            ({"executorConfigId": "e", "providerConfigId": None}, "FLK-0119", "endpointName"),
            ({"executorConfigId": "e", "endpointName": "screen"}, "FLK-0119", "providerConfigId"),
        ],
    )
    def test_what_follows_from_a_mistake_is_no_finding_of_its_own(
        self, data: dict[str, Any], code: str, member: str
    ) -> None:
        """Who repairs the one has repaired the other."""
        assert found([START, calling(**data)], [edge("start", "call")]) == [(code, f"nodes[1].data.{member}")]

    def test_every_part_of_an_edge_is_looked_at(self) -> None:
        """Both its ends, or its handle and its condition."""
        nodes = [START, {**TELL, "data": {"action": "dance"}}]
        edges = [
            edge("nobody", "nothing"),
            edge("start", "tell", sourceHandle="error", condition="a ="),
            edge("tell", "start"),
        ]

        assert found(nodes, edges) == [
            ("FLK-0119", "nodes[1].data.action"),
            ("FLK-0115", "edges[0].source"),
            ("FLK-0115", "edges[0].target"),
            ("FLK-0119", "edges[1].sourceHandle"),
            ("FLK-0105", "edges[1].condition"),
            ("FLK-0115", "edges[2].target"),
            ("FLK-0508", "edges"),
        ]

    def test_nodes_of_one_id_are_each_looked_at(self) -> None:
        """Under the place that each has."""
        nodes = [START, CALL, calling(providerConfigId="unknown"), {**TELL, "data": {}}]

        assert found([*nodes, {**START, "data": {"method": 1}}], [edge("start", "call"), edge("call", "tell")]) == [
            ("FLK-0119", "nodes[3].data.action"),
            ("FLK-0118", "nodes[4].data.method"),
            ("FLK-0117", "nodes[2].id"),
            ("FLK-0117", "nodes[4].id"),
            ("FLK-0150", "nodes[2].data.providerConfigId"),
            ("NODE_UNREACHABLE", "nodes[2]"),
        ]

    def test_every_cycle_is_named(self) -> None:
        """Those without a node in common."""
        nodes = [START, *({**TELL, "id": id_} for id_ in "abcd")]
        pairs = [("start", "a"), ("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "c")]

        messages = [finding.message for finding in find(nodes, [edge(*pair) for pair in pairs]).found]

        assert messages == [
            "The edges of the workflow form a cycle: lead from a to b to a.",
            "The edges of the workflow form a cycle: lead from c to d to c.",
        ]

    def test_a_broken_trigger_is_a_trigger(self) -> None:
        """The workflow does not lack one, and its webhook is not looked up."""
        nodes = [{**START, "data": {"path": "taken", "method": "SPEAK"}}]

        assert found(nodes) == [("FLK-0118", "nodes[0].data.method")]

    def test_webhooks_that_are_taken_are_found(self) -> None:
        """By another workflow, or by another trigger of this one."""
        paths = ["taken", "mine", "mine"]
        nodes = [{**START, "id": f"t{number}", "data": {"path": path}} for number, path in enumerate(paths)]

        assert found(nodes) == [("FLK-0360", "nodes[0].data.path"), ("FLK-0360", "nodes[2].data.path")]

    def test_the_time_limit_is_found(self) -> None:
        """It belongs to neither node nor edge, and no delay is measured by it."""
        nodes = [START, {**TELL, "data": {"action": "delay", "seconds": 86_400}}]

        [finding] = find(nodes, [edge("start", "tell")], {"timeoutSeconds": 0}).found

        assert (finding.code, finding.field, finding.node_id) == ("FLK-0001", "metadata.timeoutSeconds", None)

    def test_there_is_an_end_to_them(self) -> None:
        """The first ones are told."""
        data = {f"m{number}": 1 for number in range(FINDINGS_MAX + 1)}

        fields = [field for _, field in found([{**START, "data": data}])]

        assert fields == [f"nodes[0].data.m{number}" for number in range(FINDINGS_MAX)]


class TestWarnings:
    def test_a_node_that_no_trigger_leads_to_is_warned_of(self) -> None:
        """Which keeps nobody from activating the workflow."""
        second = {**START, "id": "second"}

        findings = find([START, TELL, CALL, second], [edge("second", "tell")])

        message = WARNINGS["NODE_UNREACHABLE"]
        assert findings.found == [Finding("NODE_UNREACHABLE", "warning", message, "nodes[2]", node_id="call")]
        assert findings.valid

    def test_without_a_trigger_no_node_is_warned_of(self) -> None:
        """The missing trigger is the finding."""
        assert found([TELL, CALL]) == [("FLK-0116", None)]

    @pytest.mark.parametrize(
        ("seconds", "limit", "warned"), [(299, None, False), (300, None, True), (60, 60, True), (60, 61, False)]
    )
    def test_a_delay_that_outlasts_the_time_limit_is_warned_of(
        self, seconds: int, limit: int | None, warned: bool
    ) -> None:
        """The execution would fail before it goes on."""
        nodes = [START, {**TELL, "data": {"action": "delay", "seconds": seconds}}]
        metadata = {} if limit is None else {"timeoutSeconds": limit}

        told = found(nodes, [edge("start", "tell")], metadata)

        assert told == ([("DELAY_EXCEEDS_TIME_LIMIT", "nodes[1].data.seconds")] if warned else [])
