"""A client that means well, in a process of its own: what it waits for is the service, not those who attack it.

    python -m tests.reliability.steady_client URL KEY

Says `ready` after its first delivery, then delivers again and again until its input ends, and tells what it saw.
"""

import http.client
import json
import select
import sys
import time
from urllib.parse import urlsplit

EVERY_S = 0.025
"""How often it delivers."""

PATIENCE_S = 30


def main() -> None:
    url, key = urlsplit(sys.argv[1]), sys.argv[2]
    latencies_s: list[float] = []
    statuses: list[int] = []
    connections = 0
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=PATIENCE_S)
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    while not statuses or not select.select([sys.stdin], [], [], EVERY_S)[0]:
        connections += connection.sock is None
        began = time.perf_counter()
        connection.request("POST", url.path, b'{"steady": true}', headers)
        answer = connection.getresponse()
        answer.read()
        latencies_s.append(time.perf_counter() - began)
        statuses.append(answer.status)
        if len(statuses) == 1:
            _tell("ready")
    connection.close()
    _tell(json.dumps({"latencies_s": latencies_s, "statuses": statuses, "connections": connections}))


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
