"""The pages against the code: what a page lists is what there is, and what it links to exists."""

import asyncio
import configparser
import contextlib
import importlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command

from flowker import __version__, cli, demo
from flowker.app import build, document_path
from flowker.domain import (
    actions,
    archives,
    audit,
    calls,
    changes,
    execution_steps,
    executions,
    executor_configurations,
    mappings,
    provider_configurations,
    retries,
    secrets,
    specs,
    transforms,
    validation,
    workflows,
)
from flowker.domain.errors import FlowkerError, WorkflowNotEditable
from flowker.domain.workflow_templates import TEMPLATES, WorkflowTemplate
from flowker.engine import steps
from flowker.engine.tallies import Ending
from flowker.executors import authentication, breaker, connectivity, http, responses
from flowker.executors.registry import EXECUTORS, PROVIDERS, TRIGGERS
from flowker.http.document import load
from flowker.http.errors import STATUS, classes_by_code
from flowker.jsonschema import Schema
from flowker.operations import template_parameters
from flowker.operations.metrics import render_metrics
from flowker.settings import PREFIX, Settings, load_settings
from flowker.storage import archiving, audit_checkpoint, audit_events, audit_verification, retention
from flowker.storage.database import Store, upgrade, vault_beside

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")


def read(name: str) -> str:
    return (ROOT / name).read_text()


def fences(name: str, language: str) -> list[str]:
    """The code blocks of a page that are in this language."""
    return [text for found, text in _FENCE.findall(read(name)) if found == language]


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def table(name: str, *columns: str) -> list[list[str]]:
    """The rows of the table of a page that has these columns."""
    lines = iter(read(name).splitlines())
    for line in lines:
        if line == f"| {' | '.join(columns)} |":
            next(lines)
            return list(_rows(lines))
    raise AssertionError(f"{name} has no table of {columns}")


def transitions(name: str, number: int) -> list[tuple[str, str, str]]:
    """The arrows of a page's state diagram: from, to, label."""
    diagram = [text for text in fences(name, "mermaid") if text.startswith("stateDiagram")][number]
    return re.findall(r"^\s*(\S+) --> (\w+|\[\*\])(?:: (\w+))?$", diagram, re.MULTILINE)


def tox_environments() -> dict[str, str]:
    """The environments of tox.ini with their descriptions."""
    return {
        name.removeprefix("testenv:"): _tox()[name]["description"] for name in _tox() if name.startswith("testenv:")
    }


def _rows(lines: Iterator[str]) -> Iterator[list[str]]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


REFUSALS = table("docs/errors.md", "Code", "Status", "Class", "When")
INSIDE = table("docs/errors.md", "Code", "What happened")
RETRY = table("docs/executions.md", "Member", "Range", "Default")
BOUNDS = table("docs/architecture.md", "Bound", "Value", "Where it stands")


class TestErrors:
    def test_every_class_has_its_row_and_every_row_its_class(self) -> None:
        """Code, status and class are the ones of the code."""
        rows = [(code, int(status), kind) for code, status, kind, _ in REFUSALS]

        assert rows == [(kind.code, STATUS[kind], kind.__name__) for _, kind in sorted(classes_by_code().items())]

    def test_every_class_has_a_code_of_its_own(self) -> None:
        """Programs decide by the code."""
        kinds = set(_descendants(FlowkerError))

        assert set(classes_by_code().values()) == kinds
        assert set(STATUS) == kinds

    def test_every_row_says_when(self) -> None:
        """A code without a reason helps nobody."""
        assert [row for row in REFUSALS if len(row[3]) < 15] == []

    def test_the_example_has_the_shape_that_is_answered(self) -> None:
        """Only the documented members, and a code with its own message."""
        example = json.loads(fences("docs/errors.md", "json")[0])
        kind = classes_by_code()[example["code"]]

        assert list(example) == ["code", "title", "message", "fields"]
        assert example["message"] == kind.message

    def test_codes_inside_executions_and_test_results_are_the_ones_that_are_written(self) -> None:
        """Each is written by the code as text before a colon, or for a stage of a test."""
        sources = "\n".join(path.read_text() for path in ROOT.glob("flowker/**/*.py"))
        written = {*re.findall(r'"(FLK-[0-9]{4}): ', sources), *connectivity.CODES.values()}

        assert [code for code, _ in INSIDE] == sorted(written)

    def test_codes_inside_test_results_say_their_stage(self) -> None:
        """Each stage has a code of its own."""
        said = {code: what.partition("`")[2].partition("`")[0] for code, what in INSIDE if what.startswith("Stage")}

        assert said == {code: name for name, code in connectivity.CODES.items()}
        assert list(connectivity.CODES) == list(get_args(connectivity.StageName))


