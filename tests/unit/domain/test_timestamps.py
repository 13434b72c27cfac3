"""Timestamps: one spelling for each moment, which sorts as time does."""

from datetime import UTC, datetime

import pytest

from flowker.domain.timestamps import format_timestamp, normalize_timestamp, parse_timestamp


def test_a_moment_has_27_characters_and_comes_back() -> None:
    """Also on the full second."""
    moment = datetime(2026, 3, 17, 14, 35, tzinfo=UTC)

    assert format_timestamp(moment) == "2026-03-17T14:35:00.000000Z"
    assert parse_timestamp(format_timestamp(moment)) == moment


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("2026-03-17T14:35:00Z", "2026-03-17T14:35:00.000000Z"),
        ("2026-03-17t14:35:00z", "2026-03-17T14:35:00.000000Z"),
        ("2026-03-17T14:35:00-00:00", "2026-03-17T14:35:00.000000Z"),
        ("2026-03-17T00:35:00.5+05:30", "2026-03-16T19:05:00.500000Z"),
        ("2026-12-31T23:35:00-03:00", "2027-01-01T02:35:00.000000Z"),
        ("2026-03-17T14:35:00.123456789Z", "2026-03-17T14:35:00.123456Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_every_spelling_of_a_moment_becomes_the_same_text(text: str, normalized: str) -> None:
    """Whatever its zone, its case and its digits."""
    assert normalize_timestamp(text) == normalized


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-17T14:35:00",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "noon",
        "",
    ],
)
def test_what_is_no_moment_here_is_refused(text: str) -> None:
    """Without a zone, a leap second, before the year 1 or after 9999, or no time at all."""
    with pytest.raises(ValueError, match=r"."):
        normalize_timestamp(text)
