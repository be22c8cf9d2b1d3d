"""The jail of one candidate: limits, another user, no network, no sight of other processes or of others' files.

Each layer is used where the machine allows it; `probe` finds out once which ones do, and the evaluation's
environment lists them. A container that drops all capabilities leaves the limits, the filter of system calls and
the fresh process, and relies on the pod for the rest. Called by `zygote.py` in the process that becomes the
candidate's.
"""

import contextlib
import os
import re
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from everforge.runners.isolation import file_view, process_tree, seccomp
from everforge.runners.isolation import kernel_calls as kernel

# Above the ranges distributions give to people and below those of containers' sub-ids.
FIRST_UID = 61000
# In the order they are entered. The last needs no privilege; what it refuses, the others need.
_LAYERS = ("pids", "network", "ipc", "files", "uid", "seccomp")
# 200 processes that sleep are stopped in 23 ms; what spins and forks is killed without, and again until it is gone.
_STUBBORN_S = 0.2
# Looking for what escaped costs 0.1 ms for each process, so the killed ones get some time to end before; one that has
# torch mapped takes milliseconds to.
_REAP_S = 0.1
_REAP_PAUSE_S = 0.002


@dataclass(frozen=True)
class Limits:
    """What the candidate's processes may use. None leaves a limit as it is."""

    cpu_seconds: int
    address_bytes: int | None
    file_bytes: int
    processes: int
    open_files: int = 1024
    # What the candidate may keep in its own directory, which is in memory where the layer `files` is in force.
    scratch_bytes: int = 4 << 30


@dataclass(frozen=True)
class Cell:
    """One jail: its limits, its private directory, its user, and the layers in force."""

    limits: Limits
    directory: str
    uid: int
    layers: tuple[str, ...]
    # What stays of the machine's files.
    view: file_view.FileView


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
        owner = cell.uid if "uid" in cell.layers else None
        file_view.apply(cell.view, cell.directory, cell.limits.scratch_bytes, owner)
        if "pids" in cell.layers:
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV)
    os.chdir(cell.directory)
    _apply_limits(cell)
    if "uid" in cell.layers:
        os.setgroups([])
        os.setresgid(cell.uid, cell.uid, cell.uid)
        os.setresuid(cell.uid, cell.uid, cell.uid)
    kernel.drop_capabilities()
    kernel.forbid_new_privileges()
    kernel.forbid_tracing()
    if "seccomp" in cell.layers:
        seccomp.apply()


def _apply_limits(cell: Cell) -> None:
    limits = cell.limits
    wanted: list[tuple[int, int]] = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
    ]
    if _processes_are_its_own(cell):
        wanted.append((resource.RLIMIT_NPROC, limits.processes))
    if limits.address_bytes is not None:
        wanted.append((resource.RLIMIT_AS, limits.address_bytes))
    for kind, value in wanted:
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _processes_are_its_own(cell: Cell) -> bool:
    """Whether the count that a limit on processes goes by is of this jail alone, and not of all of its user's.

    Linux counts for each user and, since 5.14, in each user namespace anew.
    """
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    return "uid" in cell.layers or ("user-namespace" in cell.layers and release >= (5, 14))


def shares_sight(layers: tuple[str, ...]) -> bool:
    """Whether a jail of these layers leaves other processes of its user in sight: /proc shows their memory."""
    return not {"uid", "pids"} & set(layers)


def probe(directory: str, view: file_view.FileView) -> tuple[str, ...]:
    """The layers this machine allows, found by trying each in a process of its own."""
    privileged = () if os.geteuid() == 0 else ("user-namespace",)
    candidates = [layer for layer in _LAYERS if not (privileged and layer == "uid")]
    allowed: tuple[str, ...] = ()
    for layer in candidates:
        namespaces = privileged if (*allowed, layer) != ("seccomp",) else ()
        if layer == "uid" and "files" not in allowed and not _others_can_read(view.visible):
            continue
        if _works(Cell(_PROBE_LIMITS, directory, FIRST_UID, (*namespaces, *allowed, layer), view)):
            allowed = (*allowed, layer)
    return (*privileged, *allowed) if allowed not in ((), ("seccomp",)) else allowed


_PROBE_LIMITS = Limits(cpu_seconds=60, address_bytes=None, file_bytes=1 << 20, processes=64)


def _others_can_read(paths: tuple[str, ...]) -> bool:
    """Whether another user could reach these directories: every parent must be searchable by all."""
    every = {parent for path in paths for parent in (Path(path), *Path(path).parents)}
    return all(path.stat().st_mode & 0o001 for path in every if path.is_dir())


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


def kill_jail(init: int) -> None:
    """Kill an init that does not end, and all that is below it."""
    _kill_below(init, _STUBBORN_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(init, signal.SIGKILL)


def kill_descendants() -> None:
    """Kill and reap all that is left below this process, which must have adopted its orphans."""
    with contextlib.suppress(ChildProcessError):
        while True:
            _kill_below(os.getpid(), _STUBBORN_S)
            _reap_until(time.monotonic() + _REAP_S)


def _reap_until(deadline_s: float) -> None:
    """Reap what ends until then. Raises ChildProcessError once there is nothing left."""
    while time.monotonic() < deadline_s:
        if os.waitpid(-1, os.WNOHANG)[0] == 0:
            time.sleep(_REAP_PAUSE_S)


def _kill_below(root: int, limit_s: float) -> None:
    """Stop all, then kill all: processes that fork as fast as they are killed would go on for ever."""
    with contextlib.suppress(process_tree.NotStopped):
        process_tree.stop(root, time.monotonic() + limit_s)
    process_tree.kill(root)
