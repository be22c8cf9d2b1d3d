"""An API server, by the official client: the port of `cluster.py` over HTTP. The one file that imports kubernetes.

Only the client's connection is used, with its credentials and their renewal; its models of every object would be twice
the operator's memory.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import kubernetes
import urllib3

from everforge.operator.cluster import ANSWER_S, Api, ClusterUnavailable, Refused, Resource
from everforge.operator.names import FIELD_MANAGER

CONNECT_S = 5.0
PAGE = 500
NOT_FOUND, CONFLICT = 404, 409
APPLY = "application/apply-patch+yaml"  # JSON is YAML
JSON = "application/json"
# Not the request's fault: too many requests, or a server that starts, stops or is overloaded.
TRANSIENT = (401, 408, 429, 500, 502, 503, 504)

OnRequest = Callable[[str, int], None]
OnWrite = Callable[[Api], None]


class KubernetesCluster:
    """The cluster that the environment names: its own in a pod, else that of the kubeconfig."""

    def __init__(
        self,
        client: Any,
        on_request: OnRequest = lambda _verb, _code: None,
        on_write: OnWrite = lambda _object: None,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._client, self._on_request, self._on_write = client, on_request, on_write
        self._timeout = urllib3.Timeout(connect=CONNECT_S, read=answer_s)

    @classmethod
    def of_environment(cls, on_request: OnRequest, on_write: OnWrite, answer_s: float) -> "KubernetesCluster":
        """The cluster of a pod's service account, or of $KUBECONFIG. Raises ClusterUnavailable where there is none."""
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:
                kubernetes.config.load_incluster_config()  # type: ignore[no-untyped-call]
                client = kubernetes.client.ApiClient()
            else:
                client = kubernetes.config.new_client_from_config()  # type: ignore[no-untyped-call]
        except kubernetes.config.ConfigException as error:
            raise ClusterUnavailable(f"no cluster: {error}; set KUBECONFIG or run in a pod") from error
        # Retries are the queue's, which forgets nothing meanwhile.
        client.configuration.retries = False
        return cls(client, on_request, on_write, answer_s)

    def get(self, resource: Resource, name: str, namespace: str = "") -> Api | None:
        status, answer = self._ask("GET", _path(resource, namespace, name))
        return None if status == NOT_FOUND else self._granted(status, answer)

    def listed(self, resource: Resource, namespace: str = "", labels: str = "", fields: str = "") -> list[Api]:
        found: list[Api] = []
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields}
        while True:
            status, answer = self._ask("GET", _path(resource, namespace), query)
            page = self._granted(status, answer)
            # Items of a list leave out what is the same for all.
            found += [{"kind": resource.kind, "apiVersion": _version(resource), **item} for item in page["items"]]
            token = page["metadata"].get("continue")
            if not token:
                return found
            query["continue"] = token

    def create(self, resource: Resource, manifest: Api) -> bool:
        path = _path(resource, manifest["metadata"].get("namespace", ""))
        status, answer = self._ask("POST", path, {"fieldManager": FIELD_MANAGER}, manifest)
        if status == CONFLICT:
            return False
        self._on_write(self._granted(status, answer))
        return True

    def apply_status(self, resource: Resource, manifest: Api) -> None:
        meta = manifest["metadata"]
        path = _path(resource, meta.get("namespace", ""), meta["name"]) + "/status"
        # Force: nobody else writes what is the operator's, and whoever did is overruled.
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        status, answer = self._ask("PATCH", path, query, manifest, APPLY)
        if status not in (NOT_FOUND, CONFLICT):  # gone, or another object of the name: not what was decided about
            self._on_write(self._granted(status, answer))

    def delete(self, resource: Resource, name: str, namespace: str, uid: str | None = None) -> None:
        options: dict[str, Any] = {"propagationPolicy": "Foreground"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        status, answer = self._ask("DELETE", _path(resource, namespace, name), {}, options)
        if status not in (NOT_FOUND, CONFLICT):
            self._granted(status, answer)

    def could_create(self, resource: Resource, name: str, namespace: str) -> bool:
        manifest = {"apiVersion": "v1", "kind": resource.kind, "metadata": {"name": name, "namespace": namespace}}
        query = {"dryRun": "All", "fieldManager": FIELD_MANAGER}
        status, answer = self._ask("POST", _path(resource, namespace), query, manifest)
        if status in TRANSIENT:
            self._granted(status, answer)
        # A quota or a policy answers for it before the name is looked up: then nobody knows, and the pod will tell.
        return status < 300

    def _granted(self, status: int, answer: Api) -> Api:
        if status < 300:
            return answer
        message = str(answer.get("message") or f"status {status}")
        raise ClusterUnavailable(message) if status in TRANSIENT else Refused(message)

    def _ask(
        self, verb: str, path: str, query: Mapping[str, str] | None = None, body: Api | None = None, form: str = JSON
    ) -> tuple[int, Api]:
        """Status and answer. Raises ClusterUnavailable where there is none."""
        headers = {"Accept": JSON, "Content-Type": form, "User-Agent": FIELD_MANAGER}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, verb, body)
        wanted = {name: value for name, value in (query or {}).items() if value}
        url = f"{self._client.configuration.host}{path}?{urlencode(wanted)}"
        try:
            answer = self._client.rest_client.pool_manager.request(
                verb,
                url,
                body=None if body is None else json.dumps(body),
                headers=headers,
                timeout=self._timeout,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            self._on_request(verb, 0)
            raise ClusterUnavailable(f"the API server does not answer {verb} {path}: {error}") from error
        self._on_request(verb, answer.status)
        return answer.status, _parsed(answer.data)


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    parts = [resource.path]
    if resource.namespaced and namespace:
        parts.append(f"namespaces/{quote(namespace, safe='')}")
    parts.append(resource.plural)
    if name:
        parts.append(quote(name, safe=""))
    return "/".join(parts)


def _version(resource: Resource) -> str:
    return resource.path.removeprefix("/apis/").removeprefix("/api/")


def _parsed(data: bytes) -> Api:
    try:
        answer = json.loads(data or b"{}")
    except ValueError:
        return {"message": data[:200].decode("utf-8", "replace")}
    return answer if isinstance(answer, dict) else {}
