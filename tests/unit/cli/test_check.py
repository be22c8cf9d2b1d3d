"""`everforge check`: exit codes as evaluate's, a report a person can read, and one JSON object for a program."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from everforge.agents.runner_process import LocalRunner, start_local_runner
from everforge.cli.app import main
from everforge.cli.check import exit_code_of_check
from everforge.cli.check_report import print_check
from everforge.cli.single_trial import candidate_of_file
from everforge.cli.task_choice import TaskChoice, chosen_task
from everforge.errors import TaskError
from everforge.model.check import (
    CheckCandidate,
    CheckFinding,
    CheckReport,
    CheckStage,
    CompileFault,
    GateReport,
    KernelReport,
)
from everforge.model.evaluation import VariantResult
from everforge.model.session import Progress
from everforge.model.verdict import ExitCode, Verdict

EXAMPLES = Path(__file__).parents[3] / "examples"
TASK = EXAMPLES / "kernelbench/level1/1_Row_softmax.py"
SOFTMAX = EXAMPLES / "candidates/row_softmax_triton.py"

KERNEL = KernelReport(
    name="softmax_rows",
    config={"BLOCK": 128, "num_warps": 8},
    compile_seconds=0.4,
    registers=97,
    stack_bytes=0,
    shared_bytes=32,
    features=("wgmma",),
)


def report(**parts: object) -> CheckReport:
    return CheckReport.model_validate({"task_digest": "sha256:t", "candidate_digest": "sha256:c", **parts})


def finding(stage: CheckStage, verdict: Verdict, reason: str = "why") -> CheckFinding:
    return CheckFinding(stage=stage, verdict=verdict, reason=reason)


def printed(checked: CheckReport) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_check(checked, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


# Exit codes and the report


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (None, ExitCode.CORRECT),
        (finding(CheckStage.STATIC, Verdict.REJECTED), ExitCode.REFUSED),
        (finding(CheckStage.STATIC, Verdict.COMPILE_ERROR), ExitCode.COMPILE_ERROR),
        (finding(CheckStage.COMPILE, Verdict.COMPILE_ERROR), ExitCode.COMPILE_ERROR),
        (finding(CheckStage.VALUES, Verdict.INCORRECT), ExitCode.INCORRECT),
    ],
)
def test_exit_code_is_that_of_evaluate_for_the_same_finding(found: CheckFinding | None, code: ExitCode) -> None:
    assert exit_code_of_check(report(finding=found)) == code


def test_report_has_resources_of_each_kernel_and_errors_of_each_variant() -> None:
    row = VariantResult(name="small", held_out=False, correct=True, max_error=2.5e-10, error_ratio=0.25)
    page = printed(report(compiled=GateReport(arch="sm_90", kernels=(KERNEL,)), values=(row,)))
    assert page.startswith("ok ")
    for part in ("sm_90, 1 kernel", "softmax_rows", "BLOCK=128 num_warps=8", "97", "32 B", "wgmma", "0.25", "2.5e-10"):
        assert part in page


def test_report_says_what_was_not_checked_and_does_not_call_that_ok() -> None:
    page = printed(report(not_checked=("values of variant small: the interpreter takes too long",)))
    assert page.startswith("ok so far ")
    assert "values of variant small: the interpreter takes too long" in page


def test_report_of_a_compile_error_has_the_compilers_whole_message() -> None:
    fault = CompileFault(kernel="softmax_rows", line=13, message="line 13: first\nsecond line of it")
    broken = KernelReport(name="softmax_rows", config={}, compile_seconds=0.1, fault=fault)
    found = finding(CheckStage.COMPILE, Verdict.COMPILE_ERROR, "kernel softmax_rows does not compile")
    compiled = GateReport(arch="sm_90", kernels=(broken,), fault=fault)
    page = printed(report(finding=found, compiled=compiled))
    assert page.startswith("compile_error  kernel softmax_rows does not compile")
    assert "second line of it" in page


def test_report_of_a_rejected_source_says_that_nothing_was_run() -> None:
    page = printed(report(finding=finding(CheckStage.STATIC, Verdict.REJECTED, "line 3: open() has no place")))
    assert page.startswith("rejected  line 3: open() has no place")
    assert "nothing was run" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param((str(TASK), str(SOFTMAX), "--arch", "sm_12"), "sm_80, sm_89, sm_90", id="architecture"),
        pytest.param((str(TASK), str(SOFTMAX), "--set", "batch=3"), "it has: batch_size, features", id="constant"),
        pytest.param((str(TASK), "absent.py"), "absent.py: no such candidate file", id="no-candidate"),
        pytest.param(("absent.py", str(SOFTMAX)), "absent.py: no such task file", id="no-task"),
    ],
)
def test_bad_usage_ends_with_code_2_before_a_runner_is_started(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", *arguments])
    output = capsys.readouterr()
    assert ended.value.code == ExitCode.USAGE
    assert said in output.err
    assert "runner" not in output.err
    assert output.out == ""


# With a real runner


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    started = start_local_runner()
    yield started
    started.close()


def checked(runner: LocalRunner, candidate: Path, *constants: str) -> tuple[CheckReport, list[str]]:
    task, _ = chosen_task(TaskChoice(path=TASK, constants=constants))
    stages: list[str] = []

    def on_progress(progress: Progress) -> None:
        stages.append(progress.stage)

    request = CheckCandidate(task=task, candidate=candidate_of_file(candidate))
    return runner.check(request, on_progress), stages


SMALL = ("batch_size=3", "features=100")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        pytest.param("", "", ExitCode.CORRECT, id="good"),
        pytest.param("tl.sum(weights", "tl.max(weights", ExitCode.INCORRECT, id="wrong-values"),
        pytest.param("column < columns", "column < colums", ExitCode.COMPILE_ERROR, id="does-not-compile"),
        pytest.param("import torch\n", "import torch\nimport subprocess\n", ExitCode.REFUSED, id="rejected"),
    ],
)
def test_each_outcome_of_a_check_has_its_exit_code(
    runner: LocalRunner, tmp_path: Path, old: str, new: str, code: ExitCode
) -> None:
    candidate = tmp_path / "candidate.py"
    candidate.write_text(SOFTMAX.read_text().replace(old, new, 1) if old else SOFTMAX.read_text())
    found, stages = checked(runner, candidate, *SMALL)
    assert exit_code_of_check(found) == code
    assert ("interpret" in stages) is (code in (ExitCode.CORRECT, ExitCode.INCORRECT))


def test_task_that_cannot_run_is_the_users_error(runner: LocalRunner) -> None:
    with pytest.raises(TaskError, match=r"get_inputs\(\) failed"):
        checked(runner, SOFTMAX, "batch_size=-1")


def test_json_is_the_whole_report_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", str(TASK), str(SOFTMAX), *(word for name in SMALL for word in ("--set", name)), "--json"])
    output = capsys.readouterr()
    assert ended.value.code == ExitCode.CORRECT
    found = CheckReport.model_validate(json.loads(output.out))
    assert found.ok
    assert [row.name for row in found.values] == ["set"]
    assert found.compiled is not None
    assert (found.compiled.kernels[0].registers or 0) > 0
