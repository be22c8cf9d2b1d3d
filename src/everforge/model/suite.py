"""The report of a suite: a directory of tasks run as a fleet of campaigns."""

from enum import StrEnum

from pydantic import Field

from everforge.model.base import Record
from everforge.model.device import DeviceKind
from everforge.model.evaluation import SCHEMA_VERSION
from everforge.model.interval import Interval
from everforge.model.tally import Tally


class TaskStatus(StrEnum):
    """How one task of a suite ended."""

    IMPROVED = "improved"
    NOT_IMPROVED = "not_improved"
    REFUSED = "refused"
    FAILED = "failed"


class TaskRow(Record):
    """One task of a suite."""

    task: str
    status: TaskStatus
    champion: str | None = Field(None, description="Path of the champion's source, relative to the report")
    speedup: Interval | None = Field(None, description="Fastest allowed baseline / champion")
    speedup_fp32: float | None = None
    sol_fraction: float | None = None
    algebraic: bool = False
    baselines_us: dict[str, float] = Field(default_factory=dict)
    trials: int = 0
    device_seconds: float = 0.0
    by_generator: tuple[Tally, ...] = Field((), description="The trials of each generator, and of each model")
    notes: tuple[str, ...] = Field((), description="What a person should know of the task")
    error: str | None = Field(None, description="Why it was refused or failed")


class SuiteReport(Record):
    """What `everforge suite` writes to report.json.

    A task without a champion counts as 1.0 in the means (the user keeps the baseline); a refused one not at all.
    """

    schema_version: int = SCHEMA_VERSION
    device: DeviceKind
    device_name: str | None = None
    tasks: tuple[TaskRow, ...]
    geomean: Interval | None = None
    geomean_fp32: Interval | None = None
    win_rate: float | None = Field(None, ge=0, le=1, description="Share of tasks whose interval lies above 1")
