"""`everforge doctor`: what is installed, what each device can do, and the one command that mends what is missing."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from everforge.agents.runner_process import start_local_runner
from everforge.cli.device_check import AskEnvironment, check_device
from everforge.cli.doctor_report import doctor_report, print_doctor_report
from everforge.cli.installed import Part, installed_parts
from everforge.errors import HarnessFault
from everforge.model.device import DeviceKind, Environment

# `everforge doctor` ends with this when no device can run a campaign.
NOT_READY = 1


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    state_dir: Annotated[Path, typer.Option(help="Where campaigns would be kept; checked for being writable.")] = Path(
        ".everforge"
    ),
) -> None:
    """Say what is installed and what each device can do, and how to mend what is missing.

    Exit codes: 0 at least one device can run a campaign, 1 none can.
    """
    with _runner_environment() as ask:
        devices = tuple(check_device(device, ask) for device in DeviceKind)
    report = doctor_report((*installed_parts(), store_part(state_dir)), devices)
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        print_doctor_report(report, Console())
    raise typer.Exit(0 if report.ready else NOT_READY)


@contextmanager
def _runner_environment() -> Iterator[AskEnvironment]:
    """A way to ask one runner for all devices; where it does not start, every device says so."""
    try:
        runner = start_local_runner()
    except HarnessFault as fault:
        yield _raiser(fault)
        return
    try:
        yield runner.environment
    finally:
        runner.close()


def _raiser(fault: HarnessFault) -> AskEnvironment:
    def ask(_device: DeviceKind) -> Environment:
        raise fault

    return ask


def store_part(state_dir: Path) -> Part:
    """Whether the store can be written: tried in the directory, or in the nearest one above that exists."""
    existing = next(path for path in (state_dir.absolute(), *state_dir.absolute().parents) if path.is_dir())
    part = Part(name="store", needed_for="campaigns and trials", version=str(state_dir))
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        problem = f"{existing} cannot be written: {error.strerror}"
        return part.model_copy(update={"problem": problem, "remedy": f"sudo chown $(id -u) {existing}"})
    return part
