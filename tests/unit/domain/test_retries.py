"""When a failed attempt is made again."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.domain.retries import RetryPolicy, compile_retry, delay_s

POLICIES = st.builds(RetryPolicy, st.integers(1, 10), st.floats(0.1, 60), st.floats(0.1, 60))


def test_the_defaults_are_five_attempts_from_one_second_on() -> None:
    """What an executor node has that says nothing of retries."""
    assert compile_retry({}) == RetryPolicy() == RetryPolicy(5, 1.0, 60.0)


@pytest.mark.parametrize(
    ("data", "policy"),
    [
        ({"maxAttempts": 1}, RetryPolicy(1)),
        ({"maxAttempts": 10, "backoffSeconds": 60}, RetryPolicy(10, 60.0)),
        ({"backoffSeconds": Decimal("0.1"), "maxBackoffSeconds": Decimal("0.1")}, RetryPolicy(5, 0.1, 0.1)),
        ({"backoffSeconds": 0.1, "maxBackoffSeconds": 60}, RetryPolicy(5, 0.1, 60.0)),
    ],
)
def test_every_bound_belongs_to_its_range(data: dict[str, Any], policy: RetryPolicy) -> None:
    """1 to 10 attempts, 0.1 to 60 seconds; 0.1 is exact, however it was read."""
    assert compile_retry(data) == policy


@pytest.mark.parametrize(
    ("data", "member"),
    [
        ({"maxAttempts": 0}, "maxAttempts"),
        ({"maxAttempts": 11}, "maxAttempts"),
        ({"maxAttempts": True}, "maxAttempts"),
        ({"maxAttempts": Decimal("1.5")}, "maxAttempts"),
        ({"maxAttempts": "3"}, "maxAttempts"),
        ({"maxAttempts": None}, "maxAttempts"),
        ({"backoffSeconds": Decimal("0.09")}, "backoffSeconds"),
        ({"backoffSeconds": Decimal("60.01")}, "backoffSeconds"),
        ({"backoffSeconds": False}, "backoffSeconds"),
        ({"backoffSeconds": "1"}, "backoffSeconds"),
        ({"maxBackoffSeconds": Decimal("1E+999999")}, "maxBackoffSeconds"),
        ({"maxBackoffSeconds": []}, "maxBackoffSeconds"),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_name(data: dict[str, Any], member: str) -> None:
    """The message names the member and its range."""
    with pytest.raises(ValueError, match=f"^{member} must be .* within"):
        compile_retry(data)


def test_an_unknown_member_is_refused_and_not_repeated() -> None:
    """A typing error would otherwise go unnoticed until the first failure."""
    with pytest.raises(ValueError, match=r"^has 1 unknown member\(s\)$"):
        compile_retry({"maxAtempts": 3})


@given(POLICIES, st.integers(1, 10), st.floats(0, 1), st.none() | st.floats(0, 1e6))
@settings(deadline=None)
def test_there_is_a_further_attempt_until_all_were_made(
    policy: RetryPolicy, attempt: int, jitter: float, retry_after_s: float | None
) -> None:
    """Whatever the far side asks for, the number of attempts is the author's."""
    waits = delay_s(policy, attempt, jitter, retry_after_s) is not None

    assert waits == (attempt < policy.max_attempts)


@given(POLICIES, st.integers(1, 9), st.floats(0, 1), st.floats(0, 1e6))
@settings(deadline=None)
def test_retry_after_is_obeyed(policy: RetryPolicy, attempt: int, jitter: float, retry_after_s: float) -> None:
    """It is a lower bound, also above the policy's own maximum."""
    plain_s, asked_s = delay_s(policy, attempt, jitter, None), delay_s(policy, attempt, jitter, retry_after_s)

    assert asked_s == (None if plain_s is None else max(plain_s, retry_after_s))


@given(POLICIES, st.integers(1, 9), st.floats(0, 1))
@settings(deadline=None)
def test_the_wait_is_within_half_and_the_whole_of_its_step(policy: RetryPolicy, attempt: int, jitter: float) -> None:
    """The step doubles with each attempt up to its maximum, and more jitter is never a shorter wait."""
    wait_s = delay_s(policy, attempt, jitter, None)
    step_s = min(policy.backoff_s * 2 ** (attempt - 1), policy.max_backoff_s)

    assert wait_s is None or step_s / 2 <= wait_s <= step_s


def test_the_steps_double_until_the_maximum() -> None:
    """Full jitter shows them."""
    policy = RetryPolicy(max_attempts=6, backoff_s=1.0, max_backoff_s=5.0)

    assert [delay_s(policy, attempt, 1.0, None) for attempt in range(1, 7)] == [1.0, 2.0, 4.0, 5.0, 5.0, None]
    assert delay_s(policy, 2, 0.0, None) == 1.0
