"""What a DevicePool is worth, from what its nodes report: devices, driver, tools, and whether one may time on them.

`claims.py` gives no runner on a pool that is not ready: a device that others use at the same time measures nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from everforge.model.condition import Condition, ConditionStatus, with_condition
from everforge.model.device_pool import DevicePool, DevicePoolStatus, PoolCondition, Vendor
from everforge.model.scalars import MAX_VERSION, MAX_VERSIONS
from everforge.operator.node_labels import driver_of, sharing_of, tools_of
from everforge.operator.observed import Node
from everforge.operator.troubles import Trouble

MAX_DRIVERS = 8
# What is asked of nodes, whatever a runner says of it.
NODE_TOOLS = ("cuda", "kernel", "product")


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


def pool_status(
    pool: DevicePool,
    nodes: Sequence[Node],
    runners: int,
    waiting: int,
    now: datetime,
    reported: Mapping[str, str] | None = None,
) -> DevicePoolStatus:
    """The pool's status as it should read now; `reported` are the tools that its last runner named."""
    members = nodes_of(pool, nodes)
    drivers = sorted({driver for node in members if (driver := driver_of(node, pool.spec.vendor))})
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
        toolchain=_toolchain(pool, members, reported, before.toolchain),
    )


def _conditions(
    pool: DevicePool, before: Sequence[Condition], nodes: Sequence[Node], drivers: Sequence[str], now: datetime
) -> list[Condition]:
    trouble, generation = trouble_of_pool(pool, nodes), pool.metadata.generation
    ready = ConditionStatus.TRUE if trouble is None else ConditionStatus.FALSE
    found = trouble or Trouble("DevicesAvailable", "runners may be started")
    conditions = with_condition(before, PoolCondition.READY, ready, found.reason, found.message, now, generation)
    status, reason, message = _driver_finding(pool.spec.vendor, drivers)
    return with_condition(conditions, PoolCondition.DRIVER_CONSISTENT, status, reason, message, now, generation)


def _driver_finding(vendor: Vendor, drivers: Sequence[str]) -> tuple[ConditionStatus, str, str]:
    if vendor is Vendor.CPU:
        return ConditionStatus.UNKNOWN, "NoDriver", "a CPU has no driver"
    if not drivers:
        return ConditionStatus.UNKNOWN, "NotReported", "no node tells its driver: see the vendor's feature discovery"
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
    resource = pool.spec.allocation.extended_resource if pool.spec.allocation else None
    name = resource.name if resource is not None else None
    return sharing_of(node, pool.spec.vendor, name, devices_of(pool, node))


def _toolchain(
    pool: DevicePool, members: Sequence[Node], reported: Mapping[str, str] | None, before: Mapping[str, str]
) -> dict[str, str]:
    """What nodes say now, and what a runner said last, also of a pool that has had none for a while."""
    by_nodes: dict[str, set[str]] = {}
    for node in members:
        for tool, version in tools_of(node, pool.spec.vendor).items():
            by_nodes.setdefault(tool, set()).add(version)
    seen = {tool: ", ".join(sorted(versions))[:MAX_VERSION] for tool, versions in sorted(by_nodes.items())}
    by_runner = reported or {tool: version for tool, version in before.items() if tool not in NODE_TOOLS}
    others = [(tool, version) for tool, version in sorted(by_runner.items()) if tool not in NODE_TOOLS]
    return {**seen, **dict(others[: MAX_VERSIONS - len(NODE_TOOLS)])}
