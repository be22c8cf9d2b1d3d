"""Clusters that the tests use and do not run themselves: the one of $KUBECONFIG, and kind where a Docker engine runs.

`conftest.py` chooses. Their authority is not ours and their API server is not ours to break: what needs either raises
CannotStage, and the test is skipped.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Pulling the node image may take most of it.
KIND_TIMEOUT_S = 600
# An engine that is there answers in a second.
DOCKER_TIMEOUT_S = 30


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
        # kind takes lower-case letters, digits, dots and dashes; a temporary directory's name has underscores, too.
        self.name = f"everforge-{secrets.token_hex(4)}"
        try:
            self._kind("create", "cluster", *self._named, "--wait", "2m")
        except BaseException:
            self.stop()
            raise

    def stop(self, keep_logs: bool = False) -> None:
        """Delete the cluster; its logs go first, to a directory beside the kubeconfig, when asked."""
        try:
            if keep_logs:
                self._kind("export", "logs", "--name", self.name, str(self.directory / "logs"))
        finally:
            self._kind("delete", "cluster", *self._named)
            if not keep_logs:
                shutil.rmtree(self.directory)

    @property
    def _named(self) -> tuple[str, ...]:
        """Without the kubeconfig's path, both commands would write to the user's."""
        return "--name", self.name, "--kubeconfig", str(self.kubeconfig)

    def _kind(self, *arguments: str) -> None:
        """Raises CalledProcessError, TimeoutExpired."""
        # kind hands proxies on to its nodes, and the one that tests are given (tests/conftest.py) leads nowhere.
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        subprocess.run(["kind", *arguments], env=environment, check=True, timeout=KIND_TIMEOUT_S)


def kind_is_usable() -> bool:
    """Whether `kind` is installed and a Docker engine answers."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    try:
        return (
            subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=DOCKER_TIMEOUT_S).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


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
