"""Manifests from a file: what is valid, and that every message names file, line, field and remedy."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everforge.cli.campaign_plan import Overrides, planned_campaigns
from everforge.cli.manifest_file import read_manifest
from everforge.errors import ManifestError, UsageError
from everforge.model.campaign import CampaignSpec, ModelSettings
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.task import InputContract

TASK = """\
import torch
from torch import nn

rows = 8


class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)


def get_inputs():
    return [torch.randn(rows, 16)]


def get_init_inputs():
    return []
"""
HEAD = """\
apiVersion: everforge.dev/v1alpha1
kind: KernelOptimization
metadata:
  name: softmax
spec:
"""
INLINE = "  task:\n    inline: |\n" + "".join(f"      {line}\n" for line in TASK.splitlines())
TAIL = """\
  targets:
    - devicePool: cpu
"""
# Line of the first line of what follows the task.
AFTER_TASK = len((HEAD + INLINE).splitlines()) + 1
CONFIG_MAP = """\
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: tasks
data:
  softmax.py: |
""" + "".join(f"    {line}\n" for line in TASK.splitlines())
FROM_CONFIG_MAP = "  task:\n    configMap: {name: tasks, key: softmax.py}\n"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "kernel.yaml"


def plan(path: Path, text: str, overrides: Overrides | None = None) -> tuple[CampaignSpec, ...]:
    path.write_text(text)
    return planned_campaigns(read_manifest(path), overrides or Overrides())


def complaint(path: Path, text: str, overrides: Overrides | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        plan(path, text, overrides)
    return str(caught.value).replace(str(path), "kernel.yaml")


def test_inline_task_becomes_a_campaign(manifest: Path) -> None:
    [spec] = plan(manifest, HEAD + INLINE + TAIL)
    assert (spec.name, spec.device, spec.task.source) == ("softmax", DeviceKind.CPU, TASK)
    assert spec.budget.trials == 40


def test_contract_for_inputs_reaches_the_task(manifest: Path) -> None:
    contract = '    inputs: {strided: false, scales: ["0.5"], emptyBatch: true}\n    deriveHeldOut: false\n'
    [spec] = plan(manifest, HEAD + INLINE + contract + TAIL)
    assert spec.task.inputs == InputContract(strided=False, scales=(0.5,), empty_batch=True)
    assert not spec.task.derive_held_out


def test_scale_without_quotes_is_refused_with_its_place(manifest: Path) -> None:
    text = complaint(manifest, HEAD + INLINE + "    inputs: {scales: [0.5]}\n" + TAIL)
    assert "spec.task.inputs.scales" in text


def test_task_is_found_in_a_config_map_of_the_same_file(manifest: Path) -> None:
    [spec] = plan(manifest, HEAD + FROM_CONFIG_MAP + TAIL + CONFIG_MAP)
    assert spec.task.source == TASK


def test_each_target_is_a_campaign_in_order(manifest: Path) -> None:
    specs = plan(manifest, HEAD + INLINE + TAIL + '    - devicePool: cuda\n      targetSpeedup: "1.5"\n')
    assert [(spec.device, spec.target_speedup) for spec in specs] == [("cpu", None), ("cuda", 1.5)]


def test_command_line_overrides_the_manifest(manifest: Path) -> None:
    overrides = Overrides(
        device=DeviceKind.XPU,
        max_trials=3,
        seconds=60,
        target_speedup=2.0,
        model="openai/m",
        api_base="http://h",
    )
    [spec] = plan(manifest, HEAD + INLINE + TAIL, overrides)
    assert (spec.device, spec.budget.trials, spec.budget.seconds) == (DeviceKind.XPU, 3, 60)
    assert spec.target_speedup == 2.0
    assert spec.generators == (GeneratorKind.BUILTIN, GeneratorKind.LLM)
    assert spec.model == ModelSettings(model="openai/m", api_base="http://h")


def test_cluster_pool_runs_here_with_a_device(manifest: Path) -> None:
    text = HEAD + INLINE + '  targets:\n    - devicePool: h200-pool\n      targetSpeedup: "1.3"\n'
    [spec] = plan(manifest, text, Overrides(device=DeviceKind.CUDA))
    assert (spec.device, spec.target_speedup) == (DeviceKind.CUDA, 1.3)


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    directory = tmp_path / "repository"
    directory.mkdir()
    (directory / "task.py").write_text(TASK)
    git(directory, "init", "--quiet")
    git(directory, "add", "task.py")
    git(directory, "commit", "--quiet", "-m", "task")
    return directory, git(directory, "rev-parse", "HEAD")


def from_git(directory: Path, commit: str, path: str) -> str:
    return f"  task:\n    git: {{url: 'file://{directory}', commit: {commit}, path: {path}}}\n"


def test_task_is_fetched_from_a_git_commit(manifest: Path, repository: tuple[Path, str]) -> None:
    [spec] = plan(manifest, HEAD + from_git(*repository, "task.py") + TAIL)
    assert spec.task.source == TASK


def test_missing_file_of_a_commit_is_named(manifest: Path, repository: tuple[Path, str]) -> None:
    said = complaint(manifest, HEAD + from_git(*repository, "other.py") + TAIL)
    assert said.startswith("kernel.yaml:7: spec.task.git.path: no file other.py in that commit")


def test_unknown_commit_is_named(manifest: Path, repository: tuple[Path, str]) -> None:
    said = complaint(manifest, HEAD + from_git(repository[0], "ab" * 20, "task.py") + TAIL)
    assert said.startswith(f"kernel.yaml:7: spec.task.git: cannot fetch commit {'ab' * 20} of file://")


BAD = {
    "unknown field": (
        TAIL + "      targetSpedup: '2'\n",
        f"kernel.yaml:{AFTER_TASK + 2}: spec.targets[0].targetSpedup: unknown field; "
        "did you mean targetSpeedup? (known here: devicePool, targetSpeedup)",
    ),
    "snake case": (
        "  targets:\n    - device_pool: cpu\n      devicePool: cpu\n",
        f"kernel.yaml:{AFTER_TASK + 1}: spec.targets[0].device_pool: unknown field; "
        "did you mean devicePool? (known here: devicePool, targetSpeedup)",
    ),
    "missing field": (
        "  targets:\n    - {}\n",
        f"kernel.yaml:{AFTER_TASK + 1}: spec.targets[0].devicePool: this field is required",
    ),
    "negative budget": (
        TAIL + "  budget:\n    trials: -3\n",
        f"kernel.yaml:{AFTER_TASK + 3}: spec.budget.trials: must be greater than or equal to 1, got -3",
    ),
    "text for a number": (
        TAIL + "  budget:\n    trials: '3'\n",
        f'kernel.yaml:{AFTER_TASK + 3}: spec.budget.trials: must be a valid integer, got "3"',
    ),
    "number for text": (
        TAIL + "      targetSpeedup: 1.5\n",
        f'kernel.yaml:{AFTER_TASK + 2}: spec.targets[0].targetSpeedup: must be text: write it in quotes, "1.5"',
    ),
    "no decimal": (
        TAIL + "      targetSpeedup: fast\n",
        f"kernel.yaml:{AFTER_TASK + 2}: spec.targets[0].targetSpeedup: "
        "must be a decimal number in quotes, such as \"1.5\", got 'fast'",
    ),
    "unknown precision": (
        TAIL + "  precision: fp23\n",
        f"kernel.yaml:{AFTER_TASK + 2}: spec.precision: must be fp32 or tf32 or fp16 or bf16, "
        'got "fp23"; did you mean fp32?',
    ),
    "unknown generator": (
        TAIL + "  generators: [bultin]\n",
        f"kernel.yaml:{AFTER_TASK + 2}: spec.generators[0]: must be builtin or llm, "
        'got "bultin"; did you mean builtin?',
    ),
    "llm without model": (
        TAIL + "  generators: [llm]\n",
        "kernel.yaml:5: spec: generators lists llm, so llm.model must be set",
    ),
    "unknown device": (
        "  targets:\n    - devicePool: gpu\n",
        f"kernel.yaml:{AFTER_TASK + 1}: spec.targets[0].devicePool: gpu is no device of this machine: "
        "use cpu, cuda, xpu, or keep the cluster's pool name and pass --device",
    ),
    "constant of another name": (
        TAIL + "  variants:\n    - {name: wide, constants: {columns: 4}}\n",
        "kernel.yaml (spec.task.inline, below line 7): the task has no module-level constant columns "
        "for variant wide to set; it has: rows",
    ),
    "key twice": (
        TAIL + "  precision: fp32\n  precision: tf32\n",
        f"kernel.yaml:{AFTER_TASK + 3}: key precision is given twice, first on line {AFTER_TASK + 2}; keep one",
    ),
    "key that is no text": (
        TAIL + "  on: push\n",
        f"kernel.yaml:{AFTER_TASK + 2}: key on is not read as text by YAML; write it in quotes",
    ),
    "not YAML": (
        TAIL + "  budget: [\n",
        f"kernel.yaml:{AFTER_TASK + 3}: not YAML: expected the node content, but found '<stream end>'",
    ),
}


@pytest.mark.parametrize(("after_task", "message"), BAD.values(), ids=list(BAD))
def test_mistake_is_named_with_line_field_and_remedy(manifest: Path, after_task: str, message: str) -> None:
    assert complaint(manifest, HEAD + INLINE + after_task) == message


def test_every_mistake_has_a_line_of_its_own_in_the_order_of_the_file(manifest: Path) -> None:
    said = complaint(manifest, HEAD + INLINE + TAIL + "  budget: {trials: 0, tokens: -1}\n  supsend: true\n")
    fields = [line.split(": ")[1] for line in said.splitlines()]
    assert fields == ["spec.budget.tokens", "spec.budget.trials", "spec.supsend"]


def test_artifact_without_a_registry_is_named(manifest: Path) -> None:
    task = f"  task:\n    oci: tasks@sha256:{'0' * 64}\n"
    assert complaint(manifest, HEAD + task + TAIL).startswith("kernel.yaml:7: spec.task.oci: tasks@sha256:")


def test_missing_config_map_and_key_are_named(manifest: Path) -> None:
    assert complaint(manifest, HEAD + FROM_CONFIG_MAP + TAIL) == (
        "kernel.yaml:7: spec.task.configMap.name: no ConfigMap tasks in this file (it holds: none); "
        "on a workstation it must stand in the same file, after a line ---"
    )
    other = FROM_CONFIG_MAP.replace("softmax.py", "gelu.py")
    assert complaint(manifest, HEAD + other + TAIL + CONFIG_MAP) == (
        "kernel.yaml:7: spec.task.configMap.key: ConfigMap tasks has no text under gelu.py; its keys: softmax.py"
    )


def test_task_without_model_class_is_named(manifest: Path) -> None:
    assert "must define class Model(nn.Module)" in complaint(
        manifest, HEAD + INLINE.replace("class Model(", "class Modell(") + TAIL
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "kernel.yaml: is empty"),
        (
            "kind: KernelOptimisation\n",
            "kernel.yaml:1: kind: must be KernelOptimization, got KernelOptimisation",
        ),
        ("- a\n", "kernel.yaml:1: must be a mapping that starts with apiVersion:"),
        ("a: &a [*a]\nkind: KernelOptimization\n", "kernel.yaml:1: an anchor holds itself; write it out"),
        (f"{HEAD}{INLINE}{TAIL}---\n{HEAD}{INLINE}{TAIL}", "kernel.yaml: holds 2 KernelOptimization objects"),
    ],
)
def test_file_that_holds_no_single_manifest_is_named(manifest: Path, text: str, message: str) -> None:
    manifest.write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(manifest)
    assert str(caught.value).replace(str(manifest), "kernel.yaml").startswith(message)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest file"):
        read_manifest(tmp_path / "absent.yaml")
    with pytest.raises(ManifestError, match="is a directory"):
        read_manifest(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not UTF-8"):
        read_manifest(tmp_path / "binary.yaml")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.text(max_size=200) | st.text("{}[]:-&*!|>'\"# \nab", max_size=60))
def test_no_text_whatever_ends_in_another_error(manifest: Path, text: str) -> None:
    manifest.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ManifestError):
        read_manifest(manifest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(
    st.sampled_from(["[]", "{}", "1", "null", "a", "[{}]", "[[1]]", "{a: 1}", "2001-01-01", ".nan", "-1"]),
    st.data(),
)
def test_wrong_value_of_any_field_is_a_manifest_error(manifest: Path, value: str, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["task", "targets", "variants", "budget", "llm", "retention", "metadata"]))
    spec = {"task": INLINE, "targets": TAIL} | {field: f"  {field}: {value}\n"}
    manifest.write_text(HEAD + "".join(spec.values()))
    said = said_of(manifest)
    assert said is None or said.startswith(f"{manifest}:")


def said_of(path: Path) -> str | None:
    try:
        read_manifest(path)
    except ManifestError as error:
        return str(error)
    return None
