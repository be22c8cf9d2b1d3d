"""Turns a manifest and the command line's overrides into the campaigns of this machine, one for each target.

`everforge run` calls `planned_campaigns` before anything is opened or created.
"""

from collections.abc import Sequence
from pathlib import Path

from everforge.cli.manifest_file import ManifestFile
from everforge.cli.task_file import check_constants, constants_of
from everforge.cli.task_source import place_of_task, task_text
from everforge.model.base import Record
from everforge.model.budget import Budget
from everforge.model.campaign import CampaignSpec, ModelSettings
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.manifest import LlmSpec, Target
from everforge.model.task import TaskSpec


class Overrides(Record):
    """What the command line says instead of the manifest; None leaves the manifest's word."""

    device: DeviceKind | None = None
    max_trials: int | None = None
    seconds: float | None = None
    target_speedup: float | None = None
    model: str | None = None
    api_base: str | None = None


def planned_campaigns(file: ManifestFile, overrides: Overrides) -> tuple[CampaignSpec, ...]:
    """One campaign for each target, in the manifest's order; `--device` makes it one, on that device.

    Raises ManifestError or TaskError naming the field that cannot be used on this machine.
    """
    task = _task(file)
    return tuple(
        CampaignSpec(
            name=file.manifest.metadata.name,
            task=task,
            device=device,
            budget=_budget(file, overrides),
            generators=_generators(file, overrides),
            target_speedup=_target_speedup(target, overrides),
            model=_model(file.manifest.spec.llm, overrides),
            search=file.manifest.spec.search.resolved(),
        )
        for device, target in _targets(file, overrides.device)
    )


def _task(file: ManifestFile) -> TaskSpec:
    spec = file.manifest.spec
    source, place = task_text(file), Path(place_of_task(file))
    variants = tuple(variant.resolved() for variant in spec.variants)
    constants = constants_of(source, place)
    for variant in variants:
        check_constants(variant, constants, place)
    return TaskSpec(
        name=file.manifest.metadata.name,
        source=source,
        variants=variants,
        precision=spec.precision,
        mode=spec.task.mode,
        trainable=spec.task.trainable,
        inputs=spec.task.inputs.resolved(),
        derive_held_out=spec.task.derive_held_out,
    )


def _targets(file: ManifestFile, device: DeviceKind | None) -> Sequence[tuple[DeviceKind, Target]]:
    targets = file.manifest.spec.targets
    if device is not None:
        named = [target for target in targets if target.device_pool == device]
        return [(device, (named or targets)[0])]
    return [(_device(file, index, target), target) for index, target in enumerate(targets)]


def _device(file: ManifestFile, index: int, target: Target) -> DeviceKind:
    kinds = [kind.value for kind in DeviceKind]
    if target.device_pool not in kinds:
        raise file.error(
            ("spec", "targets", index, "devicePool"),
            f"{target.device_pool} is no device of this machine: use {', '.join(kinds)}, "
            "or keep the cluster's pool name and pass --device",
        )
    return DeviceKind(target.device_pool)


def _budget(file: ManifestFile, overrides: Overrides) -> Budget:
    budget = file.manifest.spec.budget.resolved()
    given = {"trials": overrides.max_trials, "seconds": overrides.seconds}
    return budget.model_copy(update={name: value for name, value in given.items() if value is not None})


def _generators(file: ManifestFile, overrides: Overrides) -> tuple[GeneratorKind, ...]:
    kinds = tuple(GeneratorKind(name) for name in file.manifest.spec.generators)
    asked = overrides.model is not None and GeneratorKind.LLM not in kinds
    return (*kinds, GeneratorKind.LLM) if asked else kinds


def _target_speedup(target: Target, overrides: Overrides) -> float | None:
    if overrides.target_speedup is not None:
        return overrides.target_speedup
    return None if target.target_speedup is None else float(target.target_speedup)


def _model(llm: LlmSpec | None, overrides: Overrides) -> ModelSettings | None:
    if llm is None:
        given = overrides.model
        return None if given is None else ModelSettings(model=given, api_base=overrides.api_base)
    return ModelSettings(
        model=overrides.model or llm.model,
        api_base=overrides.api_base or llm.api_base,
        max_tokens=llm.max_tokens,
        input_dollars_per_million=_price(llm.input_dollars_per_million),
        output_dollars_per_million=_price(llm.output_dollars_per_million),
    )


def _price(decimal: str | None) -> float | None:
    return None if decimal is None else float(decimal)
