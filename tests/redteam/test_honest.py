"""No honest candidate is rejected: by the rules, by the bench on this machine, or by what stands in for a GPU.

CPU candidates are judged to the end. Triton candidates are compiled ahead and interpreted; CUDA C++ is compiled by
NVRTC and read by g++; on a machine with a GPU all of them are judged there, too.
"""

import ast
from collections.abc import Iterable, Iterator

import pytest
from corpus import QUICK, Bench, Entry, load, task_spec
from cuda_text import compiled_kernels, host_errors, host_text, nvrtc_path, texts_of

from everforge.model.candidate import Candidate, GeneratorKind, Language
from everforge.model.check import CheckCandidate
from everforge.model.device import DeviceKind
from everforge.model.task import TaskSpec, Variant
from everforge.runners.gate.checks import Check
from everforge.runners.rules.static_rules import judge_source

ARCH = "sm_90"
ENTRIES = load("honest")
ON_CPU = [entry for entry in ENTRIES if DeviceKind.CPU in entry.devices]
ON_GPU = [entry for entry in ENTRIES if DeviceKind.CUDA in entry.devices]
TRITON = [entry for entry in ENTRIES if entry.language is Language.TRITON]
CUDA_TEXT = [entry for entry in ENTRIES if entry.language is Language.CUDA]
# A custom operator runs its fake implementation on tensors without memory, and so launches nothing there.
LAUNCHES_BEHIND_A_FAKE = {"layer_norm_triton_custom_op"}
# Building against all of PyTorch's headers takes g++ 20 s of a free core, and Inductor's first graph 15 s: half of what
# the bench allows, and more than all of it where other tests have the other cores.
PATIENT = QUICK.model_copy(update={"timeout_s": 240.0, "cpu_seconds": 240})


def builds_slowly(entry: Entry) -> bool:
    """Whether load_inline binds the candidate's functions with pybind11, or torch.compile is called on the CPU."""
    return (entry.language is Language.CPP and "functions=" in entry.source) or "torch.compile(" in entry.source


def cases(entries: Iterable[Entry]) -> list[object]:
    """One case each; those of a task share a session, so `--dist loadgroup` keeps them in one process."""
    return [pytest.param(entry, id=entry.name, marks=pytest.mark.xdist_group(entry.task)) for entry in entries]


def odd_and_small(task: TaskSpec) -> TaskSpec:
    """The task at a quarter of its larger sizes, all odd: the interpreter takes milliseconds for every program."""
    found = [node for node in ast.parse(task.source).body if isinstance(node, ast.Assign)]
    sizes = {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in found}
    constants = {name: size // 4 | 1 for name, size in sizes.items() if size > 64}
    return task.model_copy(update={"variants": (Variant(name="odd-and-small", constants=constants),)})


@pytest.fixture(scope="module")
def patient_bench() -> Iterator[Bench]:
    """A bench that waits for compilers on a busy machine."""
    with Bench(settings=PATIENT) as bench:
        yield bench


@pytest.fixture(scope="module")
def gpu_bench() -> Iterator[Bench]:
    """A bench on this machine's GPU."""
    with Bench(DeviceKind.CUDA, settings=PATIENT) as bench:
        yield bench


def test_corpus_is_as_large_and_as_varied_as_it_claims() -> None:
    assert len(ENTRIES) >= 60
    assert len({entry.trick for entry in ENTRIES}) == len(ENTRIES)
    assert len({entry.task for entry in ENTRIES}) >= 15
    assert {entry.language for entry in ENTRIES} >= {Language.PYTORCH, Language.CPP, Language.TRITON, Language.CUDA}
    assert min(len(ON_CPU), len(ON_GPU)) >= 40


@pytest.mark.parametrize("entry", cases(ENTRIES))
def test_rules_let_the_honest_candidate_pass(entry: Entry) -> None:
    finding = judge_source(entry.source)
    assert finding is None, finding


@pytest.mark.parametrize("entry", cases(entry for entry in ON_CPU if not builds_slowly(entry)))
def test_honest_candidate_is_accepted_on_the_cpu(bench: Bench, entry: Entry) -> None:
    evaluation = bench.evaluate(entry)
    assert entry.accepted(evaluation), (evaluation.reason, evaluation.evidence, evaluation.diagnostics)


@pytest.mark.slow
@pytest.mark.parametrize("entry", cases(filter(builds_slowly, ON_CPU)))
def test_honest_candidate_that_builds_slowly_is_accepted_on_the_cpu(patient_bench: Bench, entry: Entry) -> None:
    evaluation = patient_bench.evaluate(entry)
    assert entry.accepted(evaluation), (evaluation.reason, evaluation.evidence, evaluation.diagnostics)


@pytest.mark.parametrize("entry", cases(TRITON))
def test_triton_candidate_compiles_ahead_and_is_right_when_interpreted(bench: Bench, entry: Entry) -> None:
    made = Candidate(source=entry.source, language=entry.language, generator=GeneratorKind.USER)
    request = CheckCandidate(task=odd_and_small(task_spec(entry)), candidate=made, arch=ARCH, values_timeout_s=120)
    report = Check(request, bench.nursery, lambda stage, detail: None).run()
    assert report.finding is None, report.finding
    assert report.compiled is not None
    assert bool(report.compiled.kernels) is (entry.name not in LAUNCHES_BEHIND_A_FAKE), report.not_checked
    assert [row.correct for row in report.values] == [True], report.not_checked


@pytest.mark.parametrize("entry", cases(CUDA_TEXT))
def test_cuda_kernels_compile(entry: Entry) -> None:
    nvrtc = nvrtc_path()
    if nvrtc is None:
        pytest.skip("PyTorch came without NVRTC")
    assert compiled_kernels(nvrtc, texts_of(entry)["KERNELS"], ARCH) == ""


def test_kernel_that_does_not_compile_is_told() -> None:
    nvrtc = nvrtc_path()
    if nvrtc is None:
        pytest.skip("PyTorch came without NVRTC")
    assert "undefined" in compiled_kernels(nvrtc, "__global__ void wrong() { missing(); }", ARCH)


@pytest.mark.slow
def test_host_code_of_cuda_candidates_fits_pytorchs_headers() -> None:
    if nvrtc_path() is None:
        pytest.skip("PyTorch came without CUDA's headers")
    assert host_errors(CUDA_TEXT) == ""


@pytest.mark.parametrize("entry", cases(CUDA_TEXT))
def test_every_launch_is_read_as_a_call_on_the_current_stream(entry: Entry) -> None:
    launcher, (_, text) = texts_of(entry)["LAUNCHER"], host_text(entry)
    assert text.count("checked_launch(") == launcher.count("<<<") > 0
    assert "<<<" not in text
    assert "getCurrentCUDAStream()" in text


@pytest.mark.cuda
@pytest.mark.parametrize("entry", cases(ON_GPU))
def test_honest_candidate_is_accepted_on_the_gpu(gpu_bench: Bench, entry: Entry) -> None:
    if entry.language is Language.CUDA and no_toolkit():
        pytest.skip("needs nvcc: CUDA_HOME is not set and no toolkit is installed")
    evaluation = gpu_bench.evaluate(entry)
    assert entry.accepted(evaluation), (evaluation.reason, evaluation.evidence, evaluation.diagnostics)


def no_toolkit() -> bool:
    """Whether load_inline would find no nvcc."""
    from torch.utils.cpp_extension import CUDA_HOME

    return CUDA_HOME is None
