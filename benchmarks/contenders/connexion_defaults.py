"""Connexion's own application with the middleware that it has by default; answers are judged too.

It is given a document of one operation (payments.yaml), with a key and a required header. Nothing is stored.
"""

from pathlib import Path
from typing import Any

from connexion.apps.asynchronous import AsyncApp

from benchmarks.contenders.answers import ANSWER


async def create_payment(body: Any) -> Any:  # noqa: ARG001 - what Connexion gives it
    return ANSWER, 201


def authenticated(key: str, required_scopes: Any = None) -> dict[str, str] | None:  # noqa: ARG001 - same
    return {"sub": "benchmark"} if key == "benchmark-key" else None


def create() -> AsyncApp:
    app = AsyncApp(__name__, specification_dir=str(Path(__file__).parent))
    app.add_api("payments.yaml", validate_responses=True)
    return app
