"""A campaign: the search for one task on one device, with one budget; and what is kept of it."""

from enum import StrEnum

from pydantic import Field

from everforge.model.base import Record, digest_of
from everforge.model.budget import Budget, Spend
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.evaluation import SCHEMA_VERSION
from everforge.model.interval import Interval
from everforge.model.search_settings import SearchSettings
from everforge.model.session import TaskFacts
from everforge.model.tally import Tally
from everforge.model.task import TaskSpec
from everforge.model.verdict import Fault, Verdict


class CampaignState(StrEnum):
    """Where a campaign stands. INTERRUPTED resumes; the other two after RUNNING are final."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will be tried under the budget it had."""
        return self in (CampaignState.SUCCEEDED, CampaignState.FAILED)


class StopReason(StrEnum):
    """Why a campaign ended."""

    TARGET = "target reached"
    LIGHT = "close to the speed of light"
    PLATEAU = "no longer getting faster"
    BUDGET = "budget spent"
    EXHAUSTED = "generators have nothing more to propose"
    INTERRUPTED = "interrupted"
    MACHINE = "the machine kept failing"


class ModelSettings(Record):
    """Which model writes candidates, and how it is reached."""

    model: str = Field(description="LiteLLM model name, such as openai/gpt-4.1 or anthropic/…")
    api_base: str | None = Field(None, description="Base URL of an OpenAI-compatible endpoint")
    temperature: float | None = Field(None, ge=0, le=2, description="None leaves it to the provider")
    max_tokens: int = Field(8192, gt=0, description="Longest reply")
    input_dollars_per_million: float | None = Field(None, ge=0, description="Price, where LiteLLM knows none")
    output_dollars_per_million: float | None = Field(None, ge=0, description="Price, where LiteLLM knows none")


class CampaignSpec(Record):
    """Everything a campaign is asked to do, resolved from a manifest and its overrides."""

    name: str
    task: TaskSpec
    device: DeviceKind
    budget: Budget
    generators: tuple[GeneratorKind, ...] = (GeneratorKind.BUILTIN,)
    target_speedup: float | None = Field(None, gt=0)
    model: ModelSettings | None = None
    search: SearchSettings = SearchSettings()

    @property
    def campaign_id(self) -> str:
        """Identity: name, task and device. A raised budget, another model or policy resumes the same campaign."""
        return digest_of([self.name, self.task.digest, self.device]).removeprefix("sha256:")[:16]


class Champion(Record):
    """The best verified trial, re-measured in a fresh process on shapes and seeds nobody saw."""

    trial_id: str
    candidate_digest: str
    speedup: Interval
    speedup_fp32: float | None
    sol_fraction: float | None
    algebraic: bool
    source_path: str | None = Field(None, description="Where the source was written")
    run_id: str | None = Field(None, description="MLflow run of the re-measurement")
    model_uri: str | None = Field(None, description="Registered model version")


class CampaignRecord(Record):
    """What `everforge run --json` ends with."""

    schema_version: int = SCHEMA_VERSION
    campaign_id: str
    name: str
    task: str
    task_digest: str
    device: DeviceKind
    spec_digest: str | None = Field(None, description="What was asked, budget and generators included")
    state: CampaignState
    stop_reason: StopReason | None = None
    detail: str = Field("", description="One sentence on why it stopped")
    fault: Fault | None = Field(None, description="Who is to blame where the machine kept failing")
    champion: Champion | None = None
    baselines_us: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="Variant to baseline to median time"
    )
    trials: int = 0
    trials_by_verdict: dict[Verdict, int] = Field(default_factory=dict)
    by_generator: tuple[Tally, ...] = Field((), description="The trials of each generator, and of each model")
    spend: Spend = Field(Spend(), description="All sittings together")
    overhead: Spend = Field(
        Spend(), description="Part of the spend that no trial carries: baselines, replies without code"
    )
    notes: tuple[str, ...] = ()
    tracking_uri: str | None = None
    experiment_id: str | None = None
    run_id: str | None = Field(None, description="MLflow parent run")


def baselines_of(facts: TaskFacts) -> dict[str, dict[str, float]]:
    """Variant to baseline to median time, as reports show it."""
    return {variant.name: variant.baselines_us() for variant in facts.variants}
