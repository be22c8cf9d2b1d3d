"""`everforge run MANIFEST`: a campaign for each target of a manifest, on this machine.

Nothing is created before the manifest is valid and the runner has accepted the task.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from everforge.agents.stop_signal import StopSignal
from everforge.agents.workstation import Workstation, local_supply
from everforge.cli.campaign_plan import Overrides, planned_campaigns
from everforge.cli.display import campaign_shown
from everforge.cli.manifest_file import read_manifest
from everforge.cli.metrics_port import MetricsPort, metering_at
from everforge.cli.results import print_results
from everforge.cli.task_file import at_path
from everforge.cli.task_source import place_of_task
from everforge.errors import TaskError
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState
from everforge.model.device import DeviceKind
from everforge.model.trial import Trial
from everforge.model.verdict import ExitCode, Fault
from everforge.search.events import CampaignEnded, CampaignStarted, Event, Listener, TrialFinished

# What shells say of a process that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130


def run(
    manifest: Annotated[Path, typer.Argument(help="KernelOptimization manifest (YAML).")],
    device: Annotated[
        DeviceKind | None, typer.Option(help="Run on this device, whatever pool the manifest names.")
    ] = None,
    max_trials: Annotated[int | None, typer.Option(min=1, help="Candidates to try.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Wall time of the campaign.")] = None,
    target_speedup: Annotated[
        float | None, typer.Option(min=0.01, help="Stop once a champion is confirmed at this speedup.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="LiteLLM model name; adds the llm generator if it is not listed.")
    ] = None,
    api_base: Annotated[str | None, typer.Option("--api-base", help="URL of an OpenAI-compatible endpoint.")] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help="File with the API key; else EVERFORGE_API_KEY or the provider's variable."),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow tracking URI; a SQLite file in the state directory if left out."),
    ] = None,
    state_dir: Annotated[
        Path, typer.Option(help="Where trials and champions are kept; another one starts over.")
    ] = Path(".everforge"),
    metrics_port: MetricsPort = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record as one JSON object on stdout, news on stderr.")
    ] = False,
) -> None:
    """Search for a faster kernel; the same command again resumes where it stopped.

    Exit codes: 0 finished, with or without a champion; 2 bad usage, manifest or task; 20 device fault;
    21 harness fault; 130 interrupted.
    """
    overrides = Overrides(
        device=device,
        max_trials=max_trials,
        seconds=seconds,
        target_speedup=target_speedup,
        model=model,
        api_base=api_base,
    )
    file = read_manifest(manifest)
    specs = planned_campaigns(file, overrides)
    console = Console(stderr=as_json, highlight=False)
    try:
        with metering_at(metrics_port) as meter:
            station = Workstation(state_dir, tracking_uri, api_key_file, meter=meter)
            code = _run_all(specs, station, console, manifest, as_json)
    except TaskError as error:
        raise TaskError(at_path(str(error), specs[0].task, Path(place_of_task(file)))) from None
    raise typer.Exit(code)


def _run_all(
    specs: Sequence[CampaignSpec], station: Workstation, console: Console, manifest: Path, as_json: bool
) -> int:
    """Run the campaigns one after the other; the first that does not finish ends the row."""
    stop = StopSignal()
    with stop.installed(), local_supply() as supply:
        for spec in specs:
            ending = Ending()
            try:
                with campaign_shown(spec, console) as show:
                    listener = ending.passing_to(show)
                    record = station.run_campaign(spec, supply, listener=listener, stop=stop)
            except KeyboardInterrupt:
                console.print(ending.interrupted_line(), markup=False)
                return INTERRUPTED
            _report(record, ending.champion_trial, console, manifest, as_json)
            if code := exit_code_of_record(record):
                return code
    return 0


def _report(
    record: CampaignRecord, champion_trial: Trial | None, console: Console, manifest: Path, as_json: bool
) -> None:
    print_results(record, champion_trial, manifest, console)
    if as_json:
        typer.echo(record.model_dump_json())


def exit_code_of_record(record: CampaignRecord) -> int:
    """0 for a finished campaign; else who or what stopped it."""
    if record.state is CampaignState.INTERRUPTED:
        return INTERRUPTED
    if record.state is CampaignState.FAILED:
        return ExitCode.DEVICE_FAULT if record.fault is Fault.DEVICE else ExitCode.HARNESS_FAULT
    return 0


class Ending:
    """Keeps from the events what is said at the end: the champion's trial, whether there are trials at all."""

    def __init__(self) -> None:
        self.champion_trial: Trial | None = None
        self._any_trial = False

    def interrupted_line(self) -> str:
        """What an interruption at once, by a second Ctrl-C or before the campaign began, left behind."""
        if self._any_trial:
            return "interrupted: every finished trial is kept; the same command again resumes from them"
        return "interrupted before anything was tried: no trial was recorded"

    def passing_to(self, show: Listener) -> Listener:
        def listener(event: Event) -> None:
            self._any_trial |= isinstance(event, TrialFinished) or (
                isinstance(event, CampaignStarted) and event.resumed_trials > 0
            )
            if isinstance(event, CampaignEnded):
                self.champion_trial = event.champion_trial
            show(event)

        return listener
