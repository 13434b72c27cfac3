"""Timestamps as the API and the store have them: RFC 3339, UTC, microseconds, 27 characters, sortable as text."""

import re
from datetime import UTC, datetime, timedelta


def format_timestamp(moment: datetime) -> str:
    """`2026-03-17T14:35:00.000000Z` for an aware datetime in UTC."""
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def parse_timestamp(text: str) -> datetime:
    """The aware datetime of a text that `format_timestamp` made."""
    return datetime.fromisoformat(text).astimezone(UTC)


def normalize_timestamp(text: str) -> str:
    """The same moment as a timestamp, for any RFC 3339 text with a zone; ValueError for any other text.

    Digits beyond the microsecond are cut off. What lies beyond the years 1 to 9999 becomes their first or last
    moment, and a leap second the second after it: to search by, that is as good.
    """
    if not _RFC_3339.fullmatch(text):
        raise ValueError("not RFC 3339 with a zone")
    is_leap = text[17:19] == "60"
    written = (f"{text[:17]}59{text[19:]}" if is_leap else text).upper()
    if written.startswith("0000"):
        return _FIRST
    moment = datetime.fromisoformat(written)
    try:
        return format_timestamp((moment + timedelta(seconds=is_leap)).astimezone(UTC))
    except OverflowError:
        return _FIRST if moment.year == 1 else _LAST


_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.ASCII | re.IGNORECASE)

_FIRST = format_timestamp(datetime.min.replace(tzinfo=UTC))
_LAST = format_timestamp(datetime.max.replace(tzinfo=UTC))
