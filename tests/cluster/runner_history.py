"""Every change of a pool's runner pods, in the order the API server tells them: who had a device, and who beside whom.

Looking now and then would miss what lasts a moment. `kubectl get --watch` misses nothing while it runs, and says so if
it does not. `test_campaign_pools.py` asks.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from full_node import FullNode


class RunnerHistory:
    """The runners of a pool from now on, in any namespace; `close` it."""

    def __init__(self, node: FullNode, pool: str, file: Path) -> None:
        self._file = file
        wanted = f"--selector=everforge.dev/role=runner,everforge.dev/device-pool={pool}"
        command = [str(node.binaries / "kubectl"), f"--kubeconfig={node.kubeconfig}", "get", "pods", wanted]
        command += ["--all-namespaces", "--watch", "--output-watch-events", "--output=json"]
        with file.open("wb") as output:
            self._watch = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def close(self) -> None:
        """End the watch."""
        self._watch.terminate()
        self._watch.wait(timeout=60)

    def most_at_once(self) -> int:
        """How many pods had a place on a node at the same time, at most."""
        placed: set[str] = set()
        most = 0
        for pod in self._pods():
            (placed.add if _is_placed(pod) else placed.discard)(pod["metadata"]["uid"])
            most = max(most, len(placed))
        return most

    def turns(self) -> list[str]:
        """NAMESPACE/KERNELOPTIMIZATION of each pod, in the order in which they got their place."""
        served = {pod["metadata"]["uid"]: _whose(pod) for pod in self._pods() if _is_placed(pod)}
        return list(served.values())

    def asked_for(self, resource: str) -> set[str | None]:
        """How much of a resource each pod asked for."""
        return {pod["spec"]["containers"][0]["resources"]["requests"].get(resource) for pod in self._pods()}

    def _pods(self) -> Iterator[Any]:
        """Each pod at each change; a deleted one has no place any more."""
        if self._watch.poll() is not None:
            raise RuntimeError(f"the watch of runners ended by itself: {self._file.read_text()[-400:]}")
        text, start, decoder = self._file.read_text(), 0, json.JSONDecoder()
        while (start := _next_document(text, start)) >= 0:
            try:
                event, start = decoder.raw_decode(text, start)
            except json.JSONDecodeError:  # the last one is being written
                return
            pod = event["object"]
            yield pod | {"status": {}, "spec": pod["spec"] | {"nodeName": None}} if event["type"] == "DELETED" else pod


def _next_document(text: str, start: int) -> int:
    return text.find("{", start)


def _is_placed(pod: Any) -> bool:
    """Whether the pod occupies what it asked for: the scheduler counts it from its binding until its end."""
    return bool(pod["spec"].get("nodeName")) and pod["status"].get("phase") not in ("Succeeded", "Failed")


def _whose(pod: Any) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['labels']['everforge.dev/optimization']}"
