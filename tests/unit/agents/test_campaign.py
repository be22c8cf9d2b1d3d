"""The campaign loop over fakes: what it records, when it stops, and that a killed campaign resumes exactly."""

import contextlib
from pathlib import Path

import pytest

from everforge.agents.campaign import Campaign, Ports
from everforge.agents.runner_supply import RunnerSupply
from everforge.agents.stop_signal import StopSignal
from everforge.errors import BudgetExceeded, HarnessFault, ModelUnavailable, TaskError
from everforge.model.budget import Budget, Spend
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState, Champion, StopReason
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.session import OpenSession, RunTrial, TaskFacts
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.events import Event, Noted, TrialFinished
from everforge.search.generator import Generator
from everforge.store.memory import MemoryStore
from everforge.testing import samples
from everforge.testing.fakes import FakeClock, FakeRunner, Judgement, Landscape, ScriptedGenerator

SLOW, GOOD, BEST = (samples.candidate(label) for label in ("slow", "good", "best"))
ASKED = samples.candidate("asked", generator=GeneratorKind.LLM)
LANDSCAPE: Landscape = {
    SLOW.source: Judgement(Verdict.SLOWER, 0.8, Verdict.SLOWER),
    GOOD.source: Judgement(speedup=1.4, confirmed_speedup=1.35),
    BEST.source: Judgement(speedup=2.0, confirmed_speedup=1.9),
    ASKED.source: Judgement(speedup=1.2),
}


class Killed(BaseException):
    """The process is gone: nothing of the campaign's own code runs after it."""


class Bench:
    """A store and a directory that outlive sittings, and a fresh runner for each sitting."""

    def __init__(self, directory: Path, landscape: Landscape = LANDSCAPE) -> None:
        self.directory = directory
        self.landscape = landscape
        self.store = MemoryStore()
        self.clock = FakeClock()
        self.runners: list[FakeRunner] = []
        self.events: list[Event] = []
        self.stop = StopSignal()
        self.stores_opened = 0

    def sit(
        self, *generators: Generator, spec: CampaignSpec, may_resume: bool = True, **hooks: object
    ) -> CampaignRecord:
        def start() -> FakeRunner:
            self.runners.append(FakeRunner(self.landscape, self.clock, **hooks))  # type: ignore[arg-type]
            return self.runners[-1]

        ports = Ports(
            supply=RunnerSupply(start),
            open_store=self.open_store,
            generators={generator.kind: generator for generator in generators},
            clock=self.clock,
            champions_dir=self.directory,
            may_resume=may_resume,
            listener=self.events.append,
            stop=self.stop,
        )
        return Campaign(spec, ports).run()

    def open_store(self) -> MemoryStore:
        self.stores_opened += 1
        return self.store

    def trials(self, spec: CampaignSpec) -> tuple[Trial, ...]:
        return self.store.trials(spec.campaign_id)

    @property
    def measured(self) -> list[str]:
        return [request.trial_id for runner in self.runners for request in runner.requests]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "champions")


def spec_of(
    trials: int = 10, target: float | None = None, kinds: tuple[GeneratorKind, ...] = (GeneratorKind.BUILTIN,)
) -> CampaignSpec:
    plain = samples.campaign_spec()
    return plain.model_copy(update={"budget": Budget(trials=trials), "target_speedup": target, "generators": kinds})


def test_champion_reports_the_speedup_of_its_remeasurement(bench: Bench) -> None:
    spec = spec_of()
    record = bench.sit(ScriptedGenerator([SLOW, GOOD, BEST]), spec=spec)
    assert record.state is CampaignState.SUCCEEDED
    assert record.stop_reason is StopReason.EXHAUSTED
    assert record.champion is not None
    assert record.champion.speedup.value == 1.9
    assert record.champion.candidate_digest == BEST.digest
    assert bench.trials(spec)[-1].purpose is Purpose.CHAMPION
    assert record.trials_by_verdict == {Verdict.FASTER: 2, Verdict.SLOWER: 1}
    assert record.trials == record.spend.trials == 3


def test_champion_file_holds_exactly_the_measured_source(bench: Bench) -> None:
    record = bench.sit(ScriptedGenerator([GOOD]), spec=spec_of())
    assert record.champion is not None
    assert record.champion.source_path is not None
    assert Path(record.champion.source_path).read_text() == GOOD.source


def test_remeasurement_is_fresh_and_search_is_not(bench: Bench) -> None:
    bench.sit(ScriptedGenerator([GOOD]), spec=spec_of())
    assert [request.fresh for request in bench.runners[0].requests] == [False, True]


def test_refuted_trial_gives_way_to_the_next_best(bench: Bench) -> None:
    bench.landscape = {**LANDSCAPE, BEST.source: Judgement(Verdict.FASTER, 2.0, Verdict.INCONCLUSIVE)}
    record = bench.sit(ScriptedGenerator([GOOD, BEST]), spec=spec_of())
    assert record.champion is not None
    assert record.champion.candidate_digest == GOOD.digest


