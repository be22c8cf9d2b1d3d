"""`everforge evaluate`: exit codes are an API, standard output holds the result alone, errors name the place."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from everforge.agents.runner_process import LocalRunner, start_local_runner
from everforge.cli.app import main
from everforge.cli.evaluation_report import print_evaluation, shortened
from everforge.cli.single_trial import TrialRequest, candidate_of_file, evaluate_once, trial_of
from everforge.cli.task_choice import TaskChoice, chosen_task
from everforge.errors import DeviceFault, HarnessFault, MachineFault, TaskError, UsageError
from everforge.model.device import DeviceKind
from everforge.model.evaluation import Evaluation, VariantResult
from everforge.model.interval import Interval
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings, OpenSession, Progress, RunTrial
from everforge.model.verdict import ExitCode, Verdict, exit_code_of
from everforge.testing import samples
from everforge.testing.fakes import FakeClock, FakeRunner, Judgement

EXAMPLES = Path(__file__).parents[3] / "examples"
TASK = EXAMPLES / "kernelbench/level1/2_Cumulative_sum.py"
CANDIDATES = EXAMPLES / "candidates"
MANIFEST = EXAMPLES / "softmax-entropy.yaml"


def no_progress(_progress: Progress) -> None:
    return


def request(candidate: Path, settings: EvaluationSettings | None = None, *constants: str) -> TrialRequest:
    task, device = chosen_task(TaskChoice(path=TASK, constants=constants))
    return TrialRequest(
        task=task,
        task_path=TASK,
        candidate=candidate_of_file(candidate),
        device=device,
        settings=settings or EvaluationSettings(),
    )


# What the options say


def test_a_task_file_runs_on_the_cpu_unless_told_otherwise() -> None:
    assert chosen_task(TaskChoice(path=TASK))[1] is DeviceKind.CPU
    assert chosen_task(TaskChoice(path=TASK, device=DeviceKind.CUDA))[1] is DeviceKind.CUDA


def test_settings_make_one_variant_of_the_task_file() -> None:
    task, _ = chosen_task(TaskChoice(path=TASK, constants=("batch_size=2",), precision=Precision.BF16))
    assert [(v.name, v.constants) for v in task.variants] == [("set", {"batch_size": 2})]
    assert task.precision is Precision.BF16


def test_a_manifest_brings_its_variants_and_policy_and_options_select_and_override() -> None:
    whole, device = chosen_task(TaskChoice(path=MANIFEST))
    assert ([v.name for v in whole.variants], device) == (["batch", "small-batch", "odd"], DeviceKind.CPU)
    part, _ = chosen_task(TaskChoice(path=MANIFEST, variants=("small-batch",), precision=Precision.BF16))
    assert ([v.name for v in part.variants], part.precision) == (["small-batch"], Precision.BF16)
    assert part.source == whole.source


def test_held_out_variants_alone_are_refused_with_a_hint() -> None:
    with pytest.raises(UsageError, match="at least one variant must not be held out"):
        chosen_task(TaskChoice(path=MANIFEST, variants=("odd",)))


def test_two_ways_of_saying_the_variants_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--set and --variants-file"):
        chosen_task(TaskChoice(path=TASK, constants=("dim=1",), variants_file=tmp_path / "v.yaml"))


# Bad input: exit code 2 and one message, before any runner starts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("absent.py", "c.py"), "absent.py: no such task file", id="no-task"),
        pytest.param((str(TASK), "absent.py"), "absent.py: no such candidate file", id="no-candidate"),
        pytest.param((str(CANDIDATES / "cumulative_sum_cpp.py"), "c.py"), "class Model(nn.Module)", id="no-model"),
        pytest.param((str(TASK), "c.py", "--set", "batch=3"), "it has: batch_size, dim, features", id="constant"),
        pytest.param((str(TASK), "c.py", "--variants", "decode"), "the task has: default", id="variant"),
        pytest.param((str(MANIFEST), "c.py", "--variants", "x"), "batch, small-batch, odd", id="manifest-variant"),
        pytest.param(("absent.yaml", "c.py"), "absent.yaml: no such manifest file", id="no-manifest"),
        pytest.param((str(TASK), "c.py", "--device", "tpu"), "tpu", id="unknown-device"),
        pytest.param((str(TASK), "c.py", "--seeds", "0"), "seeds", id="no-seeds"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_message_on_stderr(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *arguments, "--json"])
    printed = capsys.readouterr()
    assert ended.value.code == ExitCode.USAGE
    assert printed.out == ""
    assert said in printed.err
    assert "Traceback" not in printed.err


# One trial on a runner


def fake_start(judgement: Judgement, source: str, **hooks: object) -> FakeRunner:
    return FakeRunner({source: judgement}, FakeClock(), **hooks)  # type: ignore[arg-type]


def test_the_trial_is_fresh_and_so_meets_held_out_variants_and_new_seeds() -> None:
    asked = request(CANDIDATES / "cumulative_sum_cpp.py")
    runner = fake_start(Judgement(Verdict.SLOWER, confirmed_speedup=1.7), asked.candidate.source)
    evaluation = evaluate_once(asked, lambda: runner, no_progress)
    assert runner.requests == [trial_of(asked)]
    assert runner.requests[0].fresh
    assert (evaluation.verdict, runner.closed) == (Verdict.FASTER, 1)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (DeviceFault("the GPU fell off the bus"), ExitCode.DEVICE_FAULT),
        (HarnessFault("the runner is gone; its log ends:\n  Killed"), ExitCode.HARNESS_FAULT),
    ],
)
@pytest.mark.parametrize("when", ["start", "open", "trial"])
def test_a_broken_machine_is_an_evaluation_whenever_it_breaks(fault: MachineFault, code: ExitCode, when: str) -> None:
    def break_down(_request: OpenSession | RunTrial) -> None:
        raise fault

    def start() -> FakeRunner:
        if when == "start":
            raise fault
        return fake_start(Judgement(), "", **{f"{when}_hook": break_down})

    evaluation = evaluate_once(request(CANDIDATES / "cumulative_sum_cpp.py"), start, no_progress)
    assert exit_code_of(evaluation.verdict, evaluation.fault) is code
    assert evaluation.reason == str(fault).splitlines()[0]
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_a_task_the_runner_refuses_is_an_error_with_its_path_and_the_runner_is_closed() -> None:
    def refuse(_request: OpenSession) -> None:
        raise TaskError("2_Cumulative_sum, line 3: ImportError: no module named nothing")

    runner = fake_start(Judgement(), "", open_hook=refuse)
    with pytest.raises(TaskError) as refusal:
        evaluate_once(request(CANDIDATES / "cumulative_sum_cpp.py"), lambda: runner, no_progress)
    assert str(refusal.value) == f"{TASK}, line 3: ImportError: no module named nothing"
    assert runner.closed == 1


# The report


def printed(evaluation: Evaluation, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_evaluation(evaluation, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_report_has_verdict_errors_times_and_speedups() -> None:
    page = printed(samples.evaluation(Verdict.FASTER, 2.0))
    for part in ("faster", "prefill", "0.25", "300.0 us", "eager-fp32", "compile-fp32", "2.00x [1.94, 2.06]", "50%"):
        assert part in page


def test_many_variants_fit_a_narrow_terminal() -> None:
    speedup = Interval(value=12.34, low=12.11, high=12.58)
    variants = tuple(
        VariantResult(name=f"variant-{n}", held_out=False, correct=True, candidate_us=1e5, speedup=speedup)
        for n in range(7)
    )
    page = printed(samples.evaluation().model_copy(update={"variants": variants}), width=80)
    assert all(f"variant-{n}" in page for n in range(7))
    assert page.count("12.34x [12.11, 12.58]") == 7


def test_a_failure_shows_its_diagnostics_and_a_long_one_is_cut_with_a_count() -> None:
    page = printed(samples.evaluation(Verdict.COMPILE_ERROR))
    assert "candidate.py:4: error: expected ';'" in page
    assert shortened("a\nb\nc\nd\n", limit=2) == "a\nb\n… 2 more lines in --json"
    assert shortened("a\nb\n", limit=2) == "a\nb"


# With a real runner


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    started = start_local_runner()
    yield started
    started.close()


CRASHES = """
import torch