class TestCodesInTheDocument:
    def test_every_code_of_the_document_has_its_row(self) -> None:
        """A code that the document names is one that somebody can meet."""
        known = {*classes_by_code(), *(code for code, _ in INSIDE)}

        assert codes_in(load(document_path())) - known == set()

    def test_the_document_names_every_code(self) -> None:
        """Apart from those that no operation decides: for paths and methods that none has, and for slow requests."""
        undecided = {"FLK-0404", "FLK-0405", "FLK-0408"}

        assert classes_by_code().keys() - codes_in(load(document_path())) == undecided

    def test_codes_of_parameters_and_fields_are_bad_requests(self) -> None:
        """What the contract refuses by itself is a 400."""
        statuses = {code: STATUS[classes_by_code()[code]] for code in contract_codes(load(document_path()))}

        assert statuses
        assert set(statuses.values()) == {400}

    def test_a_code_stands_under_its_own_status(self) -> None:
        """A response that names a code has the status of its class."""
        misplaced = [
            (operation, status, code)
            for operation, status, response in answers(load(document_path()))
            for code in codes_in(response)
            if STATUS[classes_by_code()[code]] != status
        ]

        assert misplaced == []


class TestSettings:
    def test_every_setting_has_its_row(self) -> None:
        """Name, default and description, in the order of the class."""
        rows = [tuple(row) for row in table("docs/settings.md", "Setting", "Default", "What it decides")]

        assert rows == [
            (field.alias, shown_default(str(field.alias), field.default), field.description)
            for field in Settings.model_fields.values()
        ]

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_settings_that_a_page_names_exist(self, page: Path) -> None:
        """A name with our prefix that is no setting stops the start of whoever believes the page.

        What tests read has a prefix of its own.
        """
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", page.read_text()))
        read = {field.alias for field in Settings.model_fields.values()}
        for test in (ROOT / "tests").rglob("*.py"):
            read.update(re.findall(rf'"({PREFIX}TEST_[A-Z_]+)"', test.read_text()))

        assert named - read == set()


