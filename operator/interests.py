"""Which keys a change is news for: an object's own, its pools', and those of whoever named what changed."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from everforge.operator import names
from everforge.operator.cluster import CLAIMS, NODES, OPTIMIZATIONS, POOLS, Resource
from everforge.operator.observed import Key, Node
from everforge.operator.views import node_of


class Interests:
    """Remembers who named which pool, so that a pool's change is told to them; thread-safe."""

    def __init__(self, add: Callable[[Key], None]) -> None:
        self._add = add
        self._lock = threading.Lock()
        self._targets: dict[Key, frozenset[str]] = {}
        self._pools: set[str] = set()
        self._nodes: dict[str, Node] = {}

    def changed(self, resource: Resource, body: Mapping[str, Any], gone: bool) -> None:
        """Add every key that a change is news for."""
        with self._lock:
            keys = self._keys(resource, body, gone)
        for key in sorted(keys):
            self._add(key)

    def _keys(self, resource: Resource, body: Mapping[str, Any], gone: bool) -> set[Key]:
        if resource is OPTIMIZATIONS:
            return self._of_optimization(body, gone)
        if resource is POOLS:
            return self._of_pool(body["metadata"]["name"], gone)
        if resource is CLAIMS:
            return self._of_claim(body)
        if resource is NODES:
            return self._of_node(body, gone)
        return _of_child(body)

    def _of_optimization(self, body: Mapping[str, Any], gone: bool) -> set[Key]:
        meta = body["metadata"]
        key = Key("KernelOptimization", meta["name"], meta.get("namespace", ""))
        pools = frozenset(target.get("devicePool", "") for target in body.get("spec", {}).get("targets", []))
        if gone:
            self._targets.pop(key, None)
        else:
            self._targets[key] = pools
        return {key, *(_pool(name) for name in pools)}

    def _of_claim(self, body: Mapping[str, Any]) -> set[Key]:
        """News for its pool, which decides about it, and for its owner, whose agent reports in it."""
        spec = body.get("spec", {})
        pool, owner = spec.get("pool", ""), spec.get("owner", {}).get("name", "")
        self._pools.add(pool)
        return {_pool(pool), Key("KernelOptimization", owner, body["metadata"].get("namespace", ""))}

    def _of_pool(self, name: str, gone: bool) -> set[Key]:
        if gone:
            self._pools.discard(name)
        else:
            self._pools.add(name)
        return {_pool(name), *(key for key, pools in self._targets.items() if name in pools)}

    def _of_node(self, body: Mapping[str, Any], gone: bool) -> set[Key]:
        """News only if what decisions use of it changed: a kubelet reports each five minutes that nothing did."""
        node = node_of(body)
        known = self._nodes.pop(node.name, None)
        if not gone:
            self._nodes[node.name] = node
        return set() if known == node and not gone else {_pool(name) for name in self._pools}


def _of_child(body: Mapping[str, Any]) -> set[Key]:
    """A Job or pod is news for the KernelOptimization and the pool that its labels name."""
    meta = body["metadata"]
    labels = meta.get("labels", {})
    keys = set()
    if optimization := labels.get(names.OPTIMIZATION):
        keys.add(Key("KernelOptimization", optimization, meta.get("namespace", "")))
    if pool := labels.get(names.POOL):
        keys.add(_pool(pool))
    return keys


def _pool(name: str) -> Key:
    return Key("DevicePool", name)
