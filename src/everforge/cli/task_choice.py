"""Which task `everforge evaluate` judges against: a task file or a manifest, as the options vary it."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from everforge.cli.campaign_plan import Overrides, planned_campaigns
from everforge.cli.manifest_file import read_manifest
from everforge.cli.task_file import (
    check_constants,
    constants_from_settings,
    constants_of,
    first_message,
    selected,
    task_of_file,
    variants_of_file,
)
from everforge.errors import UsageError
from everforge.model.base import Record
from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.task import Mode, TaskSpec, Variant

_MANIFEST_SUFFIXES = (".yaml", ".yml")
# Variants that --set makes out of the file's defaults are called this in the report.
SET_VARIANT = "set"


class TaskChoice(Record):
    """The options of the command line that say what the task is; None and empty leave the task's own word."""

    path: Path
    device: DeviceKind | None = None
    variants: tuple[str, ...] = ()
    variants_file: Path | None = None
    constants: tuple[str, ...] = ()
    precision: Precision | None = None
    mode: Mode | None = None


def chosen_task(choice: TaskChoice) -> tuple[TaskSpec, DeviceKind]:
    """The task and the device. Raises UsageError (ManifestError, TaskError) for what cannot be one."""
    if choice.path.suffix in _MANIFEST_SUFFIXES:
        task, device = _of_manifest(choice)
    else:
        task = task_of_file(choice.path, choice.path.stem)
        device = choice.device or DeviceKind.CPU
    variants = selected(_offered_variants(choice, task), choice.variants)
    return _varied(choice, task, variants), device


def _of_manifest(choice: TaskChoice) -> tuple[TaskSpec, DeviceKind]:
    campaigns = planned_campaigns(read_manifest(choice.path), Overrides(device=choice.device))
    if len(campaigns) > 1:
        devices = ", ".join(campaign.device for campaign in campaigns)
        raise UsageError(f"{choice.path}: has the targets {devices}; choose one with --device")
    return campaigns[0].task, campaigns[0].device


def _offered_variants(choice: TaskChoice, task: TaskSpec) -> Sequence[Variant]:
    """The variants to select from: the task's, the file's, or one made of `--set` over the defaults."""
    if choice.variants_file is not None and choice.constants:
        raise UsageError("--set and --variants-file both say what the variants are; give one of them")
    if choice.constants:
        return (Variant(name=SET_VARIANT, constants=constants_from_settings(choice.constants)),)
    return task.variants if choice.variants_file is None else variants_of_file(choice.variants_file)


def _varied(choice: TaskChoice, task: TaskSpec, variants: Sequence[Variant]) -> TaskSpec:
    constants = constants_of(task.source, choice.path)
    for variant in variants:
        check_constants(variant, constants, choice.path)
    given = {"precision": choice.precision, "mode": choice.mode}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        return TaskSpec.model_validate({**dict(task), **changes, "variants": tuple(variants)})
    except ValidationError as error:
        raise UsageError(f"{choice.path}: {first_message(error)}; select another with --variants") from None