class TestExecutions:
    def test_the_diagram_of_a_workflow_is_its_transitions(self) -> None:
        """States, arrows and the status that a workflow is created in."""
        arrows = transitions("docs/executions.md", 0)
        changes = {source: target for source, target, _ in arrows if "[*]" not in {source, target}}

        assert changes == dict(workflows.TRANSITIONS)
        assert {state for source, target, _ in arrows for state in (source, target)} - {"[*]"} == set(
            get_args(workflows.Status)
        )
        assert [target for source, target, _ in arrows if source == "[*]"] == ["draft"]

    def test_the_diagram_of_a_workflow_names_its_operations(self) -> None:
        """Each label is the last segment of the path that makes the change."""
        labels = {label for source, _, label in transitions("docs/executions.md", 0) if source != "[*]"} - {"delete"}
        paths = load(document_path())["paths"]

        assert {f"/v1/workflows/{{id}}/{label}" for label in labels} <= paths.keys()

    def test_the_diagram_of_a_workflow_says_when_it_can_be_deleted(self) -> None:
        """In every status but one."""
        ends = {source for source, target, label in transitions("docs/executions.md", 0) if label == "delete"}

        assert ends == {status for status in get_args(workflows.Status) if deletable(status)}

    def test_an_approval_has_the_members_that_are_listed(self) -> None:
        """With their ranges and defaults."""
        [seconds, on_timeout] = table("docs/executions.md", "Member of an approval", "Values", "Default")
        default = actions.compile_action({"action": "approval"})

        assert seconds == ["timeoutSeconds", f"1 to {actions.APPROVAL_MAX_S}", str(actions.APPROVAL_DEFAULT_S)]
        words = re.findall(r"\w+", on_timeout[1])
        assert (on_timeout[0], words) == ("onTimeout", list(get_args(actions.OnTimeout)))
        assert default == actions.ApprovalAction(float(seconds[2]), "fail")
        assert on_timeout[2] == "fail"

    def test_the_statuses_of_steps_are_the_ones_listed(self) -> None:
        """Here and in the document."""
        rows = table("docs/executions.md", "Status", "The step")
        schemas = load(document_path())["components"]["schemas"]

        listed = [word for status, _ in rows for word in re.findall(r"\w+", status)]
        assert listed == list(get_args(execution_steps.StepStatus))
        assert schemas["ExecutionStep"]["properties"]["status"]["enum"] == listed
        assert schemas["ExecutionAttempt"]["properties"]["outcome"]["enum"] == [
            *get_args(execution_steps.AttemptOutcome)
        ]

    def test_the_answers_to_a_decision_are_the_refusals_of_one(self) -> None:
        """Each under its status."""
        rows = table("docs/executions.md", "A decision that comes", "is answered")
        refusals = {code: status for _, answer in rows for status, code in re.findall(r"(\d{3}) `(FLK-\d+)", answer)}

        assert refusals.keys() == {"FLK-0513", "FLK-0514", "FLK-0515", "FLK-0516"}
        assert {code: str(STATUS[classes_by_code()[code]]) for code in refusals} == refusals

    def test_as_many_attempts_are_told_as_the_document_says(self) -> None:
        """The last ones."""
        attempts = load(document_path())["components"]["schemas"]["ExecutionStep"]["properties"]["attempts"]

        assert attempts["maxItems"] == execution_steps.ATTEMPTS_TOLD_MAX
        assert f"the last {execution_steps.ATTEMPTS_TOLD_MAX} of them" in attempts["description"]

    def test_the_warnings_are_the_ones_listed(self) -> None:
        """Each with its code, here and in the document."""
        rows = table("docs/executions.md", "Code", "What is hardly meant")
        schemas = load(document_path())["components"]["schemas"]
        told = schemas["WorkflowFinding"]["properties"]["code"]["description"]

        assert [code for code, _ in rows] == list(validation.WARNINGS)
        assert [code for code in validation.WARNINGS if f"`{code}`" not in told] == []

    def test_as_many_findings_are_told_as_is_said(self) -> None:
        """Here and in the document."""
        findings = load(document_path())["components"]["schemas"]["WorkflowValidation"]["properties"]["findings"]

        assert f"The first {validation.FINDINGS_MAX} are told." in read("docs/executions.md")
        assert findings["maxItems"] == validation.FINDINGS_MAX
        assert f"at most {validation.FINDINGS_MAX}" in findings["description"]

    def test_the_example_of_a_finding_says_what_the_refusal_says(self) -> None:
        """The message of its class, and the reason of the field."""
        [example] = [json.loads(text) for text in fences("docs/executions.md", "json")]
        [finding] = example["findings"]
        refusal = classes_by_code()[finding["code"]]

        assert not example["valid"]
        assert finding["message"].startswith(refusal.message.rstrip(".") + ": ")

    def test_the_diagram_of_an_execution_is_its_statuses(self) -> None:
        """The one status that is not shown is explained."""
        arrows = transitions("docs/executions.md", 1)
        states = {state for source, target, _ in arrows for state in (source, target)} - {"[*]"}

        assert states == set(get_args(executions.Status)) - {"pending"}
        assert "`pending`" in read("docs/executions.md")

    def test_the_diagram_of_an_execution_leads_to_each_terminal_status(self) -> None:
        """And nothing leads out of them but a retry."""
        arrows = {(source, target) for source, target, _ in transitions("docs/executions.md", 1)}

        assert arrows == {
            ("[*]", "running"),
            ("failed", "running"),
            *(("running", status) for status in executions.TERMINAL),
            *((status, "[*]") for status in executions.TERMINAL),
        }

    def test_the_journal_has_the_kinds_that_are_listed(self) -> None:
        """A kind is the name of its event."""
        kinds = [kind for kind, _ in table("docs/executions.md", "Kind", "What happened")]

        assert kinds == [event.__name__.lower() for event in get_args(executions.Event)]

    def test_the_defaults_of_retries_are_those_of_the_policy(self) -> None:
        """Members and defaults of `retry`."""
        defaults = {member: float(default) for member, _, default in RETRY}
        policy = retries.compile_retry({})

        assert defaults == {
            "maxAttempts": policy.max_attempts,
            "backoffSeconds": policy.backoff_s,
            "maxBackoffSeconds": policy.max_backoff_s,
        }

    @pytest.mark.parametrize("end", [0, 1], ids=["least", "most"])
    def test_the_ranges_of_retries_are_those_of_the_policy(self, end: int) -> None:
        """Both ends are allowed, and nothing beyond them."""
        for member, range_, _ in RETRY:
            bound = Decimal(range_.split(" to ")[end])
            step = Decimal(1) if member == "maxAttempts" else Decimal("0.01")
            beyond = bound + step if end else bound - step

            assert retries.compile_retry({member: exact(bound)}) is not None
            with pytest.raises(ValueError, match=member):
                retries.compile_retry({member: exact(beyond)})


