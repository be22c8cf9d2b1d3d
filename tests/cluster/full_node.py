"""A real Kubernetes with one node that runs pods: the control plane, containerd, kubelet, kube-proxy and CoreDNS.

For end-to-end tests and for people (`up.py --full-node`). It needs root, and containerd, runc and the CNI plugins from
the distribution. One machine has one of it: its directory, bridge and cgroups have fixed names, so that a run that was
killed can be cleared away by the next.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import cluster_binaries
import yaml
from container_runtime import CNI_PLUGINS, ContainerRuntime, kill_containers, kill_processes_of
from control_plane import READY_TIMEOUT_S, ControlPlane
from local_image import Image
from loopback_port import LoopbackPort
from server_process import ServerProcess

NODE = "everforge-node"
BRIDGE = "everforge0"
POD_ADDRESSES = "10.98.0.0/24"
NODE_ADDRESS = "10.98.0.1"  # of the bridge: pods reach what runs on the machine there
DIRECTORY = Path("/var/lib/everforge-node")

COREFILE = """\
.:53 {
  bind %s
  errors
  kubernetes cluster.local {
    kubeconfig %s
  }
}
"""


class NodeImpossible(Exception):
    """This machine cannot run pods; the message says what it lacks."""


def why_not() -> str | None:
    """What this machine lacks to run pods; None when it has all."""
    if os.geteuid() != 0:
        return "pods need root"
    lacking = [name for name in ("containerd", "ctr", "runc", "ip", "iptables") if shutil.which(name) is None]
    if not (CNI_PLUGINS / "bridge").exists():
        lacking.append(f"the CNI plugins in {CNI_PLUGINS}")
    packages = "containerd runc containernetworking-plugins iptables iproute2"
    return f"missing: {', '.join(lacking)} (Debian, Ubuntu: apt-get install {packages})" if lacking else None


class FullNode:
    """The control plane and one node. `start`, use `kubeconfig`, `stop`; or as a context manager."""

    def __init__(self, binaries: Path) -> None:
        if reason := why_not():
            raise NodeImpossible(reason)
        self.lock = only_one()
        self.binaries = binaries
        if DIRECTORY.exists():
            clear_away(binaries)
        if reason := foreign_rules():
            raise NodeImpossible(reason)
        DIRECTORY.mkdir(parents=True)
        self.plane = ControlPlane(binaries, node_address=NODE_ADDRESS)
        self.kubeconfig = self.plane.kubeconfig
        self.logs = self.plane.logs
        self.kubelet_port = LoopbackPort(self.plane.draw)
        self.runtime = ContainerRuntime(DIRECTORY / "containerd", self.logs)
        (self.runtime.cni / "10-bridge.conflist").write_text(json.dumps(pod_network()))
        self.kubelet = self._server("kubelet", *self._kubelet_flags())
        self.proxy = self._server("kube-proxy", f"--config={self._write('proxy.yaml', self._proxy_settings())}")
        self.dns = self._server("dns", f"-conf={self._corefile()}")

    def __enter__(self) -> "FullNode":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything; returns when the node is Ready and can be scheduled to. Raises ServerFailed."""
        try:
            self._start_in_order()
        except BaseException:
            self.stop(keep_logs=True)
            raise

    def _start_in_order(self) -> None:
        make_bridge()
        self.plane.start()
        self.runtime.start(self.binaries / "sandbox")
        self.kubelet.start()
        self.proxy.start()
        self._allow_dns_to_look()
        self.dns.start()
        # What it says once it has seen the Services and listens.
        self.dns.wait_until(lambda: "CoreDNS-" in self.dns.log_tail(), "its first answer", READY_TIMEOUT_S)
        self.kubelet.wait_until(self._node_is_ready, "a Ready node", READY_TIMEOUT_S)

    def stop(self, keep_logs: bool = False) -> None:
        """End every pod and server, and leave nothing mounted, no bridge and no rules."""
        with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            # The kubelet itself frees a pod's volumes and network, while it runs.
            self.kubectl("delete", "pods", "--all-namespaces", "--all", "--grace-period=1", "--timeout=30s")
        for server in (self.kubelet, self.dns, self.proxy):
            server.stop()
        self.runtime.stop()
        self.plane.stop(keep_logs)
        self.kubelet_port.release()
        clear_away(self.binaries)
        self.lock.close()

    def load_image(self, archive: Path) -> None:
        """Give the node the images of an OCI or Docker archive."""
        self.runtime.load(archive)

    def load_images(self, images: Sequence[Image]) -> None:
        """Give the node images whose layers lie in files."""
        self.runtime.load_images(images)

    def kill(self, pod_uid: str) -> None:
        """Kill what a pod runs as a machine without memory would: at once, and nobody is told before."""
        kill_processes_of(pod_uid)

    def restart_apiserver(self) -> None:
        """Kill the API server and start it again; returns when it is ready."""
        self.plane.restart_apiserver()

    def pretend_devices(self, resource: str, count: int) -> None:
        """Give the node an extended resource such as `nvidia.com/gpu`: scheduled and counted, nothing behind it."""
        patch = {"status": {"capacity": {resource: str(count)}, "allocatable": {resource: str(count)}}}
        self.kubectl("patch", "node", NODE, "--subresource=status", f"--patch={json.dumps(patch)}")

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl answers the admin."""
        command = [str(self.binaries / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        try:
            return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=60).stdout
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise

    def _node_is_ready(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            node = json.loads(self.kubectl("get", "node", NODE, "-o", "json"))
            ready = [each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready"]
            return ready == ["True"] and not node["spec"].get("taints")
        return False

    def _server(self, name: str, *flags: str) -> ServerProcess:
        return ServerProcess([self.binaries / name, *flags], self.logs / f"{name}.log")

    def _write(self, name: str, settings: Mapping[str, Any]) -> Path:
        path = DIRECTORY / name
        path.write_text(yaml.safe_dump(dict(settings)))
        return path

    def _kubelet_flags(self) -> list[str]:
        kubeconfig = self.plane.kubeconfig_for("kubelet", f"system:node:{NODE}", ["system:nodes"])
        return [
            f"--config={self._write('kubelet.yaml', self._kubelet_settings())}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            f"--root-dir={DIRECTORY / 'kubelet'}",
            f"--cert-dir={DIRECTORY / 'kubelet-pki'}",
        ]

    def _kubelet_settings(self) -> Mapping[str, Any]:
        resolv_conf = DIRECTORY / "resolv.conf"
        resolv_conf.write_text("")
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self.runtime.socket}",
            "authentication": {
                "x509": {"clientCAFile": str(self.plane.authority.ca_path)},
                "webhook": {"enabled": True},
            },
            "authorization": {"mode": "Webhook"},
            "address": NODE_ADDRESS,
            "port": self.kubelet_port.number,
            "healthzPort": 0,
            "clusterDNS": [NODE_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(resolv_conf),
            "cgroupDriver": "cgroupfs",
            # The machine may be a container or a small VM: swap, cgroup v1 and full disks are its own affair.
            "failSwapOn": False,
            # A quota stops a container for tenths of a second, and its kernels would be timed with that.
            "cpuCFSQuota": False,
            "failCgroupV1": False,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            # Pods of tests are many and short.
            "registryPullQPS": 0,
            "syncFrequency": "10s",
        }

    def _proxy_settings(self) -> Mapping[str, Any]:
        kubeconfig = self.plane.kubeconfig_for("proxy", "system:kube-proxy")
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "mode": "iptables",
            "clusterCIDR": POD_ADDRESSES,
            "hostnameOverride": NODE,
            "metricsBindAddress": "",
            "healthzBindAddress": "",
            "oomScoreAdj": 0,
            # The machine's own limits on connections stay as they are.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }

    def _corefile(self) -> Path:
        kubeconfig = self.plane.kubeconfig_for("dns", "everforge-dns")
        path = DIRECTORY / "Corefile"
        path.write_text(COREFILE % (NODE_ADDRESS, kubeconfig))
        return path

    def _allow_dns_to_look(self) -> None:
        resources = "endpointslices.discovery.k8s.io,services,pods,namespaces"
        self.kubectl("create", "clusterrole", "everforge-dns", "--verb=list,watch", f"--resource={resources}")
        self.kubectl(
            "create", "clusterrolebinding", "everforge-dns", "--clusterrole=everforge-dns", "--user=everforge-dns"
        )


def only_one() -> TextIO:
    """The machine's lock, held until it is closed. Raises NodeImpossible while another node lives."""
    file = DIRECTORY.with_suffix(".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        ended_by = "`make cluster-down` ends one that was left running"
        raise NodeImpossible(f"a node runs on this machine already; {ended_by}") from None
    return file


def pod_network() -> Mapping[str, Any]:
    """Pods on one bridge, behind the machine's address when they talk to others."""
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "isDefaultGateway": True,  # the way to addresses of Services, too
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "dataDir": str(DIRECTORY / "addresses"), "subnet": POD_ADDRESSES},
    }
    return {
        "cniVersion": "0.4.0",
        "name": "everforge",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def make_bridge() -> None:
    """The network of the pods, before the first pod: API server and DNS listen on its address."""
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    prefix = POD_ADDRESSES.partition("/")[2]
    subprocess.run(["ip", "address", "add", f"{NODE_ADDRESS}/{prefix}", "dev", BRIDGE], check=True)
    subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def foreign_rules() -> str | None:
    """Why the machine's packet filter cannot be used: another cluster's rules, which ours would replace."""
    chain = subprocess.run(["iptables", "-t", "nat", "-n", "-L", "KUBE-SERVICES"], capture_output=True, check=False)
    return "iptables has the rules of another Kubernetes node on this machine" if chain.returncode == 0 else None


def clear_away(binaries: Path) -> None:
    """Remove what a node left, also one that was killed: containers, mounts, network, rules and files."""
    kill_containers(DIRECTORY)
    subprocess.run([binaries / "kube-proxy", "--cleanup"], capture_output=True, check=False)
    for group in sorted(Path("/sys/fs/cgroup").glob("**/kubepods/**/"), reverse=True):
        with contextlib.suppress(OSError):
            group.rmdir()
    # Inner mounts come later in the list than those they lie in.
    for mount in reversed(mounts_below(DIRECTORY)):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
    shutil.rmtree(DIRECTORY, ignore_errors=True)


def mounts_below(directory: Path) -> list[str]:
    """Where something is mounted below a directory, outer mounts first."""
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for line in table if (point := line.split()[4]).startswith(f"{directory}/")]


def new_full_node() -> FullNode:
    """One that is not started yet. Raises BinariesMissing and NodeImpossible."""
    return FullNode(cluster_binaries.find(cluster_binaries.FULL_NODE))
