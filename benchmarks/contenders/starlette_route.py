"""The least that a Python framework does for a JSON body and a JSON answer: no key, no validation, nothing stored."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.contenders.answers import ANSWER


async def payments(request: Request) -> JSONResponse:
    await request.json()
    return JSONResponse(ANSWER, 201)


def create() -> Starlette:
    return Starlette(routes=[Route("/payments", payments, methods=["POST"])])
