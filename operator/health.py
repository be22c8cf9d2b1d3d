"""Is the operator alive, and does it work: judged from its queue and its watches, answered over HTTP.

/healthz fails where only a new start helps, /readyz earlier, where somebody should look. Both say what is wrong.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from everforge.operator.cluster import ANSWER_S
from everforge.operator.freshness import Freshness
from everforge.operator.informer import Informer
from everforge.operator.observed import Key
from everforge.operator.workqueue import WorkQueue


@dataclass(frozen=True)
class Limits:
    """How long what may last before it is said to be wrong."""

    # The watch's own inactivity limit is 90 s: a connection that is dead by then is opened again.
    stale_s: float = 150.0
    dead_s: float = 600.0
    # A key waits for a worker, of which there are three.
    behind_s: float = 120.0
    # A reconciliation takes under a second, and at most a few answers that do not come.
    stuck_s: float = 300.0
    answer_s: float = ANSWER_S


DEFAULT = Limits()


class Health:
    """What the probes ask."""

    def __init__(
        self, queue: WorkQueue[Key], freshness: Freshness, informer: Informer, limits: Limits = DEFAULT
    ) -> None:
        self._queue, self._freshness, self._informer, self._limits = queue, freshness, informer, limits

    def sickness(self) -> str | None:
        """Why only a new start helps; None while none is needed."""
        if self._informer.ended.is_set():
            return "the watches have ended"
        if (unseen_s := self._freshness.oldest_unseen_s()) > self._limits.dead_s:
            return f"the watches are dead: a write was not seen for {unseen_s:.0f} s"
        if (work_s := self._queue.state().longest_work_s) > self._limits.stuck_s:
            return f"a reconciliation has been at work for {work_s:.0f} s"
        return None

    def unreadiness(self) -> str | None:
        """Why it does not do its work just now; None while it does."""
        if not self._informer.ready.is_set():
            return "the watches have not begun"
        if (unseen_s := self._freshness.oldest_unseen_s()) > self._limits.stale_s:
            return f"the watches are stale: a write was not seen for {unseen_s:.0f} s"
        if (silent_s := self._freshness.silent_s()) > self._limits.stale_s:
            return f"the API server has not answered for {silent_s:.0f} s"
        if (age_s := self._queue.state().oldest_age_s) > self._limits.behind_s:
            return f"the queue is behind: a key has been due for {age_s:.0f} s"
        return self.sickness()


class HealthServer:
    """/healthz, /readyz and /metrics on one port."""

    def __init__(self, address: tuple[str, int], health: Health, metrics: Callable[[], bytes]) -> None:
        self._server = ThreadingHTTPServer(address, _handler(health, metrics))
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _handler(health: Health, metrics: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, metrics(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path in ("/healthz", "/readyz"):
                wrong = health.sickness() if self.path == "/healthz" else health.unreadiness()
                self._answer(200 if wrong is None else 503, f"{wrong or 'ok'}\n".encode(), "text/plain")
            else:
                self._answer(404, b"ask /healthz, /readyz or /metrics\n", "text/plain")

        def _answer(self, status: int, text: bytes, form: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", form)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: probes come every few seconds."""

    return Handler
