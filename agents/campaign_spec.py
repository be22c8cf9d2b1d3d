"""What an agent's pod is asked to do: a campaign from a mounted file.

`pod.py` reads a resolved CampaignSpec, or the KernelOptimization as it was applied and the pool that is this pod's.
"""

import json
from pathlib import Path

from pydantic import ValidationError

from everforge.agents.git_task import text_at_commit
from everforge.agents.oci_task import text_at_digest
from everforge.agents.task_login import Login
from everforge.errors import ManifestError, UsageError
from everforge.model.base import Record
from everforge.model.campaign import CampaignSpec, ModelSettings
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.manifest import KernelOptimization, LlmSpec, Target
from everforge.model.runner_claim import ClaimOwner
from everforge.model.task import TaskSpec


class Assignment(Record):
    """A campaign, and for whom its runners are claimed."""

    spec: CampaignSpec
    owner: ClaimOwner
    priority: int = 0


def read_spec(path: Path) -> CampaignSpec:
    """A resolved campaign. Raises UsageError for a file that holds none."""
    try:
        return CampaignSpec.model_validate_json(read_text(path))
    except ValidationError as error:
        raise UsageError(f"{path} holds no campaign: {error}") from None


def read_manifest(path: Path) -> KernelOptimization:
    """An object as the API server has it. Raises ManifestError for a file that holds none."""
    try:
        return KernelOptimization.read(json.loads(read_text(path)))
    except (ValidationError, ValueError, TypeError) as error:
        raise ManifestError(f"{path} holds no KernelOptimization of this version: {error}") from None


def read_text(path: Path) -> str:
    """The text of a mounted file. Raises UsageError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def assignment_of(
    optimization: KernelOptimization,
    pool: str,
    device: DeviceKind,
    task_file: Path | None = None,
    login: Login | None = None,
) -> Assignment:
    """The campaign of one target. Raises ManifestError for a target or a task it does not have.

    Campaigns of other namespaces and pools are others, though they share a tracking server and a name.
    """
    metadata, spec = optimization.metadata, optimization.spec
    target = next((target for target in spec.targets if target.device_pool == pool), None)
    if target is None:
        raise ManifestError(f"KernelOptimization {metadata.name} has no target on device pool {pool}")
    if metadata.uid is None:
        raise ManifestError(f"KernelOptimization {metadata.name} has no uid: it must come from the API server")
    campaign = CampaignSpec(
        name=f"{metadata.namespace}.{metadata.name}.{pool}",
        task=_task(optimization, task_file, login),
        device=device,
        budget=spec.budget.resolved(),
        generators=tuple(GeneratorKind(name) for name in spec.generators),
        target_speedup=_target_speedup(target),
        model=None if spec.llm is None else _model(spec.llm),
        search=spec.search.resolved(),
    )
    return Assignment(spec=campaign, owner=ClaimOwner(name=metadata.name, uid=metadata.uid), priority=spec.priority)


def _task(optimization: KernelOptimization, task_file: Path | None, login: Login | None) -> TaskSpec:
    spec = optimization.spec
    return TaskSpec(
        name=f"{optimization.metadata.namespace}.{optimization.metadata.name}",
        source=_source(optimization, task_file, login),
        variants=tuple(variant.resolved() for variant in spec.variants),
        precision=spec.precision,
        mode=spec.task.mode,
        trainable=spec.task.trainable,
        inputs=spec.task.inputs.resolved(),
        derive_held_out=spec.task.derive_held_out,
    )


def _source(optimization: KernelOptimization, task_file: Path | None, login: Login | None) -> str:
    task = optimization.spec.task
    if task.inline is not None:
        return task.inline
    if task_file is not None:
        return read_text(task_file)
    if task.git is not None:
        return text_at_commit(task.git, login)
    if task.oci is not None:
        return text_at_digest(task.oci, login)
    raise ManifestError("spec.task: the task is in a ConfigMap, so --task-file must name where it is mounted")


def _target_speedup(target: Target) -> float | None:
    return None if target.target_speedup is None else float(target.target_speedup)


def _model(llm: LlmSpec) -> ModelSettings:
    return ModelSettings(
        model=llm.model,
        api_base=llm.api_base,
        max_tokens=llm.max_tokens,
        input_dollars_per_million=_price(llm.input_dollars_per_million),
        output_dollars_per_million=_price(llm.output_dollars_per_million),
    )


def _price(decimal: str | None) -> float | None:
    return None if decimal is None else float(decimal)
