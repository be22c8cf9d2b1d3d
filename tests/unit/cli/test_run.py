"""`everforge run`: bad input as a subprocess, a campaign and its resumption over a real store, what is printed."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from everforge.agents.runner_supply import RunnerSupply
from everforge.agents.workstation import Workstation
from everforge.cli.display import LiveDisplay, campaign_shown
from everforge.cli.results import mlflow_command, print_results
from everforge.cli.run import Ending, exit_code_of_record
from everforge.cli.wording import origin_text
from everforge.model.budget import Budget, Spend
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState
from everforge.model.candidate import GeneratorKind, ParameterValue
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Fault, Verdict
from everforge.search.events import (
    CampaignEnded,
    CampaignStarted,
    Event,
    Noted,
    StageChanged,
    TaskAccepted,
    TrialFinished,
)
from everforge.search.generator import Generator
from everforge.testing import samples
from everforge.testing.fakes import FakeClock, FakeRunner, Judgement, ScriptedGenerator

EVERFORGE = Path(sys.executable).with_name("everforge")
MANIFEST = """\
apiVersion: everforge.dev/v1alpha1
kind: KernelOptimization
metadata:
  name: softmax
spec:
  task:
    inline: |
      import torch
      from torch import nn
      MODULE_LINE
      class Model(nn.Module):
          def forward(self, x):
              return FORWARD
      def get_inputs():
          return [torch.randn(8, 16)]
      def get_init_inputs():
          return []
  targets:
    - devicePool: cpu
