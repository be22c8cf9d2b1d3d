"""The metadata of Everforge's objects: what a manifest writes, and what an API server adds to it.

A manifest from a file and an object from a watch are read by the same records.
"""

from typing import Annotated, Any

from pydantic import Field

from everforge.model.base import ApiRecord
from everforge.model.scalars import Count, DnsLabel, LabelValue, QualifiedName, Timestamp

# The server derives names of Jobs and values of labels from these names, and both end at 63 characters.
MAX_NAME = 40
MAX_POOL_NAME = 63
MAX_CLAIM_NAME = 63


class OwnerReference(ApiRecord):
    """The object another one is deleted with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = Field(None, description="Whether the owner manages the object")
    block_owner_deletion: bool | None = Field(None, description="Whether the owner waits for the object to go")


class ObjectMetadata(ApiRecord):
    """What metadata of every object may hold beside its name."""

    labels: dict[QualifiedName, LabelValue] = Field(default_factory=dict)
    annotations: dict[QualifiedName, str] = Field(default_factory=dict)
    uid: str | None = Field(None, description="Set by the API server")
    generation: Count | None = Field(None, description="Set by the API server; counts changes of the spec")
    resource_version: str | None = Field(None, description="Set by the API server; counts changes of anything")
    creation_timestamp: Timestamp | None = Field(None, description="Set by the API server")
    deletion_timestamp: Timestamp | None = Field(None, description="Set by the API server when deletion was asked for")
    deletion_grace_period_seconds: Count | None = Field(None, description="Set by the API server")
    owner_references: list[OwnerReference] = Field(default_factory=list)
    finalizers: list[str] = Field(default_factory=list)
    generate_name: str | None = Field(None, description="Set by the API server")
    self_link: str | None = Field(None, description="Set by old API servers")
    managed_fields: list[dict[str, Any]] = Field(default_factory=list, description="Set by the API server")


class Metadata(ObjectMetadata):
    """Metadata of a KernelOptimization; labels and annotations pass through."""

    name: Annotated[DnsLabel, Field(max_length=MAX_NAME)]
    namespace: DnsLabel = "default"


class PoolMetadata(ObjectMetadata):
    """Metadata of a DevicePool, which belongs to the cluster and to no namespace."""

    name: Annotated[DnsLabel, Field(max_length=MAX_POOL_NAME)]


class ClaimMetadata(ObjectMetadata):
    """Metadata of a RunnerClaim."""

    name: Annotated[DnsLabel, Field(max_length=MAX_CLAIM_NAME)]
    namespace: DnsLabel = "default"
