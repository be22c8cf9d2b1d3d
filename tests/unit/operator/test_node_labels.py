"""What is read off a node's labels, as NVIDIA's and Intel's feature discovery write them."""

from collections.abc import Callable
from typing import Any

import pytest

from everforge.model.device_pool import Vendor
from everforge.operator.node_labels import driver_of, sharing_of, tools_of
from everforge.operator.observed import Node

Make = Callable[..., dict[str, Any]]
NVIDIA, INTEL, CPU = Vendor.NVIDIA, Vendor.INTEL, Vendor.CPU
GPU, XE = "nvidia.com/gpu", "gpu.intel.com/xe"


def node(labels: dict[str, str], kernel: str = "6.8.0-45-generic") -> Node:
    return Node("n", labels=labels, kernel=kernel)


@pytest.mark.parametrize(
    ("vendor", "labels", "driver"),
    [
        (NVIDIA, {"nvidia.com/cuda.driver-version.full": "580.65.06"}, "580.65.06"),
        (
            NVIDIA,
            {
                "nvidia.com/cuda.driver.major": "535",
                "nvidia.com/cuda.driver.minor": "104",
                "nvidia.com/cuda.driver.rev": "05",
            },
            "535.104.05",
        ),
        (NVIDIA, {}, None),
        (INTEL, {}, "kernel 6.8.0-45-generic"),
        (CPU, {}, None),
    ],
)
def test_driver_is_what_the_node_tells(vendor: Vendor, labels: dict[str, str], driver: str | None) -> None:
    assert driver_of(node(labels), vendor) == driver


def test_node_that_tells_no_kernel_tells_no_driver() -> None:
    assert driver_of(node({}, kernel=""), INTEL) is None


@pytest.mark.parametrize(
    ("vendor", "labels", "tools"),
    [
        (
            NVIDIA,
            {"nvidia.com/gpu.product": "NVIDIA-H200", "nvidia.com/cuda.runtime-version.full": "13.0"},
            {"product": "NVIDIA-H200", "cuda": "13.0"},
        ),
        (NVIDIA, {"nvidia.com/cuda.runtime.major": "12", "nvidia.com/cuda.runtime.minor": "8"}, {"cuda": "12.8"}),
        (INTEL, {"gpu.intel.com/product": "Max_1550"}, {"product": "Max_1550"}),
        (CPU, {"nvidia.com/gpu.product": "NVIDIA-H200", "nvidia.com/cuda.runtime.major": "12"}, {}),
    ],
)
def test_tools_are_those_of_the_vendor(vendor: Vendor, labels: dict[str, str], tools: dict[str, str]) -> None:
    assert tools_of(node(labels), vendor) == {"kernel": "6.8.0-45-generic", **tools}


@pytest.mark.parametrize(
    ("labels", "resource", "offered", "why"),
    [
        ({"nvidia.com/gpu.sharing-strategy": "time-slicing"}, GPU, 4, "sharing-strategy=time-slicing"),
        ({"nvidia.com/gpu.sharing-strategy": "mps"}, GPU, 1, "sharing-strategy=mps"),
        ({"nvidia.com/gpu.replicas": "4"}, GPU, 4, "replicas=4"),
        ({"nvidia.com/mig-1g.5gb.replicas": "2"}, "nvidia.com/mig-1g.5gb", 2, "mig-1g.5gb.replicas=2"),
        ({"nvidia.com/gpu.product": "Tesla-T4-SHARED"}, GPU, 4, "Tesla-T4-SHARED"),
        ({"nvidia.com/vgpu.present": "true"}, GPU, 1, "vgpu.present"),
        ({}, "nvidia.com/gpu.shared", 4, "nvidia.com/gpu.shared"),
        ({"nvidia.com/gpu.count": "1"}, GPU, 4, "1 on the board, 4 offered"),
        ({"nvidia.com/gpu.sharing-strategy": "time-slicing"}, None, 1, "time-slicing"),
        # A node of unshared devices says so, too, and 0 replicas where there is no device.
        ({"nvidia.com/gpu.sharing-strategy": "none", "nvidia.com/gpu.replicas": "1"}, GPU, 1, None),
        ({"nvidia.com/gpu.replicas": "0", "nvidia.com/vgpu.present": "false"}, GPU, 0, None),
        ({"nvidia.com/gpu.count": "56", "nvidia.com/mig.strategy": "single"}, GPU, 56, None),
        ({"nvidia.com/gpu.count": "1"}, "nvidia.com/mig-1g.5gb", 7, None),
        ({}, None, 1, None),
    ],
)
def test_shared_nvidia_devices_are_told_by_labels(
    labels: dict[str, str], resource: str | None, offered: int, why: str | None
) -> None:
    told = sharing_of(node(labels), NVIDIA, resource, offered)
    assert (why in told) if why is not None and told is not None else (told is why)


@pytest.mark.parametrize(
    ("labels", "offered", "shared"),
    [
        ({"gpu.intel.com/device.count": "2"}, 2, False),
        ({"gpu.intel.com/device.count": "2"}, 20, True),
        ({"gpu.intel.com/device-id.0300-e20b.count": "1", "gpu.intel.com/device-id.0380-56c0.count": "1"}, 2, False),
        (
            {"gpu.intel.com/device-id.0300-e20b.count": "1", "gpu.intel.com/device-id.0300-e20b.present": "true"},
            10,
            True,
        ),
        # Nothing counts the board, so nothing can be said.
        ({}, 10, False),
        ({"gpu.intel.com/device.count": "none"}, 10, False),
    ],
)
def test_shared_intel_devices_are_more_than_there_are(labels: dict[str, str], offered: int, shared: bool) -> None:
    assert (sharing_of(node(labels), INTEL, XE, offered) is not None) is shared


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, "NoDriver"),
        ({"vendor": "NVIDIA", "allocation": {"extendedResource": {"name": GPU}}}, "NotReported"),
    ],
)
def test_pool_says_why_it_knows_no_driver(world: Any, make: Make, spec: dict[str, Any], reason: str) -> None:
    world.cluster.put("DevicePool", make("dpool", **spec))
    world.rest()
    assert world.condition("DevicePool", "DriverConsistent") == ("Unknown", reason)


def test_pool_shows_what_its_nodes_report_and_where_they_differ(world: Any, make: Make) -> None:
    for number, driver in enumerate(("580.65", "580.65")):
        shown = make("node", f"gpu-{number}", **{GPU: "1"})
        shown["metadata"]["labels"] |= {
            "nvidia.com/cuda.driver-version.full": driver,
            "nvidia.com/gpu.product": "NVIDIA-H200",
        }
        shown["status"]["nodeInfo"] = {"kernelVersion": f"6.8.{number}"}
        world.cluster.put("Node", shown)
    world.cluster.remove("Node", "node-1")
    spec = {"vendor": "NVIDIA", "architecture": "sm_90", "allocation": {"extendedResource": {"name": GPU}}}
    world.cluster.put("DevicePool", make("dpool", **spec))
    world.rest()
    status = world.cluster.of_kind("DevicePool")[0]["status"]
    assert status["driver"] == "580.65"
    assert status["toolchain"] == {"kernel": "6.8.0, 6.8.1", "product": "NVIDIA-H200"}
    assert world.condition("DevicePool", "DriverConsistent") == ("True", "OneDriver")
