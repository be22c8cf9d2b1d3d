"""Candidates checked without their device: what each check finds, and what none of them can be made to say."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from everforge.errors import TaskError
from everforge.model.candidate import Candidate, GeneratorKind, Language, language_of
from everforge.model.check import ARCHITECTURES_AHEAD, CheckCandidate, CheckReport, CheckStage, GateReport
from everforge.model.device import DeviceKind, Environment, Peaks
from everforge.model.evaluation import Evaluation
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings, OpenSession, RunTrial
from everforge.model.task import TaskSpec, Variant
from everforge.model.verdict import Verdict
from everforge.runners.devices.cpu import CpuDevice
from everforge.runners.gate.checks import VALUE_LIMIT_BYTES, Check, compile_in_jail
from everforge.runners.gate.forms import Form
from everforge.runners.gate.triton_stand_ins import ARCHITECTURES
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.sessions import Session

pytest.importorskip("triton")

EXAMPLES = Path(__file__).parents[3] / "examples"
TASK = (EXAMPLES / "kernelbench/level1/1_Row_softmax.py").read_text()
SOFTMAX = (EXAMPLES / "candidates/row_softmax_triton.py").read_text()
SMALL = Variant(name="small", constants={"batch_size": 3, "features": 100})
WRONG = SOFTMAX.replace("/ tl.sum(weights, axis=0)", "/ tl.max(weights, axis=0)")
BROKEN = SOFTMAX.replace("inside = column < columns", "inside = column < colums")


def line_of(source: str, text: str) -> int:
    return next(number for number, line in enumerate(source.splitlines(), start=1) if text in line)


def spec(*variants: Variant, source: str = TASK) -> TaskSpec:
    return TaskSpec(name="softmax", source=source, variants=variants or (SMALL,))


def made(source: str, generator: GeneratorKind = GeneratorKind.USER) -> Candidate:
    return Candidate(source=source, language=language_of(source), generator=generator)


def check(nursery: Nursery, source: str, task: TaskSpec | None = None, timeout_s: float = 60) -> CheckReport:
    request = CheckCandidate(task=task or spec(), candidate=made(source), values_timeout_s=timeout_s)
    return Check(request, nursery, lambda stage, detail: None).run()


def test_correct_kernel_has_registers_and_right_values_on_every_shown_variant(nursery: Nursery) -> None:
    held_out = Variant(name="secret", constants={"batch_size": 2, "features": 9}, held_out=True)
    odd = Variant(name="odd", constants={"batch_size": 1, "features": 77})
    report = check(nursery, SOFTMAX, spec(SMALL, odd, held_out))
    assert report.ok
    assert report.not_checked == ()
    assert report.compiled is not None
    assert all(kernel.name == "softmax_rows" and (kernel.registers or 0) > 0 for kernel in report.compiled.kernels)
    assert {kernel.config["BLOCK"] for kernel in report.compiled.kernels} == {128}
    assert [(row.name, row.correct) for row in report.values] == [("small", True), ("odd", True)]
    assert all(0 < (row.error_ratio or 0) <= 1 for row in report.values)
    assert report.task_digest == spec(SMALL, odd, held_out).digest


def test_wrong_values_are_incorrect_although_the_kernel_compiles(nursery: Nursery) -> None:
    report = check(nursery, WRONG)
    assert report.finding is not None
    assert (report.finding.stage, report.finding.verdict) == (CheckStage.VALUES, Verdict.INCORRECT)
    assert "variant small" in report.finding.reason
    assert report.compiled is not None
    assert report.compiled.verdict is None


def test_compile_error_names_kernel_and_line_and_nothing_is_interpreted(nursery: Nursery) -> None:
    report = check(nursery, BROKEN)
    assert report.finding is not None
    assert (report.finding.stage, report.finding.verdict) == (CheckStage.COMPILE, Verdict.COMPILE_ERROR)
    assert report.compiled is not None
    assert report.compiled.fault is not None
    assert report.compiled.fault.line == line_of(BROKEN, "colums")
    assert "kernel softmax_rows" in report.finding.reason
    assert "colums" in report.finding.reason
    assert report.values == ()


def test_rejected_source_is_not_run_at_all(nursery: Nursery) -> None:
    report = check(nursery, SOFTMAX + "\nopen('/etc/passwd')\n")
    assert report.finding is not None
    assert (report.finding.stage, report.finding.verdict) == (CheckStage.STATIC, Verdict.REJECTED)
    assert (report.compiled, report.values) == (None, ())


@pytest.mark.parametrize("name", ["cumulative_sum_cpp.py", "cumulative_sum_pytorch.py"])
def test_other_languages_get_static_rules_alone_and_are_told_what_does_the_rest(nursery: Nursery, name: str) -> None:
    report = check(nursery, (EXAMPLES / "candidates" / name).read_text())
    assert report.ok
    assert report.compiled is None
    assert "everforge evaluate --device cpu" in report.not_checked[0]


def test_shapes_of_gigabytes_compile_and_their_values_are_left_out(nursery: Nursery) -> None:
    large = Variant(name="large", constants={"batch_size": VALUE_LIMIT_BYTES})
    report = check(nursery, SOFTMAX, spec(large))
    assert report.ok
    assert report.compiled is not None
    assert len(report.compiled.kernels) == 1
    assert "give small ones with --set" in report.not_checked[0]


def test_interpreter_past_its_time_is_not_checked_and_no_verdict(nursery: Nursery) -> None:
    endless = SOFTMAX.replace("        return out\n", "        while x.device.type == 'cpu':\n            pass\n")
    report = check(nursery, endless, spec(SMALL, Variant(name="never-begun")), timeout_s=3)
    assert report.ok
    assert report.values == ()
    assert ["takes too long" in reason for reason in report.not_checked] == [True, True]


def test_what_the_interpreter_lacks_is_not_checked_and_no_verdict(nursery: Nursery) -> None:
    needs_a_gpu = SOFTMAX.replace("    x = x.c", "    if not x.is_cuda:\n            raise OSError\n        x = x.c")
    report = check(nursery, needs_a_gpu)
    assert report.ok
    assert report.compiled is not None
    assert len(report.compiled.kernels) == 1
    assert "the interpreter stopped" in report.not_checked[0]


LINEAR = """
import torch
from torch import nn

