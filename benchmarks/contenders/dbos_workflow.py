"""DBOS behind FastAPI, as its documentation shows it: each request starts a durable workflow of three steps.

It is answered when the workflow is recorded; its idempotency key is the workflow's id. Each step is recorded in the
database before the next one. SQLite and PostgreSQL have the settings that DBOS gives them: both are durable.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from dbos import DBOS, SetWorkflowID
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

CURRENCIES = ("BRL", "EUR", "USD")


class Payment(BaseModel):
    paymentId: str  # noqa: N815 - the name on the wire
    amount: float
    currency: str
    debtor: dict[str, str]
    creditor: dict[str, str]
    reference: str


def receive(payment: dict[str, Any]) -> dict[str, Any]:
    return payment


def is_within_limits(payment: dict[str, Any]) -> bool:
    return bool(payment["currency"] in CURRENCIES and payment["amount"] <= 10_000)


def decide(payment: dict[str, Any], within_limits: bool) -> dict[str, Any]:
    return {"decision": "approved" if within_limits else "rejected", "paymentId": payment["paymentId"]}


_receive, _is_within_limits, _decide = (DBOS.step()(step) for step in (receive, is_within_limits, decide))


def validate_payment(payment: dict[str, Any]) -> Any:
    received = _receive(payment)
    return _decide(received, _is_within_limits(received))


_validate_payment = DBOS.workflow()(validate_payment)


def start(
    payment: Payment, idempotency_key: Annotated[str, Header()], x_api_key: Annotated[str, Header()]
) -> dict[str, str]:
    if x_api_key != "benchmark-key":
        raise HTTPException(401)
    with SetWorkflowID(idempotency_key):
        handle = DBOS.start_workflow(_validate_payment, payment.model_dump())
    return {"executionId": handle.workflow_id, "status": "running"}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    DBOS(
        config={
            "name": "payments",
            "system_database_url": os.environ["BENCHMARK_URL"],
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    yield
    DBOS.destroy()


def create() -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/payments", start, methods=["POST"], status_code=201)
    return app
