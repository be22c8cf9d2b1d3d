"""A stand-in for API server and operator: takes RunnerClaims over HTTP, and serves them by a runner of the test's.

Tests of `agents/claims.py` and of the agent's process talk to it; the real ones are in the cluster tests.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SINCE = "2026-01-01T00:00:00Z"

Json = dict[str, Any]
# Called with the claim, again at each look until it is served.
Serve = Callable[[Json], str | None]


class ClaimServer(ThreadingHTTPServer):
    """Claims by name. `serve` gives the address of a runner for a new claim, None while there is none for it."""

    daemon_threads = True

    def __init__(self, serve: Serve) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.serve = serve
        self.claims: dict[str, Json] = {}
        self.failures: list[int] = []
        self.requests: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def end(self, name: str, phase: str, message: str) -> None:
        """End a claim, as the operator does."""
        self.claims[name]["status"] = {"phase": phase, "message": message}

    def bind(self, name: str) -> None:
        """Serve a claim that is not served yet, if there is a runner for it."""
        claim = self.claims[name]
        if claim.get("status", {}).get("phase", "Pending") != "Pending":
            return
        address = self.serve(claim)
        claim["status"] = {"phase": "Pending", "message": "1 of 1 runners are held"}
        if address is not None:
            claim["status"] = {
                "phase": "Bound",
                "holder": f"runner-of-{name}",
                "since": SINCE,
                "address": address,
            }


class _Handler(BaseHTTPRequestHandler):
    server: ClaimServer

    def do_GET(self) -> None:
        """Read a claim."""
        name = self.path.rpartition("/")[2]
        with self.server.lock:
            if name not in self.server.claims:
                return self._answer(404, {"message": f'runnerclaims "{name}" not found'})
            self.server.bind(name)
            return self._answer(200, self.server.claims[name])

    def do_POST(self) -> None:
        """Create a claim."""
        claim = self._body()
        name = claim["metadata"]["name"]
        with self.server.lock:
            if name in self.server.claims:
                return self._answer(409, {"message": f'runnerclaims "{name}" already exists'})
            claim["metadata"]["uid"] = f"uid-of-{name}"
            self.server.claims[name] = claim
            return self._answer(201, claim)

    def do_PATCH(self) -> None:
        """Change the spec of a claim."""
        name, change = self.path.rpartition("/")[2], self._body()
        with self.server.lock:
            if name not in self.server.claims:
                return self._answer(404, {"message": f'runnerclaims "{name}" not found'})
            self.server.claims[name] = merged(self.server.claims[name], change)
            return self._answer(200, self.server.claims[name])

    def _body(self) -> Json:
        body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _answer(self, status: int, body: Json) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.failures:
            status, body = self.server.failures.pop(0), {"message": "the stand-in fails"}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""


def merged(target: Json, patch: Json) -> Json:
    """An object after a merge patch (RFC 7396): objects are merged, null takes away, all else replaces."""
    kept = {name: value for name, value in target.items() if name not in patch}
    for name, value in patch.items():
        if isinstance(value, dict):
            before = target.get(name)
            kept[name] = merged(before if isinstance(before, dict) else {}, value)
        elif value is not None:
            kept[name] = value
    return kept


@contextmanager
def claims_served(serve: Serve) -> Iterator[ClaimServer]:
    """A server that answers while the block runs."""
    with ClaimServer(serve) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