class TestCalls:
    def test_an_executor_node_has_the_members_that_are_listed(self) -> None:
        """Everything else is input for the far side: a member that is missing here would be sent."""
        listed = [names for names, *_ in table("docs/calls.md", "Member of `data`", "Values", "Default")]

        assert {name for names in listed for name in re.findall(r"\w+", names)} == calls._MEMBERS

    def test_a_configuration_has_the_members_that_are_listed(self) -> None:
        """Those of its schema, in the same order."""
        listed = [name for name, *_ in table("docs/calls.md", "Member of `config`", "Values", "Default")]

        assert listed == list(http.CONFIG_SCHEMA["properties"])

    @pytest.mark.parametrize(("article", "provider"), [("a", "midaz"), ("a", "tracer"), ("an", "s3")])
    def test_a_configuration_of_a_provider_has_the_members_that_are_listed(self, article: str, provider: str) -> None:
        """In the same order, and with `required` where it is."""
        rows = table("docs/calls.md", f"Member of {article} `{provider}` configuration", "Values", "Default")
        schema = PROVIDERS[provider].config_schema

        assert [name for name, *_ in rows] == list(schema["properties"])
        assert [name for name, _, default in rows if default == "required"] == schema["required"]

    def test_providers_and_executors_are_the_ones_listed(self) -> None:
        """With the executors of each provider in the catalog's order."""
        listed = {
            provider: re.findall(r"[a-z0-9.-]+", names)
            for provider, names, _ in table("docs/calls.md", "Provider", "Executors", "Tested by")
        }
        calls = [name for name, *_ in table("docs/calls.md", "Executor", "Call", "Sent of the input")]

        assert listed == {
            provider: [executor.id for executor in EXECUTORS.values() if executor.provider_id == provider]
            for provider in PROVIDERS
        }
        assert calls == list(EXECUTORS)

    def test_types_of_authentication_have_the_members_that_are_listed(self) -> None:
        """The required ones and the optional ones, those of the schema."""
        rows = table("docs/calls.md", "`type`", "Required in `config`", "Optional", "Sent")
        configs = authentication._CONFIGS

        assert [type_ for type_, *_ in rows] == list(configs)
        for type_, required, optional, _ in rows:
            members = {*re.findall(r"[a-z_]+", required), *re.findall(r"[a-z_]{5,}", optional)}
            assert set(configs[type_]["required"]) <= set(re.findall(r"[a-z_]+", required))
            assert set(configs[type_]["properties"]) <= members

    def test_statuses_that_are_attempted_again_are_the_ones_listed(self) -> None:
        """Each with its number, apart from the range of the server errors."""
        [listed] = [
            failure for failure, _ in table("docs/calls.md", "Failed by", "Again?") if "500 to 599" in failure
        ]

        assert {int(number) for number in re.findall(r"[0-9]{3}", listed)} == {*responses._RETRYABLE, 500, 599}


class TestConfigurations:
    def test_the_diagram_of_a_provider_configuration_is_its_life(self) -> None:
        """It leads from each status to the other one, and out of both."""
        arrows = transitions("docs/configurations.md", 0)
        statuses = get_args(provider_configurations.Status)

        assert {(source, target) for source, target, _ in arrows} == {
            ("[*]", "active"),
            *permutations(statuses, 2),
            *((status, "[*]") for status in statuses),
        }

    def test_the_diagram_of_a_provider_configuration_names_its_operations(self) -> None:
        """Each label that is no creation and no deletion is the last segment of a path."""
        labels = {label for _, _, label in transitions("docs/configurations.md", 0)} - {"create", "delete"}
        paths = load(document_path())["paths"]

        assert {f"/v1/provider-configurations/{{id}}/{label}" for label in labels} <= paths.keys()

    def test_the_diagram_of_an_executor_configuration_is_its_life(self) -> None:
        """Moves, tests and deletions lead where the rules let them; what none ever has is not drawn but explained."""
        life = executor_configurations
        statuses = [status for status in get_args(life.Status) if status != "unconfigured"]
        tests = {
            (status, life.status_after_test(status, proven=proven), "test")
            for status in life.TESTABLE
            for proven in (True, False)
        }

        assert set(transitions("docs/configurations.md", 1)) == {
            ("[*]", "configured", "create"),
            *((source, target, move) for move, (source, target) in life.MOVES.items()),
            *(test for test in tests if test[0] != test[1]),
            *((status, "[*]", "delete") for status in statuses if status in life.DELETABLE),
        }
        assert "`unconfigured`" in read("docs/configurations.md")

    def test_the_diagram_of_an_executor_configuration_names_its_operations(self) -> None:
        """Each label that is no creation and no deletion is the last segment of a path."""
        labels = {label for _, _, label in transitions("docs/configurations.md", 1)} - {"create", "delete"}
        paths = load(document_path())["paths"]

        assert {f"/v1/executors/{{id}}/{label}" for label in labels} == {
            path for path in paths if path.startswith("/v1/executors/{id}/")
        }

    def test_the_stages_that_prove_a_configuration_are_the_ones_told(self) -> None:
        """In their order."""
        [told] = re.findall(r"hold: that\s(.+?) passed", read("docs/configurations.md"), re.DOTALL)

        assert tuple(re.findall(r"`(\w+)`", told)) == executor_configurations.PROVING_STAGES

    @pytest.mark.parametrize("noun", ["PROVIDER_CONFIG", "EXECUTOR_CONFIG"])
    def test_the_audit_events_are_the_ones_listed(self, noun: str) -> None:
        """But for a new key, which is no change of a configuration."""
        rows = re.findall(rf"^\| `({noun}_\w+)` \| `(\w+)` \|", read("docs/configurations.md"), re.MULTILINE)

        assert set(rows) == {
            (type_, kind[0])
            for type_, kind in audit.EVENT_KINDS.items()
            if type_.startswith(noun) and not type_.endswith("_RESEALED")
        }

    @pytest.mark.parametrize(
        ("what", "schema"),
        [
            ("an executor configuration", "ExecutorConfigurationInput"),
            ("an endpoint", "ExecutorConfigurationEndpointInput"),
        ],
    )
    def test_the_members_of_an_executor_configuration_are_the_ones_listed(self, what: str, schema: str) -> None:
        """With the bounds of the document."""
        described = load(document_path())["components"]["schemas"][schema]
        bounds = ("maxLength", "maxItems", "maximum")

        assert table("docs/configurations.md", f"Member of {what}", "Required", "At most") == [
            [
                name,
                "yes" if name in described["required"] else "no",
                "".join(str(member[bound]) for bound in bounds if bound in member),
            ]
            for name, member in described["properties"].items()
        ]

    def test_the_names_of_secrets_are_the_ones_listed(self) -> None:
        """And so are the exceptions."""
        [told] = re.findall(r"^A member is secret (.+?)\. ", read("docs/configurations.md"), re.MULTILINE | re.DOTALL)
        listed, exceptions = [re.findall(r"`(\w+)`", part) for part in told.split("except")]

        assert listed == secrets._NAME.pattern.split("|")
        assert set(exceptions) == secrets._PUBLIC


