"""The few requests an agent's pod makes of the Kubernetes API: HTTPS with its service account's token.

`claims.py` asks through it: creates, reads and patches one kind of object. The official client, which the operator has,
would do that with its models of the whole API: version 37 takes 126 MB of an installation (`du -sm
.venv/lib/python*/site-packages/kubernetes`), where the rest of what only it needs takes 5, and importing it takes 0.8 s
and 37 MB of memory more than `http.client`, `json` and `ssl`, which the agent has loaded anyway. There is an agent for
each campaign, and one operator. What is left out with it, retries and the renewal of the token, is below.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from everforge.errors import HarnessFault, UsageError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_S = 10.0
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 5.0
# Not yet or not now: a token that has just been renewed, throttling, an API server that starts or is overloaded.
_TRANSIENT = {401, 408, 429, 500, 502, 503, 504}
# For seconds after its restart an API server knows no roles, and forbids what it will allow.
_FORBIDDEN = 403
_FORBIDDEN_S = 10.0

Json = dict[str, Any]


class ApiUnreachable(HarnessFault):
    """The API server did not answer for as long as it was asked."""


class ApiRefused(HarnessFault):
    """The API server answered, and will not do it."""


@dataclass(frozen=True)
class ClusterAccess:
    """Where the API server is, and who asks it. The token's file is read each time: the kubelet renews it."""

    url: str
    namespace: str
    token_file: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def of_pod(cls, environment: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> "ClusterAccess":
        """The access of this pod's service account. Raises UsageError outside a pod, or in one without an account."""
        host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
        if host is None:
            raise UsageError("KUBERNETES_SERVICE_HOST is not set: this is no pod; pass --api-server and --namespace")
        try:
            namespace = (directory / "namespace").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(f"the pod has no service account's token at {directory}: {error.strerror}") from None
        url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        return cls(url, namespace, directory / "token", directory / "ca.crt")


class ClusterApi:
    """Asks the API server of one namespace, and asks again for up to `patience_s` while it is away."""

    def __init__(self, access: ClusterAccess, patience_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._access = access
        self._patience_s = patience_s
        self._sleep = sleep

    @property
    def namespace(self) -> str:
        """Where the pod is."""
        return self._access.namespace

    def get(self, path: str) -> Json | None:
        """The object at a path, None if there is none. Raises ApiUnreachable or ApiRefused."""
        status, answer = self._ask("GET", path, None)
        return answer if self._granted(status, answer, "GET", path, absent=404) else None

    def create(self, path: str, body: Json) -> bool:
        """Create an object; False if one of that name is there. Raises ApiUnreachable or ApiRefused."""
        status, answer = self._ask("POST", path, body)
        return self._granted(status, answer, "POST", path, absent=409)

    def merge(self, path: str, body: Json) -> Json | None:
        """Change an object by a merge patch, None if there is none. Raises ApiUnreachable or ApiRefused."""
        status, answer = self._ask("PATCH", path, body)
        return answer if self._granted(status, answer, "PATCH", path, absent=404) else None

    def _granted(self, status: int, answer: Json, method: str, path: str, absent: int) -> bool:
        if status == absent:
            return False
        if status >= 300:
            raise ApiRefused(f"the API server refuses {method} {path}: {answer.get('message', f'status {status}')}")
        return True

    def _ask(self, method: str, path: str, body: Json | None) -> tuple[int, Json]:
        began_s = time.monotonic()
        deadline_s = began_s + self._patience_s
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                status, answer = self._ask_once(method, path, body)
                trouble = str(answer.get("message", f"status {status}"))
                forbidden_s = min(_FORBIDDEN_S, self._patience_s) if status == _FORBIDDEN else 0.0
                if status not in _TRANSIENT and time.monotonic() - began_s >= forbidden_s:
                    return status, answer
            except (OSError, http.client.HTTPException, ValueError) as error:
                trouble = str(error) or type(error).__name__
            if time.monotonic() + delay_s > deadline_s:
                raise ApiUnreachable(f"the API server at {self._access.url} does not answer {method} {path}: {trouble}")
            self._sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _ask_once(self, method: str, path: str, body: Json | None) -> tuple[int, Json]:
        connection = self._connection()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self._headers(method))
            response = connection.getresponse()
            text = response.read()
            # Proxies, and an API server that starts, answer in plain words.
            answer = json.loads(text) if text.startswith(b"{") else {"message": text.decode("utf-8", "replace")}
            return response.status, answer
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        url = urlsplit(self._access.url)
        if url.scheme == "http":  # `kubectl proxy`, which holds the credentials itself
            return http.client.HTTPConnection(url.hostname or "", url.port, timeout=_TIMEOUT_S)
        context = ssl.create_default_context(cafile=self._access.ca_file)
        return http.client.HTTPSConnection(url.hostname or "", url.port, timeout=_TIMEOUT_S, context=context)

    def _headers(self, method: str) -> dict[str, str]:
        patch = method == "PATCH"
        headers = {"Accept": "application/json", "User-Agent": "everforge-agent"}
        headers["Content-Type"] = "application/merge-patch+json" if patch else "application/json"
        if self._access.token_file is not None:
            headers["Authorization"] = f"Bearer {self._access.token_file.read_text(encoding='ascii').strip()}"
        return headers
