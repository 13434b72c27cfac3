"""A table behind FastAPI, as the tutorials of FastAPI and SQLModel show it: a session for each request.

The body and the answer are judged by Pydantic, a key is asked for, and each request is one commit. SQLite keeps its
defaults (rollback journal, synchronous=FULL), and so does PostgreSQL (fsync, synchronous_commit): both are durable.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from sqlmodel import JSON, Column, Field, Session, SQLModel, create_engine

URL = os.environ["BENCHMARK_URL"]
engine = create_engine(URL, connect_args={"check_same_thread": False} if URL.startswith("sqlite") else {})


class PaymentInput(SQLModel):
    paymentId: str  # noqa: N815 - the name on the wire
    amount: float
    currency: str
    debtor: dict[str, str] = Field(sa_column=Column(JSON))
    creditor: dict[str, str] = Field(sa_column=Column(JSON))
    reference: str


class Payment(PaymentInput, table=True):
    id: str = Field(default_factory=lambda: str(uuid.uuid4()), primary_key=True)
    key: str = Field(unique=True)
    debtor: dict[str, str] = Field(sa_column=Column(JSON))
    creditor: dict[str, str] = Field(sa_column=Column(JSON))


class PaymentAnswer(SQLModel):
    id: str
    key: str


def session() -> Iterator[Session]:
    with Session(engine) as opened:
        yield opened


def authenticated(x_api_key: Annotated[str, Header()]) -> None:
    if x_api_key != "benchmark-key":
        raise HTTPException(401)


def create_payment(
    payment: PaymentInput,
    idempotency_key: Annotated[str, Header()],
    database: Annotated[Session, Depends(session)],
) -> Any:
    stored = Payment(**payment.model_dump(), key=idempotency_key)
    database.add(stored)
    database.commit()
    database.refresh(stored)
    return stored


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    SQLModel.metadata.create_all(engine)
    yield


def create() -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.add_api_route(
        "/payments",
        create_payment,
        methods=["POST"],
        status_code=201,
        response_model=PaymentAnswer,
        dependencies=[Depends(authenticated)],
    )
    return app
