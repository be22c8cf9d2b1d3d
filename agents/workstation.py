"""Everforge on one machine: wires campaigns to a local runner, a local store and this process's signals.

`everforge run` and `everforge suite` use it; `pod.py` wires the same to a runner that the operator gives.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from everforge.agents.campaign import Campaign, Ports
from everforge.agents.generators import GeneratorFactory, build_generators
from everforge.agents.metering import Meter, metered
from everforge.agents.runner_process import start_local_runner
from everforge.agents.runner_supply import RunnerSupply
from everforge.agents.stop_signal import StopSignal
from everforge.clock import SystemClock
from everforge.model.campaign import CampaignRecord, CampaignSpec
from everforge.model.session import EvaluationSettings
from everforge.search.events import Listener, all_of, ignore
from everforge.store.local import OUTBOX_FOLDER, open_store
from everforge.store.outbox import OutboxStore


@dataclass(frozen=True)
class Workstation:
    """Where one machine keeps what it measures, and who counts it; None counts nothing.

    Nothing is created before a runner accepts a task, unless `resumes` says that the store is there already.
    """

    state_dir: Path
    tracking_uri: str | None = None
    api_key_file: Path | None = None
    generators_of: GeneratorFactory = build_generators
    meter: Meter | None = None
    resumes: bool = False

    @property
    def champions_dir(self) -> Path:
        """Where champions' sources are written."""
        return self.state_dir / "champions"

    @cached_property
    def store(self) -> OutboxStore:
        """The store, with its outbox below the state directory; one for all campaigns of this process.

        Raises UsageError for a tracking URI or a directory that cannot be used.
        """
        return open_store(self.state_dir, self.tracking_uri, watch=self.meter)

    def run_campaign(
        self,
        spec: CampaignSpec,
        supply: RunnerSupply,
        *,
        listener: Listener = ignore,
        stop: StopSignal | None = None,
        settings: EvaluationSettings | None = None,
    ) -> CampaignRecord:
        """One sitting of a campaign. Raises what Campaign.run raises, and UsageError for its generators."""
        ports = Ports(
            supply=supply,
            open_store=lambda: self.store,
            generators=self.generators_of(spec, self.api_key_file),
            clock=SystemClock(),
            champions_dir=self.champions_dir,
            # Every store has an outbox, from its opening on.
            may_resume=self.resumes or (self.state_dir / OUTBOX_FOLDER).exists(),
            listener=listener if self.meter is None else all_of(listener, metered(self.meter)),
            stop=stop or StopSignal(),
        )
        return Campaign(spec, ports, settings).run()


def local_supply() -> RunnerSupply:
    """A supply of runner processes on this machine; use it as a context manager.

    The second runner, on the second device of its kind, is started only where a champion is to be confirmed on it.
    """
    return RunnerSupply(start_local_runner, partial(start_local_runner, device_index=1))
