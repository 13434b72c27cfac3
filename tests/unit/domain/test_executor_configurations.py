"""The life of an executor configuration."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import pytest

from flowker.domain.errors import EndpointNameInvalid, ExecutorConfigurationNotModifiable
from flowker.domain.executor_configurations import (
    MOVES,
    PROVING_STAGES,
    Move,
    Status,
    proves,
    require_deletable,
    require_modifiable,
    require_move,
    require_testable,
    require_unique_names,
    status_after_test,
)

LEADS: Mapping[tuple[Status, Move], Status] = {
    ("tested", "activate"): "active",
    ("active", "disable"): "disabled",
    ("disabled", "enable"): "active",
}


@pytest.mark.parametrize("move", get_args(Move))
@pytest.mark.parametrize("current", get_args(Status))
def test_a_move_leads_from_one_status_to_another(current: Status, move: Move) -> None:
    """From every other status it is refused, with the status that it has."""
    if (current, move) in LEADS:
        assert require_move(current, move) == LEADS[current, move]
        return
    with pytest.raises(
        ExecutorConfigurationNotModifiable, match=f"{MOVES[move][0]} can be .*; this one is {current}"
    ):
        require_move(current, move)


@pytest.mark.parametrize(
    ("require", "allowed"),
    [
        (require_modifiable, {"unconfigured", "configured"}),
        (require_deletable, {"unconfigured", "configured", "disabled"}),
        (require_testable, {"configured", "tested", "active", "disabled"}),
    ],
)
@pytest.mark.parametrize("current", get_args(Status))
def test_the_status_says_what_may_be_done(
    require: Callable[[Status], None], allowed: set[str], current: Status
) -> None:
    """What was tested is not changed, and what may be called is not deleted."""
    if current in allowed:
        require(current)
        return
    with pytest.raises(ExecutorConfigurationNotModifiable, match=f"is {current}"):
        require(current)


@pytest.mark.parametrize(
    ("current", "proven", "then"),
    [
        ("configured", True, "tested"),
        ("configured", False, "configured"),
        ("tested", True, "tested"),
        ("tested", False, "configured"),
        ("active", True, "active"),
        ("active", False, "active"),
        ("disabled", True, "disabled"),
        ("disabled", False, "disabled"),
    ],
)
def test_a_test_moves_what_is_not_in_use(current: Status, *, proven: bool, then: Status) -> None:
    """What is in use is switched off by people."""
    assert status_after_test(current, proven=proven) == then


PASSED = dict.fromkeys(PROVING_STAGES, "passed")


@pytest.mark.parametrize(
    "stages",
    [
        {**PASSED, "end_to_end": "passed"},
        {**PASSED, "authentication": "skipped", "end_to_end": "passed"},
        {**PASSED, "end_to_end": "failed"},
    ],
)
def test_name_connection_and_credentials_prove_a_configuration(stages: dict[str, str]) -> None:
    """Whether or not there is something at the base URL itself."""
    assert proves(stages)


@pytest.mark.parametrize(
    "stages",
    [
        {},
        {"dns_resolution": "failed", "connectivity": "skipped", "authentication": "skipped"},
        {**PASSED, "connectivity": "failed", "authentication": "skipped"},
        {**PASSED, "authentication": "failed"},
    ],
)
def test_a_stage_that_failed_or_was_not_come_to_proves_nothing(stages: dict[str, Any]) -> None:
    """Neither does a test that was not made at all."""
    assert not proves(stages)


def test_a_name_is_used_once() -> None:
    """The second endpoint is the one that is told."""
    require_unique_names(["a", "A", "b"])

    with pytest.raises(EndpointNameInvalid) as refused:
        require_unique_names(["a", "b", "a", "b"])
    assert refused.value.fields == {"endpoints[2].name": "is used before"}
