"""A runner that nobody uses rests, then is closed; one that was taken away meanwhile is replaced before a trial."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from everforge.agents.campaign import Campaign, Ports
from everforge.agents.runner_supply import RunnerSupply
from everforge.model.budget import Budget
from everforge.model.campaign import CampaignState
from everforge.model.candidate import GeneratorKind
from everforge.search.generator import Proposal, SearchContext
from everforge.store.memory import MemoryStore
from everforge.testing import samples
from everforge.testing.fakes import FakeClock, FakeRunner, ScriptedGenerator


@dataclass
class RestingRunner(FakeRunner):
    """A runner that tells when it was asked to rest and when it was closed, and may be taken away meanwhile."""

    rested: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    taken: bool = False

    def rest(self) -> None:
        self.rested.set()

    def resume(self) -> bool:
        return not self.taken

    def close(self) -> None:
        super().close()
        self.ended.set()


class Runners:
    """Starts runners and keeps them."""

    def __init__(self) -> None:
        self.started: list[RestingRunner] = []

    def __call__(self) -> RestingRunner:
        self.started.append(RestingRunner({}, FakeClock()))
        return self.started[-1]


def test_unused_runner_rests_and_is_closed_in_the_end() -> None:
    runners = Runners()
    supply = RunnerSupply(runners, rest_after_s=0.01, close_after_s=0.01)
    with supply.in_use():
        supply.runner()
    [runner] = runners.started
    assert runner.ended.wait(30)
    assert runner.rested.is_set()
    assert not supply.holds(runner)


def test_runner_in_use_never_rests() -> None:
    runners = Runners()
    supply = RunnerSupply(runners, rest_after_s=0.01)
    with supply.in_use():
        supply.runner()
        with supply.in_use():
            supply.runner()
        assert not runners.started[0].rested.wait(0.1)
    assert runners.started[0].rested.wait(30)


def test_rested_runner_that_is_still_there_goes_on() -> None:
    runners = Runners()
    supply = RunnerSupply(runners, rest_after_s=0.01)
    with supply.in_use():
        supply.runner()
    assert runners.started[0].rested.wait(30)
    with supply.in_use():
        assert supply.runner() is runners.started[0]


def test_rested_runner_that_was_taken_away_is_replaced() -> None:
    runners = Runners()
    supply = RunnerSupply(runners, rest_after_s=0.01)
    with supply.in_use():
        supply.runner()
    assert runners.started[0].rested.wait(30)
    runners.started[0].taken = True
    with supply.in_use():
        assert supply.runner() is not runners.started[0]
    assert runners.started[0].closed == 1


def test_supply_of_a_workstation_lets_its_runner_idle() -> None:
    runners = Runners()
    supply = RunnerSupply(runners)
    with supply.in_use():
        supply.runner()
    assert not runners.started[0].rested.wait(0.05)


@dataclass(frozen=True)
class SlowGenerator(ScriptedGenerator):
    """Thinks until the runner rests, and is robbed of it meanwhile."""

    runners: Runners = field(default_factory=Runners)

    def propose(self, context: SearchContext) -> Proposal | None:
        runner = self.runners.started[-1]
        assert runner.rested.wait(30)
        runner.taken = True
        return super().propose(context)


def test_runner_taken_while_a_generator_thought_costs_no_trial(tmp_path: Path) -> None:
    runners = Runners()
    candidates = [samples.candidate("one"), samples.candidate("two")]
    plain = samples.campaign_spec()
    spec = plain.model_copy(update={"budget": Budget(trials=10), "target_speedup": None})
    ports = Ports(
        supply=RunnerSupply(runners, rest_after_s=0.01),
        open_store=MemoryStore,
        generators={GeneratorKind.BUILTIN: SlowGenerator(candidates, runners=runners)},
        clock=FakeClock(),
        champions_dir=tmp_path,
        may_resume=False,
    )
    record = Campaign(spec, ports).run()
    assert record.state is CampaignState.SUCCEEDED
    assert record.trials == 2
    assert [len(runner.requests) for runner in runners.started] == [0, 1, 1]
