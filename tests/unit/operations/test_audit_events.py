"""Audit API: what no request can bring about, because the contract refuses it before."""

import pytest

from flowker.domain.errors import InvalidTime
from flowker.operations import audit_events
from flowker.operations.context import Context


@pytest.mark.parametrize("name", ["dateFrom", "dateTo"])
async def test_a_time_without_a_zone_is_refused(context: Context, name: str) -> None:
    """Whoever asks, there is no range that it could mean."""
    date = "2026-03-17T14:35:00"
    dates = {"date_from": date} if name == "dateFrom" else {"date_to": date}

    with pytest.raises(InvalidTime) as refused:
        await audit_events.search_audit_events(
            context,
            **{"date_from": None, "date_to": None, **dates},
            event_type=None,
            action=None,
            result=None,
            resource_type=None,
            resource_id=None,
            limit=20,
            cursor=None,
            sort_order="DESC",
        )

    assert refused.value.fields == {name: "is not a time with a zone"}
