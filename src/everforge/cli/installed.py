"""What is installed on this machine, and the one command that brings what is not; `everforge doctor` asks.

Packages are looked up by their metadata, never imported: torch belongs to the runner's process.
"""

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from everforge.model.base import Record

Which = Callable[[str], str | None]

# Distribution package of a tool where its name differs between package managers.
_PACKAGES = {
    "c++": {"apt-get": "g++", "dnf": "gcc-c++", "zypper": "gcc-c++"},
    "python headers": {"apt-get": "python3-dev", "dnf": "python3-devel", "zypper": "python3-devel"},
    "nvcc": {"apt-get": "nvidia-cuda-toolkit"},
    "icpx": {"apt-get": "intel-oneapi-compiler-dpcpp-cpp"},
}
# Distributions carry no package of it.
_NOT_PACKAGED = ("kubectl",)
# Python package to what of Everforge needs it; the extra that brings it.
_PYTHON_PACKAGES = (
    ("torch", "references, baselines and every device", "runners"),
    ("triton", "Triton candidates (cuda, xpu)", "runners"),
    ("ninja", "building C++ candidates", "runners"),
    ("mlflow", "keeping trials", "store"),
    ("litellm", "candidates written by a model", "agents"),
    ("optuna", "parameter search of the builtin generator", "agents"),
)
# Program to what of Everforge needs it, and whether a workstation lacks something without it.
_PROGRAMS = (
    ("c++", "C++ candidates (cpu)", True),
    ("nvcc", "CUDA C++ candidates (cuda); Triton does without", False),
    ("icpx", "SYCL candidates (xpu); Triton does without", False),
    ("git", "tasks that come from a git repository", True),
    ("kubectl", "clusters; a workstation does without", False),
)
_BUILD = re.compile(r"^__version__ = '([^']+)'", re.MULTILINE)
_VERSION = re.compile(r"\d+\.\d+[\w.+-]*")


# Where NVIDIA's installer puts the compiler, off PATH.
NVCC = "/usr/local/cuda/bin/nvcc"


class Part(Record):
    """One thing that is installed, or not."""

    name: str
    needed_for: str
    version: str | None = None
    """None when it is not installed."""
    required: bool = True
    """False for what only some users need: its absence is no finding."""
    problem: str | None = None
    """Why it does not work although it is installed; None if it does, or if it is not."""
    remedy: str | None = None
    """The one command that mends it; None when nothing is to be mended."""

    @property
    def works(self) -> bool:
        return self.version is not None and self.problem is None


def installed_parts(which: Which = shutil.which) -> tuple[Part, ...]:
    """Python, the Python packages and the programs, in the order a reader wants them."""
    python = Part(name="python", needed_for="everything", version=platform.python_version())
    packages = tuple(python_package(*package) for package in _PYTHON_PACKAGES)
    packages = tuple(_with_build(part) if part.name == "torch" else part for part in packages)
    programs = tuple(program(name, needed_for, required, which) for name, needed_for, required in _PROGRAMS)
    return (python, *packages, *programs)


def python_package(name: str, needed_for: str, extra: str) -> Part:
    """A Python package by its metadata."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        remedy = f"pip install 'everforge[{extra}]'"
        return Part(name=name, needed_for=needed_for, remedy=remedy)
    return Part(name=name, needed_for=needed_for, version=version)


def _with_build(torch: Part) -> Part:
    """The part with its build (`2.11.0+cpu`, `+cu130`), which the metadata of some wheels leaves out."""
    spec = importlib.util.find_spec("torch") if torch.version is not None else None
    if spec is None or spec.origin is None:
        return torch
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return torch
    found = _BUILD.search(text)
    return torch.model_copy(update={"version": found.group(1)}) if found else torch


def program(name: str, needed_for: str, required: bool, which: Which) -> Part:
    """A program on PATH (nvcc: or in the toolkit's usual place), by its own `--version`."""
    path = which(name) or (which(NVCC) if name == "nvcc" else None)
    if path is None:
        remedy = None if name in _NOT_PACKAGED else install_command(name, which)
        return Part(name=name, needed_for=needed_for, required=required, remedy=remedy)
    return Part(name=name, needed_for=needed_for, required=required, version=program_version(path))


def program_version(path: str) -> str:
    """The version a program tells of itself; `unknown` if it tells none within 10 s."""
    arguments = [path, "version", "--client"] if path.endswith("kubectl") else [path, "--version"]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = _VERSION.search(done.stdout or done.stderr)
    return found.group() if found else "unknown"


def install_command(tool: str, which: Which = shutil.which) -> str:
    """The command of this machine's package manager that installs a tool; Debian's where there is none."""
    names = _PACKAGES.get(tool, {})
    manager = next((name for name in ("apt-get", "dnf", "zypper") if which(name)), "apt-get")
    return f"{manager} install -y {names.get(manager, names.get('apt-get', tool))}"
