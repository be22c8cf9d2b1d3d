"""The jail of one candidate: limits, another user, no network, no sight of other processes or of home.

Each layer is used where the machine allows it; `probe` finds out once which ones do, and the evaluation's
environment lists them. A container that drops all capabilities leaves the limits and the fresh process,
and relies on the pod for the rest. Called by `zygote.py` in the process that becomes the candidate's.
"""

import contextlib
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from everforge.runners import kernel_calls as kernel

# Above the ranges distributions give to people and below those of containers' sub-ids.
FIRST_UID = 61000
_LAYERS = ("pids", "network", "ipc", "files", "uid")


@dataclass(frozen=True)
class Limits:
    """What the candidate's processes may use. None leaves a limit as it is."""

    cpu_seconds: int
    address_bytes: int | None
    file_bytes: int
    processes: int
    open_files: int = 1024


@dataclass(frozen=True)
class Cell:
    """One jail: its limits, its private directory, its user, and the layers in force."""

    limits: Limits
    directory: str
    uid: int
    layers: tuple[str, ...]
    # What stays readable although it lies below a hidden directory: interpreter, packages, compilers.
    visible: tuple[str, ...]


def visible_paths() -> tuple[str, ...]:
    """Directories a candidate's imports and builds read: the interpreter, its packages, this package."""
    here = os.path.dirname(os.path.realpath(__file__))
    named = {sys.prefix, sys.base_prefix, sys.exec_prefix, here, *sys.path, os.environ.get("CUDA_HOME", "")}
    present = {path for path in named if os.path.isabs(path) and os.path.isdir(path)}
    return tuple(sorted((present | {os.path.realpath(path) for path in present}) - {"/"}))


def enter_namespaces(cell: Cell) -> None:
    """Leave the machine's namespaces; the next fork is the first process of a new pid namespace."""
    flags = {"pids": kernel.CLONE_NEWPID, "network": kernel.CLONE_NEWNET, "ipc": kernel.CLONE_NEWIPC}
    wanted = sum(flag for layer, flag in flags.items() if layer in cell.layers)
    if "files" in cell.layers:
        wanted |= kernel.CLONE_NEWNS
    if "user-namespace" in cell.layers:
        _enter_user_namespace()
    if wanted:
        kernel.unshare(wanted)


def _enter_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def lock_down(cell: Cell) -> None:
    """Hide files, apply limits and give up privileges; nothing after this can be taken back."""
    if "files" in cell.layers:
        _hide_files(cell)
    os.chdir(cell.directory)
    _apply_limits(cell)
    if "uid" in cell.layers:
        os.setgroups([])
        os.setresgid(cell.uid, cell.uid, cell.uid)
        os.setresuid(cell.uid, cell.uid, cell.uid)
    kernel.forbid_new_privileges()
    kernel.forbid_tracing()


def _hide_files(cell: Cell) -> None:
    """Empty file systems over home, /tmp and /dev/shm, with what must stay visible bound back, read-only."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    places = dict.fromkeys((str(Path.home()), "/root", "/tmp", "/dev/shm"))  # noqa: S108 - hidden, not used
    hidden = [path for path in places if os.path.isdir(path) and path != "/"]
    keep = {path: os.open(path, os.O_PATH) for path in (*cell.visible, cell.directory) if _is_below(path, hidden)}
    for path in hidden:
        kernel.mount("tmpfs", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777,size=4g")
    for path, descriptor in keep.items():
        _bind_back(path, descriptor, read_only=path != cell.directory)
    if "pids" in cell.layers:
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV)


def _is_below(path: str, hidden: list[str]) -> bool:
    return any(path == place or path.startswith(place + "/") for place in hidden)


def _bind_back(path: str, descriptor: int, read_only: bool) -> None:
    os.makedirs(path, mode=0o755, exist_ok=True)
    kernel.mount(f"/proc/self/fd/{descriptor}", path, None, kernel.MS_BIND | kernel.MS_REC)
    os.close(descriptor)
    if read_only:
        kernel.mount("none", path, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY)


def _apply_limits(cell: Cell) -> None:
    limits = cell.limits
    wanted: list[tuple[int, int]] = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
    ]
    if "uid" in cell.layers:  # the count is per user: under a shared user it would count the user's own
        wanted.append((resource.RLIMIT_NPROC, limits.processes))
    if limits.address_bytes is not None:
        wanted.append((resource.RLIMIT_AS, limits.address_bytes))
    for kind, value in wanted:
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def probe(directory: str) -> tuple[str, ...]:
    """The layers this machine allows, found by trying each in a process of its own."""
    privileged = () if os.geteuid() == 0 else ("user-namespace",)
    candidates = [layer for layer in _LAYERS if not (privileged and layer == "uid")]
    allowed: tuple[str, ...] = ()
    for layer in candidates:
        attempt = (*privileged, *allowed, layer)
        if layer == "uid" and "files" not in allowed and not _others_can_read(visible_paths()):
            continue
        if _works(Cell(_PROBE_LIMITS, directory, FIRST_UID, attempt, visible_paths())):
            allowed = (*allowed, layer)
    return (*privileged, *allowed) if allowed else ()


_PROBE_LIMITS = Limits(cpu_seconds=60, address_bytes=None, file_bytes=1 << 20, processes=64)


def _others_can_read(paths: tuple[str, ...]) -> bool:
    """Whether another user could reach these directories: every parent must be searchable by all."""
    every = {parent for path in paths for parent in (Path(path), *Path(path).parents)}
    return all(path.stat().st_mode & 0o001 for path in every)


def _works(cell: Cell) -> bool:
    """Whether a process can enter this jail and still read the interpreter's own library."""
    child = os.fork()
    if child == 0:
        os._exit(_attempt(cell))
    return os.waitpid(child, 0)[1] == 0


def _attempt(cell: Cell) -> int:
    try:
        enter_namespaces(cell)
        inner = os.fork()
        if inner:
            return os.waitpid(inner, 0)[1] != 0
        lock_down(cell)
        with open(os.__file__, encoding="utf-8") as library:
            library.read(1)
        os.listdir("/proc/self")
        return 0
    except OSError:
        return 1


def end_jail(init: int, layers: tuple[str, ...]) -> None:
    """End a jail by its init: the kernel ends a pid namespace with it; without one, it ends its descendants."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(init, signal.SIGKILL if "pids" in layers else signal.SIGTERM)


def kill_descendants() -> None:
    """Kill and reap all that is left below this process, which must have adopted its orphans."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for path in Path("/proc/self/task").glob("*/children"):
                for pid in path.read_text().split():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)
