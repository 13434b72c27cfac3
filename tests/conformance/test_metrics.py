"""Health and metrics of a service that works, and whose far side does not."""

from prometheus_client.parser import text_string_to_metric_families

from flowker.executors.breaker import FAILURES_MAX
from tests.conformance.conftest import Api, World


def samples(api: Api) -> dict[str, float]:
    """What the service tells of itself, under the name that it is written with."""
    text = api.expect(200, "GET", "/metrics").body.decode()
    return {
        " ".join([one.name.removeprefix("flowker_"), *one.labels.values()]): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_a_far_side_that_nobody_reaches_opens_its_breaker(new_world: World) -> None:
    """Five executions fail, the sixth makes no call; health and metrics tell of it, and everything else goes on."""
    api = new_world.api
    configuration_id = api.provider_configuration()
    definition = api.calling(configuration_id)
    definition["nodes"][0]["data"]["responseMode"] = "sync"
    definition["nodes"][1]["data"]["retry"] = {"maxAttempts": 1}
    calling = api.move(api.create(definition), "activate")
    good = api.active(responseMode="sync")

    delivered = [api.deliver(calling).json() for _ in range(FAILURES_MAX + 1)]
    api.expect(200, "POST", f"/v1/webhooks/{good.webhook}")

    last = api.results(delivered[-1]["executionId"])
    health = api.expect(200, "GET", "/health").json()
    told = samples(api)
    assert last["stepResults"][0]["errorMessage"].startswith("FLK-0507: ")
    assert (health["status"], health["checks"]["circuit_breakers"]["message"]) == ("healthy", "1 open")
    assert told[f"circuit_breaker_state {configuration_id} open"] == 1
    assert told["calls_total http.request failed"] == FAILURES_MAX
    assert told["calls_held_off_total http.request"] == 1
    assert told["executions_accepted_total"] == FAILURES_MAX + 2
    assert told["executions_ended_total failed"] == FAILURES_MAX + 1
    assert told["executions_ended_total completed"] == 1


def test_metrics_say_the_version_of_their_format(api: Api) -> None:
    """Prometheus takes nothing else."""
    answer = api.expect(200, "GET", "/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