size = 32

class Model(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.linear = nn.Linear(size, size)

    def forward(self, x):
        return self.linear(x)

def get_inputs():
    return [torch.randn(size, size)]

def get_init_inputs():
    return [size]
"""
BF16_LINEAR = """
import torch
import triton
import triton.language as tl
from torch import nn

@triton.jit
def matmul(x, weight, bias, out, size, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, size, BLOCK):
        left = tl.load(x + row[:, None] * size + start + column[None, :])
        right = tl.load(weight + column[None, :] * size + start + column[:, None])
        total = tl.dot(left.to(tl.bfloat16), right.to(tl.bfloat16), total)
    tl.store(out + row[:, None] * size + column[None, :], total + tl.load(bias + column)[None, :])

class ModelNew(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.linear = nn.Linear(size, size)

    def forward(self, x):
        with torch.cuda.device(x.device):
            out = torch.empty_like(x := x.contiguous())
            matmul[(1,)](x, self.linear.weight, self.linear.bias, out, x.shape[0], BLOCK=32)
        return out
"""


def linear(precision: Precision = Precision.FP32) -> TaskSpec:
    return TaskSpec(name="linear", source=LINEAR, variants=(Variant(name="main"),), precision=precision)


def test_loops_bf16_products_and_parameters_are_interpreted_rightly(nursery: Nursery) -> None:
    report = check(nursery, BF16_LINEAR, linear(Precision.BF16))
    assert report.finding is None
    assert report.not_checked == ()
    assert report.compiled is not None
    assert {"mma", "wgmma"} & set(report.compiled.kernels[0].features)


def test_module_that_converts_its_parameters_is_compiled_ahead(nursery: Nursery) -> None:
    made_so = "nn.Linear(size, size)\n"
    converts = BF16_LINEAR.replace(made_so, f"{made_so}        self.to(torch.bfloat16)\n")
    report = gated(nursery, converts, linear())
    assert report.not_checked is None
    assert [kernel.name for kernel in report.kernels] == ["matmul"]


def test_bf16_products_are_incorrect_where_the_policy_is_fp32(nursery: Nursery) -> None:
    report = check(nursery, BF16_LINEAR, linear(Precision.FP32))
    assert report.finding is not None
    assert report.finding.verdict is Verdict.INCORRECT


def test_task_that_cannot_run_is_the_users_error_with_its_line(nursery: Nursery) -> None:
    broken = TASK.replace("torch.randn(batch_size", "torch.randn(batch")
    with pytest.raises(TaskError, match=f"line {line_of(broken, 'torch.randn(batch,')}: get_inputs"):
        check(nursery, SOFTMAX, spec(Variant(name="main"), source=broken))


def test_inputs_that_take_values_to_make_are_made_for_real() -> None:
    source = TASK.replace("[torch.randn(batch_size", "[torch.randn(int(torch.ones(5).sum())")
    form = Form.of_task(spec(Variant(name="main"), source=source), Variant(name="main"), CpuDevice())
    assert form.inputs["tuple"][0]["shape"] == [5, 16384]


def test_user_may_ask_for_exactly_the_architectures_that_have_a_stand_in() -> None:
    assert set(ARCHITECTURES_AHEAD) == set(ARCHITECTURES)


# A candidate that fights its check: static rules are left out here, they turn all of these away


HOSTILE = SOFTMAX + "\nimport os, json, stat, struct\n"
FORGES_AN_ANSWER = """
answer = json.dumps({"report": {"arch": 7, "kernels": "none"}}).encode()
for name in os.listdir("/proc/self/fd"):
    try:
        if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
            os.write(int(name), struct.pack("!I", len(answer)) + answer)
    except OSError:
        pass
while True:
    pass
"""


def gated(nursery: Nursery, source: str, task: TaskSpec | None = None, seconds: float = 60) -> GateReport:
    task = task or spec()
    form = Form.of_task(task, task.variants[0], CpuDevice())
    deadline_s = time.monotonic() + seconds
    return compile_in_jail(nursery, EvaluationSettings(), task, made(source), [form], "sm_90", deadline_s)


@pytest.mark.parametrize(
    ("body", "seconds", "says"),
    [
        pytest.param("os._exit(0)", 60, "ended while compiling: exit code 0", id="exits"),
        pytest.param("os.kill(os.getpid(), 11)", 60, "SIGSEGV", id="crashes"),
        pytest.param("while True: pass", 2, "too long", id="hangs"),
        pytest.param(FORGES_AN_ANSWER, 60, "not an answer on the result channel", id="forges"),
    ],
)
def test_process_that_breaks_while_compiling_is_not_checked(
    nursery: Nursery, body: str, seconds: float, says: str
) -> None:
    report = gated(nursery, HOSTILE + body, seconds=seconds)
    assert report.verdict is None
    assert says in (report.not_checked or "")


# The gate before a device


class GatedDevice(CpuDevice):
    """The CPU in the place of a GPU: what passes the gate is then run on it."""

    @property
    def compiles_ahead(self) -> str:
        return "sm_90"


class GatedBench:
    """A session on the gated device."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.stages: list[str] = []

    def judge(self, source: str, generator: GeneratorKind) -> Evaluation:
        self.stages.clear()
        request = RunTrial(trial_id=f"{generator}{hash(source)}", candidate=made(source, generator), timed=False)
        return self._session.run(request, lambda stage, detail: self.stages.append(f"{stage} {detail}".strip()))


@pytest.fixture(scope="module")
def bench(environment: Environment, peaks: Peaks, nursery: Nursery) -> Iterator[GatedBench]:
    settings = EvaluationSettings(seeds=1, timeout_s=60, min_rounds=3, max_rounds=3, timing_seconds=0.1)
    request = OpenSession(task=spec(), device=DeviceKind.CPU, settings=settings)
    session = Session(request, GatedDevice(), environment, peaks, nursery)
    session.open(lambda stage, detail: None)
    yield GatedBench(session)
    session.close()


@pytest.mark.parametrize("generator", [GeneratorKind.LLM, GeneratorKind.USER])
def test_kernel_that_does_not_compile_never_reaches_the_device(bench: GatedBench, generator: GeneratorKind) -> None:
    evaluation = bench.judge(BROKEN, generator)
    assert evaluation.verdict is Verdict.COMPILE_ERROR
    assert bench.stages == ["compile ahead, for sm_90"]
    place = f"kernel softmax_rows, line {line_of(BROKEN, 'colums')}"
    assert place in (evaluation.diagnostics or "")
    assert "colums" in (evaluation.diagnostics or "")
    assert evaluation.stages.compile > 0
    assert evaluation.device_seconds == 0


LAUNCHES_NOTHING = """
import torch
import triton
from torch import nn

class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
"""


def test_what_cannot_be_checked_ahead_goes_to_the_device(bench: GatedBench) -> None:
    evaluation = bench.judge(LAUNCHES_NOTHING, GeneratorKind.LLM)
    assert bench.stages == ["compile ahead, for sm_90", "compile", "verify small"]
    assert evaluation.verdict.is_correct


@pytest.mark.parametrize(
    ("source", "generator"),
    [
        pytest.param(LAUNCHES_NOTHING, GeneratorKind.BUILTIN, id="builtin"),
        pytest.param(LAUNCHES_NOTHING.replace("import triton\n", ""), GeneratorKind.LLM, id="pytorch"),
    ],
)
def test_gate_is_for_triton_of_models_and_people_alone(
    bench: GatedBench, source: str, generator: GeneratorKind
) -> None:
    assert bench.judge(source, generator).verdict.is_correct
    assert bench.stages == ["compile", "verify small"]


def test_source_of_the_example_is_taken_for_triton() -> None:
    assert language_of(SOFTMAX) is Language.TRITON
