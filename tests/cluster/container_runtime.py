"""containerd for the test node: an instance of our own beside whatever the machine runs, in one directory.

`full_node.py` starts it and asks it to clear away. Pods are children of containerd's shims, which outlive it on
purpose; so the end of a node, expected or not, is more than the end of its processes.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from local_image import Image, write_archive, write_image
from server_process import ServerProcess

READY_TIMEOUT_S = 60.0
SANDBOX_IMAGE = "everforge.local/sandbox:1"
CNI_PLUGINS = Path("/usr/lib/cni")  # where Debian and Ubuntu put them
CONFIG = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
[grpc]
  address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  # A machine without CAP_SYS_RESOURCE cannot lower the score, and containers would not start.
  restrict_oom_score_adj = true
  sandbox_image = "{sandbox}"
  # Below `state`, where clearing away finds them.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/cni"
"""


class ContainerRuntime:
    """containerd with its socket, images and containers below `directory`."""

    def __init__(self, directory: Path, logs: Path) -> None:
        self.directory = directory
        self.socket = directory / "containerd.sock"
        self.cni = directory / "cni"
        self.cni.mkdir(parents=True, exist_ok=True)
        config = directory / "config.toml"
        config.write_text(CONFIG.format(directory=directory, sandbox=SANDBOX_IMAGE, plugins=CNI_PLUGINS))
        program = shutil.which("containerd") or "containerd"
        self.server = ServerProcess([program, f"--config={config}"], logs / "containerd.log")

    def start(self, sandbox_program: Path) -> None:
        """Start containerd with the image that every pod needs. Raises ServerFailed."""
        self.server.start()
        self.server.wait_until(self._answers, "an answer to `ctr version`", READY_TIMEOUT_S)
        archive = self.directory / "sandbox.tar"
        self.load(write_image(archive, SANDBOX_IMAGE, {"/sandbox": sandbox_program}, ["/sandbox"]))
        archive.unlink()

    def load(self, archive: Path) -> None:
        """Take images out of an OCI or Docker archive; pods name them with imagePullPolicy Never or IfNotPresent."""
        self._ctr("images", "import", str(archive))

    def load_images(self, images: Sequence[Image]) -> None:
        """Take images whose layers lie in files, through a pipe: no archive is ever on the disk."""
        command = ["ctr", f"--address={self.socket}", "--namespace=k8s.io", "images", "import", "-"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
            if importing.stdin is not None:
                write_archive(importing.stdin, images)
        if importing.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}` ended with {importing.returncode}")

    def images(self) -> list[str]:
        """The names of all images there are."""
        return self._ctr("images", "ls", "-q").split()

    def stop(self) -> None:
        """End every container, then containerd."""
        if self.server.is_running():
            for container in self._ctr("tasks", "ls", "-q").split():
                # One that ends by itself meanwhile is no error.
                self._ctr("tasks", "rm", "--force", container, check=False)
        self.server.stop()

    def _answers(self) -> bool:
        return self.socket.exists() and "Server" in self._ctr("version", check=False)

    def _ctr(self, *arguments: str, check: bool = True) -> str:
        command = ["ctr", f"--address={self.socket}", "--namespace=k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if check and done.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def kill_containers(directory: Path) -> None:
    """Kill what an instance in `directory` left running, when it ended without `stop`."""
    shims = [pid for pid, command in processes("cmdline") if "containerd-shim" in command and str(directory) in command]
    # The first process of a container is a child of its shim, and the others end with it.
    containers = [pid for pid, status in processes("stat") if int(status.rpartition(")")[2].split()[1]) in shims]
    for pid in containers + shims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_processes_of(pod_uid: str) -> None:
    """Kill a pod's processes, its sandbox left alone: their cgroup has the pod's uid in its name."""
    for pid, cgroup in processes("cgroup"):
        if pod_uid in cgroup.replace("_", "-"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if (Path("/proc") / str(pid) / "comm").read_text().strip() != "sandbox":
                    os.kill(pid, signal.SIGKILL)


def processes(file: str) -> Iterator[tuple[int, str]]:
    """Each process of this machine with the text of one of its files in /proc."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield int(process.name), (process / file).read_text(errors="replace")
