"""What a pod's campaign is, from the object as the API server has it; and what it says of one it cannot run."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from everforge.agents.campaign_spec import assignment_of, read_manifest, read_spec
from everforge.agents.git_task import GitRefused, GitUnreachable, text_at_commit
from everforge.errors import ManifestError, UsageError
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.manifest import GitSource, KernelOptimization
from everforge.testing import samples


def applied(**spec: Any) -> KernelOptimization:
    return KernelOptimization.read(
        {
            "apiVersion": "everforge.dev/v1alpha1",
            "kind": "KernelOptimization",
            "metadata": {"name": "softmax", "namespace": "team-a", "uid": "1234"},
            "spec": {
                "task": {"inline": samples.TASK_SOURCE},
                "targets": [{"devicePool": "h200", "targetSpeedup": "1.5"}, {"devicePool": "cpu"}],
                "budget": {"trials": 7, "dollars": "2.50"},
                "priority": 5,
                **spec,
            },
        }
    )


def test_campaign_is_that_of_one_target() -> None:
    made = assignment_of(applied(), "h200", DeviceKind.CUDA, None)
    assert (made.spec.device, made.spec.target_speedup) == (DeviceKind.CUDA, 1.5)
    assert (made.spec.budget.trials, made.spec.budget.dollars) == (7, 2.5)
    assert (made.owner.name, made.owner.uid, made.priority) == ("softmax", "1234", 5)
    assert assignment_of(applied(), "cpu", DeviceKind.CPU, None).spec.target_speedup is None


def test_campaigns_of_namespaces_and_pools_are_told_apart() -> None:
    here = applied()
    there = here.model_copy(update={"metadata": here.metadata.model_copy(update={"namespace": "team-b"})})
    ids = {
        assignment_of(optimization, pool, DeviceKind.CUDA, None).spec.campaign_id
        for optimization in (here, there)
        for pool in ("h200", "cpu")
    }
    assert len(ids) == 4


def test_model_is_the_manifests() -> None:
    llm = {"model": "openai/gpt-4.1", "maxTokens": 4096, "inputDollarsPerMillion": "2.00"}
    spec = assignment_of(applied(generators=["builtin", "llm"], llm=llm), "cpu", DeviceKind.CPU, None).spec
    assert spec.generators == (GeneratorKind.BUILTIN, GeneratorKind.LLM)
    assert spec.model is not None
    assert (spec.model.max_tokens, spec.model.input_dollars_per_million) == (4096, 2.0)


def test_task_of_a_config_map_is_read_where_it_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(samples.TASK_SOURCE)
    mounted = applied(task={"configMap": {"name": "tasks", "key": "task.py"}})
    made = assignment_of(mounted, "cpu", DeviceKind.CPU, tmp_path / "task.py")
    assert made.spec.task.source == samples.TASK_SOURCE


def test_task_of_a_commit_is_fetched(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "task.py").write_text(samples.TASK_SOURCE)
    git("add", "task.py")
    git("commit", "--quiet", "-m", "task")
    source = {"url": tmp_path.as_uri(), "commit": git("rev-parse", "HEAD"), "path": "task.py"}
    made = assignment_of(applied(task={"git": source}), "cpu", DeviceKind.CPU, None)
    assert made.spec.task.source == samples.TASK_SOURCE
    with pytest.raises(UsageError, match=r"no file other\.py in that commit"):
        assignment_of(applied(task={"git": {**source, "path": "other.py"}}), "cpu", DeviceKind.CPU, None)


@pytest.mark.parametrize(
    ("url", "error"), [("http://127.0.0.1:9/tasks.git", GitUnreachable), ("file:///no/such/repository", GitRefused)]
)
def test_repository_that_is_away_is_a_machine_fault_and_one_that_is_none_a_mistake(
    url: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="cannot fetch commit"):
        text_at_commit(GitSource(url=url, commit="0" * 40, path="task.py"))


def test_task_that_is_nowhere_is_a_manifest_error() -> None:
    with pytest.raises(ManifestError, match="--task-file"):
        assignment_of(applied(task={"configMap": {"name": "t", "key": "t.py"}}), "cpu", DeviceKind.CPU, None)


def test_task_of_an_artifact_that_is_written_in_short_is_refused() -> None:
    with pytest.raises(UsageError, match="names no registry"):
        assignment_of(applied(task={"oci": f"task@sha256:{'0' * 64}"}), "cpu", DeviceKind.CPU, None)


def test_target_that_was_removed_is_named() -> None:
    with pytest.raises(ManifestError, match="no target on device pool b200"):
        assignment_of(applied(), "b200", DeviceKind.CUDA, None)


def test_object_that_is_from_no_api_server_is_refused() -> None:
    here = applied()
    written = here.model_copy(update={"metadata": here.metadata.model_copy(update={"uid": None})})
    with pytest.raises(ManifestError, match="has no uid"):
        assignment_of(written, "cpu", DeviceKind.CPU, None)


def test_files_that_hold_something_else_are_named(tmp_path: Path) -> None:
    file = tmp_path / "campaign.json"
    file.write_text(json.dumps({"kind": "Pod"}))
    with pytest.raises(UsageError, match=f"{file} holds no campaign"):
        read_spec(file)
    with pytest.raises(ManifestError, match=f"{file} holds no KernelOptimization"):
        read_manifest(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_spec(tmp_path / "absent.json")


def test_spec_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "campaign.json"
    file.write_text(samples.campaign_spec().model_dump_json())
    assert read_spec(file) == samples.campaign_spec()
