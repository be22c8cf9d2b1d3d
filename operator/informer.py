"""Kopf as an informer: keeps the watches alive, tells what changed, writes nothing. The one file that imports it.

Only `on.event` handlers are registered, which leave no annotation and no finalizer on any object. They do no work: the
queue brings each key to `reconciler.py`, which reads what is so by itself.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from everforge.operator import names
from everforge.operator.cluster import CLAIMS, JOBS, NODES, OPTIMIZATIONS, PODS, POOLS, Resource

WATCHED = (OPTIMIZATIONS, POOLS, CLAIMS, JOBS, PODS, NODES)
OURS = f"{names.ROLE} in ({names.AGENT},{names.RUNNER})"
# A connection that carries no bookmark for this long is dead; a bookmark comes each minute.
INACTIVITY_S = 90.0
SERVER_TIMEOUT_S = 600  # a whole number: it goes into the URL as it is
CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 30.0

# Called with the resource, the object, and whether it is gone.
OnEvent = Callable[[Resource, Mapping[str, Any], bool], None]


class Informer:
    """Watches in a thread of their own; `ended` is set when it ends, asked to or not."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._stop, self.ready, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="informer", daemon=True)

    def start(self) -> None:
        """Begin to watch; `ready` is set once watching has begun."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the watches."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            asyncio.run(
                kopf.operator(
                    registry=registry_of(self._on_event),
                    settings=settings_of(),
                    clusterwide=True,
                    standalone=True,
                    stop_flag=self._stop,
                    ready_flag=self.ready,
                )
            )
        except Exception:  # the border of a thread: whoever waits for `ended` ends the process, and is started again
            logging.getLogger(__name__).exception("the watches ended")
        finally:
            self.ended.set()


def settings_of() -> kopf.OperatorSettings:
    """Kopf's settings: no writes of its own, watches that notice when they are dead."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = SERVER_TIMEOUT_S
    settings.watching.connect_timeout = CONNECT_TIMEOUT_S
    settings.watching.inactivity_timeout = INACTIVITY_S
    settings.networking.request_timeout = REQUEST_TIMEOUT_S
    for resource in (JOBS, PODS):
        settings.watching.label_selectors[_selector(resource)] = OURS
    # Nothing is stored, for there are no handlers that store; were there one, it would not collide with others'.
    settings.persistence.finalizer = f"{names.GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP)
    return settings


def registry_of(on_event: OnEvent) -> kopf.OperatorRegistry:
    """A registry with one handler for each watched resource."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login)
    for resource in WATCHED:
        kopf.on.event(*_selector(resource), registry=registry, id=resource.plural)(_handler(resource, on_event))
    return registry


def _login(**fields: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account, or the kubeconfig that $KUBECONFIG names."""
    return kopf.login_with_service_account(**fields) or kopf.login_with_kubeconfig(**fields)


def _handler(resource: Resource, on_event: OnEvent) -> Callable[..., Any]:
    async def changed(body: kopf.Body, type: str | None, **_: Any) -> None:  # noqa: A002 - Kopf's name for it
        on_event(resource, body, type == "DELETED")

    return changed


def _selector(resource: Resource) -> tuple[str, str, str]:
    """How Kopf names a resource: group, version, plural; the core group has none."""
    group, _, version = resource.path.removeprefix("/apis/").removeprefix("/api/").rpartition("/")
    return (group, version, resource.plural)
