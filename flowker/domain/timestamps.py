"""Timestamps as the API and the store have them: RFC 3339, UTC, microseconds, 27 characters, sortable as text."""

from datetime import UTC, datetime


def format_timestamp(moment: datetime) -> str:
    """`2026-03-17T14:35:00.000000Z` for an aware datetime in UTC."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_timestamp(text: str) -> datetime:
    """The aware datetime of a text that `format_timestamp` made."""
    return datetime.fromisoformat(text).astimezone(UTC)