class TestCircuitBreakers:
    def test_the_states_are_the_ones_that_are_listed(self) -> None:
        """With the numbers that lead from one to another."""
        rows = table("docs/calls.md", "State", "Calls", "Until")

        assert tuple(state for state, *_ in rows) == get_args(breaker.State)
        assert [re.findall(r"[0-9]+", until) for _, _, until in rows] == [
            [str(breaker.FAILURES_MAX)],
            [f"{breaker.OPEN_S:g}"],
            [],
        ]

    def test_waits_are_spread_as_is_told(self) -> None:
        """At most so many seconds."""
        assert f"up to {steps.SPREAD_S[1]:g} s later" in read("docs/calls.md")

    def test_the_leases_of_a_probe_are_the_ones_that_are_told(self) -> None:
        """Of one whose call never began, and of one whose call did."""
        page = " ".join(read("docs/decisions/0019-circuit-breakers-of-our-own.md").split())

        assert f"after {breaker.CLAIM_S:g} s when its call never began" in page
        assert f"after {breaker.PROBE_MAX_S:g} s when it did" in page


class TestMetrics:
    def test_every_metric_has_its_row(self, tmp_path: Path) -> None:
        """Name, type and meaning as they are told to Prometheus, in the same order."""
        settings = load_settings({"API_KEY": "k", "FLOWKER_DATABASE_URL": f"sqlite:///{tmp_path / 'flowker.db'}"})
        text = render_metrics(build(settings).context)
        told = re.findall(r"^# HELP (flowker_\w+) (.+)\n# TYPE \1 (\w+)$", text, re.MULTILINE)

        rows = table("docs/metrics.md", "Metric", "Type", "Labels", "What it tells")
        assert [(name, meaning, type_) for name, type_, _, meaning in rows] == told

    def test_the_labels_are_the_ones_that_are_listed(self) -> None:
        """As they stand where the metrics are made."""
        source = (ROOT / "flowker" / "operations" / "metrics.py").read_text()
        rows = table("docs/metrics.md", "Metric", "Type", "Labels", "What it tells")
        listed = {label for _, _, labels, _ in rows for label in re.findall(r"[a-z]+", labels)} - {"none"}

        made = {label for labels in re.findall(r"labels=\[(.+?)\]", source) for label in re.findall(r"\w+", labels)}
        assert listed == made

    def test_the_results_of_calls_are_the_ones_that_are_listed(self) -> None:
        """In their order."""
        rows = table("docs/metrics.md", "Result", "The call")

        assert tuple(result for result, _ in rows) == get_args(Ending)


class TestMappings:
    def test_an_entry_has_the_members_that_are_listed(self) -> None:
        """With the defaults that it has."""
        rows = table("docs/mappings.md", "Member of an entry", "Values", "Default")

        assert tuple(name for name, *_ in rows) == mappings._MEMBERS
        assert [default for *_, default in rows] == ["required", "required", "false", "none"]

    def test_the_changes_of_a_value_are_the_ones_listed(self) -> None:
        """With the parameters of those that change a text."""
        rows = table("docs/mappings.md", "Type", "Config", "What it makes")

        assert tuple(name for name, *_ in rows) == mappings.TRANSFORMATIONS
        assert {name: parameter for name, parameter, _ in rows[: len(changes.TEXT_CHANGES)]} == {
            name: "".join(parameters) for name, (_, parameters) in changes.TEXT_CHANGES.items()
        }

    def test_the_operations_and_their_members_are_the_ones_listed(self) -> None:
        """In the order in which a refusal tells them."""
        operations = table("docs/mappings.md", "Operation", "Spec", "What it makes")
        members = table("docs/mappings.md", "Member of an operation", "Values", "Default")

        assert [name for names, *_ in operations for name in re.findall(r"\w+", names)] == list(specs.OPERATIONS)
        assert {name for names, *_ in members for name in re.findall(r"\w+", names)} == set(transforms._MEMBERS)

    def test_the_members_of_an_answer_are_the_ones_told(self) -> None:
        """Where the sources of an output mapping begin."""
        page = " ".join(read("docs/mappings.md").split())
        *first, last = mappings.RESPONSE_MEMBERS

        assert f"its paths begin with {', '.join(f'`{name}`' for name in first)} or `{last}`" in page

    def test_the_bounds_are_the_ones_that_are_told(self) -> None:
        """In words, where they are read."""
        page = " ".join(read("docs/mappings.md").split())

        assert f"`[0]` to `[{mappings.POSITION_MAX}]`" in page
        assert f"There may be {mappings.ENTRIES_MAX} entries" in page
        assert f"a list of up to {transforms.OPERATIONS_MAX} operations" in page
        assert f"object with up to {mappings.ENTRIES_MAX} members" in page
        assert f"1 to {transforms.SEPARATOR_CHARACTERS_MAX} characters" in page
        assert f"at most {mappings.TARGET_DEPTH_MAX} levels" in page

    def test_the_examples_compile(self) -> None:
        """Who copies them has a mapping and transforms."""
        entries, operations = (json.loads(text) for text in fences("docs/mappings.md", "json"))

        assert len(mappings.compile_input_mapping(entries).entries) == 4
        assert len(transforms.compile_transforms(operations).operations) == 4


