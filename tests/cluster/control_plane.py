"""A real Kubernetes without nodes: etcd, API server, controller manager and scheduler as processes of this machine.

For tests of CRDs, CEL, RBAC, reconcile loops and failures (`conftest.py`), and for people (`up.py`). There is no
kubelet, so pods stay Pending until a test writes their status; `full_node.py` adds one.
"""

import datetime
import http.client
import random
import shutil
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cluster_binaries
from cluster_certificates import Authority, signing_key
from loopback_port import LoopbackPort
from server_process import ServerProcess

SERVICE_ADDRESSES = "10.97.0.0/24"
API_SERVICE_ADDRESS = "10.97.0.1"  # the first of them, always the API server's
# A start takes 5 to 10 s on an idle machine of two cores; a machine under ten times its load still gets there.
READY_TIMEOUT_S = 120.0
# With no kubelet to report, a pretend node would count as lost after 40 s. No test takes an hour.
NODE_GRACE_PERIOD = "1h"


class ControlPlane:
    """One cluster in a temporary directory. `start`, use `kubeconfig`, `stop`; or as a context manager.

    `node_address` is where pods reach the API server on a machine that runs pods; without one only loopback does.
    """

    def __init__(self, binaries: Path, node_address: str | None = None) -> None:
        # A short path: that of a Unix socket has 107 characters at most.
        self.directory = Path(tempfile.mkdtemp(prefix="everforge-cluster-"))
        self.logs = self.directory / "logs"
        self.logs.mkdir()
        self.draw = random.Random()
        self.port = LoopbackPort(self.draw)
        self.node_address = node_address
        self.server = f"https://127.0.0.1:{self.port.number}"
        self.authority = Authority(self.directory / "pki", datetime.datetime.now(datetime.UTC))
        self.kubeconfig = self.kubeconfig_for("admin", "everforge-admin", ["system:masters"])
        self.etcd = self._server(binaries / "etcd", *self._etcd_flags())
        self.apiserver = self._server(binaries / "kube-apiserver", *self._apiserver_flags())
        self.controller_manager = self._server(binaries / "kube-controller-manager", *self._controller_manager_flags())
        self.scheduler = self._server(binaries / "kube-scheduler", *self._scheduler_flags())
        self.servers = [self.etcd, self.apiserver, self.controller_manager, self.scheduler]

    def __enter__(self) -> "ControlPlane":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all servers; returns when the API answers and the controllers work. Raises ServerFailed."""
        try:
            self._start_in_order()
        except BaseException:
            self.stop(keep_logs=True)
            raise

    def _start_in_order(self) -> None:
        self.etcd.start()
        # The API server's own patience ends after 20 s.
        self.etcd.wait_until(self._etcd_socket.exists, "its socket", READY_TIMEOUT_S)
        self.start_apiserver()
        self.controller_manager.start()
        self.scheduler.start()
        self.controller_manager.wait_until(self._controllers_work, "the first service account", READY_TIMEOUT_S)

    def stop(self, keep_logs: bool = False) -> None:
        """End all servers, those that depend on others first, and remove every file; the logs stay when asked."""
        for server in reversed(self.servers):
            server.stop()
        self.port.release()
        for path in self.directory.iterdir():
            if path != self.logs:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not keep_logs:
            shutil.rmtree(self.directory)

    def start_apiserver(self) -> None:
        """Start the API server, on the port it always had; returns when it is ready."""
        self.apiserver.start()
        self.apiserver.wait_until(self.apiserver_is_ready, "an ok from /readyz", READY_TIMEOUT_S)

    def stop_apiserver(self) -> None:
        """Take the API server away, at once; etcd keeps what was written."""
        self.apiserver.kill()

    def restart_apiserver(self) -> None:
        """What an upgrade of the control plane looks like from outside: every watch breaks, then all is back."""
        self.stop_apiserver()
        self.start_apiserver()

    def apiserver_is_ready(self) -> bool:
        """Whether /readyz says ok, which includes etcd, admission and the roles that every cluster has."""
        return self._status_of("/readyz") == http.client.OK

    def kubeconfig_for(self, name: str, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for any user: RBAC decides what that user may do, and a new one may do nothing."""
        return self.authority.kubeconfig(self.directory / f"{name}.kubeconfig", self.server, user, groups)

    def _controllers_work(self) -> bool:
        return self._status_of("/api/v1/namespaces/default/serviceaccounts/default") == http.client.OK

    def _status_of(self, path: str) -> int | None:
        """The HTTP status the admin gets for a path; None when nobody answers."""
        context = ssl.create_default_context(cafile=self.authority.ca_path)
        context.load_cert_chain(self.authority.directory / "admin.crt", self.authority.directory / "admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port.number, timeout=5, context=context)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def _server(self, program: Path, *flags: str) -> ServerProcess:
        return ServerProcess([program, *flags], self.logs / f"{program.name}.log")

    def _etcd_flags(self) -> list[str]:
        return [
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls=unix://{self._etcd_socket}",
            # It has no peers and nobody asks where it is, but it insists on addresses for both.
            "--advertise-client-urls=http://127.0.0.1:0",
            "--listen-peer-urls=http://127.0.0.1:0",
            "--unsafe-no-fsync",  # a test cluster does not outlive a power cut
            "--log-level=warn",
        ]

    @property
    def _etcd_socket(self) -> Path:
        return self.directory / "etcd.sock"

    def _apiserver_flags(self) -> list[str]:
        names = ["127.0.0.1", "localhost", API_SERVICE_ADDRESS, "kubernetes.default.svc"]
        certificate, key = self.authority.issue("apiserver", "kube-apiserver", hosts=names)
        # `kubectl logs` and `exec` are the API server's calls of a kubelet.
        caller, caller_key = self.authority.issue("kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
        accounts_key = signing_key(self._accounts_key)
        return [
            f"--etcd-servers=unix://{self._etcd_socket}",
            f"--secure-port={self.port.number}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.authority.ca_path}",
            "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={accounts_key}",
            f"--service-account-signing-key-file={accounts_key}",
            "--allow-privileged=true",
            "--profiling=false",
            f"--kubelet-client-certificate={caller}",
            f"--kubelet-client-key={caller_key}",
            "--kubelet-preferred-address-types=InternalIP",
            *self._listening_flags(),
        ]

    def _listening_flags(self) -> list[str]:
        if self.node_address is None:
            # A loopback address is no valid endpoint of the Service `kubernetes`.
            loopback = ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"]
            return [*loopback, "--endpoint-reconciler-type=none"]
        return ["--bind-address=0.0.0.0", f"--advertise-address={self.node_address}"]

    @property
    def _accounts_key(self) -> Path:
        return self.directory / "pki" / "service-accounts.key"

    def _controller_manager_flags(self) -> list[str]:
        config = self.kubeconfig_for("controller-manager", "system:kube-controller-manager")
        return [
            f"--kubeconfig={config}",
            "--secure-port=0",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self._accounts_key}",
            f"--root-ca-file={self.authority.ca_path}",
            *([] if self.node_address else [f"--node-monitor-grace-period={NODE_GRACE_PERIOD}"]),
        ]

    def _scheduler_flags(self) -> list[str]:
        config = self.kubeconfig_for("scheduler", "system:kube-scheduler")
        return [f"--kubeconfig={config}", "--secure-port=0", "--leader-elect=false"]


def new_control_plane() -> ControlPlane:
    """One that is not started yet, from whatever binaries this machine has. Raises BinariesMissing."""
    return ControlPlane(cluster_binaries.find())
