"""The RunnerClaim object: an agent asks for a runner on a pool, and learns its address.

The agent writes the spec, the operator the status. The agent says that it has nothing to evaluate by `idle`, and
that it is done by `released`; only the operator says who holds a device. The runner's credential is the agent's: it
draws a token, and gives its digest.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from everforge.model.agent_report import AgentReport
from everforge.model.base import ApiRecord, Rule
from everforge.model.condition import Conditions
from everforge.model.metadata import ClaimMetadata
from everforge.model.scalars import Count, Digest, DnsLabel, Timestamp
from everforge.model.transitions import Table, is_terminal, may_follow, transition_rule

CLAIM_KIND = "RunnerClaim"


class ClaimPhase(StrEnum):
    """Where a claim stands."""

    PENDING = "Pending"
    STARTING = "Starting"
    BOUND = "Bound"
    REVOKED = "Revoked"
    RELEASED = "Released"
    FAILED = "Failed"

    @property
    def is_finished(self) -> bool:
        """Whether the claim holds nothing and never will: an agent that goes on makes another one."""
        return is_terminal(CLAIM_TRANSITIONS, self)

    @property
    def occupies(self) -> bool:
        """Whether a runner of the pool's concurrency is taken."""
        return self in (ClaimPhase.STARTING, ClaimPhase.BOUND)

    def may_become(self, after: "ClaimPhase") -> bool:
        """Whether the operator may write `after` over this phase."""
        return may_follow(CLAIM_TRANSITIONS, self, after)


_ENDS = (ClaimPhase.REVOKED, ClaimPhase.RELEASED, ClaimPhase.FAILED)
# A runner may lose its node while it starts or works; the claim then waits for the next one.
CLAIM_TRANSITIONS: Table[ClaimPhase] = {
    ClaimPhase.PENDING: (ClaimPhase.STARTING, ClaimPhase.BOUND, *_ENDS),
    ClaimPhase.STARTING: (ClaimPhase.PENDING, ClaimPhase.BOUND, *_ENDS),
    ClaimPhase.BOUND: (ClaimPhase.PENDING, ClaimPhase.STARTING, *_ENDS),
    ClaimPhase.REVOKED: (),
    ClaimPhase.RELEASED: (),
    ClaimPhase.FAILED: (),
}


class ClaimCondition(StrEnum):
    """Types of the conditions of a RunnerClaim."""

    BOUND = "Bound"


class ClaimOwner(ApiRecord):
    """The KernelOptimization a claim is made for, in the claim's namespace."""

    name: DnsLabel = Field(description="Name of the KernelOptimization")
    uid: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="Its uid: another object of the same name is another owner"
    )


class RunnerClaimSpec(ApiRecord):
    """Who asks for a runner, on which pool, and how it may be taken back."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.pool == oldSelf.pool",
            message="pool is immutable: create another RunnerClaim",
            field="pool",
        ),
        Rule(
            cel="self.owner == oldSelf.owner",
            message="owner is immutable: create another RunnerClaim",
            field="owner",
        ),
        Rule(
            cel="self.credentialDigest == oldSelf.credentialDigest",
            message="credentialDigest is immutable: create another RunnerClaim",
            field="credentialDigest",
        ),
        Rule(
            cel="!oldSelf.released || self.released",
            message="a released claim stays released: create another RunnerClaim",
            field="released",
        ),
    )

    pool: DnsLabel = Field(description="DevicePool to run on")
    owner: ClaimOwner = Field(description="KernelOptimization the runner works for")
    credential_digest: Digest = Field(
        description="Digest of the token that the runner will ask for: sha256 of 128 random bits or more"
    )
    requester: Annotated[str, Field(max_length=253)] | None = Field(
        None, description="Pod of the agent that asks; says whose trials the runner evaluates"
    )
    priority: Annotated[int, Field(ge=-1000, le=1000)] = Field(
        0, description="Higher is served first; among equals, namespaces take turns"
    )
    idle_seconds: Annotated[int, Field(ge=0, le=86400)] = Field(
        60, description="How long the runner may idle while others wait, before it is taken back"
    )
    idle: bool = Field(
        False,
        description="The agent has nothing to evaluate just now: no runner is started, and one that is there may go",
    )
    report: AgentReport | None = Field(None, description="How far the campaign has come, as the agent counts")
    released: bool = Field(False, description="The agent is done with the runner; this cannot be taken back")


class RunnerClaimStatus(ApiRecord):
    """Who holds which runner, since when, and how it is reached."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        transition_rule(CLAIM_TRANSITIONS, "phase"),
        Rule(
            cel="self.phase != 'Bound' || (has(self.address) && has(self.holder) && has(self.since))",
            message="a Bound claim has address, holder and since",
            twin="_bound_is_reachable",
        ),
    )

    observed_generation: Count | None = Field(None, description="Generation of the spec that this status is about")
    phase: ClaimPhase = Field(ClaimPhase.PENDING, description="Where the claim stands; an end is final")
    message: Annotated[str, Field(max_length=4096)] | None = Field(None, description="Why it stands there")
    holder: DnsLabel | None = Field(None, description="Job of the runner that serves the claim")
    node: Annotated[str, Field(max_length=253)] | None = Field(None, description="Node the runner is on")
    attempt: Count = Field(0, description="How often a runner was started for the claim")
    since: Timestamp | None = Field(None, description="When the runner was bound to the claim")
    idle_since: Timestamp | None = Field(None, description="Since when the runner has had nothing to evaluate")
    address: Annotated[str, Field(pattern=r"^https?://[^/?#]+$", max_length=512)] | None = Field(
        None, description="URL of the runner"
    )
    conditions: Conditions = Field([], description="Bound, with what keeps the claim waiting")

    @model_validator(mode="after")
    def _bound_is_reachable(self) -> Self:
        needed = (self.address, self.holder, self.since)
        if self.phase is ClaimPhase.BOUND and None in needed:
            raise ValueError("a Bound claim has address, holder and since")
        return self


class RunnerClaim(ApiRecord):
    """A runner on a device pool, asked for by an agent."""

    api_version: Literal["everforge.dev/v1alpha1"]
    kind: Literal["RunnerClaim"]
    metadata: ClaimMetadata
    spec: RunnerClaimSpec
    status: RunnerClaimStatus | None = Field(None, description="Written by the operator")
