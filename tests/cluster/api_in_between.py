"""An API server that stops to say anything: a proxy before the real one, which holds back watches or answers.

A network that drops packets looks so: connections stand, and nothing comes. Tests of the operator's health use it.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3
import yaml
from kubernetes import config

NOT_PASSED_ON = {"host", "connection", "content-length", "accept-encoding", "transfer-encoding"}


class ApiInBetween(ThreadingHTTPServer):
    """Speaks to the API server as the user of a kubeconfig; its own `kubeconfig` needs no credentials."""

    daemon_threads = True

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.client = config.new_client_from_config(str(kubeconfig))
        # Of all watches, that of the Jobs alone can be held back: what makes one is seen, and that it was made is not.
        self.job_events_pass, self.answers_pass = threading.Event(), threading.Event()
        self.job_events_pass.set()
        self.answers_pass.set()
        self.kubeconfig = directory / "in-between.kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(self._kubeconfig()))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it, and let go of whoever waits."""
        self.job_events_pass.set()
        self.answers_pass.set()
        self.shutdown()
        self.server_close()

    def _kubeconfig(self) -> dict[str, Any]:
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_address[1]}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        user = {"name": "u", "user": {}}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [cluster],
            "contexts": [context],
            "users": [user],
        }


class _Handler(BaseHTTPRequestHandler):
    server: ApiInBetween

    def _pass_on(self) -> None:
        watches = "watch" in parse_qs(urlsplit(self.path).query)
        if not watches:
            self.server.answers_pass.wait()
        answer = self._asked()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.end_headers()
        while data := answer.read1():
            if watches and self.path.startswith("/apis/batch/"):
                self.server.job_events_pass.wait()
            self.wfile.write(data)
            self.wfile.flush()

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _pass_on

    def _asked(self) -> Any:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        url = f"{self.server.client.configuration.host}{self.path}"
        pool = self.server.client.rest_client.pool_manager
        timeout = urllib3.Timeout(connect=5, read=None)
        return pool.request(
            self.command, url, headers=headers, body=body, preload_content=False, retries=False, timeout=timeout
        )

    def handle(self) -> None:
        """Serve a connection; a client that hangs up is no failure."""
        try:
            super().handle()
        except (OSError, urllib3.exceptions.HTTPError):
            return

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
