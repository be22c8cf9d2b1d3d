"""The `everforge suite` command: its options, its exit codes, and a true suite on this CPU."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from everforge.cli.app import main
from everforge.cli.suite import exit_code_of_report, generators_in
from everforge.cli.suite_rows import row_of_error, suite_report
from everforge.errors import UsageError
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.suite import TaskStatus
from everforge.model.verdict import ExitCode

BUILTIN, LLM = GeneratorKind.BUILTIN, GeneratorKind.LLM
TASK = """\
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return {result}


def get_inputs():
    return [torch.randn(64, 512)]


def get_init_inputs():
    return []
"""


@pytest.mark.parametrize(
    ("listed", "model", "generators"),
    [
        (None, None, (BUILTIN,)),
        (None, "openai/gpt-4.1", (BUILTIN, LLM)),
        ("llm", "openai/gpt-4.1", (LLM,)),
        ("llm, builtin,llm", "openai/gpt-4.1", (LLM, BUILTIN)),
    ],
)
def test_generators_are_those_listed_or_those_implied(
    listed: str | None, model: str | None, generators: tuple[GeneratorKind, ...]
) -> None:
    assert generators_in(listed, model) == generators


@pytest.mark.parametrize(("listed", "said"), [("magic", "no such generator"), ("user", "no such"), ("llm", "--model")])
def test_generators_that_cannot_be_used_are_refused(listed: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        generators_in(listed, None)


@pytest.mark.parametrize(
    ("status", "code"),
    [(TaskStatus.REFUSED, ExitCode.CORRECT), (TaskStatus.FAILED, ExitCode.HARNESS_FAULT)],
)
def test_a_failed_task_fails_the_command_a_refused_one_does_not(status: TaskStatus, code: ExitCode) -> None:
    assert exit_code_of_report(suite_report(DeviceKind.CPU, None, [row_of_error("1_A", status, "why")])) is code


def test_bad_input_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["suite", str(tmp_path / "absent"), "--out", str(tmp_path / "out")])
    assert ended.value.code == ExitCode.USAGE
    assert "absent: not a directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def suite_command(directory: Path) -> list[str]:
    """The command line of a suite of one trial per task over `directory`/tasks."""
    code = "from everforge.cli.app import main; main()"
    paths = [str(directory / "tasks"), "--out", str(directory / "out")]
    return [sys.executable, "-c", code, "suite", *paths, "--budget-trials", "1"]


@pytest.mark.slow
def test_a_true_suite_ends_in_reports_and_its_second_run_repeats_nothing(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "1_Softmax.py").write_text(TASK.format(result="torch.softmax(x, dim=1)"))
    (tasks / "2_Unfinished.py").write_text("class Model:\n")
    first = subprocess.run(suite_command(tmp_path), capture_output=True, text=True, timeout=280, check=False)
    assert first.returncode == 0, first.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [(row["task"], row["trials"]) for row in report["tasks"]] == [("1_Softmax", 1), ("2_Unfinished", 0)]
    assert report["tasks"][0]["baselines_us"].keys() >= {"eager-fp32", "compile-fp32"}
    assert "2_Unfinished.py:1" in report["tasks"][1]["error"]
    second = subprocess.run(suite_command(tmp_path), capture_output=True, text=True, timeout=280, check=False)
    assert second.returncode == 0, second.stderr
    assert "started" not in second.stderr
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "1_Softmax.py").write_text(TASK.format(result="torch.softmax(x, dim=1)"))
    process = subprocess.Popen(
        suite_command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    while "opening the task" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert json.loads((tmp_path / "out" / "report.json").read_text())["tasks"] == []
