"""Senders of deliveries, as they are outside: several at once, and each repeats what was refused, with its key."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import httpx

from tests.reliability.conftest import END_S, KEY, read_rows

PAUSE_S = 0.05
"""Before a delivery is repeated: senders hurry more than they are asked to."""

PATIENCE_S = 60.0
"""Longer than any answer may take. Who waits for as long has found a fault."""


@dataclass(frozen=True)
class Refusal:
    """An answer that is not an acknowledgement."""

    status: int
    retry_after: str | None
    took_s: float


class Senders:
    """Deliver to one webhook until they are stopped; `accepted` has the execution of each key."""

    def __init__(self, url: str, path: str, *, count: int, pause_s: float = 0.0) -> None:
        self.accepted: dict[str, str] = {}
        self.refused: list[Refusal] = []
        self.broken: list[str] = []
        """What was no answer at all."""
        self.longest_s = 0.0
        """The longest that an answer took, whatever it was."""
        self._accepted_at = 0.0
        self.url = url
        """Where the service is now."""
        self._path = path
        self._pause_s = pause_s
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._giving_up = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def await_acceptance(self, since: float) -> float:
        """Seconds from a time (of `time.monotonic`) to the first acknowledgement after it."""
        with self._news:
            assert self._news.wait_for(lambda: self._accepted_at > since, PATIENCE_S), "nothing is accepted any more"
            return self._accepted_at - since

    def await_count(self, count: int) -> None:
        """Wait until so many are accepted."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.accepted) >= count, PATIENCE_S)

    def stop(self) -> None:
        """Return when every sender has its last delivery acknowledged."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def give_up(self) -> None:
        """Return at once, whatever was not acknowledged: nobody is there to do it."""
        self._giving_up.set()
        self.stop()

    def _send(self) -> None:
        with httpx.Client(headers={"X-API-Key": KEY}, timeout=PATIENCE_S) as client:
            while not self._stopping.is_set():
                key = f"delivery-{secrets.token_hex(8)}"
                give_up_at = time.monotonic() + PATIENCE_S
                while not self._deliver(client, key) and time.monotonic() < give_up_at:
                    if self._giving_up.wait(PAUSE_S):
                        return
                time.sleep(self._pause_s)

    def _deliver(self, client: httpx.Client, key: str) -> bool:
        began = time.monotonic()
        try:
            answer = client.post(
                f"{self.url}/v1/webhooks/{self._path}", json={"key": key}, headers={"Idempotency-Key": key}
            )
        except httpx.TransportError as error:
            self.broken.append(repr(error))
            return False
        self._note(answer, key, time.monotonic() - began)
        return answer.status_code in {200, 201, 409}

    def _note(self, answer: httpx.Response, key: str, took_s: float) -> None:
        with self._news:
            self.longest_s = max(self.longest_s, took_s)
            # 409 says that it was accepted before, and that the answer was lost.
            if answer.status_code in {200, 201, 409}:
                self.accepted[key] = answer.headers["X-Webhook-Execution-ID"]
                self._accepted_at = time.monotonic()
                self._news.notify_all()
            else:
                self.refused.append(Refusal(answer.status_code, answer.headers.get("Retry-After"), took_s))


def short_workflow(path: str) -> dict[str, Any]:
    """A trigger, a step that writes to the log, and one that makes the output."""
    nodes = [
        {"id": "hook", "type": "trigger", "data": {"path": path}},
        {"id": "note", "type": "action", "data": {"action": "log", "message": "{{workflow.key}}"}},
        {"id": "tell", "type": "action", "data": {"action": "set_output", "output": {"key": "{{workflow.key}}"}}},
    ]
    edges = [
        {"id": "e1", "source": "hook", "target": "note"},
        {"id": "e2", "source": "note", "target": "tell"},
    ]
    return {"name": path, "nodes": nodes, "edges": edges}


def await_ends(database_url: str, leaving: Collection[str] = ()) -> dict[str, str]:
    """The status of each execution, when all have ended but those that are left."""
    deadline = time.monotonic() + END_S
    while True:
        rows = read_rows(database_url, "SELECT id, status FROM executions")
        found = {row["id"]: row["status"] for row in rows if row["id"] not in leaving}
        if set(found.values()) <= {"completed", "failed"}:
            return found
        assert time.monotonic() < deadline, Counter(found.values())
        time.sleep(0.1)
