"""The metrics as text for Prometheus: what the parts of the service hold is read when somebody asks, and not before.

docs/metrics.md lists every metric that is ours; a test compares the two. Labels have few values: ids of the catalog,
and of configurations only those whose breakers are not closed, of which a bounded number is told.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate, islice

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from flowker.engine.tallies import DURATION_BOUNDS_S, Durations
from flowker.operations.context import Context

BREAKERS_MAX = 100
"""Time series are kept for long: more than so many configurations that fail are counted, not named."""


def render_metrics(context: Context) -> str:
    """Everything that is measured, in the text format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Reading(context))
    return generate_latest(registry).decode()


class _Reading(Collector):
    """One look at the parts of the service."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterable[Metric]:
        yield from self._executions()
        yield from self._calls()
        yield from self._breakers()
        yield from self._queues()

    def _executions(self) -> Iterator[Metric]:
        tallies = self._context.tallies
        yield CounterMetricFamily(
            "flowker_executions_accepted", "Executions that were accepted.", value=tallies.accepted
        )
        yield CounterMetricFamily(
            "flowker_executions_refused",
            "Starts of executions that were refused because too many waited.",
            value=tallies.refused,
        )
        ended = CounterMetricFamily("flowker_executions_ended", "Executions that ended.", labels=["status"])
        for status, count in sorted(tallies.ended.items()):
            ended.add_metric([status], count)
        yield ended

    def _calls(self) -> Iterator[Metric]:
        tallies = self._context.tallies
        calls = CounterMetricFamily("flowker_calls", "Calls that ended.", labels=["executor", "result"])
        for labels, count in sorted(tallies.calls.items()):
            calls.add_metric(labels, count)
        yield calls
        durations = HistogramMetricFamily(
            "flowker_call_duration_seconds", "How long calls took.", labels=["executor"]
        )
        for executor, measured in sorted(tallies.durations.items()):
            durations.add_metric([executor], _buckets(measured), measured.sum_s)
        yield durations
        for name, told, counts in (
            ("flowker_call_retries", "Failed calls after which another attempt is made.", tallies.retries),
            ("flowker_calls_held_off", "Attempts that met an open circuit breaker.", tallies.held_off),
        ):
            family = CounterMetricFamily(name, told, labels=["executor"])
            for executor, count in sorted(counts.items()):
                family.add_metric([executor], count)
            yield family

    def _breakers(self) -> Iterator[Metric]:
        breakers = self._context.breakers
        states = breakers.states()
        counts = breakers.counts()
        count = GaugeMetricFamily("flowker_circuit_breakers", "Circuit breakers in a state.", labels=["state"])
        for state in ("open", "half-open"):
            count.add_metric([state], counts[state])
        yield count
        by_configuration = GaugeMetricFamily(
            "flowker_circuit_breaker_state",
            f"1 for each circuit breaker that is not closed, {BREAKERS_MAX} of them at most.",
            labels=["configuration", "state"],
        )
        for configuration_id, state in islice(states.items(), BREAKERS_MAX):
            by_configuration.add_metric([configuration_id, state], 1)
        yield by_configuration
        yield CounterMetricFamily(
            "flowker_circuit_breaker_openings", "How often circuit breakers opened.", value=breakers.openings
        )

    def _queues(self) -> Iterator[Metric]:
        admission = self._context.admission
        yield GaugeMetricFamily(
            "flowker_acceptances_waiting",
            "Executions that wait to be committed and acknowledged.",
            value=admission.taken,
        )
        yield GaugeMetricFamily(
            "flowker_acceptances_waiting_max",
            "How many may wait so, as it was learned from the store; beyond it they are refused.",
            value=admission.places,
        )
        yield GaugeMetricFamily(
            "flowker_ready_queue_depth",
            "Executions in memory that wait for a worker.",
            value=self._context.engine.ready_depth,
        )
        yield GaugeMetricFamily(
            "flowker_calls_in_line",
            "Calls that wait until others through the same configuration have ended.",
            value=self._context.engine.calls_in_line,
        )
        yield GaugeMetricFamily(
            "flowker_write_queue_depth",
            "Changes that wait for the writer of the store.",
            value=self._context.store.write_queue_depth,
        )


def _buckets(measured: Durations) -> list[tuple[str, float]]:
    """How many took at most so long, for each bound."""
    bounds = [*map(str, DURATION_BOUNDS_S), "+Inf"]
    return list(zip(bounds, map(float, accumulate(measured.counts)), strict=True))