def test_nothing_faster_is_a_success_without_champion(bench: Bench) -> None:
    record = bench.sit(ScriptedGenerator([SLOW]), spec=spec_of())
    assert (record.state, record.champion) == (CampaignState.SUCCEEDED, None)
    assert "faster" in record.detail


def test_confirmed_target_ends_the_search(bench: Bench) -> None:
    record = bench.sit(ScriptedGenerator([BEST, GOOD]), spec=spec_of(target=1.8))
    assert record.stop_reason is StopReason.TARGET
    assert record.trials == 1


def test_generators_take_turns_with_the_builtin_first(bench: Bench) -> None:
    spec = spec_of(kinds=(GeneratorKind.LLM, GeneratorKind.BUILTIN))
    llm = ScriptedGenerator([ASKED], GeneratorKind.LLM)
    bench.sit(llm, ScriptedGenerator([SLOW, GOOD]), spec=spec)
    searched = [trial.candidate for trial in bench.trials(spec) if trial.purpose is Purpose.SEARCH]
    assert searched == [SLOW, ASKED, GOOD]


def test_unavailable_model_leaves_the_builtin_generator_at_work(bench: Bench) -> None:
    spec = spec_of(kinds=(GeneratorKind.BUILTIN, GeneratorKind.LLM))
    llm = ScriptedGenerator([ModelUnavailable("connection refused")], GeneratorKind.LLM)
    record = bench.sit(llm, ScriptedGenerator([SLOW, GOOD]), spec=spec)
    assert record.trials == 2
    assert any("connection refused" in note for note in record.notes)


def test_llm_budget_refusal_ends_as_budget_spent(bench: Bench) -> None:
    spec = spec_of(kinds=(GeneratorKind.LLM,))
    llm = ScriptedGenerator([ASKED, BudgetExceeded("1 of 1 dollars used")], GeneratorKind.LLM)
    record = bench.sit(llm, spec=spec)
    assert record.stop_reason is StopReason.BUDGET


def test_spend_of_replies_without_code_is_kept_over_sittings(bench: Bench) -> None:
    spec = spec_of(kinds=(GeneratorKind.LLM,))
    llm = ScriptedGenerator([None], GeneratorKind.LLM, spend=Spend(tokens=100, dollars=0.01))
    first = bench.sit(llm, spec=spec)
    again = bench.sit(llm, spec=spec.model_copy(update={"target_speedup": 3.0}))
    assert first.trials == 0
    assert first.spend.tokens == 500
    assert again.spend.tokens == 1000


def test_known_candidate_reuses_its_verdict_and_costs_no_trial(bench: Bench) -> None:
    spec = spec_of()
    record = bench.sit(ScriptedGenerator([SLOW, SLOW, GOOD]), spec=spec)
    assert len([r for r in bench.runners[0].requests if r.candidate == SLOW]) == 1
    assert record.trials == 2
    assert [event.reused for event in bench.events if isinstance(event, TrialFinished)][:3] == [
        False,
        True,
        False,
    ]


def test_dead_runner_is_replaced_and_its_trial_tried_again(bench: Bench) -> None:
    deaths = iter([None, HarnessFault("runner gone")])

    def die_once(_request: RunTrial) -> None:
        if (death := next(deaths, None)) is not None:
            raise death

    spec = spec_of()
    record = bench.sit(ScriptedGenerator([SLOW, GOOD]), spec=spec, trial_hook=die_once)
    assert len(bench.runners) == 2
    assert bench.runners[0].closed == 1
    assert record.trials_by_verdict[Verdict.INFRA_ERROR] == 1
    assert record.champion is not None
    assert record.champion.candidate_digest == GOOD.digest


def test_machine_that_keeps_failing_ends_the_campaign_until_it_is_run_again(bench: Bench) -> None:
    def die(_request: RunTrial) -> None:
        raise HarnessFault("runner gone")

    spec = spec_of()
    failed = bench.sit(ScriptedGenerator([SLOW, GOOD]), spec=spec, trial_hook=die)
    assert (failed.state, failed.stop_reason) == (CampaignState.FAILED, StopReason.MACHINE)
    mended = bench.sit(ScriptedGenerator([SLOW, GOOD]), spec=spec)
    assert mended.state is CampaignState.SUCCEEDED
    assert mended.champion is not None


def test_refused_task_opens_no_store(bench: Bench) -> None:
    def refuse(_request: OpenSession) -> None:
        raise TaskError("the output is constant")

    with pytest.raises(TaskError, match="constant"):
        bench.sit(ScriptedGenerator([GOOD]), spec=spec_of(), may_resume=False, open_hook=refuse)
    assert bench.stores_opened == 0
    assert not bench.directory.exists()


