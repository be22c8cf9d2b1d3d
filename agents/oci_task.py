"""Fetches a task file from an OCI registry by its digest; `cli/task_source.py` and an agent's pod call it.

The file is a layer of an artifact, as `oras push REGISTRY/REPOSITORY:TAG task.py` makes it. What comes is compared
with the digest that was asked for, so neither the registry nor the way to it has to be trusted. The requests are those
of the OCI distribution specification 1.1, "Pulling manifests" and "Pulling blobs"; a registry that wants a token is
asked for one, in the name of a login where a Secret gives one, else as anybody.
"""

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlencode

from everforge.agents.task_login import LOCAL, Login, is_private
from everforge.errors import HarnessFault, UsageError

TIMEOUT_S = 30.0
# Manifests are at most 4 MiB by the specification; a task of 1 MiB is what a ConfigMap could hold, too.
MANIFEST_BYTES, TASK_BYTES = 4 << 20, 1 << 20
MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
TITLE = "org.opencontainers.image.title"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class OciRefused(UsageError):
    """The registry does not give the file, or what it gives is none."""


class OciUnreachable(HarnessFault):
    """The registry does not give anything now: to be tried again."""


@dataclass(frozen=True)
class Place:
    """A repository of a registry."""

    host: str
    repository: str

    def url(self, path: str) -> str:
        """The URL of something in it."""
        scheme = "http" if self.host.partition(":")[0] in LOCAL else "https"
        return f"{scheme}://{self.host}/v2/{self.repository}/{path}"


def text_at_digest(reference: str, login: Login | None = None) -> str:
    """The text of the one file of an artifact. Raises OciRefused, and OciUnreachable where trying again may help."""
    name, _, digest = reference.partition("@")
    place = _place_of(name, reference)
    registry = _Registry(place, reference, login)
    manifest = registry.fetched(f"manifests/{digest}", digest, MANIFEST_BYTES)
    file = _file_of(manifest, reference)
    try:
        return registry.fetched(f"blobs/{file}", file, TASK_BYTES).decode()
    except UnicodeDecodeError:
        raise OciRefused(f"the file of {reference} is not UTF-8 text") from None


def _place_of(name: str, reference: str) -> Place:
    host, slash, repository = name.partition("/")
    # A first part with a dot, a port or a name of this machine is a registry, as container tools have it.
    if not slash or not ("." in host or ":" in host or host in LOCAL):
        raise OciRefused(f"{reference} names no registry: write it in full, such as registry.example/{reference}")
    return Place(host, re.sub(r":[^/]*$", "", repository))


