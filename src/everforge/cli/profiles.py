"""`everforge profile show FILE`: what a profiler's export says, and what limits the candidate where its trial is given.

The module is named in the plural because one named `profile` would shadow the standard library's.
"""

from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console

from everforge.agents.analysis.analyse import analyse
from everforge.cli.profile_report import print_profile
from everforge.errors import UsageError
from everforge.model.analysis import Analysis
from everforge.model.base import Record
from everforge.model.evaluation import Evaluation
from everforge.model.kernel_profile import Profile, ProfileTool
from everforge.model.precision import Precision
from everforge.model.session import TaskFacts, VariantFacts
from everforge.runners.profiles.reading import READERS, read_profile

profile = typer.Typer(
    help="What profilers saw of a candidate, in one form for every vendor.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
R = TypeVar("R", bound=Record)


class ShownProfile(Record):
    """What `everforge profile show --json` prints."""

    profile: Profile
    analysis: Analysis | None = None


@profile.callback()
def group() -> None:
    """What profilers saw of a candidate, in one form for every vendor."""


@profile.command()
def show(
    file: Annotated[Path, typer.Argument(help="A profiler's export: ncu, torch profiler, unitrace or VTune.")],
    tool: Annotated[
        ProfileTool | None, typer.Option(help=f"What wrote it, where that is not recognised: {', '.join(READERS)}.")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="The trial that was profiled: what `everforge evaluate --json` printed.")
    ] = None,
    facts: Annotated[Path | None, typer.Option(help="The task's facts: facts.json of its campaign's run.")] = None,
    variant: Annotated[str | None, typer.Option(help="Variant that was profiled; the first shown one.")] = None,
    precision: Annotated[
        Precision, typer.Option(help="Lowest compute precision the task allows, for the analysis.")
    ] = Precision.FP32,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Show an export as a table; with --evaluation and --facts also what limits the candidate, and what would help.

    Exit codes: 0 shown; 2 no such file, or none that can be read.
    """
    if (evaluation is None) != (facts is None):
        given, other = ("--evaluation", "--facts") if facts is None else ("--facts", "--evaluation")
        raise UsageError(f"{given} without {other}: the analysis needs both")
    read = read_profile(file, tool)
    found = None
    if evaluation is not None and facts is not None:
        chosen = _record(Evaluation, evaluation), _record(TaskFacts, facts)
        found = _analysed(read, *chosen, variant, precision)
    shown = ShownProfile(profile=read, analysis=found)
    if as_json:
        typer.echo(shown.model_dump_json())
    else:
        print_profile(shown.profile, shown.analysis, Console(highlight=False))


def _analysed(
    read: Profile, evaluation: Evaluation, facts: TaskFacts, variant: str | None, precision: Precision
) -> Analysis:
    if evaluation.task_digest != facts.task_digest:
        raise UsageError("--evaluation and --facts are of different tasks: give the facts of the trial's own campaign")
    if read.device is not evaluation.environment.device:
        what = f"the profile is of {read.device}, the trial of {evaluation.environment.device}"
        raise UsageError(f"{what}: profile on the trial's device")
    return analyse(read, evaluation, facts.peaks, _variant(facts, variant), precision)


def _variant(facts: TaskFacts, name: str | None) -> VariantFacts:
    """The variant asked for, else the first that is not held out. Raises UsageError."""
    shown = [each for each in facts.variants if not each.held_out]
    found = next((each for each in shown if name in (None, each.name)), None)
    if found is None:
        names = ", ".join(each.name for each in shown)
        raise UsageError(f"--variant {name}: the task has {names}; held-out ones are not analysed")
    return found


def _record(record: type[R], path: Path) -> R:
    """A record from a file. Raises UsageError."""
    try:
        return record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: not the JSON of {record.__name__}: {where}: {first['msg']}") from error
