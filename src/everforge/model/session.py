"""What agent and runner say to each other: a session on one task, then trials in it.

Over HTTP, on a Unix socket on one machine and on a TCP port in a cluster. `runners/server.py` answers,
`agents/runner_client.py` asks.
Routes: `GET /v1/environment`, `POST /v1/sessions`, `POST /v1/sessions/{id}/trials`, `DELETE /v1/sessions/{id}`,
and `POST /v1/checks` (`model/check.py`), which needs neither session nor device.
Answers are lines of JSON, `Progress` lines first and one `Outcome` line last, blank ones between them where there is no
news. A trial asked for twice by the same id is answered from the record, or followed while it runs, not run again.
"""

from typing import Literal

from pydantic import Field

from everforge.model.base import Record
from everforge.model.candidate import Candidate
from everforge.model.check import CheckReport
from everforge.model.device import DeviceKind, Environment, Peaks
from everforge.model.evaluation import Evaluation
from everforge.model.graph import TaskGraph, TraceFailure
from everforge.model.task import TaskSpec


class EvaluationSettings(Record):
    """How hard a candidate is tried, and what it may use."""

    seeds: int = Field(5, ge=1, le=64, description="Fresh inputs for each variant")
    error_factor: float = Field(4.0, gt=1, description="Allowed error over eager's own at the policy's precision")
    timeout_s: float = Field(120.0, gt=0, description="Wall time of one trial, build included")
    cpu_seconds: int = Field(600, gt=0, description="CPU time of the candidate's processes, each")
    memory_bytes: int = Field(8 << 30, gt=0, description="Host memory the candidate may take on top of its inputs")
    file_bytes: int = Field(1 << 30, gt=0, description="Largest file the candidate may write")
    processes: int = Field(256, gt=0, description="Processes and threads the candidate may have")
    min_rounds: int = Field(10, ge=3, description="Timed rounds of candidate and baseline, at least")
    max_rounds: int = Field(60, ge=3, description="Timed rounds, at most")
    timing_seconds: float = Field(3.0, gt=0, description="Timing budget of one variant")
    interval_width: float = Field(0.02, gt=0, description="Stop timing once the interval is narrower than this")


class Baseline(Record):
    """What the user would run otherwise, measured for one variant."""

    name: str = Field(description="eager-fp32, compile-bf16, …")
    median_us: float | None = Field(None, description="Median of one call, cold cache; None if it failed")
    error: str | None = Field(None, description="Why it failed")


class VariantFacts(Record):
    """What is known of the task under one variant before any candidate is tried."""

    name: str
    held_out: bool
    baselines: tuple[Baseline, ...]
    fastest: str = Field(description="The fastest baseline the policy allows")
    fastest_fp32: str = Field(description="The fastest fp32 baseline")
    floor_us: float | None = Field(None, description="Roofline floor: the larger of bytes and FLOPs over their rate")
    suspicion_floor_us: float | None = Field(
        None, description="Floor of the least work an honest kernel can do: a shorter time needs an explanation"
    )
    shortcut_floor_us: float | None = Field(
        None, description="Floor with every known algebraic shortcut taken; None where none is known"
    )
    graph: TaskGraph | TraceFailure

    def baselines_us(self) -> dict[str, float]:
        """Baseline name to median time, the failed ones left out."""
        return {b.name: b.median_us for b in self.baselines if b.median_us is not None}


class TaskFacts(Record):
    """What a runner knows of a task once a session on it is open."""

    task_digest: str
    environment: Environment
    peaks: Peaks
    variants: tuple[VariantFacts, ...]
    notes: tuple[str, ...] = Field((), description="What a person should know: flagged oddities of the task")
    device_seconds: float = 0.0


class OpenSession(Record):
    """Ask a runner to load a task, refuse it if degenerate, and measure its baselines."""

    task: TaskSpec
    device: DeviceKind
    settings: EvaluationSettings = EvaluationSettings()


class SessionOpened(Record):
    """The runner's answer."""

    session_id: str
    facts: TaskFacts


class RunTrial(Record):
    """Ask for one trial. A `fresh` one draws new seeds and includes held-out variants: champions only."""

    trial_id: str
    candidate: Candidate
    fresh: bool = False
    variants: tuple[str, ...] | None = Field(None, description="Only these variants; None is all")
    timed: bool = Field(True, description="False stops after correctness")


class Progress(Record):
    """One line of news from a runner at work."""

    event: Literal["progress"] = "progress"
    stage: str
    detail: str = ""


class Failure(Record):
    """The last line when there is no result: whose fault it is and the message for the user."""

    event: Literal["failure"] = "failure"
    kind: Literal["usage", "device", "harness"]
    message: str


class Outcome(Record):
    """The last line of an answer: exactly one of its parts is set."""

    event: Literal["outcome"] = "outcome"
    session: SessionOpened | None = None
    evaluation: Evaluation | None = None
    environment: Environment | None = None
    check: CheckReport | None = None
