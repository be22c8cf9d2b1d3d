"""What the vendors' feature discovery says of a node, in labels: driver, tools, and whether devices are shared.

NVIDIA's names are those of gpu-feature-discovery (k8s-device-plugin, docs/gpu-feature-discovery), Intel's those of the
NodeFeatureRules of intel-device-plugins-for-kubernetes (cmd/gpu_plugin/labels.md). `pool_state.py` asks.
"""

from collections.abc import Mapping

from everforge.model.device_pool import Vendor
from everforge.operator.observed import Node

# The older names of the driver's version are three labels.
NVIDIA_DRIVER = "nvidia.com/cuda.driver-version.full"
NVIDIA_DRIVER_PARTS = ("nvidia.com/cuda.driver.major", "nvidia.com/cuda.driver.minor", "nvidia.com/cuda.driver.rev")
# The newest CUDA that the driver takes.
CUDA = "nvidia.com/cuda.runtime-version.full"
CUDA_PARTS = ("nvidia.com/cuda.runtime.major", "nvidia.com/cuda.runtime.minor")
PRODUCTS = {Vendor.NVIDIA: "nvidia.com/gpu.product", Vendor.INTEL: "gpu.intel.com/product"}
VGPU = "nvidia.com/vgpu.present"
NVIDIA_STRATEGY, NVIDIA_COUNT = "nvidia.com/gpu.sharing-strategy", "nvidia.com/gpu.count"
INTEL_COUNT, INTEL_DEVICE = "gpu.intel.com/device.count", "gpu.intel.com/device-id."
SHARED_PRODUCT, SHARED_RESOURCE = "-SHARED", ".shared"


def driver_of(node: Node, vendor: Vendor) -> str | None:
    """The version of the devices' driver, None where nothing tells it."""
    if vendor is Vendor.NVIDIA:
        return node.labels.get(NVIDIA_DRIVER) or _joined(node.labels, NVIDIA_DRIVER_PARTS)
    if vendor is Vendor.INTEL and node.kernel:
        # i915 and xe are parts of the kernel, and no label names another version.
        return f"kernel {node.kernel}"
    return None


def tools_of(node: Node, vendor: Vendor) -> dict[str, str]:
    """Tool to version: the kernel, and where labels tell them the devices' product and the driver's CUDA."""
    product = node.labels.get(PRODUCTS.get(vendor, ""), "")
    cuda = node.labels.get(CUDA) or _joined(node.labels, CUDA_PARTS) if vendor is Vendor.NVIDIA else None
    found = {"kernel": node.kernel, "product": product, "cuda": cuda}
    return {name: version for name, version in found.items() if version}


def sharing_of(node: Node, vendor: Vendor, resource: str | None, offered: int) -> str | None:
    """How it is known that others may use the same devices at the same time; None where nothing says so.

    `offered` is what the node offers of `resource`. Time-slicing and MPS are labels; Intel's `shared-dev-num` is none,
    and shows only in more devices on offer than there are on the board.
    """
    if vendor is Vendor.NVIDIA and (why := _nvidia_sharing(node.labels, resource)) is not None:
        return why
    if resource is None:
        return None
    if resource.endswith(SHARED_RESOURCE):
        return f"{resource} is what a device plugin calls shared devices"
    real = _on_board(node.labels, resource)
    return f"{real} on the board, {offered} offered as {resource}" if real is not None and offered > real else None


def _nvidia_sharing(labels: Mapping[str, str], resource: str | None) -> str | None:
    own = (f"{resource}.sharing-strategy", f"{resource}.replicas") if resource is not None else ()
    for name in (NVIDIA_STRATEGY, "nvidia.com/gpu.replicas", *own):
        plain = ("", "0", "1") if name.endswith(".replicas") else ("", "none")
        if labels.get(name, "") not in plain:
            return f"label {name}={labels[name]}"
    product = labels.get(PRODUCTS[Vendor.NVIDIA], "")
    if product.endswith(SHARED_PRODUCT):
        return f"label {PRODUCTS[Vendor.NVIDIA]}={product}"
    return f"label {VGPU}=true" if labels.get(VGPU) == "true" else None


def _on_board(labels: Mapping[str, str], resource: str) -> int | None:
    """How many devices there are behind a resource, None where no label counts them."""
    if resource == "nvidia.com/gpu":
        return _number(labels.get(NVIDIA_COUNT))
    if not resource.startswith("gpu.intel.com/"):
        return None
    if (count := _number(labels.get(INTEL_COUNT))) is not None:
        return count
    # Devices that no rule knows by name are counted by their PCI ids: gpu.intel.com/device-id.0300-e20b.count=1
    by_id = [_number(v) for k, v in labels.items() if k.startswith(INTEL_DEVICE) and k.endswith(".count")]
    return sum(number for number in by_id if number is not None) or None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _joined(labels: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """Parts of a version that stand in labels of their own; later ones may be missing."""
    parts = [labels[name] for name in names if labels.get(name)]
    return ".".join(parts) or None
