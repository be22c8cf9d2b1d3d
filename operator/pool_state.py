"""What a DevicePool is worth, from what its nodes report: devices, driver, and whether one may time on them.

`claims.py` gives no runner on a pool that is not ready: a device that others use at the same time measures nothing.
"""

from collections.abc import Sequence
from datetime import datetime

from everforge.model.condition import Condition, ConditionStatus, with_condition
from everforge.model.device_pool import DevicePool, DevicePoolStatus, PoolCondition, Vendor
from everforge.operator.observed import Node
from everforge.operator.troubles import Trouble

# NVIDIA's feature discovery; Intel's names no driver.
DRIVER_LABEL = "nvidia.com/cuda.driver-version.full"
SHARING_LABEL = "nvidia.com/gpu.sharing-strategy"
PRODUCT_LABEL = "nvidia.com/gpu.product"
# What the vendors count on the board; a plugin that offers more than this has split devices.
COUNT_LABELS = {"nvidia.com/gpu": "nvidia.com/gpu.count", "gpu.intel.com/": "gpu.intel.com/device.count"}
MAX_DRIVERS = 8


def nodes_of(pool: DevicePool, nodes: Sequence[Node]) -> list[Node]:
    """The nodes that the pool's selector matches and that take pods."""
    wanted = pool.spec.node_selector.items()
    return [node for node in nodes if node.takes_pods and wanted <= node.labels.items()]


def devices_of(pool: DevicePool, node: Node) -> int:
    """How many devices of the pool a node offers; a node of a CPU pool without a resource counts as one."""
    allocation = pool.spec.allocation
    if allocation is None:
        return 1
    if allocation.extended_resource is None:
        # Dynamic resource allocation publishes devices in slices, which the scheduler alone can count.
        return 1
    text = node.allocatable.get(allocation.extended_resource.name, "0")
    return int(text) if text.isdigit() else 0


def trouble_of_pool(pool: DevicePool, nodes: Sequence[Node]) -> Trouble | None:
    """Why no runner may run there; None if one may."""
    members = nodes_of(pool, nodes)
    if not members:
        labels = ", ".join(f"{key}={value}" for key, value in sorted(pool.spec.node_selector.items())) or "none"
        return Trouble(
            "NoNodes", f"no node that takes pods has the labels of nodeSelector ({labels}): label one, or correct it"
        )
    for node in members:
        if (why := _shared(pool, node)) is not None:
            return Trouble(
                "SharedDevices",
                f"node {node.name} shares its devices ({why}), and times measured on a shared device are worthless: "
                "switch sharing off there, or take the node out of the pool",
            )
    if not any(devices_of(pool, node) for node in members):
        resource = pool.spec.allocation.extended_resource if pool.spec.allocation else None
        name = resource.name if resource else "a device"
        return Trouble("NoDevices", f"{len(members)} nodes match, and none offers {name}: see their device plugin")
    return None


def pool_status(pool: DevicePool, nodes: Sequence[Node], runners: int, waiting: int, now: datetime) -> DevicePoolStatus:
    """The pool's status as it should read now."""
    members = nodes_of(pool, nodes)
    drivers = sorted({driver for node in members if (driver := node.labels.get(DRIVER_LABEL))})
    before = pool.status or DevicePoolStatus()
    return DevicePoolStatus(
        observed_generation=pool.metadata.generation,
        conditions=_conditions(pool, before.conditions, nodes, drivers, now),
        nodes=len(members),
        devices=sum(devices_of(pool, node) for node in members),
        runners=runners,
        waiting=waiting,
        driver=drivers[0] if len(drivers) == 1 else None,
        drivers=drivers[:MAX_DRIVERS] if len(drivers) > 1 else [],
        toolchain=before.toolchain,
    )


def _conditions(
    pool: DevicePool, before: Sequence[Condition], nodes: Sequence[Node], drivers: Sequence[str], now: datetime
) -> list[Condition]:
    trouble, generation = trouble_of_pool(pool, nodes), pool.metadata.generation
    ready = ConditionStatus.TRUE if trouble is None else ConditionStatus.FALSE
    found = trouble or Trouble("DevicesAvailable", "runners may be started")
    conditions = with_condition(before, PoolCondition.READY, ready, found.reason, found.message, now, generation)
    status, reason, message = _driver_finding(drivers)
    return with_condition(conditions, PoolCondition.DRIVER_CONSISTENT, status, reason, message, now, generation)


def _driver_finding(drivers: Sequence[str]) -> tuple[ConditionStatus, str, str]:
    if not drivers:
        return ConditionStatus.UNKNOWN, "NotReported", "no node has a label that names its driver"
    if len(drivers) == 1:
        return ConditionStatus.TRUE, "OneDriver", f"every node that reports one has driver {drivers[0]}"
    listed = ", ".join(drivers[:MAX_DRIVERS])
    return (
        ConditionStatus.FALSE,
        "DriversDiffer",
        f"nodes report {listed}: times of one are not times of another; update the nodes or split the pool",
    )


def _shared(pool: DevicePool, node: Node) -> str | None:
    if pool.spec.vendor is Vendor.CPU:
        return None
    strategy = node.labels.get(SHARING_LABEL, "none")
    if strategy not in ("none", ""):
        return f"label {SHARING_LABEL}={strategy}"
    if node.labels.get(PRODUCT_LABEL, "").endswith("-SHARED"):
        return f"label {PRODUCT_LABEL}={node.labels[PRODUCT_LABEL]}"
    resource = pool.spec.allocation.extended_resource if pool.spec.allocation else None
    for prefix, label in COUNT_LABELS.items():
        real = node.labels.get(label, "")
        if resource and resource.name.startswith(prefix) and real.isdigit() and devices_of(pool, node) > int(real):
            return f"{real} on the board, {devices_of(pool, node)} offered as {resource.name}"
    return None
