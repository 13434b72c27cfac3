"""The contenders: our service, and what a user would pick instead, each configured as its documentation says."""

import base64
import sys
from functools import partial

from benchmarks import flowker_workflows as workflows
from benchmarks import node
from benchmarks.contender import KEY, PAYLOAD, SYNC_RATE, Contender, Place
from benchmarks.serving import uvicorn

WORKFLOW_ID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"

_SECRET_KEY = base64.b64encode(bytes(32)).decode()
"""The same at each start: tokens of webhooks are sealed with it."""

_JUDGED = "key, token, body, answer"
_COMMITTED = "key, execution, journal and audit entry, flushed"

_EXECUTIONS = "SELECT count(*) FROM executions"
_NOT_COMPLETED = "SELECT count(*) FROM executions WHERE status <> 'completed'"


def _serve(place: Place) -> list[str]:
    return [sys.executable, "-m", "flowker", "serve", "--port", str(place.port)]


def _settings(place: Place) -> dict[str, str]:
    return {
        "API_KEY": KEY,
        "LOG_LEVEL": "warning",
        "FLOWKER_EGRESS_ALLOW": "127.0.0.1/32",
        "FLOWKER_SECRET_KEY": _SECRET_KEY,
        "FLOWKER_DATABASE_URL": place.database.url if place.database else "",
    }


_flowker = partial(
    Contender,
    stores=_COMMITTED,
    judges=_JUDGED,
    database="sqlite",
    command=_serve,
    environment=_settings,
    refused='{"broken',
    ready_path="/health/ready",
    count=_EXECUTIONS,
    open_count=_NOT_COMPLETED,
    prepare=workflows.make,
)

DURABLE = _flowker("durable", "Flowker, webhook acknowledged", path=f"/v1/webhooks/{workflows.ALONE}")

OURS = (
    Contender(
        "validated",
        "Flowker, a handler that stores nothing",
        stores="nothing",
        judges="key, headers, body, answer",
        command=partial(uvicorn, "validated"),
        path=f"/v1/workflows/{WORKFLOW_ID}/executions",
        payload=f'{{"inputData": {PAYLOAD}}}',
    ),
    DURABLE,
    _flowker(
        "durable-postgresql",
        "Flowker on PostgreSQL, webhook acknowledged",
        database="postgresql",
        path=f"/v1/webhooks/{workflows.ALONE}",
    ),
    _flowker("executed", "Flowker, three nodes, acknowledged at once", path=f"/v1/webhooks/{workflows.STEPS}"),
    _flowker(
        "sync",
        "Flowker, three nodes, answered when done",
        path=f"/v1/webhooks/{workflows.SYNC}",
        rate=SYNC_RATE,
        status=200,
    ),
    _flowker(
        "called",
        "Flowker, one HTTP call, answered when done",
        path=f"/v1/webhooks/{workflows.CALLED}",
        rate=SYNC_RATE,
        status=200,
    ),
)

YARDSTICKS = (
    Contender(
        "starlette",
        "Starlette, a bare route",
        stores="nothing",
        judges="JSON alone",
        command=partial(uvicorn, "starlette_route"),
        refused=None,
    ),
    Contender(
        "group-commit",
        "ASGI by hand with a group commit",
        stores="key and payload, flushed",
        judges="body",
        command=partial(uvicorn, "group_commit"),
        environment=lambda place: {"BENCHMARK_DATABASE": str(place.directory / "store.db")},
        database="sqlite",
        count="SELECT count(*) FROM payments",
    ),
)

_fastapi = partial(
    Contender,
    stores="a row of key and payload, flushed",
    judges="key, headers, body, answer",
    command=partial(uvicorn, "fastapi_sqlmodel"),
    answers_with=frozenset({"id", "key"}),
    count="SELECT count(*) FROM payment",
)

_dbos = partial(
    Contender,
    stores="workflow and each step, flushed",
    judges="key, headers, body",
    command=partial(uvicorn, "dbos_workflow"),
)

FRAMEWORKS = (
    _fastapi("fastapi", "FastAPI + SQLModel on SQLite", database="sqlite"),
    _fastapi("fastapi-postgresql", "FastAPI + SQLModel on PostgreSQL", database="postgresql"),
    Contender(
        "connexion",
        "Connexion with its defaults",
        stores="nothing",
        judges="key, headers, body, answer",
        command=partial(uvicorn, "connexion_defaults"),
    ),
    Contender(
        "openapi-core",
        "openapi-core's middleware on Starlette",
        stores="nothing",
        judges="headers, body, answer",
        command=partial(uvicorn, "openapi_core_stock"),
    ),
)

ENGINES = (
    _dbos(
        "dbos",
        "DBOS on SQLite, three steps, acknowledged at once",
        database="sqlite",
        count="SELECT count(*) FROM workflow_status",
        open_count="SELECT count(*) FROM workflow_status WHERE status <> 'SUCCESS'",
    ),
    _dbos(
        "dbos-postgresql",
        "DBOS on PostgreSQL, three steps, acknowledged at once",
        database="postgresql",
        count="SELECT count(*) FROM dbos.workflow_status",
        open_count="SELECT count(*) FROM dbos.workflow_status WHERE status <> 'SUCCESS'",
    ),
    Contender(
        "node-red",
        "Node-RED, http in, function, http response",
        stores="nothing",
        judges="JSON alone",
        command=lambda place: [
            *node.NODE_RED.command,
            *("--userDir", str(place.directory), "--settings", str(place.directory / "settings.js")),
            *("--port", str(place.port)),
        ],
        refused=None,
        answers_with=frozenset({"decision", "paymentId"}),
        rate=SYNC_RATE,
        install=node.NODE_RED.install,
        before_start=node.prepare_node_red,
    ),
)

_n8n = partial(
    Contender,
    stores="the execution and its data, when it has ended",
    judges="JSON alone",
    command=lambda _: [*node.N8N.command, "start"],
    environment=node.n8n_environment,
    database="sqlite",
    path="/webhook/payments",
    refused=None,
    status=200,
    ready_path="/healthz/readiness",
    count="SELECT count(*) FROM execution_entity",
    open_count="SELECT count(*) FROM execution_entity WHERE status <> 'success'",
    install=node.N8N.install,
    only_by_name=True,
)

N8N = (
    _n8n(
        "n8n",
        "n8n, three nodes, acknowledged at once",
        answers_with=frozenset({"message"}),
        before_start=partial(node.prepare_n8n, "onReceived"),
    ),
    _n8n(
        "n8n-sync",
        "n8n, three nodes, answered when done",
        answers_with=frozenset({"decision"}),
        rate=SYNC_RATE,
        before_start=partial(node.prepare_n8n, "lastNode"),
    ),
)

CONTENDERS = (*YARDSTICKS, *OURS, *FRAMEWORKS, *ENGINES, *N8N)
NAMES = tuple(contender.name for contender in CONTENDERS)


def chosen(only: list[str], also: list[str]) -> list[Contender]:
    """These contenders, or all that need no naming and these others."""
    return [
        contender
        for contender in CONTENDERS
        if (contender.name in only if only else contender.name in also or not contender.only_by_name)
    ]