"""
VALID = MANIFEST.replace("MODULE_LINE", "").replace("FORWARD", "torch.softmax(x, dim=1)")


def everforge(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(EVERFORGE), "run", *arguments],
        cwd=directory,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


# --- bad input -----------------------------------------------------------------------------------------------

BAD_MANIFESTS = {
    "unknown field": (
        VALID + "  budgt: {}\n",
        "everforge: kernel.yaml:20: spec.budgt: unknown field; did you mean budget? (known here: task, variants, "
        "precision, targets, generators, llm, budget, search, suspend, priority, queueName, retention)\n",
    ),
    "negative budget": (
        VALID + "  budget: {trials: -1}\n",
        "everforge: kernel.yaml:20: spec.budget.trials: must be greater than or equal to 1, got -1\n",
    ),
    "unknown device": (
        VALID.replace("devicePool: cpu", "devicePool: tpu"),
        "everforge: kernel.yaml:19: spec.targets[0].devicePool: tpu is no device of this machine: "
        "use cpu, cuda, xpu, or keep the cluster's pool name and pass --device\n",
    ),
    "missing class": (
        VALID.replace("class Model(", "class Reference("),
        "everforge: kernel.yaml (spec.task.inline, below line 7): a task file must define class Model(nn.Module)\n",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD_MANIFESTS.values(), ids=list(BAD_MANIFESTS))
def test_bad_manifest_ends_with_one_message_and_leaves_nothing(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "kernel.yaml").write_text(text)
    done = everforge(tmp_path, "kernel.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert [path.name for path in tmp_path.iterdir()] == ["kernel.yaml"]


def test_absent_manifest_ends_with_one_message(tmp_path: Path) -> None:
    done = everforge(tmp_path, "absent.yaml")
    assert done.returncode == 2
    assert done.stderr == "everforge: absent.yaml: no such manifest file; check the path\n"


def test_unknown_device_option_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "kernel.yaml").write_text(VALID)
    done = everforge(tmp_path, "kernel.yaml", "--device", "tpu")
    assert done.returncode == 2
    assert "'tpu' is not one of 'cpu', 'cuda', 'xpu'" in done.stderr


BAD_TASKS = {
    "import error": (
        MANIFEST.replace("MODULE_LINE", "import torchh").replace("FORWARD", "x"),
        "line 3: ModuleNotFoundError: No module named 'torchh'",
    ),
    "constant output": (
        MANIFEST.replace("MODULE_LINE", "").replace("FORWARD", "torch.zeros(8)"),
        "constant",
    ),
    "ignores its inputs": (
        MANIFEST.replace("MODULE_LINE", "").replace("FORWARD", "torch.arange(8.0)"),
        "input",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "message"), BAD_TASKS.values(), ids=list(BAD_TASKS))
def test_task_the_runner_refuses_ends_with_one_message_and_leaves_nothing(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "kernel.yaml").write_text(text)
    (tmp_path / "state").mkdir()  # one that is there already stays empty, too
    done = everforge(tmp_path, "kernel.yaml", "--json", "--state-dir", "state")
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("everforge: kernel.yaml (spec.task.inline, below line 7)")
    assert message in last
    assert {path.name for path in tmp_path.rglob("*")} == {"kernel.yaml", "state"}


# --- a campaign over a real store ----------------------------------------------------------------------------

SLOW, GOOD = samples.candidate("slow"), samples.candidate("good")
LANDSCAPE = {SLOW.source: Judgement(Verdict.SLOWER, 0.7), GOOD.source: Judgement(speedup=1.4)}


def scripted(_spec: CampaignSpec, _key: Path | None) -> Mapping[GeneratorKind, Generator]:
    return {GeneratorKind.BUILTIN: ScriptedGenerator([SLOW, GOOD])}


def test_second_run_of_a_finished_campaign_measures_nothing(tmp_path: Path) -> None:
    spec, runners = samples.campaign_spec(trials=5), list[FakeRunner]()

    def start() -> FakeRunner:
        runners.append(FakeRunner(LANDSCAPE, FakeClock()))
        return runners[-1]

    def sit() -> tuple[CampaignRecord, list[Event]]:
        events: list[Event] = []
        # A new Workstation is a new process as far as the store is concerned.
        station = Workstation(tmp_path / "state", generators_of=scripted)
        with RunnerSupply(start) as supply:
            record = station.run_campaign(spec, supply, listener=events.append)
        return record, events

    first, _ = sit()
    again, events = sit()
    assert first.champion is not None
    assert first.champion.model_uri is not None
    assert again == first
    assert len(runners) == 1
    ended = events[-1]
    assert isinstance(ended, CampaignEnded)
    assert ended.champion_trial is not None
    assert ended.champion_trial.purpose is Purpose.CHAMPION


# --- what is printed -----------------------------------------------------------------------------------------


def printed(record: CampaignRecord, champion_trial: Trial | None) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    print_results(record, champion_trial, Path("kernel.yaml"), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_results_show_baselines_champion_both_ratios_and_what_to_do_next() -> None:
    spec = samples.campaign_spec()
    search, champion_trial = samples.trial(0, spec), samples.trial(1, spec, purpose=Purpose.CHAMPION)
    champion = samples.champion(champion_trial).model_copy(update={"source_path": "/state/champions/s-cpu.py"})
    record = samples.campaign_record(spec, CampaignState.SUCCEEDED, (search,), champion).model_copy(
        update={"tracking_uri": "sqlite:////state/mlflow.db", "run_id": "abc", "experiment_id": "1"}
    )
    text = printed(record, champion_trial)
    assert "1.80x [1.75, 1.85] over the fastest allowed baseline" in text
    assert "1.80x over the fastest fp32 baseline" in text
    assert "1: 1 faster" in text
    assert "evaluate kernel.yaml /state/champions/s-cpu.py --device cpu" in text
    assert "ui --backend-store-uri sqlite:////state/mlflow.db" in text
    assert "600.0 us" in text


def test_results_without_champion_say_so() -> None:
    text = printed(samples.campaign_record(state=CampaignState.SUCCEEDED), None)
    assert "nothing faster than the baselines was found" in text


def test_tracking_server_is_opened_not_served() -> None:
    assert mlflow_command("http://mlflow:5000") == "open http://mlflow:5000"


def test_the_shown_command_opens_a_local_store_without_asking_the_network() -> None:
    command = mlflow_command("sqlite:////tmp/a b/mlflow.db")
    assert command.startswith("LITELLM_LOCAL_MODEL_COST_MAP=True ")
    assert command.endswith("mlflow ui --backend-store-uri 'sqlite:////tmp/a b/mlflow.db'")


@pytest.mark.parametrize(
    ("state", "fault", "code"),
    [
        (CampaignState.SUCCEEDED, None, 0),
        (CampaignState.INTERRUPTED, None, 130),
        (CampaignState.FAILED, Fault.DEVICE, 20),
        (CampaignState.FAILED, Fault.HARNESS, 21),
    ],
)
def test_exit_code_says_how_the_campaign_ended(state: CampaignState, fault: Fault | None, code: int) -> None:
    record = samples.campaign_record(state=state).model_copy(update={"fault": fault})
    assert exit_code_of_record(record) == code


EVENTS: tuple[Event, ...] = (
    TaskAccepted(facts=samples.task_facts()),
    StageChanged(stage="propose", detail="builtin"),
    TrialFinished(trial=samples.trial(0), spent=samples.trial(0).spend),
    TrialFinished(trial=samples.trial(1, verdict=Verdict.CRASH), spent=samples.trial(0).spend, reused=True),
    Noted(text="llm: the model gave no answer"),
)


def shown(terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=terminal, highlight=False)
    with campaign_shown(samples.campaign_spec(), console) as listener:
        for event in EVENTS:
            listener(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_display_writes_one_line_for_each_trial_without_escapes() -> None:
    text = shown(terminal=False)
    assert "\x1b" not in text
    assert "trial 0   faster        1.80x [1.75, 1.85]  builtin: fused row reduction (block=256, unroll=True)\n" in text
    assert "trial 1   crash         the candidate ended as crash" in text
    assert "note: llm: the model gave no answer\n" in text


def test_live_display_shows_verdicts_best_and_budget() -> None:
    text = shown(terminal=True)
    assert "best so far: 1.80x [1.75, 1.85], trial 0, not re-measured yet" in text
    assert "crash (known)" in text
    assert "1 of 40" in text


def test_seconds_of_the_live_display_pass_between_trials() -> None:
    clock = FakeClock()
    spec = samples.campaign_spec().model_copy(update={"budget": Budget(seconds=600)})
    display = LiveDisplay(spec, Console(), clock)
    display(TrialFinished(trial=samples.trial(0), spent=Spend(seconds=100)))
    clock.advance(20)
    console = Console(file=io.StringIO(), width=120)
    console.print(display)
    assert isinstance(console.file, io.StringIO)
    assert "120 of 600" in console.file.getvalue()


def test_echo_of_ctrl_c_fits_beside_the_live_display() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(LiveDisplay(samples.campaign_spec(), console))
    assert isinstance(console.file, io.StringIO)
    assert max(len(line.rstrip()) for line in console.file.getvalue().splitlines()) <= 76


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param((), "no trial was recorded", id="before the campaign"),
        pytest.param(EVENTS[:2], "no trial was recorded", id="before the first trial"),
        pytest.param(EVENTS[:3], "every finished trial is kept", id="after a trial"),
        pytest.param(
            (CampaignStarted(spec=samples.campaign_spec(), resumed_trials=2),),
            "every finished trial is kept",
            id="resumed",
        ),
    ],
)
def test_interruption_at_once_says_truly_what_is_kept(events: tuple[Event, ...], said: str) -> None:
    ending = Ending()
    listener = ending.passing_to(lambda event: None)
    for event in events:
        listener(event)
    assert said in ending.interrupted_line()


def test_parameters_are_told_without_the_number_of_the_only_kernel() -> None:
    def told(parameters: dict[str, ParameterValue]) -> str:
        return origin_text(samples.trial(proposed=samples.candidate(parameters=parameters)))

    assert told({"kernel_0_unroll": 4, "lanes": 16}).endswith("(unroll=4, lanes=16)")
    assert told({"kernel_0_unroll": 4, "kernel_1_unroll": 2}).endswith("(kernel_0_unroll=4, kernel_1_unroll=2)")
    assert "(" not in told({})


def test_record_printed_as_json_reads_back() -> None:
    record = samples.campaign_record(state=CampaignState.SUCCEEDED)
    assert CampaignRecord.model_validate(json.loads(record.model_dump_json())) == record
