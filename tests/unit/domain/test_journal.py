"""The words of the journal: they are stored, so they stay what they are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker import jsontext
from flowker.domain.audit import Actor
from flowker.domain.executions import (
    Aborted,
    Accepted,
    Attempt,
    Cancelled,
    Decided,
    Event,
    Outcome,
    Postponed,
    Reopened,
    Settled,
    Started,
)
from flowker.domain.journal import decode_event, encode_event

AT = "2026-03-17T14:35:00.000000Z"

TEXT = st.text(max_size=10)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OUTCOMES = st.builds(
    Outcome,
    TEXT,
    st.sampled_from(["completed", "failed", "skipped"]),
    JSON,
    st.none() | TEXT,
    st.integers(0, 10),
    TEXT,
    st.integers(0, 10**9),
    st.none() | st.integers(100, 599),
)
ATTEMPTS = st.builds(
    Attempt,
    st.integers(1, 10),
    TEXT,
    st.none() | st.integers(0, 10**9),
    st.none() | st.integers(100, 599),
    st.none() | TEXT,
)
ACTORS = st.builds(Actor, st.sampled_from(["user", "system", "api_key"]), st.none() | TEXT, st.none() | TEXT)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Accepted, TEXT, TEXT, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=3)),
    st.builds(Settled, TEXT, st.lists(OUTCOMES, max_size=3).map(tuple)),
    st.builds(Started, TEXT, st.lists(st.tuples(TEXT, st.integers(1, 10)), max_size=3).map(tuple)),
    st.builds(Postponed, TEXT, TEXT, st.integers(1, 10), st.none() | ATTEMPTS),
    st.builds(Aborted, TEXT, TEXT),
    st.builds(Cancelled, TEXT, ACTORS, st.none() | TEXT),
    st.builds(Reopened, TEXT, ACTORS, TEXT),
    st.builds(Decided, TEXT, TEXT, st.sampled_from(["approved", "rejected"]), st.none() | TEXT, ACTORS),
)


@given(EVENTS)
@settings(deadline=None)
def test_the_journal_gives_back_every_event_as_it_was(event: Event) -> None:
    """Through its JSON text, all numbers exact."""
    kind, payload = encode_event(event)

    read_back = decode_event(kind, jsontext.decode(jsontext.encode(payload)))

    assert repr(read_back) == repr(event)


def test_the_kinds_of_the_journal_stay_what_they_are() -> None:
    """They are stored: a change would orphan every journal."""
    outcome = Outcome("n", "failed", {"a": 1}, "no", 2, AT, 7, 503)
    made = Attempt(1, AT, 7, 503, "no")
    actor = Actor("api_key", "f00d", "192.0.2.1")
    told = {"type": "api_key", "id": "f00d", "ipAddress": "192.0.2.1"}

    assert encode_event(Accepted("e", "w", AT, "t", {"a": 1})) == (
        "accepted",
        {"execution": "e", "workflow": "w", "startedAt": AT, "trigger": "t", "input": {"a": 1}},
    )
    assert encode_event(Settled(AT, (outcome,))) == (
        "settled",
        {
            "at": AT,
            "outcomes": [
                {
                    "node": "n",
                    "status": "failed",
                    "output": {"a": 1},
                    "error": "no",
                    "attempts": 2,
                    "executedAt": AT,
                    "durationMs": 7,
                    "statusCode": 503,
                }
            ],
        },
    )
    assert encode_event(Postponed("n", AT, 2)) == ("postponed", {"node": "n", "notBefore": AT, "attempt": 2})
    assert encode_event(Postponed("n", AT, 2, made)) == (
        "postponed",
        {
            "node": "n",
            "notBefore": AT,
            "attempt": 2,
            "made": {"number": 1, "startedAt": AT, "durationMs": 7, "statusCode": 503, "error": "no"},
        },
    )
    assert encode_event(Started(AT, (("n", 1),))) == ("started", {"at": AT, "calls": [{"node": "n", "attempt": 1}]})
    assert encode_event(Cancelled(AT, actor, "wrong")) == ("cancelled", {"at": AT, "actor": told, "reason": "wrong"})
    assert encode_event(Reopened(AT, actor, "FLK-0504")) == (
        "reopened",
        {"at": AT, "actor": told, "error": "FLK-0504"},
    )
    assert encode_event(Decided(AT, "n", "approved", None, actor)) == (
        "decided",
        {"at": AT, "node": "n", "decision": "approved", "comment": None, "actor": told},
    )
    assert encode_event(Aborted(AT, "FLK-0503: late")) == ("aborted", {"at": AT, "error": "FLK-0503: late"})


def test_an_unknown_kind_is_not_guessed() -> None:
    """A newer version wrote it."""
    with pytest.raises(ValueError, match="unknown kind: signalled"):
        decode_event("signalled", {})


def test_outcomes_from_before_status_codes_are_read() -> None:
    """Journals are kept for as long as their executions."""
    kind, payload = encode_event(Settled(AT, (Outcome("n", "completed"),)))
    del payload["outcomes"][0]["statusCode"]

    assert decode_event(kind, payload) == Settled(AT, (Outcome("n", "completed"),))