class TestCatalog:
    def test_every_list_is_told(self) -> None:
        """Each path of the catalog, but those of one entry and of a validation."""
        listed = {path for path, *_ in table("docs/catalog.md", "Read", "What it tells", "Schema")}
        paths = {path for path in load(document_path())["paths"] if path.startswith("/v1/catalog/")}

        assert listed == {path for path in paths if not path.endswith(("/{id}", "/validate"))}
        assert {path for path in paths if path.endswith("/validate")} == set(
            re.findall(r"`POST (/v1/catalog/\S+)`", read("docs/catalog.md"))
        )

    def test_there_is_one_trigger(self) -> None:
        """The page names it."""
        assert list(TRIGGERS) == ["webhook"]

    @pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
    def test_a_template_has_the_parameters_that_are_listed(self, template: WorkflowTemplate) -> None:
        """In the same order, with their defaults, and with `required` where it is."""
        rows = table("docs/catalog.md", f"Parameter of `{template.id}`", "Values", "Default")
        properties = template.parameter_schema["properties"]
        required = template.parameter_schema["required"]

        assert [(name, default) for name, _, default in rows] == [
            (name, "required" if name in required else shape.get("default", "none"))
            for name, shape in properties.items()
        ]

    @pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
    def test_a_template_builds_the_graph_that_is_drawn(self, template: WorkflowTemplate) -> None:
        """Edges by their handle or, without one, by their label."""
        section = read("docs/catalog.md").partition(f"### `{template.id}`")[2]
        drawn = re.findall(
            r"^    ([\w-]+) (?:-- (\w+) )?--> ([\w-]+)$", section.partition("```\n\n")[0], re.MULTILINE
        )
        names = {name: "BRL" if name == "currency" else "x" for name in template.parameter_schema["required"]}

        assert drawn == [
            (edge["source"], edge.get("sourceHandle", edge.get("label", "")), edge["target"])
            for edge in template.build(names)["edges"]
        ]

    def test_the_example_fits_its_template(self) -> None:
        """Who copies it has parameters of the right form."""
        [example] = [json.loads(text) for text in fences("docs/catalog.md", "json")]

        assert Schema(TEMPLATES[example["templateId"]].parameter_schema).fields(example["params"]) == {}

    def test_as_many_configurations_are_offered_as_is_told(self) -> None:
        """The bound of the schema."""
        assert f"the first {template_parameters.OFFERED_MAX} by name" in read("docs/catalog.md")


class TestExamples:
    def test_the_workflow_is_the_graph_that_is_drawn(self) -> None:
        """Edges by their handle or, without one, by their label."""
        [diagram] = fences("docs/examples.md", "mermaid")
        definition = json.loads(read("docs/examples/kyc-aml.json"))

        assert re.findall(r"^    (\w+) (?:-- ([\w ]+) )?--> (\w+)$", diagram, re.MULTILINE) == [
            (edge["source"], edge.get("sourceHandle", edge.get("label", "")), edge["target"])
            for edge in definition["edges"]
        ]

    def test_every_node_is_told(self) -> None:
        """In the order of the file."""
        told = [
            name for names, _ in table("docs/examples.md", "Node", "What it does") for name in names.split("`, `")
        ]

        assert told == [node["id"] for node in json.loads(read("docs/examples/kyc-aml.json"))["nodes"]]


