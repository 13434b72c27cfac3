"""Timestamps: one text for each moment, in the order of time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker.domain.timestamps import format_timestamp, normalize_timestamp, parse_timestamp

zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=zones)  # noqa: DTZ001


@given(moments, moments)
def test_texts_sort_as_moments_do(one: datetime, other: datetime) -> None:
    """Whatever their zones were."""
    texts = [format_timestamp(moment.astimezone(UTC)) for moment in (one, other)]

    assert (texts[0] < texts[1]) is (one < other)
    assert parse_timestamp(texts[0]) == one


@given(moments)
def test_any_zone_becomes_utc(moment: datetime) -> None:
    """The same moment, written as everything that is stored."""
    assert normalize_timestamp(moment.isoformat()) == format_timestamp(moment.astimezone(UTC))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2026-03-17T14:35:00Z", "2026-03-17T14:35:00.000000Z"),
        ("2026-03-17t14:35:00.5z", "2026-03-17T14:35:00.500000Z"),
        ("2026-03-17T14:35:00.1234567891-03:00", "2026-03-17T17:35:00.123456Z"),
        ("2026-06-30T23:59:60Z", "2026-07-01T00:00:00.000000Z"),
        ("0000-02-29T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:60Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_everything_that_rfc_3339_allows_is_a_moment(text: str, normal: str) -> None:
    """Lower case, fractions of any length, leap seconds, and years that no clock shows."""
    assert normalize_timestamp(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-17",
        "2026-03-17T14:35:00",
        "2026-03-17 14:35:00Z",
        "2026-03-17T14:35:00+0300",
        "2026-02-30T14:35:00Z",
        "2026-03-17T24:00:00Z",
        "\uff12026-03-17T14:35:00Z",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    """A time without a zone is many moments."""
    with pytest.raises(ValueError, match=r"RFC 3339|must be|out of range"):
        normalize_timestamp(text)
