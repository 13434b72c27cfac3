"""openapi-core's own middleware round a Starlette route: it judges requests and answers by payments.yaml.

The key has to be there; which one it is would be for the application to say. Nothing is stored.
"""

from pathlib import Path

from openapi_core import OpenAPI
from openapi_core.contrib.starlette.middlewares import StarletteOpenAPIMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from benchmarks.contenders.starlette_route import payments


def create() -> Starlette:
    document = OpenAPI.from_file_path(str(Path(__file__).parent / "payments.yaml"))
    return Starlette(
        routes=[Route("/payments", payments, methods=["POST"])],
        middleware=[Middleware(StarletteOpenAPIMiddleware, openapi=document)],
    )