def test_finished_campaign_is_returned_without_starting_a_runner(bench: Bench) -> None:
    spec = spec_of()
    first = bench.sit(ScriptedGenerator([GOOD]), spec=spec)
    again = bench.sit(ScriptedGenerator([GOOD]), spec=spec)
    assert again == first
    assert len(bench.runners) == 1


def test_raised_budget_goes_on_where_the_campaign_ended(bench: Bench) -> None:
    bench.sit(ScriptedGenerator([SLOW, GOOD, BEST]), spec=spec_of(trials=2))
    record = bench.sit(ScriptedGenerator([SLOW, GOOD, BEST]), spec=spec_of(trials=3))
    assert record.trials == 3
    assert record.champion is not None
    assert record.champion.candidate_digest == BEST.digest
    assert len(set(bench.measured)) == len(bench.measured)


def test_stop_request_keeps_what_was_measured_and_resumes(bench: Bench) -> None:
    def stop_at_second(request: RunTrial) -> None:
        if request.candidate == GOOD:
            bench.stop.request()

    spec = spec_of()
    stopped = bench.sit(ScriptedGenerator([SLOW, GOOD]), spec=spec, trial_hook=stop_at_second)
    assert (stopped.state, stopped.trials) == (CampaignState.INTERRUPTED, 1)
    bench.stop = StopSignal()
    resumed = bench.sit(ScriptedGenerator([SLOW, GOOD]), spec=spec)
    assert resumed.state is CampaignState.SUCCEEDED
    assert resumed.trials == 2
    assert len(set(bench.measured)) == len(bench.measured)


def test_notes_tell_of_a_dry_generator_once(bench: Bench) -> None:
    spec = spec_of(kinds=(GeneratorKind.BUILTIN, GeneratorKind.LLM))
    llm = ScriptedGenerator([ModelUnavailable("gone")], GeneratorKind.LLM)
    bench.sit(llm, ScriptedGenerator([SLOW]), spec=spec)
    assert sum(isinstance(event, Noted) for event in bench.events) == 1


SCRIPT: tuple[Candidate, ...] = (SLOW, GOOD, SLOW, BEST)


def unbroken(directory: Path) -> tuple[CampaignRecord, tuple[Trial, ...]]:
    bench = Bench(directory)
    spec = spec_of(trials=3)
    return bench.sit(ScriptedGenerator(SCRIPT), spec=spec), bench.trials(spec)


@pytest.mark.parametrize("boundary", range(5))
def test_campaign_killed_before_any_trial_ends_with_the_unbroken_record(tmp_path: Path, boundary: int) -> None:
    whole, whole_trials = unbroken(tmp_path / "champions")
    bench = Bench(tmp_path / "champions")
    spec = spec_of(trials=3)
    seen = iter(range(100))

    def kill(_request: RunTrial) -> None:
        if next(seen) == boundary:
            raise Killed

    with contextlib.suppress(Killed):
        bench.sit(ScriptedGenerator(SCRIPT), spec=spec, trial_hook=kill)
    resumed = bench.sit(ScriptedGenerator(SCRIPT), spec=spec)
    assert resumed == whole
    assert [t.trial_id for t in bench.trials(spec)] == [t.trial_id for t in whole_trials]
    assert len(set(bench.measured)) == len(bench.measured)


class MortalStore(MemoryStore):
    """A store whose process is killed right after its n-th write."""

    def __init__(self, writes_left: int) -> None:
        super().__init__()
        self.writes_left = writes_left

    def _after_write(self) -> None:
        self.writes_left -= 1
        if self.writes_left == 0:
            raise Killed

    def record_facts(self, campaign_id: str, facts: TaskFacts) -> None:
        super().record_facts(campaign_id, facts)
        self._after_write()

    def record_trial(self, trial: Trial) -> None:
        super().record_trial(trial)
        self._after_write()

    def register_champion(self, campaign_id: str, champion: Champion, trial: Trial) -> Champion:
        registered = super().register_champion(campaign_id, champion, trial)
        self._after_write()
        return registered

    def record_campaign(self, record: CampaignRecord) -> None:
        super().record_campaign(record)
        self._after_write()


@pytest.mark.parametrize("writes", range(1, 11))
def test_campaign_killed_after_any_write_ends_with_the_unbroken_record(tmp_path: Path, writes: int) -> None:
    whole, whole_trials = unbroken(tmp_path / "champions")
    bench = Bench(tmp_path / "champions")
    bench.store = MortalStore(writes)
    spec = spec_of(trials=3)
    with pytest.raises(Killed):
        bench.sit(ScriptedGenerator(SCRIPT), spec=spec)
    resumed = bench.sit(ScriptedGenerator(SCRIPT), spec=spec)
    assert resumed == whole
    assert [t.trial_id for t in bench.trials(spec)] == [t.trial_id for t in whole_trials]
    assert len(set(bench.measured)) == len(bench.measured)
