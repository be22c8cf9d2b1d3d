"""What an agent says of its campaign while it runs: counts, spend, its best kernels, and what it waits for.

It travels in the spec of the RunnerClaim that the agent holds anyway, so that reporting takes no right beyond those of
claiming (docs/adr/0009-agents-only-claim.md). The operator copies it into statuses; the last words of the agent's pod
overrule it.
"""

from typing import Annotated, Self

from pydantic import Field

from everforge.model.base import ApiRecord
from everforge.model.device import Environment
from everforge.model.kopt_status import ChallengerStatus, ChampionStatus, Identifier, SpendStatus, TrialCounts
from everforge.model.scalars import MAX_VERSION, MAX_VERSIONS, Versions

# A sentence or two; the operator adds what to do.
MAX_TROUBLE = 1024
# The driver's name among tools: the version that the runner's own process saw.
DRIVER = "driver"


class AgentReport(ApiRecord):
    """How far a campaign has come, as its agent counts; its size does not depend on the number of trials."""

    trials: TrialCounts = Field(TrialCounts(), description="Trials so far, over all agents of the campaign")
    spend: SpendStatus = Field(SpendStatus(), description="Spent so far")
    run_id: Identifier | None = Field(None, description="MLflow run of the campaign")
    experiment_id: Identifier | None = Field(None, description="MLflow experiment with its trials")
    toolchain: Versions = Field({}, description="Tool to version, as the runner reported it")
    champion: ChampionStatus | None = Field(None, description="Best kernel that was re-measured so far")
    challenger: ChallengerStatus | None = Field(None, description="Faster still, and not re-measured yet")
    tracking_trouble: Annotated[str, Field(max_length=MAX_TROUBLE)] | None = Field(
        None, description="Why the tracking server cannot be reached, while the agent waits for it"
    )

    def measured_in(self, environment: Environment) -> Self:
        """With the tools of the runner that serves now."""
        tools = dict(sorted(environment.toolchain.items()))
        if environment.driver is not None:
            tools = {DRIVER: environment.driver, **tools}
        kept = {name: version[:MAX_VERSION] for name, version in list(tools.items())[:MAX_VERSIONS]}
        return self.model_copy(update={"toolchain": kept})
