"""The audit trail over the API: what is recorded, how it is searched, and that a change of it is found."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from anyio.from_thread import BlockingPortal

from flowker.domain.audit import EVENT_KINDS
from tests.conformance.conftest import Api, World


@pytest.fixture
def fresh(portal: BlockingPortal, tmp_path: Path) -> Iterator[World]:
    """A service of this test alone, which has recorded nothing yet."""
    world = World(tmp_path, portal)
    world.start()
    yield world
    world.stop()


def search(api: Api, **query: Any) -> list[dict[str, Any]]:
    """Every event that is found, page by page."""
    events: list[dict[str, Any]] = []
    cursor = ""
    while True:
        asked = "&".join(f"{name}={value}" for name, value in {**query, "cursor": cursor}.items())
        page = api.expect(200, "GET", f"/v1/audit-events?{asked}").json()
        events += page["items"]
        if not page["hasMore"]:
            return events
        cursor = page["nextCursor"]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["eventType"] for event in events]


def attack(path: Path, change: str) -> None:
    """Change the second entry, as one who can write to the database file."""
    with closing(sqlite3.connect(path / "store" / "flowker.db")) as attacker:
        attacker.execute("DROP TRIGGER audit_events_no_update")
        attacker.execute(f"UPDATE audit_events SET {change} WHERE sequence = 2")  # noqa: S608 - of this file
        attacker.commit()


def refused(api: Api, query: str) -> tuple[str, list[str]]:
    answer = api.expect(400, "GET", f"/v1/audit-events?{query}").json()
    return answer["code"], list(answer.get("fields", {}))


class TestWhatIsRecorded:
    def test_the_life_of_a_workflow_is_told_in_order(self, fresh: World) -> None:
        """By the key that was used, from the address that it came from."""
        workflow = fresh.api.inactive()
        fresh.api.move(workflow, "draft")
        fresh.api.expect(204, "DELETE", f"/v1/workflows/{workflow.id}")

        events = search(fresh.api, resourceId=workflow.id, sortOrder="ASC")

        assert types(events) == [
            "WORKFLOW_CREATED",
            "WORKFLOW_ACTIVATED",
            "WORKFLOW_DEACTIVATED",
            "WORKFLOW_MOVED_TO_DRAFT",
            "WORKFLOW_DELETED",
        ]
        assert {event["actor"]["type"] for event in events} == {"api_key"}
        assert len({event["actor"]["id"] for event in events}) == 1
        assert {event["actor"]["ipAddress"] for event in events} == {"127.0.0.1"}
        assert {event["resourceType"] for event in events} == {"workflow"}

    def test_an_update_tells_what_changed(self, fresh: World) -> None:
        """Before and after of the fields that differ."""
        draft = fresh.api.draft()
        definition = {**fresh.api.definition(), "name": "Another name", "nodes": [], "edges": []}
        fresh.api.expect(200, "PUT", f"/v1/workflows/{draft.id}", definition)

        [event] = search(fresh.api, resourceId=draft.id, eventType="WORKFLOW_UPDATED")

        assert event["context"]["changes"]["name"] == {"before": draft.name, "after": "Another name"}
        assert event["metadata"] == {}

    def test_an_execution_has_its_start_and_its_end(self, fresh: World) -> None:
        """Started by a key, ended by the service itself."""
        execution_id = fresh.api.completed_execution()

        started, ended = search(fresh.api, resourceId=execution_id, sortOrder="ASC")

        assert types([started, ended]) == ["EXECUTION_STARTED", "EXECUTION_COMPLETED"]
        assert (started["actor"]["type"], ended["actor"]) == (
            "api_key",
            {"type": "system", "id": None, "ipAddress": None},
        )
        assert started["context"]["revision"] == 1

    def test_what_was_refused_is_not_recorded(self, fresh: World) -> None:
        """The trail tells what was done."""
        active = fresh.api.active()
        before = search(fresh.api)

        fresh.api.expect(422, "DELETE", f"/v1/workflows/{active.id}")

        assert search(fresh.api) == before

    def test_every_event_is_what_its_type_says(self, fresh: World) -> None:
        """And each follows from the one before."""
        fresh.api.inactive()
        fresh.api.completed_execution()

        events = search(fresh.api, sortOrder="ASC", limit=3)

        assert {(event["action"], event["result"], event["resourceType"]) for event in events} <= set(
            EVENT_KINDS.values()
        )
        assert [event["previousHash"] for event in events] == ["0" * 64, *(event["hash"] for event in events[:-1])]

    def test_one_event_is_read_as_it_is_listed(self, fresh: World) -> None:
        """By its id, in any case of letters."""
        fresh.api.draft()
        [event] = search(fresh.api)

        for id_ in (event["eventId"], event["eventId"].upper()):
            assert fresh.api.expect(200, "GET", f"/v1/audit-events/{id_}").json() == event


class TestWhatCannotBeRead:
    @pytest.mark.parametrize("column", ["context", "metadata"])
    @pytest.mark.parametrize(
        "value",
        [
            """'{"i":'""",
            "'[]'",
            "''",
            "'1e99999999999999999999'",
            "CAST(x'7b2261223aff7d' AS TEXT)",
            "CAST(x'7b2261223a22ff227d' AS TEXT)",
            "x'00'",
            """replace(hex(zeroblob(100000)), '00', '{"a":')""",
            """replace(hex(zeroblob(970)), '00', '{"a":') || '1' || replace(hex(zeroblob(970)), '00', '}')""",
        ],
    )
    def test_an_entry_that_was_destroyed_is_marked(
        self, fresh: World, tmp_path: Path, column: str, value: str
    ) -> None:
        """Whatever stands there: the rest of it and the other entries are told, and verification names it."""
        fresh.api.inactive()
        before = search(fresh.api, sortOrder="ASC")
        attack(tmp_path, f"{column} = {value}")

        after = search(fresh.api, sortOrder="ASC")

        id_ = before[1]["eventId"]
        assert after == [before[0], {**before[1], column: {"unreadable": True}}, before[2]]
        assert fresh.api.expect(200, "GET", f"/v1/audit-events/{id_}").json() == after[1]
        assert fresh.api.expect(200, "GET", f"/v1/audit-events/{id_}/verify").json()["firstInvalidId"] == 2


class TestSearch:
    def test_filters_narrow_the_list_together(self, fresh: World) -> None:
        """Each by its own field."""
        fresh.api.inactive()
        execution_id = fresh.api.completed_execution()

        assert types(search(fresh.api, action="ACTIVATE", sortOrder="ASC")) == ["WORKFLOW_ACTIVATED"] * 2
        assert search(fresh.api, result="FAILED") == []
        assert types(search(fresh.api, resourceType="execution")) == ["EXECUTION_COMPLETED", "EXECUTION_STARTED"]
        assert types(search(fresh.api, resourceId=execution_id.upper(), eventType="EXECUTION_STARTED")) == [
            "EXECUTION_STARTED"
        ]
        assert search(fresh.api, resourceId=execution_id, action="CREATE") == []
        assert search(fresh.api, resourceId=str(uuid4())) == []
        assert search(fresh.api, eventType="WORKFLOW_LOST") == []

    def test_dates_belong_to_their_range_in_any_zone(self, fresh: World) -> None:
        """Down to the microsecond."""
        fresh.api.draft()
        fresh.clock.turn(60)
        fresh.api.draft()
        second, first = search(fresh.api)
        moment = datetime.fromisoformat(second["timestamp"])
        west = (moment - timedelta(hours=3)).isoformat().replace("+00:00", "-03:00")
        before = (moment - timedelta(microseconds=1)).isoformat().replace("+00:00", "Z")

        assert search(fresh.api, dateFrom=west) == [second]
        assert search(fresh.api, dateTo=before) == [first]
        assert search(fresh.api, dateFrom=west, dateTo=second["timestamp"]) == [second]
        assert search(fresh.api, dateTo="0001-01-01T00:00:00Z") == []

    def test_without_a_limit_a_page_has_twenty(self, fresh: World) -> None:
        """The newest first."""
        for _ in range(11):
            fresh.api.active()

        page = fresh.api.expect(200, "GET", "/v1/audit-events").json()

        assert len(page["items"]) == 20
        assert page["items"] == sorted(page["items"], key=lambda event: event["timestamp"], reverse=True)
        assert page["hasMore"]

    @pytest.mark.parametrize(
        ("query", "code", "fields"),
        [
            ("dateFrom=2026-03-17", "FLK-0305", ["dateFrom"]),
            ("dateTo=2026-03-17T14:35:00", "FLK-0305", ["dateTo"]),
            ("dateTo=2026-03-17T14:35:00+03:00", "FLK-0305", ["dateTo"]),  # The plus sign is a space here.
            ("dateFrom=2026-03-17T14:35:00Z&dateTo=2026-03-17T14:34:59Z", "FLK-0308", ["dateTo"]),
            ("dateFrom=2026-03-17T14:35:00Z&dateTo=2026-03-17T14:35:00%2B00:01", "FLK-0308", ["dateTo"]),
            ("limit=101", "FLK-0309", ["limit"]),
            ("limit=0", "FLK-0309", ["limit"]),
            ("sortOrder=UP", "FLK-0310", ["sortOrder"]),
            ("cursor=x", "FLK-0304", ["cursor"]),
            ("action=LOOK", "FLK-0304", ["action"]),
            ("result=MAYBE", "FLK-0304", ["result"]),
            ("resourceType=user", "FLK-0304", ["resourceType"]),
            ("resourceId=7", "FLK-0304", ["resourceId"]),
        ],
    )
    def test_a_bad_query_is_refused_with_its_own_code(
        self, world: World, query: str, code: str, fields: list[str]
    ) -> None:
        """And names the parameter."""
        assert refused(world.api, query) == (code, fields)

    def test_a_cursor_of_another_search_is_refused(self, world: World) -> None:
        """It says where a page of this one ended."""
        for _ in range(2):
            world.api.draft()
        cursor = world.api.expect(200, "GET", "/v1/audit-events?limit=1").json()["nextCursor"]

        assert refused(world.api, f"limit=1&action=CREATE&cursor={cursor}") == ("FLK-0304", ["cursor"])


class TestVerify:
    def test_a_trail_as_it_was_written_is_valid(self, fresh: World) -> None:
        """Up to the event that is asked about."""
        fresh.api.inactive()
        events = search(fresh.api, sortOrder="ASC")

        answers = [fresh.api.expect(200, "GET", f"/v1/audit-events/{event['eventId']}/verify") for event in events]

        assert [answer.json() for answer in answers] == [
            {
                "isValid": True,
                "totalChecked": number,
                "message": f"Every entry from 1 to {number} is as it was written.",
            }
            for number in (1, 2, 3)
        ]

    @pytest.mark.parametrize(
        "change", ["actor_ip = '10.0.0.1'", """context = '{"i":'""", "context = CAST(x'ff' AS TEXT)"]
    )
    def test_a_changed_entry_is_named(self, fresh: World, tmp_path: Path, change: str) -> None:
        """From it on, itself included, whatever became of it; what was recorded before it is still valid."""
        fresh.api.inactive()
        ids = [event["eventId"] for event in search(fresh.api, sortOrder="ASC")]
        attack(tmp_path, change)

        answers = [fresh.api.expect(200, "GET", f"/v1/audit-events/{id_}/verify").json() for id_ in ids]

        assert [answer["isValid"] for answer in answers] == [True, False, False]
        assert answers[2] == {
            "isValid": False,
            "firstInvalidId": 2,
            "totalChecked": 2,
            "message": "Entry 2 is not as it was written: it was changed, moved or taken away.",
        }

    def test_an_unknown_event_cannot_be_verified(self, world: World) -> None:
        """There is no entry up to which to verify."""
        answer = world.api.expect(404, "GET", f"/v1/audit-events/{uuid4()}/verify").json()

        assert answer["code"] == "FLK-0600"
