"""`everforge check TASK CANDIDATE`: what can be said of a candidate without its device, in seconds."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from everforge.agents.runner_process import start_local_runner
from everforge.cli.check_report import print_check
from everforge.cli.progress_line import progress_shown
from everforge.cli.single_trial import candidate_of_file
from everforge.cli.task_choice import TaskChoice, chosen_task
from everforge.cli.task_file import at_path
from everforge.errors import TaskError, UsageError
from everforge.model.check import ARCHITECTURES_AHEAD, CheckCandidate, CheckReport
from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.session import Progress
from everforge.model.verdict import ExitCode, exit_code_of
from everforge.search.runner_port import OnProgress

_DEFAULT_ARCH = CheckCandidate.model_fields["arch"].default
_DEFAULT_TIMEOUT_S = CheckCandidate.model_fields["values_timeout_s"].default


def check(
    task: Annotated[Path, typer.Argument(help="Task file (KernelBench form) or manifest (.yaml).")],
    candidate: Annotated[Path, typer.Argument(help="Python file that defines class ModelNew.")],
    arch: Annotated[str, typer.Option(help="Architecture that Triton kernels are compiled for.")] = _DEFAULT_ARCH,
    constants: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of a module-level constant; repeatable.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Lowest compute precision allowed; the manifest's, else fp32.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Wall time of Triton's interpreter in seconds.")
    ] = _DEFAULT_TIMEOUT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; logs go to stderr.")] = False,
) -> None:
    """Check a candidate without its device: static rules, and for Triton compilation ahead and interpreted values.

    Exit codes: 0 nothing speaks against it, 2 bad usage or bad task, 10 compile error, 11 incorrect values,
    14 rejected, 20 device fault, 21 harness fault.
    """
    if arch not in ARCHITECTURES_AHEAD:
        raise UsageError(f"--arch {arch}: Triton compiles ahead for {', '.join(ARCHITECTURES_AHEAD)}")
    # The device chooses among a manifest's targets, which share one task; it need not be there.
    choice = TaskChoice(path=task, device=DeviceKind.CUDA, constants=tuple(constants or ()), precision=precision)
    request = CheckCandidate(
        task=chosen_task(choice)[0], candidate=candidate_of_file(candidate), arch=arch, values_timeout_s=timeout
    )
    with progress_shown(Console(stderr=True, highlight=False)) as on_progress:
        report = checked_once(request, task, on_progress)
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        print_check(report, Console())
    raise typer.Exit(exit_code_of_check(report))


def checked_once(request: CheckCandidate, task_path: Path, on_progress: OnProgress) -> CheckReport:
    """Start a runner, check, and end it. Raises TaskError naming the task's file, or HarnessFault."""
    on_progress(Progress(stage="runner"))
    runner = start_local_runner()
    try:
        return runner.check(request, on_progress)
    except TaskError as error:
        raise TaskError(at_path(str(error), request.task, task_path)) from error
    finally:
        runner.close()


def exit_code_of_check(report: CheckReport) -> int:
    """The exit code `everforge evaluate` would have for the same finding; 0 without one."""
    return int(ExitCode.CORRECT if report.finding is None else exit_code_of(report.finding.verdict, None))