class ModelNew(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()

    def forward(self, x):
        return x + undefined
"""
HANGS = CRASHES.replace(
    "        super().__init__()", "        super().__init__()\n        while True:\n            pass"
)
OPENS_A_FILE = CRASHES.replace("x + undefined", "open('/etc/passwd')")


def exit_codes(runner: LocalRunner, candidates: Iterable[Path], settings: EvaluationSettings) -> dict[Path, ExitCode]:
    """The exit code of each candidate, all judged in one session on a small variant of the task, untimed."""
    asked = request(CANDIDATES / "cumulative_sum_pytorch.py", settings, "batch_size=2", "features=64")
    opened = runner.open_session(OpenSession(task=asked.task, device=asked.device, settings=settings), no_progress)
    codes = {}
    for candidate in candidates:
        trial = trial_of(asked.model_copy(update={"candidate": candidate_of_file(candidate), "timed": False}))
        judged = runner.run_trial(opened.session_id, trial, no_progress)
        codes[candidate] = exit_code_of(judged.verdict, judged.fault)
    return codes


@pytest.mark.slow
def test_each_outcome_of_a_candidate_has_its_exit_code(runner: LocalRunner, tmp_path: Path) -> None:
    (tmp_path / "crash.py").write_text(CRASHES)
    (tmp_path / "rejected.py").write_text(OPENS_A_FILE)
    expected = {
        CANDIDATES / "cumulative_sum_pytorch.py": ExitCode.CORRECT,
        CANDIDATES / "cumulative_sum_cpp.py": ExitCode.CORRECT,
        CANDIDATES / "cumulative_sum_compile_error.py": ExitCode.COMPILE_ERROR,
        CANDIDATES / "cumulative_sum_incorrect.py": ExitCode.INCORRECT,
        tmp_path / "crash.py": ExitCode.CRASH,
        tmp_path / "rejected.py": ExitCode.REFUSED,
    }
    assert exit_codes(runner, expected, EvaluationSettings(seeds=1)) == expected


@pytest.mark.slow
def test_a_candidate_that_hangs_is_a_timeout(runner: LocalRunner, tmp_path: Path) -> None:
    hanging = tmp_path / "hang.py"
    hanging.write_text(HANGS)
    settings = EvaluationSettings(seeds=1, timeout_s=4)
    assert exit_codes(runner, [hanging], settings) == {hanging: ExitCode.TIMEOUT}


@pytest.mark.slow
def test_a_task_file_that_exits_is_a_bad_task_and_the_runner_goes_on(runner: LocalRunner, tmp_path: Path) -> None:
    exits = tmp_path / "exits.py"
    exits.write_text(TASK.read_text().replace("def get_inputs():", "def get_inputs():\n    exit(3)"))
    task, device = chosen_task(TaskChoice(path=exits))
    with pytest.raises(TaskError, match=r"line \d+: get_inputs\(\) failed: SystemExit: 3"):
        runner.open_session(OpenSession(task=task, device=device), no_progress)
    assert runner.environment(device).device is device


def everforge(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from everforge.cli.app import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=os.environ)


@pytest.mark.slow
def test_json_is_one_object_with_what_other_tools_rely_on() -> None:
    done = everforge(
        *("evaluate", str(TASK), str(CANDIDATES / "cumulative_sum_pytorch.py")),
        *("--set", "batch_size=16", "--seeds", "1", "--json"),
    )
    assert done.returncode == 0, done.stderr
    judged = json.loads(done.stdout)
    needed = "schema_version verdict reason speedup speedup_fp32 sol_fraction variants environment"
    assert {*needed.split(), "task_digest", "candidate_digest"} <= set(judged)
    assert {"value", "low", "high"} <= set(judged["speedup"])
    needed = "name held_out correct max_error error_ratio candidate_us baselines_us"
    assert set(needed.split()) <= set(judged["variants"][0])
    assert judged["variants"][0]["baselines_us"].keys() >= {"eager-fp32", "compile-fp32"}


@pytest.mark.slow
def test_a_device_that_is_not_there_is_a_device_fault_and_still_one_object(runner: LocalRunner) -> None:
    try:
        runner.environment(DeviceKind.XPU)
    except DeviceFault:
        done = everforge("evaluate", str(TASK), str(CANDIDATES / "cumulative_sum_cpp.py"), "--device", "xpu", "--json")
    else:
        pytest.skip("this machine has an Intel GPU")
    judged = json.loads(done.stdout)
    assert (done.returncode, judged["verdict"], judged["fault"]) == (20, "infra_error", "device")
