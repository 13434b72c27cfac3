"""Conditional requests: the entity tag of a resource's state, and whether `If-Match` names it (RFC 9110, 13.1.1)."""

import re

_TAG = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|\Z)|\s*,')


def entity_tag(*parts: object) -> str:
    """A strong tag; the parts together change with every change of the resource."""
    return '"' + "-".join(str(part) for part in parts) + '"'


def matches(if_match: str, tag: str) -> bool:
    """Whether a header names the tag; what is weak or malformed names nothing."""
    if if_match.strip() == "*":
        return True
    position, found = 0, False
    while position < len(if_match):
        listed = _TAG.match(if_match, position)
        if listed is None:
            return False
        found = found or (listed[1] is None and listed[2] == tag)
        position = listed.end()
    return found