class TestAudit:
    def test_every_type_of_event_has_its_row(self) -> None:
        """With what it decides."""
        rows = [tuple(row) for row in table("docs/audit.md", "Event type", "Action", "Result", "Resource")]

        assert [(type_, *(cell.strip("`") for cell in kind)) for type_, *kind in rows] == [
            (type_, *kind) for type_, kind in audit.EVENT_KINDS.items()
        ]

    def test_every_type_that_is_written_is_listed(self) -> None:
        """By whichever part of the service."""
        sources = "\n".join(path.read_text() for path in ROOT.glob("flowker/**/*.py"))
        nouns = "WORKFLOW|WEBHOOK|EXECUTION|EVENT|PROVIDER|EXECUTOR"
        written = set(re.findall(rf'event_type="((?:{nouns})_[A-Z_]+)"', sources))
        written |= set(re.findall(rf'(?:_event|audit_event)\([^)]*?"((?:{nouns})_[A-Z_]+)"', sources))

        assert "WORKFLOW_CREATED" in written
        assert written - audit.EVENT_KINDS.keys() == set()

    def test_the_bounds_are_those_of_the_code(self) -> None:
        """In the words around them."""
        page = " ".join(read("docs/audit.md").split())

        assert f"A value of over {audit.VALUE_BYTES_MAX} bytes" in page
        assert audit_verification.AT_ONCE_MAX == 2
        assert f"Two verifications by API run at once and {audit_verification.WAITING_MAX} more wait" in page

    def test_the_lines_of_the_page_verify_a_trail(self, tmp_path: Path) -> None:
        """Run as they stand, by somebody who has nothing of this service but its database."""
        database = tmp_path / "flowker.db"
        asyncio.run(_record(f"sqlite:///{database}"))
        (tmp_path / "verify.py").write_text(fences("docs/audit.md", "python")[0])
        command = [sys.executable, "-I", "verify.py", "flowker.db"]

        def run() -> str:
            ended = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
            return ended.stdout + ended.stderr

        good = run()
        with contextlib.closing(sqlite3.connect(database)) as attacker:
            attacker.execute("DROP TRIGGER audit_events_no_update")
            attacker.execute("UPDATE audit_events SET actor_id = 'x' WHERE sequence = 2")
            attacker.commit()

        assert good == "3 entries are as they were written\n"
        assert run() == "entry 2 is not as it was written\n"

    def test_the_lines_of_the_page_begin_behind_what_was_archived(self, tmp_path: Path) -> None:
        """As the service does."""
        url = f"sqlite:///{tmp_path / 'flowker.db'}"
        asyncio.run(_record(url))
        archive = archiving.archive(
            url,
            vault_beside(url),
            "2999-01-01T00:00:00.000000Z",
            tmp_path / "archive.jsonl",
            lambda: "2026-06-17T12:00:00.000000Z",
            lambda _: None,
        )
        asyncio.run(archive)
        (tmp_path / "verify.py").write_text(fences("docs/audit.md", "python")[0])

        told = subprocess.check_output([sys.executable, "-I", "verify.py", "flowker.db"], cwd=tmp_path, text=True)

        assert told == "1 entries are as they were written\n"

    def test_the_line_of_a_checkpoint_is_the_one_that_is_written(self) -> None:
        """With its members in their order."""
        [line] = [text for text in fences("docs/audit.md", "text") if "checkpoint" in text]
        checkpoint = archives.Checkpoint(0, "…", 0, "…", "…", "…")
        written = archives.checkpoint_line(archives.SignedCheckpoint(checkpoint, "…", "…"))

        shape = re.sub(r"(?<=:)[0-9]+", "…", written.replace("\\u2026", "…"))
        assert line.strip() == shape

    def test_the_example_is_what_is_answered(self) -> None:
        """With the words of the service."""
        found = audit_verification.Verification(sequence=16, first_bad=17, ended=True)

        assert json.loads(fences("docs/audit.md", "json")[0]) == {
            "isValid": found.is_good,
            "firstInvalidId": found.first_bad,
            "totalChecked": found.checked,
            "message": found.message,
        }


class TestArchitecture:
    @pytest.mark.parametrize(("value", "constant"), [(row[1], row[2]) for row in BOUNDS])
    def test_a_bound_has_the_value_that_the_page_says(self, value: str, constant: str) -> None:
        """Constants are read from the module that the page names."""
        module, _, name = constant.rpartition(".")

        assert str(getattr(importlib.import_module(module), name)) == value

    def test_every_decision_is_linked(self) -> None:
        """In order, by the title that it has."""
        listed = re.findall(r"^([0-9]+)\. \[(.+)\]\(decisions/(.+)\)$", read("docs/architecture.md"), re.MULTILINE)

        assert [name for _, _, name in listed] == [page.name for page in DECISIONS]
        assert [f"# {number}. {title}" for number, title, _ in listed] == [
            page.read_text().partition("\n")[0] for page in DECISIONS
        ]

    @pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
    def test_a_decision_has_its_three_parts_on_one_page(self, page: Path) -> None:
        """Context, decision, consequences; more than a page is an essay."""
        text = page.read_text()

        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
        assert text.count("\n") < 50


class TestOperations:
    def test_the_bounds_are_those_of_the_code(self) -> None:
        """In the words around them."""
        page = " ".join(read("docs/operations.md").split())

        assert f"At most {retention.EXECUTIONS_PER_TRANSACTION} executions are removed in one transaction" in page
        assert f"at most {audit_checkpoint.ENTRIES_PER_TRANSACTION} entries in the same transaction" in page
        assert timedelta(days=1) == retention.AGE_MIN
        assert "a day at least" in page

    def test_the_commands_are_there(self) -> None:
        """Each with its options."""
        named = {
            tuple(line.split()) for text in fences("docs/operations.md", "sh") for line in text.splitlines() if line
        }
        parsed = [_parses(words[1:]) for words in named]

        assert len(parsed) == 4
        assert all(parsed)


