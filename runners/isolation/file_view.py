"""What a candidate sees of the files: the system, the interpreter with its packages, and a directory of its own.

Everything else could hold a task's source, an expected output or another worker's directory, so all that is not the
system's own is covered by empty file systems, and what imports and builds read is bound back, read-only. The decision
which paths are which is made once, by the trusted parent (`nursery.py`); `jail.py` applies it in the process that
becomes the candidate's, in a mount namespace of its own.
"""

import contextlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from everforge.runners.isolation import kernel_calls as kernel

# What stays as it is. Programs, libraries and their settings: bin, sbin, lib*, usr, etc; /opt has CUDA's, ROCm's and
# oneAPI's tool chains and conda; nix and gnu are the stores of NixOS and Guix. Devices and their drivers are reached
# through dev, proc and sys. Not among them: home, root, srv, var, mnt, media, data, boot, run (sockets of services,
# which a network namespace does not cut off), and whatever a machine's owner has made at the top, such as /work.
_SYSTEM = (
    "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc", "/opt", "/nix", "/gnu",
    "/dev", "/proc", "/sys",
)  # fmt: skip
# Below the system's directories, but written by everybody or holding what people work on. A message queue made as
# a file below /dev/mqueue belongs to the machine's namespace and not to the candidate's.
_WITHIN_SYSTEM = ("/dev/shm", "/dev/mqueue", "/usr/src", "/usr/local/src")  # noqa: S108 - covered, not used
# Directories that may be links to a place which is hidden: where the system is read-only, /opt leads into /var.
_MAY_BE_LINKS = ("/opt", "/usr/local", "/usr/local/cuda")
# NixOS finds a GPU's user-space driver here.
_ALWAYS_VISIBLE = ("/run/opengl-driver",)
# What workers import, should it be outside the directories packages are installed to.
_PACKAGES = ("torch", "triton", "numpy", "pydantic", "setuptools")
# Variables that say where device libraries and compilers are: one directory, or several between colons.
_NAMING_VARIABLES = ("CUDA_HOME", "CUDA_PATH", "ONEAPI_ROOT", "LD_LIBRARY_PATH")
# The parts of an environment that was made in the directory of a project, beside its files.
_PREFIX_PARTS = ("bin", "lib", "lib64", "include", "share", "etc", "nvvm", "targets", "pyvenv.cfg")
# Programs that keep temporary files where the environment does not say look here; torch's shared memory is there.
_SCRATCH = ("/tmp", "/dev/shm")  # noqa: S108 - covered, not used
# An inode of a file system in memory takes about 1 KiB that no size limit counts: 200 MB at most.
_INODES = 200_000
_OPEN_TO_ALL = f"mode=1777,size=1g,nr_inodes={_INODES}"
_MEMORY_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV


@dataclass(frozen=True)
class FileView:
    """Directories that are covered, and paths below them that are bound back read-only."""

    hidden: tuple[str, ...]
    visible: tuple[str, ...]


def view_of_this_machine(workers: str) -> FileView:
    """The view that workers whose directories are below `workers` get, as this interpreter finds its packages.

    To be called before any task is loaded: where this process has its libraries from is taken as visible.
    """
    private = _private_directories()
    visible = {*_interpreter(private), *_packages(), *_libraries(), *_named_by_environment(), *_ALWAYS_VISIBLE}
    visible |= {os.path.realpath(path) for path in (*_MAY_BE_LINKS, *visible)}
    present = {path for path in visible if os.path.isabs(path) and os.path.exists(path)}
    present -= {path for path in present if any(is_below(place, (path,)) for place in private)}
    hidden = {*_foreign_directories(), *private, os.path.realpath(workers)}
    return FileView(tuple(sorted(hidden)), tuple(sorted(present - {"/"})))


def is_below(path: str, places: Iterable[str]) -> bool:
    """Whether a path is one of these directories or below one."""
    return any(path == place or path.startswith(place + "/") for place in places)


def _foreign_directories() -> list[str]:
    """All directories at the top that are not the system's, and those of `_WITHIN_SYSTEM` that are there."""
    top = [entry.path for entry in os.scandir("/") if entry.is_dir(follow_symlinks=False)]
    return [path for path in top if path not in _SYSTEM] + [path for path in _WITHIN_SYSTEM if os.path.isdir(path)]


