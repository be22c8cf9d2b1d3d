"""The DevicePool object: devices of one kind in a cluster, how a runner gets one, and what it then runs in.

Whoever runs the cluster writes it; a KernelOptimization only names it. `operator/` makes runner Jobs of it.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from everforge.model.base import ApiRecord, Rule
from everforge.model.condition import Conditions
from everforge.model.device import DeviceKind
from everforge.model.metadata import PoolMetadata
from everforge.model.scalars import (
    ARCHITECTURE,
    QUALIFIED_NAME,
    Count,
    DnsLabel,
    DnsSubdomain,
    Image,
    LabelValue,
    QualifiedName,
    Quantity,
    Version,
    Versions,
)


class Vendor(StrEnum):
    """Who makes the devices; CPU is a pool without accelerators, whoever made the processors."""

    CPU = "CPU"
    NVIDIA = "NVIDIA"
    INTEL = "Intel"

    @property
    def device(self) -> DeviceKind:
        """The device as agents and runners know it."""
        return {"CPU": DeviceKind.CPU, "NVIDIA": DeviceKind.CUDA, "Intel": DeviceKind.XPU}[self.value]


class PoolCondition(StrEnum):
    """Types of the conditions of a DevicePool."""

    READY = "Ready"
    DRIVER_CONSISTENT = "DriverConsistent"


class ExtendedResource(ApiRecord):
    """Devices that a device plugin offers."""

    name: QualifiedName = Field(description="Such as nvidia.com/gpu, gpu.intel.com/xe, gpu.intel.com/i915")
    count: Annotated[int, Field(ge=1, le=16)] = Field(1, description="Devices for each runner")


class DeviceClass(ApiRecord):
    """Devices that a driver for dynamic resource allocation (DRA) offers."""

    name: DnsSubdomain = Field(description="DeviceClass, such as gpu.nvidia.com")
    selectors: Annotated[list[Annotated[str, Field(min_length=1, max_length=2048)]], Field(max_length=8)] = Field(
        [], description="Expressions in CEL that a device must meet, as in a ResourceClaim"
    )


class Allocation(ApiRecord):
    """How a runner gets its device: exactly one of extendedResource and deviceClass."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.extendedResource) != has(self.deviceClass)",
            message="exactly one of extendedResource, deviceClass must be set",
            twin="_exactly_one_way",
        ),
    )

    extended_resource: ExtendedResource | None = Field(None, description="From a device plugin")
    device_class: DeviceClass | None = Field(None, description="By dynamic resource allocation")

    @model_validator(mode="after")
    def _exactly_one_way(self) -> Self:
        if (self.extended_resource is None) == (self.device_class is None):
            raise ValueError("exactly one of extendedResource, deviceClass must be set")
        return self


class Toleration(ApiRecord):
    """A taint that runners of the pool put up with."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.operator == 'Equal' || !has(self.value)",
            message="operator Exists takes no value",
            twin="_exists_has_no_value",
        ),
        Rule(
            cel="self.operator == 'Exists' || has(self.key)",
            message="operator Equal needs a key",
            twin="_equal_has_a_key",
        ),
    )

    key: QualifiedName | None = Field(None, description="The taint's key; absent means every key")
    operator: Literal["Equal", "Exists"] = Field("Equal", description="How the taint's value is compared")
    value: LabelValue | None = Field(None, description="The taint's value, for Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="The taint's effect; absent means every effect"
    )

    @model_validator(mode="after")
    def _exists_has_no_value(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists takes no value")
        return self

    @model_validator(mode="after")
    def _equal_has_a_key(self) -> Self:
        if self.operator == "Equal" and self.key is None:
            raise ValueError("operator Equal needs a key")
        return self


class RunnerResources(ApiRecord):
    """What a runner's pod may use of its node; limit and request at once."""

    cpu: Quantity = Field("4", description="Processor cores; compilers use them all")
    memory: Quantity = Field("16Gi", description="Memory of the host, not of the device")
    ephemeral_storage: Quantity = Field("8Gi", description="Disk, for compiled kernels")


