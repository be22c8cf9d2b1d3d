"""Every entry of `knowledge/` keeps its word: it is valid, unique, contradicts no other, and its examples run."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from everforge.errors import UsageError
from everforge.model.candidate import Language
from everforge.model.device import DeviceKind
from everforge.model.knowledge import (
    AppliesTo,
    Claim,
    Example,
    KnowledgeEntry,
    OpClass,
    Runs,
    Source,
    contradictions,
    repeated_ids,
)
from everforge.runners.rules.static_rules import check_source
from everforge.runners.rules.static_walk import Rule
from everforge.search.knowledge_base import knowledge, read_knowledge

pytest.importorskip("triton")
ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("example_proofs.py")
GATE = "gate:triton"

# C++ reaches a rule as text inside the Python of a candidate.
PYTHON_HEAD = "import torch\nimport torch.nn.functional as F\n"
CPP_CANDIDATE = """\
import torch
from torch.utils.cpp_extension import load_inline

SOURCE = r'''{}'''


class ModelNew(torch.nn.Module):
    pass
"""


def examples(wanted: Callable[[KnowledgeEntry, Example], bool]) -> dict[str, Example]:
    return {entry.id: entry.example for entry in knowledge() if entry.example and wanted(entry, entry.example)}


def outcomes(mode: str, chosen: dict[str, Example], folder: Path) -> dict[str, str | None]:
    """What a process of its own has against each of the examples."""
    file = folder / "examples.json"
    file.write_text(json.dumps({name: example.model_dump(mode="json") for name, example in chosen.items()}))
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, str(SCRIPT), mode, str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_there_are_entries_on_every_kind_of_operation() -> None:
    assert len(knowledge()) >= 50
    assert {kind for entry in knowledge() for kind in entry.applies_to.op_classes} == set(OpClass)


def test_ids_are_unique() -> None:
    assert repeated_ids(knowledge()) == ()


def test_no_two_entries_contradict_each_other() -> None:
    assert list(contradictions(knowledge())) == []


def test_claims_are_made_by_more_than_one_entry_somewhere() -> None:
    # Or nothing could ever contradict, and the test above would be idle.
    subjects = [claim.subject for entry in knowledge() for claim in entry.claims]
    assert len(subjects) > len(set(subjects)) + 3


def test_effect_is_measured_by_a_program_of_this_repository_that_knows_the_entry() -> None:
    measured = {entry.id: entry.effect.command for entry in knowledge() if entry.effect and entry.effect.command}
    assert measured
    for name, command in measured.items():
        python, program, argument = (command or "").split()
        assert (python, argument) == ("python", name)
        assert f'"{name}": Case(' in (ROOT / program).read_text()


def test_documents_of_this_repository_exist() -> None:
    own = [entry.source.link for entry in knowledge() if entry.source.link.startswith("docs/")]
    assert own
    assert [link for link in own if not (ROOT / link).is_file()] == []


@pytest.mark.parametrize(
    ("mode", "runs"),
    [("interpret", Runs.INTERPRETER), ("run", Runs.PYTHON), ("compile", Runs.COMPILED)],
    ids=["interpreter", "python", "compile-only"],
)
def test_example_is_proven_as_it_says(mode: str, runs: Runs, tmp_path: Path) -> None:
    chosen = examples(lambda _, example: example.runs is runs)
    found = outcomes(mode, chosen, tmp_path)
    assert len(found) >= 8
    assert {name: why for name, why in found.items() if why} == {}


def test_gate_flags_what_an_entry_says_it_flags(tmp_path: Path) -> None:
    found = outcomes("flag", examples(lambda entry, _: entry.check == GATE), tmp_path)
    assert len(found) >= 8
    assert {name: why for name, why in found.items() if why} == {}


@pytest.mark.parametrize(
    ("mode", "runs", "changes"),
    [
        ("run", Runs.PYTHON, {"AssertionError": {"proof": "assert False"}, "SyntaxError": {"after": "def broken(:"}}),
        ("interpret", Runs.INTERPRETER, {"wrong values": {"proof": "raise ValueError('wrong values')"}}),
        ("compile", Runs.COMPILED, {"no-such-unit": {"features": ("no-such-unit",)}, "no Triton": {"proof": "pass"}}),
    ],
    ids=["python", "interpreter", "compile-only"],
)
def test_example_that_does_not_do_what_it_says_is_found_out(
    mode: str, runs: Runs, changes: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    example = next(iter(examples(lambda _, example: example.runs is runs).values()))
    chosen = {f"case-{number}": example.model_copy(update=change) for number, change in enumerate(changes.values())}
    found = outcomes(mode, chosen, tmp_path)
    for says, why in zip(changes, found.values(), strict=True):
        assert says in (why or "")


def test_code_that_compiles_is_not_flagged(tmp_path: Path) -> None:
    name, example = next(iter(examples(lambda entry, _: entry.check == GATE).items()))
    found = outcomes("flag", {name: example.model_copy(update={"before": example.after})}, tmp_path)
    assert "no fault" in (found[name] or "")


def test_code_that_an_example_replaces_is_code_too() -> None:
    for entry in knowledge():
        before = None if entry.example is None else entry.example.before
        if before is not None and entry.example is not None and entry.example.language is not Language.CPP:
            ast.parse(before)


def test_cpp_examples_build_and_end_with_0(tmp_path: Path) -> None:
    chosen = examples(lambda _, example: example.runs is Runs.CPP)
    assert len(chosen) >= 5
    for name, example in chosen.items():
        source, program = tmp_path / f"{name}.cpp", tmp_path / name
        source.write_text(example.after + (example.proof or ""))
        flags = ["-O2", "-std=c++17", "-march=native", "-fopenmp", "-Wall", "-Wno-unknown-pragmas"]
        built = subprocess.run(
            ["g++", *flags, "-o", str(program), str(source)], capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stderr
        assert subprocess.run([str(program)], check=False, timeout=60).returncode == 0, name


def test_static_rule_exists_and_flags_what_an_entry_says_it_flags() -> None:
    checked = {entry: entry.example for entry in knowledge() if (entry.check or "").startswith("rule:")}
    assert len(checked) >= 2
    for entry, example in checked.items():
        rule = Rule((entry.check or "").removeprefix("rule:"))
        assert example is not None
        assert example.before is not None
        assert rule in broken_rules(example.language, example.before), entry.id
        assert rule not in broken_rules(example.language, example.after), entry.id


def broken_rules(language: Language, code: str) -> set[Rule]:
    source = CPP_CANDIDATE.format(code) if language is Language.CPP else PYTHON_HEAD + code
    return {violation.rule for violation in check_source(source)}


def stated(name: str, value: str, **scope: object) -> KnowledgeEntry:
    return KnowledgeEntry(
        id=name,
        applies_to=AppliesTo.model_validate(scope),
        statement="Do this.",
        why="Because.",
        source=Source.model_validate({"title": "A page", "link": "https://example.org", "date": "2026-01-01"}),
        claims=(Claim(subject="tile", value=value),),
    )


def test_two_values_for_one_subject_contradict_where_both_apply() -> None:
    (found,) = contradictions([stated("one", "128", devices=["cuda"]), stated("other", "256", op_classes=["matmul"])])
    assert (found.first, found.first_says, found.second, found.second_says) == ("one", "128", "other", "256")


@pytest.mark.parametrize(
    ("scope", "other"),
    [
        ({"devices": ["cuda"]}, {"devices": ["xpu", "cpu"]}),
        ({"architectures": ["sm_90"]}, {"architectures": ["sm_80"]}),
        ({"languages": ["triton"]}, {"languages": ["cpp"]}),
        ({"op_classes": ["matmul"]}, {"op_classes": ["scan"]}),
        ({"dtypes": ["fp32"]}, {"dtypes": ["bf16"]}),
    ],
    ids=lambda scope: "-".join(scope),
)
def test_entries_that_never_meet_do_not_contradict(scope: dict[str, object], other: dict[str, object]) -> None:
    assert list(contradictions([stated("one", "128", **scope), stated("other", "256", **other)])) == []


def test_entry_that_sets_the_register_file_elsewhere_would_be_found_out() -> None:
    """Two public guides for Xe2 differ in this, and neither notices."""
    source = Source.model_validate({"title": "A guide", "link": "https://example.org", "date": "2026-01-01"})
    other = KnowledgeEntry(
        id="grf-by-launch-metadata",
        applies_to=AppliesTo(devices=(DeviceKind.XPU,), languages=(Language.TRITON,)),
        statement="Set it in the launch metadata.",
        why="Because.",
        source=source,
        claims=(Claim(subject="where-grf-mode-is-set", value="in the launch metadata"),),
    )
    (found,) = contradictions([*knowledge(), other])
    assert {found.first, found.second} == {"xe2-grf-mode", "grf-by-launch-metadata"}


def test_spelling_is_no_contradiction() -> None:
    assert list(contradictions([stated("one", "Tensor  descriptors"), stated("other", "tensor descriptors ")])) == []


def test_what_helps_against_different_bottlenecks_may_contradict() -> None:
    pair = [stated("one", "1", bottlenecks=["cache"]), stated("other", "2", bottlenecks=["launch"])]
    assert len(list(contradictions(pair))) == 1


def test_repeated_id_is_named() -> None:
    assert repeated_ids([stated("one", "1"), stated("two", "1"), stated("one", "2")]) == ("one",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title: [", "is no YAML"),
        ("title: Tiles\nentries: []\n", "entries"),
        ("title: Tiles\nentries:\n  - id: Not An Id\n", "entries.0"),
    ],
    ids=["no-yaml", "no-entry", "no-id"],
)
def test_wrong_file_is_named_with_the_place(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "tiles.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"tiles\.yaml") as raised:
        read_knowledge(path)
    assert says in str(raised.value)


def test_entry_speaks_of_a_device_where_its_architecture_has_one() -> None:
    for entry in knowledge():
        assert entry.applies_to.devices or not entry.applies_to.architectures, entry.id
        assert not any(name.startswith("sm_") for name in entry.applies_to.architectures) or (
            entry.applies_to.devices == (DeviceKind.CUDA,)
        )
