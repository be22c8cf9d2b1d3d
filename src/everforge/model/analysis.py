"""What limits a candidate, with the figures that prove it, and what would help and by how much at most.

`agents/analysis` makes it of an evaluation, a profile where there is one, and what is known of the task and the device.
The next round of generation is asked to answer each recommendation.
"""

from enum import StrEnum

from pydantic import Field

from everforge.model.base import Record
from everforge.model.knowledge import Bottleneck

ANALYSIS_SCHEMA_VERSION = 1


class Limiter(StrEnum):
    """What a candidate's time goes to."""

    MEMORY_BANDWIDTH = "memory-bandwidth"
    MEMORY_LATENCY = "memory-latency"
    COMPUTE = "compute"
    OCCUPANCY = "occupancy"
    REGISTERS = "registers"
    SHARED_MEMORY = "shared-memory"
    LAUNCH_OVERHEAD = "launch-overhead"
    HOST = "host"
    IMBALANCE = "imbalance"
    UNKNOWN = "unknown"

    @property
    def bottleneck(self) -> Bottleneck | None:
        """The word under which the knowledge base has entries against it; None where it has none."""
        return _KNOWN_AS.get(self)


_KNOWN_AS = {
    Limiter.MEMORY_BANDWIDTH: Bottleneck.BANDWIDTH,
    Limiter.MEMORY_LATENCY: Bottleneck.LATENCY,
    Limiter.COMPUTE: Bottleneck.COMPUTE,
    Limiter.OCCUPANCY: Bottleneck.OCCUPANCY,
    Limiter.REGISTERS: Bottleneck.REGISTERS,
    Limiter.SHARED_MEMORY: Bottleneck.CACHE,
    Limiter.LAUNCH_OVERHEAD: Bottleneck.LAUNCH,
    Limiter.HOST: Bottleneck.LAUNCH,
    Limiter.IMBALANCE: Bottleneck.OCCUPANCY,
}


class Ceiling(StrEnum):
    """The two sides of a roofline."""

    BANDWIDTH = "bandwidth"
    COMPUTE = "compute"


class Measure(StrEnum):
    """The time that a gain is of."""

    DEVICE = "device time"
    CALL = "time of a call, launches included"


class Confidence(StrEnum):
    """How a recommendation follows from its figures."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Figure(Record):
    """One number that something rests on."""

    name: str
    value: float
    unit: str = Field(description="µs, B, B/s, FLOP/s, FLOP/B, `share` (from 0 to 1), or empty for a count or a ratio")
    source: str = Field(description="The evaluation, the profile with the tool's own metric, the graph, or the peaks")


class Roofline(Record):
    """Where a candidate lies under the device's ceilings."""

    time_us: float = Field(gt=0, description="Median time of one call on the device")
    floor_us: float = Field(
        gt=0, description="The longer of bytes and FLOPs of the stated work over the device's rates"
    )
    ceiling: Ceiling | None = Field(None, description="Which of the two it is; None where the reference was not traced")
    intensity: float | None = Field(None, ge=0, description="FLOPs of the task over its bytes")
    ridge: float | None = Field(None, ge=0, description="Intensity at which the two ceilings meet, FLOP/B")

    @property
    def fraction(self) -> float:
        """Floor over time: above 1 where a shortcut does less than the stated work."""
        return self.floor_us / self.time_us

    @property
    def headroom(self) -> float:
        """The largest factor by which the device's time can still shrink."""
        return max(1.0, self.time_us / self.floor_us)


class Recommendation(Record):
    """One thing to do, and the most it can bring."""

    limiter: Limiter
    what: str
    why: str = Field(description="With the figures it follows from")
    gain_bound: float | None = Field(
        None, ge=1, description="Time before over time after, at most; None where no figure bounds it"
    )
    measure: Measure = Measure.DEVICE
    confidence: Confidence


class Analysis(Record):
    """What limits one candidate on one variant."""

    schema_version: int = ANALYSIS_SCHEMA_VERSION
    variant: str
    kernel: str | None = Field(None, description="The kernel with the largest share of time; None without a profile")
    limiter: Limiter
    because: tuple[Figure, ...] = Field((), description="The figures that prove it")
    roofline: Roofline | None = Field(None, description="None where the candidate was not timed or has no floor")
    recommendations: tuple[Recommendation, ...] = Field((), description="Most promising first")
    missing: tuple[str, ...] = Field((), description="What could not be looked at, and why")
