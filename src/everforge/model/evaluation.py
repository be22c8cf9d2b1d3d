"""The measured record of a trial: what `everforge evaluate --json` prints and MLflow keeps."""

from pydantic import Field, model_validator

from everforge.model.base import Record
from everforge.model.device import Environment
from everforge.model.interval import Interval
from everforge.model.verdict import Fault, Verdict

SCHEMA_VERSION = 1


class DeviceReading(Record):
    """The device's own sensors at one moment of a trial; None where the device does not tell."""

    clock_mhz: float | None = Field(None, description="Clock of the compute units")
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttled_by: tuple[str, ...] = Field((), description="Reasons the device gives for holding its clocks down")


class VariantResult(Record):
    """One variant of a trial: errors against float64, and times where it was timed."""

    name: str
    held_out: bool
    correct: bool
    detail: str | None = Field(None, description="What is wrong, None if nothing is")
    max_error: float | None = Field(None, description="Largest absolute error over outputs and seeds")
    error_ratio: float | None = Field(
        None, description="Error over what the tolerance allows, worst output and seed; above 1 is incorrect"
    )
    candidate_us: float | None = Field(None, description="Median time of one call on the device, cold cache")
    baselines_us: dict[str, float] = Field(default_factory=dict, description="Baseline to median time")
    speedup: Interval | None = Field(None, description="Fastest allowed baseline over candidate")
    samples: int | None = Field(None, description="Timed rounds behind the median")
    speedup_by_wall: Interval | None = Field(None, description="The same speedup by the parent's own clock")
    replay_us: float | None = Field(
        None, description="Median time of one call replayed as a device graph, without launches; None if not captured"
    )
    baseline_replay_us: float | None = Field(None, description="As replay_us, of the fastest allowed baseline")
    speedup_replayed: Interval | None = Field(
        None, description="The same speedup by the parent's clock over calls of under 100 µs replayed as device graphs"
    )
    launch_us: float | None = Field(
        None, description="Median time the host takes to launch one call, a GPU being idle; candidate_us leaves it out"
    )
    baseline_launch_us: float | None = Field(None, description="As launch_us, of the fastest allowed baseline")
    rechecked: int | None = Field(None, description="Outputs of timed calls that were compared with the truth")


class StageSeconds(Record):
    """Where a trial's wall time went."""

    compile: float = Field(0.0, description="Import and build of the candidate, first call included")
    verify: float = Field(0.0, description="Calls of the candidate on the checked inputs")
    time: float = Field(0.0, description="Timed rounds of candidate and baseline")
    overhead: float = Field(0.0, description="All the rest: process start, transfer, comparison, bookkeeping")

    @property
    def total(self) -> float:
        """Wall time of the trial."""
        return self.compile + self.verify + self.time + self.overhead


class Evaluation(Record):
    """What one trial measured, and the verdict that follows from it."""

    schema_version: int = SCHEMA_VERSION
    verdict: Verdict
    reason: str = Field(description="One sentence for a person: why this verdict")
    fault: Fault | None = Field(None, description="Who is to blame for an infra_error")
    speedup: Interval | None = Field(None, description="Fastest allowed baseline / candidate, over variants")
    speedup_fp32: float | None = Field(None, description="Fastest fp32 baseline / candidate: what papers quote")
    sol_fraction: float | None = Field(None, description="Roofline floor of the task / candidate's time")
    algebraic: bool = Field(False, description="Does fewer FLOPs than the task states, or beats its floor")
    variants: tuple[VariantResult, ...] = ()
    environment: Environment
    task_digest: str
    candidate_digest: str
    evidence: tuple[str, ...] = Field((), description="What was seen that does not fit an honest candidate")
    own_share: float | None = Field(None, description="Share of device time spent in the candidate's own kernels")
    notes: tuple[str, ...] = Field(
        (), description="What a person should know of the task, and of the device while it was timed"
    )
    readings: tuple[DeviceReading, ...] = Field((), description="The device's sensors before and after timing")
    diagnostics: str | None = Field(None, description="Compiler output, traceback or stderr, truncated")
    stages: StageSeconds = StageSeconds()
    device_seconds: float = Field(0.0, description="Time the device was held by this trial")

    @model_validator(mode="after")
    def _parts_agree_with_verdict(self) -> "Evaluation":
        if (self.verdict is Verdict.INFRA_ERROR) != (self.fault is not None):
            raise ValueError("fault is set exactly for infra_error")
        if self.verdict.is_correct and not all(variant.correct for variant in self.variants):
            raise ValueError(f"{self.verdict} needs every variant correct")
        if self.verdict in (Verdict.FASTER, Verdict.SLOWER) and self.speedup is None:
            raise ValueError(f"{self.verdict} needs a speedup")
        if not self.verdict.is_correct and self.speedup is not None:
            raise ValueError(f"{self.verdict} must not carry a speedup")
        return self
