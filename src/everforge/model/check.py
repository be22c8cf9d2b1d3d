"""What can be said of a candidate without its device: static rules, compilation ahead, interpreted values.

`POST /v1/checks` takes a CheckCandidate and answers with a CheckReport; `everforge check` prints it. A GateReport
alone also stands between a Triton candidate and a GPU in every trial (`runners/sessions.py`).
"""

from enum import StrEnum

from pydantic import Field, model_validator

from everforge.model.base import Record
from everforge.model.candidate import Candidate, ParameterValue
from everforge.model.evaluation import SCHEMA_VERSION, VariantResult
from everforge.model.task import TaskSpec
from everforge.model.verdict import Verdict

# Architectures that kernels can be compiled for without the device (`runners/gate/triton_stand_ins.py`).
ARCHITECTURES_AHEAD = ("sm_80", "sm_89", "sm_90", "sm_100")


class CompileFault(Record):
    """Why a kernel does not compile."""

    kernel: str
    line: int | None = Field(None, description="Line in the candidate's file, from 1")
    message: str


class KernelReport(Record):
    """One kernel, compiled with one configuration."""

    name: str
    config: dict[str, ParameterValue] = Field(description="Constants, warps and stages it was compiled with")
    compile_seconds: float
    registers: int | None = Field(None, description="Registers of one thread")
    stack_bytes: int | None = Field(None, description="Stack of one thread: spilled registers")
    shared_bytes: int | None = Field(None, description="Shared memory of one block")
    features: tuple[str, ...] = Field((), description="Hardware the machine code uses: wgmma, mma, tma, cp.async")
    fault: CompileFault | None = None


class GateReport(Record):
    """What compiling ahead showed. `fault` and `not_checked` are never both set."""

    arch: str
    kernels: tuple[KernelReport, ...] = ()
    fault: CompileFault | None = None
    not_checked: str | None = Field(None, description="Why it could not be compiled to the end without the device")

    @model_validator(mode="after")
    def _faulty_was_checked(self) -> "GateReport":
        if self.fault is not None and self.not_checked is not None:
            raise ValueError("what was not checked has no fault")
        return self

    @property
    def verdict(self) -> Verdict | None:
        """COMPILE_ERROR, or None where nothing speaks against trying the device."""
        return None if self.fault is None else Verdict.COMPILE_ERROR


class CheckCandidate(Record):
    """Ask a runner what it can say of a candidate without a device."""

    task: TaskSpec
    candidate: Candidate
    arch: str = Field("sm_90", description="Architecture that Triton kernels are compiled for")
    values_timeout_s: float = Field(60.0, gt=0, description="Wall time of the interpreter, over all variants")


class CheckStage(StrEnum):
    """The checks, cheapest first; what one finds ends the check."""

    STATIC = "static rules"
    COMPILE = "compile ahead"
    VALUES = "interpreted values"


class CheckFinding(Record):
    """What speaks against a candidate, and which check found it."""

    stage: CheckStage
    verdict: Verdict
    reason: str = Field(description="One sentence for a person")


class CheckReport(Record):
    """The runner's answer. No finding is no proof: `not_checked` says what only a device can tell."""

    schema_version: int = SCHEMA_VERSION
    finding: CheckFinding | None = Field(None, description="None where nothing speaks against the candidate")
    compiled: GateReport | None = Field(None, description="None where the check ended before, or does not apply")
    values: tuple[VariantResult, ...] = Field((), description="Errors of the variants that were interpreted")
    not_checked: tuple[str, ...] = Field((), description="What was left out, and why")
    task_digest: str
    candidate_digest: str

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against trying the candidate on a device."""
        return self.finding is None
