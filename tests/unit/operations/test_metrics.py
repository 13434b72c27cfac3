"""The metrics as Prometheus reads them."""

import asyncio
import threading
from collections.abc import Mapping
from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from flowker.engine.admission import PLACES_AT_FIRST
from flowker.executors.breaker import FAILURES_MAX
from flowker.executors.calls import CallFailed, CallSucceeded
from flowker.operations import health
from flowker.operations.context import Context
from flowker.operations.metrics import BREAKERS_MAX
from flowker.storage.database import Connection

LOST = CallFailed("the connection was lost", retryable=True)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def read(context: Context) -> Samples:
    """The samples that are ours, by name and labels."""
    families = text_string_to_metric_families(await health.get_metrics(context))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("flowker_")
    }


def sample(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"flowker_{name}", frozenset(labels.items())


def open_breaker(context: Context, configuration_id: str) -> None:
    for _ in range(FAILURES_MAX):
        context.breakers.settle(configuration_id, object(), LOST)


async def test_a_new_service_has_counted_nothing(context: Context) -> None:
    """What has no labels is there from the start, so that the first increase is seen."""
    assert await read(context) == {
        sample("executions_accepted_total"): 0,
        sample("executions_refused_total"): 0,
        sample("acceptances_waiting"): 0,
        sample("acceptances_waiting_max"): PLACES_AT_FIRST,
        sample("circuit_breakers", state="open"): 0,
        sample("circuit_breakers", state="half-open"): 0,
        sample("circuit_breaker_openings_total"): 0,
        sample("ready_queue_depth"): 0,
        sample("calls_in_line"): 0,
        sample("write_queue_depth"): 0,
    }


async def test_what_was_counted_is_told(context: Context) -> None:
    """With the labels that tell it apart."""
    tallies = context.tallies
    tallies.accepted = 3
    tallies.refused = 7
    tallies.ended.update(completed=2, failed=1)
    tallies.call_ended("http.request", CallSucceeded({}), timedelta(seconds=0.02))
    tallies.call_ended("http.request", LOST, timedelta(seconds=400))
    tallies.retries["http.request"] += 1
    tallies.held_off["s3.put-object"] += 2

    samples = await read(context)

    assert_has(
        samples,
        {
            sample("executions_accepted_total"): 3,
            sample("executions_refused_total"): 7,
            sample("executions_ended_total", status="completed"): 2,
            sample("executions_ended_total", status="failed"): 1,
            sample("calls_total", executor="http.request", result="succeeded"): 1,
            sample("calls_total", executor="http.request", result="failed"): 1,
            sample("call_retries_total", executor="http.request"): 1,
            sample("calls_held_off_total", executor="s3.put-object"): 2,
            sample("call_duration_seconds_bucket", executor="http.request", le="0.01"): 0,
            sample("call_duration_seconds_bucket", executor="http.request", le="0.025"): 1,
            sample("call_duration_seconds_bucket", executor="http.request", le="300.0"): 1,
            sample("call_duration_seconds_bucket", executor="http.request", le="+Inf"): 2,
            sample("call_duration_seconds_count", executor="http.request"): 2,
            sample("call_duration_seconds_sum", executor="http.request"): 400.02,
        },
    )


async def test_breakers_that_are_not_closed_are_told_by_configuration(context: Context) -> None:
    """A closed one has no time series."""
    open_breaker(context, "one")
    context.breakers.settle("two", object(), LOST)

    samples = await read(context)

    assert samples[sample("circuit_breakers", state="open")] == 1
    assert samples[sample("circuit_breaker_openings_total")] == 1
    assert samples[sample("circuit_breaker_state", configuration="one", state="open")] == 1
    assert len([name for name, _ in samples if name == "flowker_circuit_breaker_state"]) == 1


async def test_so_many_breakers_are_told_and_no_more(context: Context) -> None:
    """All of them are counted."""
    for number in range(BREAKERS_MAX + 20):
        open_breaker(context, str(number))

    samples = await read(context)

    assert samples[sample("circuit_breakers", state="open")] == BREAKERS_MAX + 20
    assert len([name for name, _ in samples if name == "flowker_circuit_breaker_state"]) == BREAKERS_MAX


async def test_the_process_is_measured(context: Context) -> None:
    """Its memory, its time, and its start."""
    text = await health.get_metrics(context)

    names = {family.name for family in text_string_to_metric_families(text)}
    assert names >= {
        "process_cpu_seconds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
    }


async def test_what_waits_for_the_writer_is_told(context: Context) -> None:
    """As it is at this moment."""
    held, release = threading.Event(), threading.Event()
    first = asyncio.create_task(context.store.write(_hold, held, release))
    await asyncio.to_thread(held.wait)
    others = [asyncio.create_task(context.store.write(_nothing)) for _ in range(3)]
    await asyncio.sleep(0)

    depth = (await read(context))[sample("write_queue_depth")]
    release.set()
    await asyncio.gather(first, *others)

    assert depth == 3


def assert_has(samples: Samples, wanted: Mapping[tuple[str, frozenset[tuple[str, str]]], float]) -> None:
    assert {name: samples.get(name) for name in wanted} == wanted


def _hold(_: Connection, held: threading.Event, release: threading.Event) -> None:
    held.set()
    release.wait(10)


def _nothing(_: Connection) -> None:
    """Wait for nothing, and change nothing."""
