"""The campaign loop on a machine that claims two devices of one kind: its champions are confirmed on both."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from everforge.agents.campaign import Campaign, Ports
from everforge.agents.runner_supply import RunnerSupply
from everforge.errors import DeviceFault, TaskError
from everforge.model.budget import Budget
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState
from everforge.model.candidate import GeneratorKind
from everforge.model.device import Environment
from everforge.model.evaluation import Evaluation
from everforge.model.session import OpenSession, RunTrial, SessionOpened
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Fault, Verdict
from everforge.search.runner_port import OnProgress
from everforge.store.memory import MemoryStore
from everforge.testing import samples
from everforge.testing.fakes import FakeClock, FakeRunner, Judgement, Landscape, ScriptedGenerator

GOOD, BEST = (samples.candidate(label) for label in ("good", "best"))
FIRST: Landscape = {
    GOOD.source: Judgement(speedup=1.4, confirmed_speedup=1.35),
    BEST.source: Judgement(speedup=2.0, confirmed_speedup=1.9),
}
SECOND: Landscape = {
    GOOD.source: Judgement(confirmed_speedup=1.3),
    BEST.source: Judgement(confirmed_speedup=1.7),
}
BEST_FAILS_ON_SECOND: Landscape = {**SECOND, BEST.source: Judgement(confirmed_verdict=Verdict.INCONCLUSIVE)}


class Killed(BaseException):
    """The process is gone: nothing of the campaign's own code runs after it."""


@dataclass
class OneOfTwo(FakeRunner):
    """A runner on one of two devices of its kind."""

    environment: Environment = field(default_factory=samples.environment)

    def open_session(self, request: OpenSession, on_progress: OnProgress) -> SessionOpened:
        opened = super().open_session(request, on_progress)
        facts = opened.facts.model_copy(update={"environment": self.environment})
        return opened.model_copy(update={"facts": facts})

    def run_trial(self, session_id: str, request: RunTrial, on_progress: OnProgress) -> Evaluation:
        evaluation = super().run_trial(session_id, request, on_progress)
        return evaluation.model_copy(update={"environment": self.environment})


def device(index: int, count: int = 2, uuid: str | None = None) -> Environment:
    update = {"device_count": count, "device_index": index, "device_uuid": uuid or f"GPU-{index}"}
    return samples.environment().model_copy(update=update)


@dataclass
class TwoDevices:
    """A store that outlives sittings, and runners on the first and the second device, as many as were started."""

    directory: Path
    first: Environment = field(default_factory=lambda: device(0))
    second: Environment = field(default_factory=lambda: device(1))
    first_landscape: Landscape = field(default_factory=lambda: FIRST)
    second_landscape: Landscape = field(default_factory=lambda: SECOND)
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: FakeClock = field(default_factory=FakeClock)
    started: list[OneOfTwo] = field(default_factory=list)

    def sit(self, spec: CampaignSpec, **hooks: Callable[..., None]) -> CampaignRecord:
        def starter(landscape: Landscape, environment: Environment) -> Callable[[], OneOfTwo]:
            def start() -> OneOfTwo:
                self.started.append(OneOfTwo(landscape, self.clock, environment=environment, **hooks))  # type: ignore[arg-type]
                return self.started[-1]

            return start

        starters = starter(self.first_landscape, self.first), starter(self.second_landscape, self.second)
        with RunnerSupply(*starters) as supply:
            ports = Ports(
                supply=supply,
                open_store=lambda: self.store,
                generators={GeneratorKind.BUILTIN: ScriptedGenerator([GOOD, BEST])},
                clock=self.clock,
                champions_dir=self.directory,
            )
            return Campaign(spec, ports).run()

    def remeasured(self, spec: CampaignSpec) -> list[Trial]:
        return [trial for trial in self.store.trials(spec.campaign_id) if trial.purpose is Purpose.CHAMPION]

    @property
    def measured(self) -> list[str]:
        return [request.trial_id for runner in self.started for request in runner.requests]


@pytest.fixture
def bench(tmp_path: Path) -> TwoDevices:
    return TwoDevices(tmp_path / "champions")


@pytest.fixture
def spec() -> CampaignSpec:
    return samples.campaign_spec().model_copy(update={"budget": Budget(trials=10), "target_speedup": None})


def test_champion_is_confirmed_on_both_devices_and_both_figures_are_kept(bench: TwoDevices, spec: CampaignSpec) -> None:
    record = bench.sit(spec)
    figures = [
        (trial.evaluation.environment.device_uuid, trial.evaluation.speedup.value)
        for trial in bench.remeasured(spec)
        if trial.evaluation.speedup is not None
    ]
    assert figures == [("GPU-0", 1.9), ("GPU-1", 1.7)]
    assert record.champion is not None
    assert (record.champion.candidate_digest, record.champion.speedup.value) == (BEST.digest, 1.7)
    assert record.trials == 2


