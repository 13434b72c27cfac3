"""A sender that does not know whether it was heard: it delivers each event several times at once.

It is a process of its own: `python -m tests.reliability.duplicate_sender KEY COPIES URL [URL]`. For each line that it
reads, an idempotency key, it sends so many identical deliveries at once to whichever service is ready, and sends
again what got no answer that settles it. Then it writes a line: what the answers were, and what was no answer.
"""

import asyncio
import json
import sys
import time

import httpx

from flowker import demo
from tests.reliability.load_client import Answer, LoadClient, post

PATIENCE_S = 60.0
"""A service that takes over does so within seconds, twelve at most."""

SETTLED = {201, 409}


class Sender:
    """Delivers to one service for as long as that answers, then to whoever is ready."""

    def __init__(self, api_key: str, copies: int, urls: list[str]) -> None:
        self._api_key = api_key
        self._copies = copies
        self._urls = urls
        self._client: LoadClient | None = None

    async def deliver(self, key: str) -> dict[str, object]:
        payload = {"paymentId": key, "amount": 1, "currency": "BRL"}
        request = post(f"/v1/webhooks/{demo.WEBHOOK_PATH}", payload, x_api_key=self._api_key, idempotency_key=key)
        settled: list[Answer] = []
        again: list[int] = []
        until = time.monotonic() + PATIENCE_S
        while len(settled) < self._copies and time.monotonic() < until:
            client = self._client = self._client or await self._connect()
            answers = await client.burst([request] * (self._copies - len(settled)))
            settled += [answer for answer in answers if answer.status in SETTLED]
            unsettled = [answer.status for answer in answers if answer.status not in SETTLED]
            if unsettled:
                again += unsettled
                self.close()
        return {"answers": [[answer.status, answer.execution_id] for answer in settled], "again": again}

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _connect(self) -> LoadClient:
        client = LoadClient(await self._find_ready())
        await client.connect(self._copies)
        return client

    async def _find_ready(self) -> str:
        until = time.monotonic() + PATIENCE_S
        async with httpx.AsyncClient(timeout=5) as client:
            while time.monotonic() < until:
                for url in self._urls:
                    if await _is_ready(client, url):
                        return url
                await asyncio.sleep(0.05)
        raise TimeoutError("no service is ready")


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/health/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def main(api_key: str, copies: str, *urls: str) -> None:
    sender = Sender(api_key, int(copies), list(urls))
    while line := await asyncio.to_thread(sys.stdin.readline):
        sys.stdout.write(json.dumps(await sender.deliver(line.strip())) + "\n")
        sys.stdout.flush()
    sender.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
