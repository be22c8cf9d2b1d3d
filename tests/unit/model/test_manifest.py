"""What a KernelOptimization may say, and the message for each way of saying it wrong."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from everforge.model.manifest import API_VERSION, KIND, KernelOptimization, VariantSpec
from everforge.model.precision import Precision
from everforge.model.task import InputContract, Mode

MINIMAL: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"name": "softmax"},
    "spec": {"task": {"inline": "class Model: ..."}, "targets": [{"devicePool": "cpu"}]},
}


def with_change(path: str, value: Any) -> dict[str, Any]:
    """The minimal manifest with one value set; `...` removes it."""
    manifest = copy.deepcopy(MINIMAL)
    *parents, last = path.split(".")
    place = manifest
    for name in parents:
        place = place.setdefault(name, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return manifest


def test_minimal_manifest_gets_the_documented_defaults() -> None:
    spec = KernelOptimization.model_validate(MINIMAL).spec
    assert [variant.name for variant in spec.variants] == ["default"]
    assert (spec.precision, spec.task.mode, spec.generators) == (Precision.FP32, Mode.EVAL, ["builtin"])
    assert (spec.budget.trials, spec.suspend, spec.priority) == (40, False, 0)


def test_manifest_is_camel_case_outside_and_snake_case_inside() -> None:
    manifest = KernelOptimization.model_validate(with_change("spec.budget", {"deviceSeconds": 60}))
    assert manifest.spec.budget.device_seconds == 60
    assert manifest.model_dump(by_alias=True)["spec"]["budget"]["deviceSeconds"] == 60


def test_inputs_are_hostile_unless_the_manifest_says_otherwise() -> None:
    task = KernelOptimization.model_validate(MINIMAL).spec.task
    assert (task.inputs.resolved(), task.derive_held_out) == (InputContract(), True)


def test_scales_are_decimals_that_become_numbers() -> None:
    inputs = {"strided": False, "scales": ["0.5", "1000"], "emptyBatch": True}
    task = KernelOptimization.model_validate(with_change("spec.task.inputs", inputs)).spec.task
    assert task.inputs.resolved() == InputContract(strided=False, scales=(0.5, 1000.0), empty_batch=True)


WRONG = {
    "scale that is a number": ("spec.task.inputs", {"scales": [0.5]}, "spec.task.inputs.scales.0", "valid string"),
    "scale of nothing": (
        "spec.task.inputs",
        {"scales": ["32", "0.00"]},
        "spec.task.inputs.scales",
        "a scale of 0 would make every input the same",
    ),
    "unknown field": ("spec.precison", "bf16", "spec.precison", "Extra inputs are not permitted"),
    "other version": ("apiVersion", "everforge.dev/v1", "apiVersion", "everforge.dev/v1alpha1"),
    "other kind": ("kind", "Deployment", "kind", "KernelOptimization"),
    "no name": ("metadata.name", ..., "metadata.name", "Field required"),
    "name with capitals": ("metadata.name", "Softmax", "metadata.name", "should match pattern"),
    "name too long for its children": ("metadata.name", "x" * 41, "metadata.name", "at most 40 characters"),
    "no task": ("spec.task", ..., "spec.task", "Field required"),
    "no source": (
        "spec.task",
        {},
        "spec.task",
        "exactly one of inline, configMap, git, oci must be set, got 0",
    ),
    "two sources": (
        "spec.task",
        {"inline": "x", "oci": "r@sha256:" + "0" * 64},
        "spec.task",
        "exactly one of inline, configMap, git, oci must be set, got 2",
    ),
    "login for no server": (
        "spec.task",
        {"inline": "x", "secretName": "task-login"},
        "spec.task",
        "secretName is the login for git or oci",
    ),
    "tag instead of digest": (
        "spec.task",
        {"oci": "kernels:latest"},
        "spec.task.oci",
        "should match pattern",
    ),
    "branch instead of commit": (
        "spec.task",
        {"git": {"url": "file:///kernels", "commit": "main", "path": "task.py"}},
        "spec.task.git.commit",
        "should match pattern",
    ),
    "no target": ("spec.targets", [], "spec.targets", "at least 1 item"),
    "target twice": (
        "spec.targets",
        [{"devicePool": "cpu"}, {"devicePool": "cpu"}],
        "spec",
        "targets must not repeat a name",
    ),
    "speedup as a number": (
        "spec.targets",
        [{"devicePool": "cpu", "targetSpeedup": 1.5}],
        "spec.targets.0.targetSpeedup",
        "valid string",
    ),
    "constant that is a float": (
        "spec.variants",
        [{"name": "a", "constants": {"scale": 0.5}}],
        "spec.variants.0.constants.scale",
        "a whole number, or text in quotes",
    ),
    "constant that is a boolean": (
        "spec.variants",
        [{"name": "a", "constants": {"causal": True}}],
        "spec.variants.0.constants.causal",
        "a whole number, or text in quotes",
    ),
    "no variant": ("spec.variants", [], "spec.variants", "at least 1 item"),
    "variant twice": (
        "spec.variants",
        [{"name": "a"}, {"name": "a"}],
        "spec",
        "variants must not repeat a name",
    ),
    "every variant held out": (
        "spec.variants",
        [{"name": "a", "heldOut": True}],
        "spec",
        "at least one variant must not be heldOut",
    ),
    "weight of zero": (
        "spec.variants",
        [{"name": "a", "weight": 0}],
        "spec.variants.0.weight",
        "greater than or equal",
    ),
    "unknown precision": ("spec.precision", "fp8", "spec.precision", "'fp32', 'tf32', 'fp16' or 'bf16'"),
    "unknown generator": ("spec.generators", ["gpt"], "spec.generators.0", "'builtin' or 'llm'"),
    "generator twice": (
        "spec.generators",
        ["builtin", "builtin"],
        "spec",
        "generators must not repeat a name",
    ),
    "llm without a model": ("spec.generators", ["llm"], "spec", "llm.model must be set"),
    "negative trials": ("spec.budget", {"trials": -1}, "spec.budget.trials", "greater than or equal to 1"),
    "negative tokens": ("spec.budget", {"tokens": -1}, "spec.budget.tokens", "greater than or equal to 0"),
    "negative dollars": ("spec.budget", {"dollars": "-1"}, "spec.budget.dollars", "should match pattern"),
}


@pytest.mark.parametrize(("path", "value", "place", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_manifest_names_the_field_and_what_would_be_right(
    path: str, value: Any, place: str, message: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        KernelOptimization.model_validate(with_change(path, value))
    (error,) = refusal.value.errors()
    assert ".".join(map(str, error["loc"])) == place
    assert message in error["msg"]


def test_inline_task_is_at_most_64_kib() -> None:
    fitting = with_change("spec.task", {"inline": "x" * 65536})
    assert KernelOptimization.model_validate(fitting).spec.task.inline is not None
    for too_long, message in (("x" * 65537, "at most 65536 characters"), ("é" * 32769, "64 KiB at most")):
        with pytest.raises(ValidationError, match=message):
            KernelOptimization.model_validate(with_change("spec.task", {"inline": too_long}))


def test_budget_reaches_the_campaign_with_dollars_as_a_number() -> None:
    manifest = KernelOptimization.model_validate(with_change("spec.budget", {"trials": 7, "dollars": "1.25"}))
    budget = manifest.spec.budget.resolved()
    assert (budget.trials, budget.dollars, budget.tokens) == (7, 1.25, None)


def test_variant_reaches_the_runner_with_its_constants_and_weight() -> None:
    variants = [
        {"name": "decode", "constants": {"batch_size": 1}, "weight": 3},
        {"name": "odd", "heldOut": True},
    ]
    manifest = KernelOptimization.model_validate(with_change("spec.variants", variants))
    decode, odd = (variant.resolved() for variant in manifest.spec.variants)
    assert (decode.constants, decode.weight, decode.held_out) == ({"batch_size": 1}, 3.0, False)
    assert (odd.constants, odd.weight, odd.held_out) == ({}, 1.0, True)


def test_constant_is_a_whole_number_or_text_that_python_reads() -> None:
    constants = {"flag": "True", "small": "false", "count": 1, "scale": "1.0", "name": "gelu", "digits": "'1'"}
    manifest = KernelOptimization.model_validate(with_change("spec.variants", [{"name": "a", "constants": constants}]))
    resolved = manifest.spec.variants[0].resolved().constants
    assert resolved == {"flag": True, "small": False, "count": 1, "scale": 1.0, "name": "gelu", "digits": "1"}
    assert type(resolved["scale"]) is float


@given(st.text())
def test_any_text_is_a_constant(text: str) -> None:
    VariantSpec(name="a", constants={"name": text}).resolved()


@pytest.mark.parametrize("field", ["budget", "llm", "variants", "suspend"])
def test_null_is_a_field_left_out(field: str) -> None:
    without = KernelOptimization.model_validate(MINIMAL)
    assert KernelOptimization.read(with_change(f"spec.{field}", None)) == without


def test_null_is_no_value_of_a_required_field() -> None:
    with pytest.raises(ValidationError, match="targets"):
        KernelOptimization.read(with_change("spec.targets", None))


def test_absent_fields_are_left_out_of_what_is_written() -> None:
    written = KernelOptimization.model_validate(MINIMAL).written()
    assert "llm" not in written["spec"]
    assert "status" not in written
    assert KernelOptimization.read(written) == KernelOptimization.model_validate(MINIMAL)


def test_object_from_an_api_server_is_read_like_a_manifest() -> None:
    metadata = {
        "name": "softmax",
        "uid": "e4b6",
        "generation": 2,
        "creationTimestamp": "2026-11-20T10:00:00Z",
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
    }
    read = KernelOptimization.read(MINIMAL | {"metadata": metadata, "status": {"observedGeneration": 2}})
    assert (read.metadata.uid, read.metadata.generation) == ("e4b6", 2)
    assert read.status is not None
    assert read.status.observed_generation == 2
