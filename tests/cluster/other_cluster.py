"""Clusters that the tests use and do not run themselves: the one of $KUBECONFIG, and kind where a Docker engine runs.

`conftest.py` chooses. Their authority is not ours and their API server is not ours to break: what needs either raises
CannotStage, and the test is skipped.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Pulling the node image may take most of it.
KIND_TIMEOUT_S = 600


class CannotStage(Exception):
    """This cluster is not ours to break."""


class BorrowedCluster:
    """The cluster that $KUBECONFIG names. Tests leave it as they found it, namespaces on their way out apart."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def restart_apiserver(self) -> None:
        """Raises CannotStage."""
        raise CannotStage(f"the cluster of {self.kubeconfig} is not ours: its API server is not restarted")

    stop_apiserver = start_apiserver = restart_apiserver

    def kubeconfig_for(self, name: str, user: str, groups: Sequence[str] = ()) -> Path:
        """Raises CannotStage."""
        raise CannotStage(f"the cluster of {self.kubeconfig} is not ours: its authority signs nothing for {user}")

    def stop(self, keep_logs: bool = False) -> None:
        """Leave it alone."""


class KindCluster(BorrowedCluster):
    """A cluster in Docker, made for one test session and deleted after it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="everforge-kind-"))
        super().__init__(self.directory / "kubeconfig")
        self.name = self.directory.name
        create = [
            "kind",
            "create",
            "cluster",
            "--name",
            self.name,
            "--kubeconfig",
            str(self.kubeconfig),
            "--wait",
            "2m",
        ]
        subprocess.run(create, check=True, timeout=KIND_TIMEOUT_S)

    def stop(self, keep_logs: bool = False) -> None:
        """Delete the cluster; its logs go first, to a directory beside the kubeconfig, when asked."""
        if keep_logs:
            subprocess.run(["kind", "export", "logs", "--name", self.name, str(self.directory / "logs")], check=False)
        subprocess.run(["kind", "delete", "cluster", "--name", self.name], check=True)
        if not keep_logs:
            shutil.rmtree(self.directory)


def kind_is_usable() -> bool:
    """Whether `kind` is installed and a Docker engine answers."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def borrowed() -> BorrowedCluster | None:
    """The cluster of $KUBECONFIG, when EVERFORGE_CLUSTER=kubeconfig asks for it: tests write to it."""
    if os.environ.get("EVERFORGE_CLUSTER") != "kubeconfig":
        return None
    path = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    if not path.is_file():
        raise FileNotFoundError(
            f"EVERFORGE_CLUSTER=kubeconfig asks for the cluster of {path}, and there is no such file"
        )
    return BorrowedCluster(path)