class RunnerTemplate(ApiRecord):
    """What a runner of the pool runs in."""

    image: Image = Field(description="Image of the runner for these devices, with a tag or a digest")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When a node fetches the image"
    )
    image_pull_secrets: Annotated[list[DnsSubdomain], Field(max_length=8)] = Field(
        [], description="Secrets, in the namespace of the KernelOptimization, for the image's registry"
    )
    runtime_class_name: DnsSubdomain | None = Field(None, description="RuntimeClass, such as nvidia or gvisor")
    supplemental_groups: Annotated[list[Annotated[int, Field(ge=1, le=2147483647)]], Field(max_length=8)] = Field(
        [], description="Groups that own the device files, such as the node's render group"
    )
    resources: RunnerResources = Field(RunnerResources(), description="Limits of a runner's pod")


class DevicePoolSpec(ApiRecord):
    """Which devices, how a runner gets one, and how many runners may run at once."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"self.nodeSelector.all(key, key.matches('{QUALIFIED_NAME}'))",
            message="a key of nodeSelector must be a label's name, such as kubernetes.io/arch",
            twin="nodeSelector keys",
            field="nodeSelector",
        ),
        Rule(
            cel="self.vendor == 'CPU' || has(self.allocation)",
            message="devices of NVIDIA and Intel need an allocation: extendedResource or deviceClass",
            twin="_accelerators_are_allocated",
        ),
        Rule(
            cel="self.vendor == oldSelf.vendor",
            message="vendor is immutable, because results belong to it: create another DevicePool",
            field="vendor",
        ),
        Rule(
            cel="self.architecture == oldSelf.architecture",
            message="architecture is immutable, because results belong to it: create another DevicePool",
            field="architecture",
        ),
    )

    vendor: Vendor = Field(description="Who makes the devices; CPU for a pool without accelerators")
    architecture: Annotated[str, Field(pattern=ARCHITECTURE, max_length=32)] = Field(
        description="Such as x86_64, sm_90, xe2; results are comparable within one"
    )
    node_selector: Annotated[dict[QualifiedName, LabelValue], Field(max_length=16)] = Field(
        {}, description="Labels of the nodes that belong to the pool"
    )
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = Field(
        [], description="Taints that runners put up with"
    )
    allocation: Allocation | None = Field(None, description="How a runner gets its device; none for a CPU")
    runner: RunnerTemplate = Field(description="What a runner runs in")
    concurrency: Annotated[int, Field(ge=1, le=1024)] = Field(1, description="Runners at once")
    queue_name: DnsLabel | None = Field(
        None, description="Kueue LocalQueue of runner Jobs whose KernelOptimization names none"
    )

    @model_validator(mode="after")
    def _accelerators_are_allocated(self) -> Self:
        if self.vendor is not Vendor.CPU and self.allocation is None:
            raise ValueError("devices of NVIDIA and Intel need an allocation: extendedResource or deviceClass")
        return self


class DevicePoolStatus(ApiRecord):
    """What the operator knows of a pool; its size does not depend on the number of nodes."""

    observed_generation: Count | None = Field(None, description="Generation of the spec that this status is about")
    conditions: Conditions = Field([], description="Ready, DriverConsistent")
    nodes: Count = Field(0, description="Nodes that the selector matches and that take pods")
    devices: Count = Field(0, description="Devices those nodes offer")
    runners: Count = Field(0, description="Runners that hold a device")
    waiting: Count = Field(0, description="Claims that wait for a runner")
    driver: Version | None = Field(None, description="Driver version, where all nodes agree")
    drivers: Annotated[list[Version], Field(max_length=8)] = Field(
        [], description="Driver versions that nodes report, where they differ"
    )
    toolchain: Versions = Field(
        {},
        description="Tool to version: cuda, kernel and product as nodes report them, the rest as the last runner did",
    )


class DevicePool(ApiRecord):
    """Devices of one kind in a cluster, and how runners get them."""

    api_version: Literal["everforge.dev/v1alpha1"]
    kind: Literal["DevicePool"]
    metadata: PoolMetadata
    spec: DevicePoolSpec
    status: DevicePoolStatus | None = Field(None, description="Written by the operator")
