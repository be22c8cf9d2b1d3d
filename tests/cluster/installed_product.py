"""Everforge as a user installs it, on the test node: CRDs, the operator of deploy/, an MLflow, pools.

The tests in `test_campaign*.py` search kernels with it. Only images' names, MLflow's address and what an agent asks for
are put into what deploy/ has.
"""

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from full_node import FullNode
from product_images import ROOT, ProductImages

OBJECTS = Path(__file__).with_name("campaign")
TRACKING_URI = "http://mlflow.mlflow.svc.cluster.local:5000"
# Asked in its own pod: the API server's proxy passes no content type on.
ASK_MLFLOW = """\
import sys, urllib.request
url = "http://localhost:5000/api/2.0/mlflow/" + sys.argv[1]
asked = urllib.request.Request(url, sys.argv[2].encode(), {"Content-Type": "application/json"})
print(urllib.request.urlopen(asked, timeout=20).read().decode())
"""
AGENT, RUNNER = "everforge.dev/role=agent", "everforge.dev/role=runner"
# What deploy/operator.yaml says is to be set, and what it is set to.
SETTINGS = {
    "image: everforge-operator:latest": "image: everforge.local/operator:e2e",
    # Agents that ask for a whole processor each would not fit beside each other on a machine of two.
    "[--agent-image=everforge-agent:latest]": "[--agent-image=everforge.local/agent:e2e, --agent-cpu=200m, "
    f'--agent-memory=1Gi, "--tracking-uri={TRACKING_URI}"]',
}
# A campaign takes a minute on two idle cores; a loaded machine gets ten.
DEADLINE_S = 600.0
CRASHES = 3


class InstalledProduct:
    """The product on a node."""

    def __init__(self, node: FullNode) -> None:
        self.node = node

    def install(self, directory: Path) -> None:
        """Make the images below a directory, and apply everything; returns when all of it is at work."""
        # One image is loaded while the next one is made.
        with ThreadPoolExecutor(max_workers=1) as loading:
            loads = [loading.submit(self.node.load_images, images) for images in ProductImages(directory).made()]
        for load in loads:
            load.result()
        for layer in directory.glob("*.layer"):
            layer.unlink()
        self.node.kubectl("apply", "-f", str(OBJECTS / "mlflow.yaml"))
        self.node.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        self.node.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        self.node.kubectl("apply", "--server-side", "-f", "-", stdin=operator_manifest())
        self.node.kubectl("apply", "-f", str(OBJECTS / "pools.yaml"))
        self.is_at_work()
        self.eventually(lambda: self.condition("devicepool/cpu", "Ready")[0] == "True", "a ready pool")

    def is_at_work(self) -> None:
        """Wait until operator and MLflow are ready."""
        for namespace, name in (("everforge-system", "everforge-operator"), ("mlflow", "mlflow")):
            self.eventually(partial(self._available, namespace, name), f"deployment {name}")

    def add_namespace(self, name: str) -> None:
        """A namespace whose pods must be restricted, and whose agents may claim runners."""
        self.node.kubectl("create", "namespace", name)
        self.node.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        self.node.kubectl("apply", "-n", name, "-f", str(ROOT / "deploy" / "agent-access.yaml"))

    def search(self, namespace: str, name: str, file: str = "small.yaml", **spec: Any) -> None:
        """Apply a KernelOptimization of `campaign/` under a name, with some fields of its spec changed."""
        manifest = yaml.safe_load((OBJECTS / file).read_text())
        manifest["metadata"]["name"] = name
        manifest["spec"] |= spec
        self.node.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(manifest))

    def listed(self, what: str, namespace: str, labels: str = "") -> list[Any]:
        """Objects of a kind."""
        chosen = [f"--selector={labels}"] if labels else []
        found: list[Any] = json.loads(self.node.kubectl("get", what, "-n", namespace, *chosen, "-o", "json"))["items"]
        return found

    def spec(self, namespace: str, name: str) -> Any:
        """The spec of a KernelOptimization."""
        return json.loads(self.node.kubectl("get", "kopt", name, "-n", namespace, "-o", "json"))["spec"]

    def status(self, namespace: str, name: str) -> Any:
        """The status of a KernelOptimization; empty while it has none."""
        seen = json.loads(self.node.kubectl("get", "kopt", name, "-n", namespace, "-o", "json"))
        return seen.get("status", {})

    def condition(self, what: str, type_: str, namespace: str = "default") -> tuple[str, str, str]:
        """Status, reason and message of a condition of an object such as `kopt/softmax`; empty while it has none."""
        status = json.loads(self.node.kubectl("get", what, "-n", namespace, "-o", "json")).get("status", {})
        found = [each for each in status.get("conditions", []) if each["type"] == type_]
        return (found[0]["status"], found[0]["reason"], found[0].get("message", "")) if found else ("", "", "")

    def ended(self, namespace: str, name: str) -> Any:
        """The status of a KernelOptimization once it has come to its end."""
        return self.eventually(
            lambda: status if (status := self.status(namespace, name)).get("completionTime") else None,
            f"the end of {name}",
        )

    def trial_runs(self, experiment: str) -> list[dict[str, str]]:
        """The tags of every trial in an MLflow experiment."""
        named = self._mlflow("experiments/search", {"filter": f"name = '{experiment}'", "max_results": 1})
        if not named.get("experiments"):
            return []
        asked = {"experiment_ids": [named["experiments"][0]["experiment_id"]], "max_results": 1000}
        runs = self._mlflow("runs/search", asked).get("runs", [])
        tagged = [{tag["key"]: tag["value"] for tag in run["data"].get("tags", [])} for run in runs]
        return [tags for tags in tagged if tags.get("everforge.kind") == "trial"]

    def eventually(self, look: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
        """What `look` returns once it is truthy; an answer that does not come is asked for again."""
        deadline = time.monotonic() + deadline_s
        while True:
            try:
                if seen := look():
                    return seen
                told = ""
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                told = str(error.stderr or error)
            assert time.monotonic() < deadline, f"{what}: not within {deadline_s:.0f} s. {told}"
            time.sleep(0.5)

    def _mlflow(self, path: str, asked: dict[str, Any]) -> Any:
        inside = ("exec", "-n", "mlflow", "deploy/mlflow", "--", "python", "-c", ASK_MLFLOW)
        return json.loads(self.node.kubectl(*inside, path, json.dumps(asked)))

    def _available(self, namespace: str, deployment: str) -> bool:
        seen = json.loads(self.node.kubectl("get", "deployment", deployment, "-n", namespace, "-o", "json"))
        if seen.get("status", {}).get("readyReplicas"):
            return True
        self._crashes(namespace)
        return False

    def _crashes(self, namespace: str) -> None:
        """Raise RuntimeError with the log of a container that starts again and again: nobody mends it meanwhile."""
        for pod in self.listed("pods", namespace):
            for container in pod["status"].get("containerStatuses", []):
                if container["restartCount"] >= CRASHES:
                    name = pod["metadata"]["name"]
                    said = self.node.kubectl("logs", name, "-n", namespace, "--previous", "--tail=20")
                    raise RuntimeError(f"pod {name} does not stay up:\n{said}")


def operator_manifest() -> str:
    """deploy/operator.yaml with its settings. Raises ValueError where it does not have them any more."""
    text = (ROOT / "deploy" / "operator.yaml").read_text()
    for before, after in SETTINGS.items():
        if before not in text:
            raise ValueError(f"deploy/operator.yaml has no {before!r}, which is to be set to {after!r}")
        text = text.replace(before, after)
    return text