def _private_directories() -> list[str]:
    """Where tasks may lie beside the code: home, this process's directory, the checkouts its packages come from."""
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    sources = [path for path in sys.path if not is_below(path, _installed())]
    # `runners` is a link in a checkout: its directory is at the root of it, beside examples and tests.
    beside = [] if is_below(here, _installed()) else [os.path.dirname(here)]
    found = {os.path.realpath(path) for path in (os.path.expanduser("~"), os.getcwd(), *sources, *beside) if path}
    return sorted(path for path in found if os.path.isdir(path) and _may_be_covered(path))


def _may_be_covered(path: str) -> bool:
    """Whether nothing of the system lies there, should this process have been started in /usr/bin; /opt has both."""
    return path != "/" and not is_below(path, set(_SYSTEM) - {"/opt"}) and path != "/opt"


def _installed() -> list[str]:
    """Directories of the standard library and of installed packages."""
    found = {path for name, path in sysconfig.get_paths().items() if name.endswith("lib")}
    found |= {path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")}
    found |= {path for path in sys.path if os.path.basename(path) == "lib-dynload"}
    return sorted(found)


def _interpreter(private: Iterable[str]) -> list[str]:
    """The interpreter's directories; where one holds a project too, the interpreter's parts of it."""
    found = [*_installed()]
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix}:
        holds_project = any(is_below(place, (os.path.realpath(prefix),)) for place in private)
        found += [os.path.join(prefix, part) for part in _PREFIX_PARTS] if holds_project else [prefix]
    return found


def _packages() -> list[str]:
    """This package's code, and the packages workers import, wherever they are."""
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    room = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = [here, os.path.dirname(room)]
    for name in _PACKAGES:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(name)
            found += [] if spec is None else spec.submodule_search_locations or ()
    return found


def _libraries() -> list[str]:
    """Directories of the shared libraries this process has loaded, wherever the loader found them."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        mapped = {fields[5] for fields in (line.split(maxsplit=5) for line in lines) if len(fields) == 6}
        return sorted({os.path.dirname(path) for path in mapped if path.startswith("/") and ".so" in path})
    return []


def _named_by_environment() -> list[str]:
    return [path for name in _NAMING_VARIABLES for path in os.environ.get(name, "").split(":")]


def apply(view: FileView, directory: str, scratch_bytes: int, owner: int | None) -> None:
    """Cover what is hidden and bind back what is visible; `directory` becomes an empty one for `owner`.

    It and the usual places for temporary files are in memory and end with the mount namespace, which must be this
    process's own. Raises OSError.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    scratch = [path for path in _SCRATCH if os.path.isdir(path)]
    covered = _outermost([*view.hidden, *scratch])
    keep = {path: os.open(path, os.O_PATH) for path in _outermost(view.visible) if is_below(path, covered)}
    for path in covered:
        kernel.mount("tmpfs", path, "tmpfs", _MEMORY_FLAGS, _OPEN_TO_ALL if path in scratch else "mode=755,size=1m")
    for path, descriptor in keep.items():
        _bind_back(path, descriptor)
    _empty_directory(directory, scratch_bytes, owner)
    for path in covered:
        if path not in scratch:
            _make_read_only(path)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Without the paths that are below another of them."""
    found: list[str] = []
    for path in sorted(paths):
        if not is_below(path, found):
            found.append(path)
    return found


def _bind_back(path: str, descriptor: int) -> None:
    """Bind what a descriptor holds to its own path again, which lies on an empty file system now."""
    here = f"/proc/self/fd/{descriptor}"
    if os.path.isdir(here):
        os.makedirs(path, mode=0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(here, path, None, kernel.MS_BIND | kernel.MS_REC)
    os.close(descriptor)
    _make_read_only(path)


def _make_read_only(path: str) -> None:
    """Remount; flags that a user namespace may not take away are named again, or it would be refused."""
    kept = os.statvfs(path).f_flag & kernel.MS_KEPT_ON_REMOUNT
    kernel.mount("none", path, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kept)


def _empty_directory(directory: str, size_bytes: int, owner: int | None) -> None:
    os.makedirs(directory, mode=0o755, exist_ok=True)
    belongs = "" if owner is None else f",uid={owner},gid={owner}"
    options = f"mode=700,size={size_bytes},nr_inodes={_INODES}{belongs}"
    kernel.mount("tmpfs", directory, "tmpfs", _MEMORY_FLAGS, options)
