"""What every test gets: no network, no keys, hypothesis profiles, device tests skipped without the device.

Nothing here depends on where the suite runs, except that CI draws the same hypothesis examples each time.
"""

import importlib
import ipaddress
import os
import sys
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings

DEVICE_NAMES = {"cuda": "NVIDIA GPU", "xpu": "Intel GPU"}

# A shared 2-core machine stalls for longer than any deadline that would still find slow code.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure() -> None:
    """Cut this process and its children off before the first test module is imported."""
    # Threads that sleep while they wait: several tests share the cores (agents/runner_process.py has the figures).
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    sys.addaudithook(refuse_outside_connections)
    point_children_nowhere()


def refuse_outside_connections(event: str, arguments: tuple[object, ...]) -> None:
    """Raise for a connection to anything but this machine: no test may call a paid model or a download.

    An audit hook sees every way of connecting, whatever a library has kept a reference to.
    """
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        # Unix sockets have a path for an address, and never leave the machine.
        if isinstance(address, tuple) and not is_loopback(str(address[0])):
            raise PermissionError(f"tests may not leave this machine: {event} to {address}")
    elif event == "socket.getaddrinfo":
        host = arguments[0]
        if host is not None and not is_loopback(host.decode() if isinstance(host, bytes) else str(host)):
            raise PermissionError(f"tests may not leave this machine: {event} of {host!r}")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine; `` and 0.0.0.0 are what servers bind to."""
    if host in ("localhost", "", "0.0.0.0", "::"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def point_children_nowhere() -> None:
    """Give subprocesses an environment without keys, and a proxy that refuses whatever is not loopback."""
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_API_BASE"))]:
        del os.environ[name]
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        # Port 9 is `discard`: nothing listens there, so a connection is refused at once.
        os.environ[name] = os.environ[name.upper()] = "http://127.0.0.1:9"
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost,::1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip device tests at collection where the device is absent; torch is imported only if there are any.

    `-ra` in pyproject's addopts shows the skips, with the reason, at the end of every run.
    """
    for device, label in DEVICE_NAMES.items():
        marked = [item for item in items if item.get_closest_marker(device)]
        if marked and not device_is_available(device):
            skip_all(marked, f"no {label} on this machine")


def skip_all(items: Iterable[pytest.Item], reason: str) -> None:
    """Mark every item as skipped."""
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))


def device_is_available(device: str) -> bool:
    """Whether torch can use the device here."""
    torch = importlib.import_module("torch")
    return bool(getattr(torch, device).is_available())
