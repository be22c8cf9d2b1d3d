"""`everforge suite DIR --out DIR`: a directory of tasks run as a fleet of campaigns, resumable, one report."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from everforge.agents.runner_supply import RunnerSupply
from everforge.agents.stop_signal import StopSignal
from everforge.agents.workstation import Workstation, local_supply
from everforge.cli.display import campaign_shown
from everforge.cli.evaluate import names_in
from everforge.cli.metrics_port import MetricsPort, metering_at
from everforge.cli.run import INTERRUPTED
from everforge.cli.suite_plan import PlannedTask, planned_tasks
from everforge.cli.suite_report import failure_lines, note_lines, suite_table, summary_lines
from everforge.cli.suite_run import SuitePorts, SuiteRequest, SuiteRun
from everforge.errors import UsageError
from everforge.model.budget import Budget
from everforge.model.campaign import CampaignRecord, CampaignSpec, ModelSettings
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.suite import SuiteReport, TaskStatus
from everforge.model.task import Mode
from everforge.model.verdict import ExitCode
from everforge.search.events import Listener, all_of

# A built-in campaign on one task was seen to run dry before its 20th trial.
DEFAULT_TRIALS = 20


def suite(
    directory: Annotated[Path, typer.Argument(help="Task files <id>_<Name>.py, in folders or not.")],
    out: Annotated[Path, typer.Option(help="Where reports, champions and the resume file are kept.")],
    device: Annotated[DeviceKind, typer.Option(help="Device to make kernels for.")] = DeviceKind.CPU,
    only: Annotated[str | None, typer.Option(help="Globs of tasks, comma-separated: level1/*,19_*")] = None,
    precision: Annotated[
        Precision, typer.Option(help="Lowest compute precision a candidate may use.")
    ] = Precision.FP32,
    mode: Annotated[Mode, typer.Option(help="Mode of the references.")] = Mode.EVAL,
    budget_trials: Annotated[int, typer.Option(min=1, help="Trials per task.")] = DEFAULT_TRIALS,
    seconds_per_task: Annotated[
        float | None, typer.Option(min=1, help="Wall time per task; no limit when left out.")
    ] = None,
    generators: Annotated[
        str | None, typer.Option(help="builtin, llm or both; llm joins in when --model is given.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="LiteLLM model name for the llm generator.")] = None,
    api_base: Annotated[str | None, typer.Option(help="Base URL of an OpenAI-compatible endpoint.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow; a SQLite file in --out by default.")] = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Search a faster kernel for every task of a directory; the same command again goes on where it stopped.

    Exit codes: 0 every task has a row, 2 bad usage, 20 or 21 the machine failed a task, 130 stopped.
    """
    request = SuiteRequest(
        device=device,
        budget=Budget(trials=budget_trials, seconds=seconds_per_task),
        precision=precision,
        mode=mode,
        generators=generators_in(generators, model),
        model=None if model is None else ModelSettings(model=model, api_base=api_base),
    )
    tasks = planned_tasks(directory, names_in(only))
    with metering_at(metrics_port) as meter:
        code = _run(request, tasks, Workstation(state_dir=out, tracking_uri=tracking_uri, meter=meter))
    raise typer.Exit(code)


def generators_in(listed: str | None, model: str | None) -> tuple[GeneratorKind, ...]:
    """The generators of `--generators`, or those that the other options imply. Raises UsageError."""
    names = names_in(listed) or (("builtin", "llm") if model else ("builtin",))
    known = (GeneratorKind.BUILTIN, GeneratorKind.LLM)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"--generators {', '.join(unknown)}: no such generator; use builtin, llm or builtin,llm")
    if GeneratorKind.LLM in names and model is None:
        raise UsageError("--generators llm needs a model: pass --model, such as --model openai/gpt-4.1")
    return tuple(GeneratorKind(name) for name in dict.fromkeys(names))


def _run(request: SuiteRequest, tasks: Sequence[PlannedTask], workstation: Workstation) -> int:
    out, stop = workstation.state_dir, StopSignal()
    try:
        with stop.installed(), local_supply() as supply:
            ports = _ports(workstation, supply, stop, Console(stderr=True, highlight=False))
            report = SuiteRun(request, ports, out).run(tasks)
    except KeyboardInterrupt:
        typer.echo(f"stopped; {out}/report.json holds what is done, the same command goes on", err=True)
        return INTERRUPTED
    console = Console()
    console.print(suite_table(report))
    for line in (
        *note_lines(report),
        *failure_lines(report),
        *summary_lines(report),
        f"reports, champions and the store: {out}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return exit_code_of_report(report)


def _ports(workstation: Workstation, supply: RunnerSupply, stop: StopSignal, news: Console) -> SuitePorts:
    def run_campaign(spec: CampaignSpec, listener: Listener) -> CampaignRecord:
        with campaign_shown(spec, news, transient=True) as show:
            return workstation.run_campaign(spec, supply, listener=all_of(listener, show), stop=stop)

    return SuitePorts(run_campaign, supply.discard, partial(news.print, markup=False, soft_wrap=True))


def exit_code_of_report(report: SuiteReport) -> ExitCode:
    """0, unless the machine failed a task; a refused task is the task's fault, and named in the report."""
    failed = any(row.status is TaskStatus.FAILED for row in report.tasks)
    return ExitCode.HARNESS_FAULT if failed else ExitCode.CORRECT
