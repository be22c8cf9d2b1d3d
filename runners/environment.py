"""The environment a measurement belongs to: device, driver, toolchain, host. Asked by the server."""

import os
import platform
import shutil
import socket
import subprocess

import torch

from everforge.model.device import DeviceKind, Environment
from everforge.runners.devices.base import Device

_COMPILERS = {"g++": "g++", "clang++": "clang++", "nvcc": "nvcc", "icpx": "icpx", "ninja": "ninja"}
# A compiler that does not tell its version in 20 s is not one to build with.
_VERSION_TIMEOUT_S = 20.0


def environment_of(device: Device, isolation: tuple[str, ...], device_index: int = 0) -> Environment:
    """What is installed here and which device this is. The device must be there.

    A process that was told to use the device `device_index` of its kind sees no other, and takes those before it
    for granted.
    """
    used = 0 if device.kind is DeviceKind.CPU else device_index  # a machine's processors are one device
    return Environment(
        device=device.kind,
        device_name=device.name(),
        architecture=device.architecture(),
        driver=device.driver(),
        toolchain=toolchain(),
        host=socket.gethostname(),
        system=platform.platform(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=device.memory_bytes(),
        device_count=max(device.count(), used + 1),
        device_index=used,
        device_uuid=device.uuid(),
        isolation=isolation,
    )


def toolchain() -> dict[str, str]:
    """Version of each tool that is there."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    if torch.version.cuda is not None:
        found["cuda"] = torch.version.cuda
    if (triton := _triton_version()) is not None:
        found["triton"] = triton
    for name, program in _COMPILERS.items():
        if (version := _version(program)) is not None:
            found[name] = version
    return found


def _triton_version() -> str | None:
    try:
        import triton
    except ImportError:
        return None
    return str(triton.__version__)


def _version(program: str) -> str | None:
    """The last line that looks like a version: nvcc prints it late, others on the first line."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line for line in told.stdout.splitlines() if any(letter.isdigit() for letter in line)]
    release = [line for line in lines if "release" in line]
    return next(iter(release or lines), None)
