"""Task files are read without running them, and what is wrong is said with file, line and remedy."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.cli.task_file import (
    at_path,
    check_constants,
    constants_from_settings,
    constants_of,
    selected,
    task_of_file,
    variants_of_file,
)
from everforge.errors import TaskError, UsageError
from everforge.model.precision import Precision
from everforge.model.task import Mode, Variant
from everforge.testing import samples

PATH = Path("task.py")


@pytest.fixture
def task_path(tmp_path: Path) -> Path:
    path = tmp_path / "task.py"
    path.write_text(samples.TASK_SOURCE)
    return path


def test_a_task_file_becomes_a_task_with_its_own_text(task_path: Path) -> None:
    task = task_of_file(task_path, "softmax", precision=Precision.BF16, mode=Mode.TRAIN)
    assert task.source == samples.TASK_SOURCE
    assert (task.precision, task.mode) == (Precision.BF16, Mode.TRAIN)
    assert [variant.name for variant in task.variants] == ["default"]


def test_reading_a_task_file_does_not_run_it(tmp_path: Path) -> None:
    path = tmp_path / "task.py"
    path.write_text(samples.TASK_SOURCE + "\nraise SystemExit('ran')\n")
    assert task_of_file(path, "softmax").source.endswith("raise SystemExit('ran')\n")


def test_constants_are_the_plain_assignments_of_the_module() -> None:
    source = samples.TASK_SOURCE + "a, b = 1, 2\nx.y = 3\ntyped: int = 4\n"
    assert set(constants_of(source, PATH)) == {"batch_size", "features"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param("def f(:\n", "task.py:1: syntax error", id="syntax"),
        pytest.param("import torch\n", "class Model(nn.Module)", id="nothing-defined"),
        pytest.param(samples.TASK_SOURCE.replace("class Model", "class Other"), "class Model", id="no-model"),
        pytest.param(samples.TASK_SOURCE.replace("get_init_inputs", "init"), "get_init_inputs()", id="no-init"),
        pytest.param("x = 1\0", "task.py", id="nul-byte"),
    ],
)
def test_a_file_that_cannot_be_a_task_is_refused_with_its_name(source: str, said: str) -> None:
    with pytest.raises(TaskError, match=r"task\.py") as refusal:
        constants_of(source, PATH)
    assert said in str(refusal.value)


@pytest.mark.parametrize("names", ["*", "Model, get_inputs, get_init_inputs"])
def test_parts_that_are_imported_count_as_defined(names: str) -> None:
    assert constants_of(f"from reference import {names}", PATH) == {}


def test_a_missing_file_and_a_directory_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such task file"):
        task_of_file(tmp_path / "absent.py", "x")
    with pytest.raises(UsageError, match="is a directory"):
        task_of_file(tmp_path, "x")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        task_of_file(tmp_path / "task.py", "x")


def test_an_unknown_constant_is_refused_and_the_known_ones_are_named(task_path: Path) -> None:
    with pytest.raises(UsageError, match=r"batchsize.*batch_size, features"):
        task_of_file(task_path, "x", [Variant(name="small", constants={"batchsize": 1})])


def test_known_constants_pass() -> None:
    check_constants(Variant(name="small", constants={"batch_size": 1}), {"batch_size": 3}, PATH)


def test_a_task_of_held_out_variants_alone_is_a_usage_error(task_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one variant must not be held out"):
        task_of_file(task_path, "x", [Variant(name="small", held_out=True)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("-3", -3),
        ("1e-5", 1e-5),
        ("True", True),
        ("false", False),
        ("gelu", "gelu"),
        ("'8'", "8"),
        ("", ""),
    ],
)
def test_a_setting_is_read_as_the_constant_it_looks_like(text: str, value: object) -> None:
    read = constants_from_settings([f"name={text}"])["name"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("setting", ["batch_size", "=8", "a b=1", "1a=2"])
def test_a_setting_without_a_name_or_a_value_is_refused(setting: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        constants_from_settings([setting])


@given(st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_being_written_as_settings(value: float) -> None:
    read = constants_from_settings([f"name={value!r}"])["name"]
    assert read == value
    assert type(read) is type(value)


@given(st.text())
def test_any_setting_is_read_or_refused_as_usage(setting: str) -> None:
    try:
        constants = constants_from_settings([setting])
    except UsageError:
        return
    assert all(name.isidentifier() for name in constants)


def test_variants_are_read_from_yaml_and_json_alike(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("- {name: decode, constants: {batch_size: 1}, held_out: true}\n- name: prefill\n")
    (tmp_path / "v.json").write_text(
        '[{"name": "decode", "constants": {"batch_size": 1}, "held_out": true}, {"name": "prefill"}]'
    )
    assert variants_of_file(tmp_path / "v.yaml") == variants_of_file(tmp_path / "v.json")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        pytest.param("v.yaml", "- name: a\n- name: [\n", "line 3", id="yaml-syntax"),
        pytest.param("v.json", '[\n{"name":}]', "line 2", id="json-syntax"),
        pytest.param("v.yaml", "- {name: decode, constant: {batch_size: 1}}\n", "0.constant", id="unknown-field"),
        pytest.param("v.yaml", "decode: 1\n", "v.yaml", id="no-list"),
        pytest.param("v.yaml", "[]\n", "no variant", id="empty-list"),
        pytest.param("v.yaml", "", "v.yaml", id="empty-file"),
    ],
)
def test_a_wrong_variants_file_is_refused_with_the_place(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as refusal:
        variants_of_file(tmp_path / name)
    assert said in str(refusal.value)


def test_variants_are_selected_by_name_in_the_tasks_order() -> None:
    variants = samples.task_spec().variants
    assert [v.name for v in selected(variants, ["decode", "prefill"])] == ["prefill", "decode"]
    assert selected(variants, []) == variants
    with pytest.raises(UsageError, match="no variant train; the task has: prefill, decode"):
        selected(variants, ["train"])


def test_a_runners_message_gets_the_path_its_user_knows() -> None:
    task = samples.task_spec(name="softmax")
    assert at_path("softmax, line 3: no module x", task, PATH) == "task.py, line 3: no module x"
    assert at_path("its output is constant", task, PATH) == "task.py: its output is constant"
