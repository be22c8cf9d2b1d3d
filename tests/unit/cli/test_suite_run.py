"""A suite over fake runners: each task gets a row, a second sitting repeats nothing, a stop loses nothing."""

import json
from pathlib import Path

import pytest

from everforge.agents.campaign import Campaign, Ports
from everforge.agents.runner_supply import RunnerSupply
from everforge.agents.stop_signal import StopSignal
from everforge.cli.suite_plan import planned_tasks
from everforge.cli.suite_run import SuitePorts, SuiteRequest, SuiteRun
from everforge.errors import DeviceFault, HarnessFault, TaskError, UsageError
from everforge.model.budget import Budget
from everforge.model.campaign import CampaignRecord, CampaignSpec
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.session import OpenSession, RunTrial
from everforge.model.suite import SuiteReport, TaskStatus
from everforge.search.events import Listener
from everforge.store.memory import MemoryStore
from everforge.testing import samples
from everforge.testing.fakes import FakeClock, FakeRunner, Judgement, ScriptedGenerator

GOOD = samples.candidate("good")
REQUEST = SuiteRequest(device=DeviceKind.CPU, budget=Budget(trials=5))


class Bench:
    """A directory of tasks and what outlives a sitting; `faults` says what breaks on which task."""

    def __init__(self, directory: Path) -> None:
        self.tasks_dir, self.out = directory / "tasks", directory / "out"
        self.tasks_dir.mkdir()
        self.store = MemoryStore()
        self.clock = FakeClock()
        self.stop = StopSignal()
        self.supply = RunnerSupply(self.start)
        self.runners: list[FakeRunner] = []
        self.campaigns: list[str] = []
        self.said: list[str] = []
        self.faults: dict[str, Exception] = {}
        self.stop_at: str | None = None

    def add(self, name: str, source: str = samples.TASK_SOURCE) -> None:
        (self.tasks_dir / name).write_text(source)

    def sit(self, request: SuiteRequest = REQUEST) -> SuiteReport:
        ports = SuitePorts(self.run_campaign, self.supply.discard, self.said.append)
        return SuiteRun(request, ports, self.out).run(planned_tasks(self.tasks_dir))

    def start(self) -> FakeRunner:
        landscape = {GOOD.source: Judgement(speedup=2.0)}
        runner = FakeRunner(landscape, self.clock, open_hook=self.on_open, trial_hook=self.on_trial)
        self.runners.append(runner)
        return runner

    def on_open(self, request: OpenSession) -> None:
        if request.task.name in self.faults:
            raise self.faults[request.task.name]

    def on_trial(self, _request: RunTrial) -> None:
        if self.campaigns[-1] == self.stop_at:
            raise KeyboardInterrupt

    def run_campaign(self, spec: CampaignSpec, listener: Listener) -> CampaignRecord:
        self.campaigns.append(spec.name)
        ports = Ports(
            supply=self.supply,
            open_store=lambda: self.store,
            generators={GeneratorKind.BUILTIN: ScriptedGenerator([GOOD])},
            clock=self.clock,
            champions_dir=self.out / "champions",
            listener=listener,
            stop=self.stop,
        )
        return Campaign(spec, ports).run()

    def kept(self) -> dict[str, object]:
        return json.loads((self.out / "report.json").read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.add("1_A.py")
    made.add("2_B.py")
    return made


def statuses(report: SuiteReport) -> dict[str, TaskStatus]:
    return {row.task: row.status for row in report.tasks}


def test_every_task_gets_a_row_and_its_champions_source(bench: Bench) -> None:
    report = bench.sit()
    assert statuses(report) == {"1_A": TaskStatus.IMPROVED, "2_B": TaskStatus.IMPROVED}
    assert [(bench.out / str(row.champion)).read_text() for row in report.tasks] == [GOOD.source] * 2
    assert report.device_name == samples.environment().device_name
    assert bench.kept() == json.loads(report.model_dump_json())
    assert (bench.out / "report.csv").exists()
    assert (bench.out / "report.md").exists()


def test_one_runner_serves_the_whole_suite(bench: Bench) -> None:
    bench.sit()
    assert len(bench.runners) == 1


def test_a_second_sitting_runs_nothing_again(bench: Bench) -> None:
    first = bench.sit()
    bench.campaigns.clear()
    assert bench.sit() == first
    assert bench.campaigns == []


def test_a_changed_task_and_a_changed_budget_are_due_again(bench: Bench) -> None:
    bench.sit()
    bench.campaigns.clear()
    bench.add("2_B.py", samples.TASK_SOURCE + "# changed\n")
    bench.sit()
    assert bench.campaigns == ["2-b"]
    bench.sit(REQUEST.model_copy(update={"budget": Budget(trials=6)}))
    assert bench.campaigns == ["2-b", "1-a", "2-b"]


def test_a_task_that_cannot_be_one_is_refused_with_its_path_and_the_rest_runs(bench: Bench) -> None:
    bench.add("0_Broken.py", "def f(:\n")
    bench.faults["1-a"] = TaskError("1-a: the output is the same for every input")
    report = bench.sit()
    assert list(statuses(report).values()) == [TaskStatus.REFUSED, TaskStatus.REFUSED, TaskStatus.IMPROVED]
    assert f"{bench.tasks_dir}/0_Broken.py:1: syntax error" in str(report.tasks[0].error)
    assert report.tasks[1].error == f"{bench.tasks_dir}/1_A.py: the output is the same for every input"


def test_a_broken_machine_fails_its_task_and_the_next_gets_a_new_runner(bench: Bench) -> None:
    bench.faults["1-a"] = DeviceFault("the device is lost")
    report = bench.sit()
    assert statuses(report) == {"1_A": TaskStatus.FAILED, "2_B": TaskStatus.IMPROVED}
    assert len(bench.runners) == 2


def test_a_failed_task_is_due_again_once_the_machine_is_mended(bench: Bench) -> None:
    bench.faults["1-a"] = DeviceFault("the device is lost")
    bench.sit()
    bench.faults.clear()
    bench.campaigns.clear()
    assert statuses(bench.sit())["1_A"] is TaskStatus.IMPROVED
    assert bench.campaigns == ["1-a"]


def test_a_machine_that_keeps_failing_stops_the_suite_with_what_was_done(bench: Bench) -> None:
    for number in range(3, 7):
        bench.add(f"{number}_X.py", samples.TASK_SOURCE + f"# {number}\n")
    bench.faults = {f"{number}-x": DeviceFault("the device is lost") for number in range(3, 7)}
    with pytest.raises(DeviceFault, match="3 tasks in a row, the last with: the device is lost"):
        bench.sit()
    assert bench.campaigns == ["1-a", "2-b", "3-x", "4-x", "5-x"]
    assert len(bench.kept()["tasks"]) == 5  # type: ignore[arg-type]


def test_a_refused_task_does_not_hide_that_the_machine_keeps_failing(bench: Bench) -> None:
    for number in (3, 4, 6):
        bench.add(f"{number}_X.py", samples.TASK_SOURCE + f"# {number}\n")
    bench.add("5_X.py", "def f(:\n")
    bench.faults = {f"{number}-x": HarnessFault("the runner is gone") for number in (3, 4, 6)}
    with pytest.raises(HarnessFault, match="3 tasks in a row, the last with: the runner is gone"):
        bench.sit()


def test_an_out_that_is_a_file_is_refused(bench: Bench) -> None:
    bench.out.write_text("mine")
    with pytest.raises(UsageError, match="choose another --out"):
        bench.sit()
    assert bench.out.read_text() == "mine"


def test_a_stop_keeps_what_was_finished_and_the_next_sitting_goes_on(bench: Bench) -> None:
    bench.stop_at = "2-b"
    with pytest.raises(KeyboardInterrupt):
        bench.sit()
    assert [row["task"] for row in bench.kept()["tasks"]] == ["1_A"]  # type: ignore[index,attr-defined]
    bench.stop_at = None
    bench.campaigns.clear()
    assert statuses(bench.sit()) == {"1_A": TaskStatus.IMPROVED, "2_B": TaskStatus.IMPROVED}
    assert bench.campaigns == ["2-b"]


def test_a_foreign_resume_file_is_refused_and_left_alone(bench: Bench) -> None:
    bench.out.mkdir()
    (bench.out / "resume.json").write_text("[]")
    with pytest.raises(UsageError, match=r"resume\.json: not a resume file"):
        bench.sit()
    assert (bench.out / "resume.json").read_text() == "[]"


def test_news_name_the_place_in_the_suite_and_the_outcome(bench: Bench) -> None:
    bench.sit()
    assert bench.said[1] == "[1/2] 1_A: 2.00x [1.94, 2.06] in 1 trials"