def test_remeasurements_on_both_devices_are_fresh(bench: TwoDevices, spec: CampaignSpec) -> None:
    bench.sit(spec)
    first, second = bench.started
    assert [request.fresh for request in first.requests] == [False, False, True]
    assert [request.fresh for request in second.requests] == [True]


def test_candidate_the_second_device_does_not_confirm_is_no_champion(bench: TwoDevices, spec: CampaignSpec) -> None:
    bench.second_landscape = BEST_FAILS_ON_SECOND
    record = bench.sit(spec)
    assert record.champion is not None
    assert (record.champion.candidate_digest, record.champion.speedup.value) == (GOOD.digest, 1.3)


def test_second_runner_is_closed_with_the_first(bench: TwoDevices, spec: CampaignSpec) -> None:
    bench.sit(spec)
    assert [runner.closed for runner in bench.started] == [1, 1]


def test_second_runner_is_not_started_on_a_machine_with_one_device(bench: TwoDevices, spec: CampaignSpec) -> None:
    bench.first = device(0, count=1)
    record = bench.sit(spec)
    assert len(bench.started) == 1
    assert record.champion is not None
    assert record.champion.speedup.value == 1.9


def test_second_runner_is_not_started_where_nothing_was_faster(bench: TwoDevices, spec: CampaignSpec) -> None:
    bench.first_landscape = {GOOD.source: Judgement(Verdict.SLOWER, 0.9), BEST.source: Judgement(Verdict.INCORRECT)}
    assert bench.sit(spec).champion is None
    assert len(bench.started) == 1


def test_second_runner_that_uses_the_same_device_confirms_nothing(bench: TwoDevices, spec: CampaignSpec) -> None:
    bench.second = device(1, uuid="GPU-0")
    record = bench.sit(spec)
    assert record.champion is None
    failed = [trial.evaluation for trial in bench.remeasured(spec) if not trial.evaluation.verdict.is_final]
    assert all("the same one, GPU-0" in evaluation.reason for evaluation in failed)
    assert failed


def test_second_runner_that_was_not_pinned_confirms_nothing(bench: TwoDevices, spec: CampaignSpec) -> None:
    bench.second = device(0, uuid="GPU-1")
    record = bench.sit(spec)
    assert record.champion is None
    assert any("was to use another device" in trial.evaluation.reason for trial in bench.remeasured(spec))


@pytest.mark.parametrize("refusal", [DeviceFault("no NVIDIA GPU is visible"), TaskError("the output is constant")])
def test_second_device_that_cannot_be_used_leaves_no_champion_and_says_so(
    bench: TwoDevices, spec: CampaignSpec, refusal: Exception
) -> None:
    def refuse(_request: OpenSession) -> None:
        if len(bench.started) > 1:
            raise refusal

    record = bench.sit(spec.model_copy(update={"budget": Budget(trials=1)}), open_hook=refuse)
    assert record.champion is None
    assert "could not be measured on another device" in record.detail
    failed = bench.remeasured(spec)[1:]
    assert [trial.evaluation.verdict for trial in failed] == [Verdict.INFRA_ERROR] * 2
    assert {(place.device_index, place.device_uuid) for place in (t.evaluation.environment for t in failed)} == {
        (1, None)
    }
    assert {trial.evaluation.fault for trial in failed} <= {Fault.DEVICE, Fault.HARNESS}


@pytest.mark.parametrize("boundary", range(6))
def test_campaign_killed_before_any_trial_ends_with_the_unbroken_record(
    tmp_path: Path, spec: CampaignSpec, boundary: int
) -> None:
    whole = TwoDevices(tmp_path, second_landscape=BEST_FAILS_ON_SECOND)
    unbroken = whole.sit(spec)
    bench = replace(whole, store=MemoryStore(), clock=FakeClock(), started=[])
    seen = iter(range(100))

    def kill(_request: RunTrial) -> None:
        if next(seen) == boundary:
            raise Killed

    with contextlib.suppress(Killed):
        bench.sit(spec, trial_hook=kill)
    resumed = bench.sit(spec)
    assert resumed == unbroken
    assert resumed.state is CampaignState.SUCCEEDED
    assert [trial.trial_id for trial in bench.store.trials(spec.campaign_id)] == [
        trial.trial_id for trial in whole.store.trials(spec.campaign_id)
    ]
    assert len(set(bench.measured)) == len(bench.measured)