class TestCommands:
    def test_the_test_command_of_the_readme_is_what_the_pipeline_runs(self) -> None:
        """Character for character, in the README and in CONTRIBUTING."""
        command = read(".ci/run").splitlines()[-1]

        assert f"{command}\n" in fences("README.md", "sh")
        assert f"{command}\n" in fences("CONTRIBUTING.md", "sh")

    def test_the_curl_of_the_readme_is_the_one_that_serve_prints(self) -> None:
        """With a key in place of the dots it works as pasted."""
        assert f"{demo.curl('http://127.0.0.1:4021', 'flk_…')}\n" in fences("README.md", "sh")

    def test_the_menu_lists_every_environment(self) -> None:
        """Those that `tox` runs first, in its order, with the descriptions of tox.ini."""
        run = [name.strip() for name in _tox()["tox"]["env_list"].split(",")]
        rows = [tuple(row) for row in table("CONTRIBUTING.md", "Environment", "What it does", "In `tox`")]
        described = tox_environments()

        assert [name for name, _, where in rows if where == "yes"] == run
        assert {name: (what, where) for name, what, where in rows} == {
            name: (what, "yes" if name in run else "by name") for name, what in described.items()
        }

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_environments_that_a_page_names_exist(self, page: Path) -> None:
        """What is told to run can be run."""
        named = {name for names in re.findall(r"tox -e ([\w,]+)", page.read_text()) for name in names.split(",")}

        assert named - tox_environments().keys() == set()

    def test_the_changelog_has_the_version(self) -> None:
        """Under its own heading, below what is not released."""
        headings = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), re.MULTILINE)

        assert headings[:2] == ["Unreleased", __version__]


class TestLinks:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_every_relative_link_leads_somewhere(self, page: Path) -> None:
        """To a file of the repository, and to a heading of it if the link names one."""
        dead = [link for link in _LINK.findall(prose(page)) if ":" not in link and not leads_somewhere(page, link)]

        assert dead == []

    def test_the_readme_leads_to_every_page(self) -> None:
        """A page that nothing links to is not read."""
        links = set(_LINK.findall(prose(ROOT / "README.md")))

        assert {str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md")} - links == set()


def answers(document: Mapping[str, Any]) -> Iterator[tuple[str, int, Any]]:
    """Every documented answer with its operation and status; shared ones stand where they are referred to."""
    shared = document["components"].get("responses", {})
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, Mapping) and "responses" in operation:
                for status, response in operation["responses"].items():
                    name = response.get("$ref", "").rpartition("/")[2]
                    yield operation["operationId"], int(status), shared[name] if name else response


def contract_codes(node: Any) -> Iterator[str]:
    """The codes that the document gives to parameters (`x-code`) and to fields (`x-codes`)."""
    if isinstance(node, Mapping):
        yield from filter(None, [node.get("x-code"), *node.get("x-codes", {}).values()])
    for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from contract_codes(child)


def codes_in(node: Any) -> set[str]:
    return set(re.findall(r"FLK-[0-9]{4}", json.dumps(node)))


def shown_default(name: str, default: Any) -> str:
    """A default as the page writes it: like the environment would have it."""
    if name == "VERSION":
        return "the installed version"
    if default == ():
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def deletable(status: str) -> bool:
    try:
        workflows.require_deletable(status)
    except WorkflowNotEditable:
        return False
    return True


def exact(number: Decimal) -> int | Decimal:
    """A number as it comes out of JSON text."""
    return int(number) if number == int(number) else number


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not heading or heading in {anchor(title) for title in _HEADING.findall(prose(target))}


def anchor(title: str) -> str:
    """The name that a heading gets when Markdown is shown as HTML."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


async def _record(url: str) -> None:
    """A trail with everything that has to be quoted."""
    upgrade(url)
    store = Store(url)
    await store.start()
    events = [
        audit.AuditEvent(
            str(number),
            "WORKFLOW_CREATED",
            *audit.EVENT_KINDS["WORKFLOW_CREATED"],
            "w",
            audit.Actor("api_key", id_, '"é\\\n'),
            "2026-03-17T14:35:00.000000Z",
            {"é": ["\u2028", 1.5, None], "a": {"z": True, "b": 10**30}},
        )
        for number, id_ in enumerate(["ab12", None, "\x00"])
    ]
    await store.write(audit_events.append, events)
    await store.stop()


def _tox() -> configparser.ConfigParser:
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(ROOT / "tox.ini")
    return ini


def _parses(words: Sequence[str]) -> bool:
    """Whether the command line has this command with these options; nothing is run."""
    command: Any = get_command(cli.cli)
    arguments = list(words)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    with command.make_context(command.name, arguments):
        return True


def _descendants(kind: type[Any]) -> Iterator[type[Any]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)
