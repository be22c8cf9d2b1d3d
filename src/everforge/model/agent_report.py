"""What an agent says of its campaign while it runs: counts and spend, where they are kept, and what measures.

It travels in the spec of the RunnerClaim that the agent holds anyway, so that reporting takes no right beyond those of
claiming (docs/adr/0009-agents-only-claim.md). The operator copies it into statuses; the last words of the agent's pod
overrule it.
"""

from typing import Self

from pydantic import Field

from everforge.model.base import ApiRecord
from everforge.model.device import Environment
from everforge.model.kopt_status import Identifier, SpendStatus, TrialCounts
from everforge.model.scalars import MAX_VERSION, MAX_VERSIONS, Versions

# The driver's name among tools: the version that the runner's own process saw.
DRIVER = "driver"


class AgentReport(ApiRecord):
    """How far a campaign has come, as its agent counts; its size does not depend on the number of trials."""

    trials: TrialCounts = Field(TrialCounts(), description="Trials so far, over all agents of the campaign")
    spend: SpendStatus = Field(SpendStatus(), description="Spent so far")
    run_id: Identifier | None = Field(None, description="MLflow run of the campaign")
    experiment_id: Identifier | None = Field(None, description="MLflow experiment with its trials")
    toolchain: Versions = Field({}, description="Tool to version, as the runner reported it")

    def measured_in(self, environment: Environment) -> Self:
        """With the tools of the runner that serves now."""
        tools = dict(sorted(environment.toolchain.items()))
        if environment.driver is not None:
            tools = {DRIVER: environment.driver, **tools}
        kept = {name: version[:MAX_VERSION] for name, version in list(tools.items())[:MAX_VERSIONS]}
        return self.model_copy(update={"toolchain": kept})
