"""The programs of a real Kubernetes: found on this machine, or built once from their Go modules.

`make test` calls this file before pytest, because tests are cut off from the network. `control_plane.py` asks `find`
for a directory that has all it needs; nothing is ever taken from two releases.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from other_cluster import kind_is_usable

MODULE = Path(__file__).parent / "binaries"
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "dns": "./dns",
    "sandbox": "./sandbox",
    "helm": "helm.sh/helm/v3/cmd/helm",
}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
FULL_NODE = (*CONTROL_PLANE, "kubelet", "kube-proxy", "dns", "sandbox")
# People who start a node by hand get what they install with; no test asks for it.
FOR_PEOPLE = (*FULL_NODE, "helm")
# A build is silent for minutes otherwise, and CI takes silence for a hang.
PROGRESS_EVERY_S = 20


class BinariesMissing(Exception):
    """This machine has no complete set of programs; the message says what was looked for and what would help."""


def find(names: tuple[str, ...] = CONTROL_PLANE) -> Path:
    """A directory with every named program: prebuilt ones first, then what an earlier build left.

    Raises BinariesMissing.
    """
    for directory in (*prebuilt_directories(), built_directory()):
        if directory is not None and not missing_in(directory, names):
            return directory
    raise BinariesMissing(
        f"{', '.join(names)}: not together on PATH or in KUBEBUILDER_ASSETS, and not built. {advice()}"
    )


def find_kubectl() -> str:
    """The kubectl of the cluster's own release, or else any. Raises BinariesMissing."""
    try:
        return str(find() / "kubectl")
    except BinariesMissing:
        if kubectl := shutil.which("kubectl"):
            return kubectl
        raise


def prebuilt_directories() -> Iterator[Path]:
    """Where the user, or a distribution, may have put the programs of one release."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        yield Path(assets)
    if apiserver := shutil.which("kube-apiserver"):
        yield Path(apiserver).parent


def missing_in(directory: Path, names: tuple[str, ...]) -> list[str]:
    """The named programs that a directory does not have."""
    return [name for name in names if not os.access(directory / name, os.X_OK)]


def built_directory() -> Path | None:
    """Where the build for these modules and this compiler puts its programs; None without Go."""
    go_version = go_environment("GOVERSION")
    if go_version is None:
        return None
    sources = sorted(path for path in MODULE.rglob("*") if path.is_file())
    recipe = b"".join(path.read_bytes() for path in sources) + go_version.encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "everforge" / "cluster-binaries" / hashlib.sha256(recipe).hexdigest()[:12]


def go_environment(name: str) -> str | None:
    """A setting of the Go toolchain; None where there is no Go."""
    if shutil.which("go") is None:
        return None
    answer = subprocess.run(["go", "env", name], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def advice() -> str:
    """What to do on a machine without the programs."""
    needed = re.search(r"^go (\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if go_environment("GOVERSION") is None:
        return f"Install Go {needed and needed[1]} or later and run `make cluster-binaries`, or set KUBEBUILDER_ASSETS."
    return "Run `make cluster-binaries`."


def build_unless_found(names: tuple[str, ...]) -> Path:
    """The directory with every named program, after a build where that is what it takes. Raises BinariesMissing."""
    try:
        return find(names)
    except BinariesMissing:
        return build(names)


def build(names: tuple[str, ...]) -> Path:
    """Build what is missing, one program after the other, telling how far it is; returns the directory.

    Raises BinariesMissing where there is no Go, or where a build fails.
    """
    directory = built_directory()
    if directory is None:
        raise BinariesMissing(f"The programs of a Kubernetes cluster cannot be built: there is no Go. {advice()}")
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock"):
        started = time.monotonic()
        for name in missing_in(directory, names):
            build_one(name, directory)
        if (elapsed := time.monotonic() - started) > 1:
            tell(f"{', '.join(names)} are in {directory}, after {elapsed:.0f} s; next time this takes none")
    return directory


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one builder in at a time; a second waits and then finds everything built."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_one(name: str, directory: Path) -> None:
    """Compile and link one program; its file appears when it is complete."""
    started = time.monotonic()
    unfinished = directory / f"{name}.unfinished"
    command = ["go", "build", "-v", "-trimpath", f"-ldflags={linker_flags()}", "-o", str(unfinished), PACKAGES[name]]
    # No -buildvcs: the stamp would describe Everforge's repository.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -buildvcs=false"}
    tell(f"building {name}; a first build downloads its modules")
    said = run_with_progress(name, command, environment, started)
    if not unfinished.exists():
        raise BinariesMissing(f"{name} could not be built with `{' '.join(command)}`:\n" + "\n".join(said[-20:]))
    unfinished.rename(directory / name)
    size_mib = (directory / name).stat().st_size / 2**20
    tell(f"built {name}: {time.monotonic() - started:.0f} s, {size_mib:.0f} MiB")


def linker_flags() -> str:
    """No symbols, and the release in the place where Kubernetes' own build puts it: clients read it from /version."""
    release = re.search(r"k8s\.io/kubernetes (v1\.(\d+)\.\d+)", (MODULE / "go.mod").read_text())
    if release is None:
        raise BinariesMissing(f"{MODULE / 'go.mod'} pins no release of k8s.io/kubernetes.")
    version = "k8s.io/component-base/version"
    stamps = {"gitVersion": release[1], "gitMajor": "1", "gitMinor": release[2], "gitTreeState": "archive"}
    return " ".join(["-s", "-w", *(f"-X {version}.{key}={value}" for key, value in stamps.items())])


def run_with_progress(name: str, command: list[str], environment: Mapping[str, str], started: float) -> list[str]:
    """Run a build that prints each package it compiles; returns its lines."""
    said: list[str] = []
    told_at = started
    with subprocess.Popen(
        command, cwd=MODULE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            said.append(line.rstrip())
            if (now := time.monotonic()) - told_at > PROGRESS_EVERY_S:
                told_at = now
                tell(f"  {name}: {len(said)} packages compiled or fetched, {now - started:.0f} s")
    return said


def tell(line: str) -> None:
    """Say something at once, also into CI's log."""
    print(f"cluster-binaries: {line}", flush=True)


def main() -> int:
    """Make sure that the programs are there; a machine that cannot build them gets a loud line and no error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full-node", action="store_true", help="what runs pods, too")
    parser.add_argument("--required", action="store_true", help="end with 1 where the programs cannot be had")
    options = parser.parse_args()
    names = FULL_NODE if options.full_node else CONTROL_PLANE
    try:
        find(names)
        return 0
    except BinariesMissing:
        if kind_is_usable() and not options.full_node:
            tell("tests will use kind")
            return 0
    try:
        build(names)
    except BinariesMissing as missing:
        tell(f"NO CLUSTER: tests on a real Kubernetes will be skipped. {missing}")
        return int(options.required)
    return 0


if __name__ == "__main__":
    sys.exit(main())