def _file_of(text: bytes, reference: str) -> str:
    """The digest of the layer that is the task: the only one whose title ends with .py, or the only one there is."""
    try:
        layers = json.loads(text)["layers"]
        titled = [layer for layer in layers if str((layer.get("annotations") or {}).get(TITLE, "")).endswith(".py")]
        # oras calls every file's type a tar unless told otherwise; without a title it is taken for one.
        found = titled or [layer for layer in layers if "tar" not in layer["mediaType"]]
        if len(found) == 1:
            return str(found[0]["digest"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OciRefused(f"{reference} is no image manifest; an index of several is not taken") from None
    raise OciRefused(
        f"{reference} has {len(layers)} layers, and not one file that is the task: push the file by itself, such as "
        "`oras push registry.example/tasks/softmax task.py`"
    )


class _Registry:
    """Asks one repository; how it wants to be asked is found out once."""

    def __init__(self, place: Place, reference: str, login: Login | None) -> None:
        self._place, self._reference, self._login = place, reference, login
        self._authorization: str | None = None

    def fetched(self, path: str, digest: str, limit_bytes: int) -> bytes:
        """What is at a path, if it is what the digest says."""
        data = self._asked(path, limit_bytes)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise OciRefused(f"{self._place.url(path)} is not what {digest} says: {len(data)} bytes of something else")
        return data

    def _asked(self, path: str, limit_bytes: int) -> bytes:
        url = self._place.url(path)
        try:
            return self._got(url, self._authorization, limit_bytes)
        except urllib.error.HTTPError as refusal:
            challenge = refusal.headers.get("WWW-Authenticate", "")
            if refusal.code != http.client.UNAUTHORIZED or self._authorization is not None:
                raise self._failure(url, refusal) from None
        self._authorization = self._authorized(challenge)
        try:
            return self._got(url, self._authorization, limit_bytes)
        except urllib.error.HTTPError as refusal:
            raise self._failure(url, refusal) from None

    def _got(self, url: str, authorization: str | None, limit_bytes: int) -> bytes:
        request = urllib.request.Request(url, headers={"Accept": f"{MANIFESTS}, */*"})  # noqa: S310 - http or https
        if authorization is not None:
            # Not for whoever the registry sends us on to: storage refuses a token that it does not know.
            request.add_unredirected_header("Authorization", authorization)
        return _read(request, limit_bytes)

    def _authorized(self, challenge: str) -> str:
        """What the registry's challenge asks for: the login itself, or a token of its authority."""
        scheme, _, rest = challenge.partition(" ")
        asked = dict(_CHALLENGE.findall(rest))
        realm = asked.pop("realm", "")
        if scheme.lower() == "basic" and self._login is not None:
            return self._login.basic
        if scheme.lower() != "bearer" or not realm.startswith(("https://", "http://")):
            raise self._closed("wants a password")
        return f"Bearer {self._token(realm, asked)}"

    def _token(self, realm: str, asked: dict[str, str]) -> str:
        wanted = {name: value for name, value in asked.items() if name in ("service", "scope")}
        url = f"{realm}?{urlencode(wanted)}"
        login = self._login.basic if self._login is not None else None
        if login is not None and not is_private(realm):
            raise OciRefused(f"the registry of {self._reference} wants the password at {realm}, without TLS")
        try:
            answer = json.loads(self._got(url, login, MANIFEST_BYTES))
            return str(answer.get("token") or answer["access_token"])
        except urllib.error.HTTPError as refusal:
            raise self._failure(url, refusal) from None
        except (ValueError, KeyError, AttributeError):
            raise self._closed("gives no token") from None

    def _failure(self, url: str, refusal: urllib.error.HTTPError) -> OciRefused | OciUnreachable:
        if refusal.code >= http.client.INTERNAL_SERVER_ERROR or refusal.code == http.client.TOO_MANY_REQUESTS:
            return OciUnreachable(f"{url} answers {refusal.code} {refusal.reason}")
        if refusal.code in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            return self._closed(f"answers {refusal.code}")
        return OciRefused(f"{self._reference} is not there: {url} answers {refusal.code} {refusal.reason}")

    def _closed(self, why: str) -> OciRefused | OciUnreachable:
        if self._login is not None:
            return OciUnreachable(
                f"the registry of {self._reference} {why} with the login of spec.task.secretName: correct the Secret, "
                "the next attempt reads it anew"
            )
        return OciRefused(
            f"the registry of {self._reference} {why}, and no login is given: let anybody read that repository, put "
            "the task into a ConfigMap, or on a cluster name a Secret with the login in spec.task.secretName"
        )


def _read(request: urllib.request.Request, limit_bytes: int) -> bytes:
    """The answer to a request. Raises HTTPError for a refusal, OciUnreachable where there is no answer."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http or https
            data: bytes = answer.read(limit_bytes + 1)
    except urllib.error.HTTPError as refusal:
        refusal.close()  # its body says nothing that its status does not
        raise
    except (OSError, http.client.HTTPException) as error:
        raise OciUnreachable(f"{request.full_url} cannot be fetched: {error}") from None
    if len(data) > limit_bytes:
        raise OciRefused(f"{request.full_url} has more than {limit_bytes} bytes")
    return data
