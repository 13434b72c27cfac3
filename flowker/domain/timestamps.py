"""Timestamps as the API and the store have them: RFC 3339, UTC, microseconds, 27 characters, sortable as text."""

from datetime import UTC, datetime


def format_timestamp(moment: datetime) -> str:
    """`2026-03-17T14:35:00.000000Z` for an aware datetime in UTC."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_timestamp(text: str) -> datetime:
    """The aware datetime of a text that `format_timestamp` made."""
    return datetime.fromisoformat(text).astimezone(UTC)


def normalize_timestamp(text: str) -> str:
    """The same moment as `format_timestamp` writes it, of RFC 3339 text with any zone.

    Digits beyond microseconds are left out. Raises ValueError for what Python has no datetime for: leap seconds, and
    what is outside of the years 1 to 9999 in UTC.
    """
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        raise ValueError("has no zone")
    try:
        return format_timestamp(moment.astimezone(UTC))
    except OverflowError:
        raise ValueError("is outside of the calendar") from None
