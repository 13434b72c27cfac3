"""The dashboards: what they count, in which range, and what they refuse."""

from typing import Any

import pytest

from tests.conformance.conftest import DECIDE, WAIT_AN_HOUR, Api, World, list_path

FAIL = {"action": "fail", "message": "No funds."}
SUMMARY = "/v1/dashboards/workflows/summary"


def counts(api: Api, **question: Any) -> dict[str, int]:
    answer: dict[str, int] = api.expect(200, "GET", list_path("/v1/dashboards/executions", **question)).json()
    return answer


def refused(api: Api, **question: Any) -> tuple[str, list[str]]:
    answer = api.expect(400, "GET", list_path("/v1/dashboards/executions", **question)).json()
    return answer["code"], list(answer["fields"])


class TestWorkflows:
    def test_every_status_is_listed_also_without_a_workflow(self, new_world: World) -> None:
        """A dashboard need not know the statuses by itself."""
        assert new_world.api.expect(200, "GET", SUMMARY).json() == {
            "total": 0,
            "active": 0,
            "byStatus": [{"status": status, "count": 0} for status in ("draft", "active", "inactive")],
        }

    def test_a_workflow_counts_in_the_status_that_it_has_now(self, new_world: World) -> None:
        """A change of status moves it, deleting it takes it away."""
        api = new_world.api
        gone, moved = api.draft(), api.active()
        api.active()
        before = api.expect(200, "GET", SUMMARY).json()

        api.move(moved, "deactivate")
        api.expect(204, "DELETE", f"/v1/workflows/{gone.id}")
        after = api.expect(200, "GET", SUMMARY).json()

        assert (before["total"], before["active"]) == (3, 2)
        assert (after["total"], after["active"]) == (2, 1)
        assert {each["status"]: each["count"] for each in after["byStatus"]} == {
            "draft": 0,
            "active": 1,
            "inactive": 1,
        }


class TestExecutions:
    def test_executions_count_by_how_they_are(self, new_world: World) -> None:
        """Completed, failed, and those that still run."""
        api = new_world.api
        for step in (DECIDE, DECIDE, FAIL):
            api.results(api.execution(step))
        api.execution(WAIT_AN_HOUR)

        assert counts(api) == {"total": 4, "completed": 2, "failed": 1, "pending": 0, "running": 1}
        assert counts(api, status="completed") == {
            "total": 2,
            "completed": 2,
            "failed": 0,
            "pending": 0,
            "running": 0,
        }

    def test_a_range_begins_with_its_start_and_ends_before_its_end(self, new_world: World) -> None:
        """An execution that started right between two ranges counts in the second."""
        api = new_world.api
        execution_id = api.execution(WAIT_AN_HOUR)
        started_at = api.expect(200, "GET", f"/v1/executions/{execution_id}").json()["startedAt"]

        assert counts(api, endTime=started_at)["total"] == 0
        assert counts(api, startTime=started_at)["total"] == 1
        assert counts(api, startTime=started_at, endTime=started_at)["total"] == 0

    def test_a_time_may_have_any_zone(self, new_world: World) -> None:
        """It is the moment that counts."""
        api = new_world.api
        started_at = api.expect(200, "GET", f"/v1/executions/{api.execution()}").json()["startedAt"]
        day, _, time = started_at.rstrip("Z").partition("T")
        west = f"{day}T{time}-12:00"

        assert counts(api, startTime=west)["total"] == 0
        assert counts(api, endTime=west)["total"] == 1

    @pytest.mark.parametrize(
        "time",
        ["2026-03-17", "2026-03-17T12:00:00", "noon", "", "2026-03-17 12:00:00Z"],
    )
    @pytest.mark.parametrize("name", ["startTime", "endTime"])
    def test_a_time_without_a_zone_is_refused(self, api: Api, name: str, time: str) -> None:
        """And so is what is no time, or none that can be compared."""
        assert refused(api, **{name: time}) == ("FLK-0305", [name])

    def test_a_range_that_is_reversed_is_refused(self, api: Api) -> None:
        """Compared by the moment, not by the text."""
        question = {"startTime": "2026-03-17T12:00:00Z", "endTime": "2026-03-17T12:59:59+01:00"}

        assert refused(api, **question) == ("FLK-0308", ["endTime"])

    @pytest.mark.parametrize("status", ["done", "", "Completed"])
    def test_an_unknown_status_is_refused(self, api: Api, status: str) -> None:
        """It would count nothing, and nobody would know why."""
        assert refused(api, status=status) == ("FLK-0302", ["status"])
