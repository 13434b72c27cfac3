"""A far side on a real socket, and a caller that may reach it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from flowker.executors.client import Call, Caller, ProviderConfiguration

EXECUTION_ID = "019cfc5b-5d4a-7c11-9f0e-2a4b6c8d0e1f"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FarSide:
    """Remembers what arrived and answers as it is told; 200 with no body at first."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answer: Answer | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.method, request.raw_path, headers, await request.read()))
        return await self.answer(request) if self.answer is not None else web.Response()

    def answers(self, **response: Any) -> None:
        """Answer every request with the same response."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(**response)

        self.answer = answer


async def _serve(far_side: FarSide) -> web.AppRunner:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", far_side.handle)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    far_side.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner


@pytest.fixture
async def far_side() -> AsyncIterator[FarSide]:
    served = FarSide()
    runner = await _serve(served)
    yield served
    await runner.cleanup()


@pytest.fixture
async def elsewhere() -> AsyncIterator[FarSide]:
    """A far side of another origin."""
    served = FarSide()
    runner = await _serve(served)
    yield served
    await runner.cleanup()


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    started = Caller(egress_allow=["127.0.0.0/8"])
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
def call_through() -> Callable[..., Call]:
    """Makes a call of an executor through a configuration of its provider."""

    def make(
        executor_id: str, config: dict[str, Any], input_: dict[str, Any] | None = None, /, **overrides: Any
    ) -> Call:
        members: dict[str, Any] = {
            "execution_id": EXECUTION_ID,
            "node_id": "n1",
            "attempt": 1,
            "executor_id": executor_id,
            "configuration": ProviderConfiguration("c1", executor_id.partition(".")[0], config),
            "method": "POST",
            "path": "",
            "timeout_s": 5,
            "input": input_ or {},
            "success_status_codes": None,
            **overrides,
        }
        return Call(**members)

    return make


@pytest.fixture
def call_to(call_through: Callable[..., Call]) -> Callable[..., Call]:
    """Makes a call to a base URL; other members of its configuration go into `config`."""

    def make(base_url: str, /, config: dict[str, Any] | None = None, **overrides: Any) -> Call:
        input_ = overrides.pop("input", {})
        return call_through("http.request", {"base_url": base_url, **(config or {})}, input_, **overrides)

    return make
