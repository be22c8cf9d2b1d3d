"""`everforge evaluate TASK CANDIDATE`: one trial with the harness of campaigns; its exit codes are an API."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from everforge.agents.runner_process import start_local_runner
from everforge.cli.evaluation_report import print_evaluation
from everforge.cli.progress_line import progress_shown
from everforge.cli.single_trial import TrialRequest, candidate_of_file, evaluate_once
from everforge.cli.task_choice import TaskChoice, chosen_task
from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings
from everforge.model.task import Mode
from everforge.model.verdict import exit_code_of

_DEFAULTS = EvaluationSettings()


def evaluate(
    task: Annotated[Path, typer.Argument(help="Task file (KernelBench form) or manifest (.yaml).")],
    candidate: Annotated[Path, typer.Argument(help="Python file that defines class ModelNew.")],
    device: Annotated[DeviceKind | None, typer.Option(help="Where to run; a manifest's one target, else cpu.")] = None,
    variants: Annotated[str | None, typer.Option(help="Names of variants, comma-separated; all when left out.")] = None,
    variants_file: Annotated[
        Path | None, typer.Option(help="YAML or JSON list of {name, constants, weight, held_out}.")
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of a module-level constant; repeatable.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Lowest compute precision allowed; the manifest's, else fp32.")
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="Mode of the reference; the manifest's, else eval.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=64, help="Fresh inputs for each variant.")] = _DEFAULTS.seeds,
    timeout: Annotated[
        float, typer.Option(min=1, help="Wall time of the trial in seconds, build included.")
    ] = _DEFAULTS.timeout_s,
    timing: Annotated[bool, typer.Option(help="Time the candidate once it is correct.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; logs go to stderr.")] = False,
) -> None:
    """Judge one candidate: is it correct on every variant, and how fast.

    Exit codes: 0 correct, 2 bad usage or bad task, 10 compile error, 11 incorrect, 12 timeout, 13 crash,
    14 rejected or tampered, 20 device fault, 21 harness fault.
    """
    choice = TaskChoice(
        path=task,
        device=device,
        variants=names_in(variants),
        variants_file=variants_file,
        constants=tuple(constants or ()),
        precision=precision,
        mode=mode,
    )
    chosen, on_device = chosen_task(choice)
    request = TrialRequest(
        task=chosen,
        task_path=task,
        candidate=candidate_of_file(candidate),
        device=on_device,
        settings=EvaluationSettings(seeds=seeds, timeout_s=timeout),
        timed=timing,
    )
    raise typer.Exit(_evaluate(request, as_json))


def _evaluate(request: TrialRequest, as_json: bool) -> int:
    with progress_shown(Console(stderr=True, highlight=False)) as on_progress:
        evaluation = evaluate_once(request, start_local_runner, on_progress)
    if as_json:
        typer.echo(evaluation.model_dump_json())
    else:
        print_evaluation(evaluation, Console())
    return int(exit_code_of(evaluation.verdict, evaluation.fault))


def names_in(listed: str | None) -> tuple[str, ...]:
    """The names of a comma-separated list, in its order."""
    return tuple(name.strip() for name in (listed or "").split(",") if name.strip())
