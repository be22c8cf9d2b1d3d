"""One session on a small task, and what every kind of candidate is judged to be in it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from everforge.errors import TaskError
from everforge.model.candidate import Candidate, GeneratorKind, language_of
from everforge.model.device import DeviceKind, Environment, Peaks
from everforge.model.evaluation import Evaluation
from everforge.model.session import EvaluationSettings, OpenSession, RunTrial, TaskFacts
from everforge.model.task import TaskSpec, Variant
from everforge.model.verdict import Verdict
from everforge.runners import sessions
from everforge.runners.devices import device_of
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.sessions import Session
from everforge.runners.truth.cases import VariantReference, build_reference
from everforge.runners.truth.reference import ReferenceBuilder

TASK = """
import torch
import torch.nn as nn

batch_size = 8
features = 32

class Model(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.softmax(self.linear(x), dim=1)

def get_inputs():
    return [torch.randn(batch_size, features)]

def get_init_inputs():
    return [features]
"""

HEAD = """
import torch
import torch.nn as nn

class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.packed = None

    def forward(self, x):
"""

HONEST = "        return torch.softmax(self.linear(x), dim=1)"

VARIANTS = (
    Variant(name="main"),
    Variant(name="odd", constants={"batch_size": 3, "features": 17}),
    Variant(name="secret", constants={"batch_size": 5}, held_out=True),
)
SETTINGS = EvaluationSettings(timeout_s=30, min_rounds=3, max_rounds=4, timing_seconds=0.5, memory_bytes=1 << 30)


def spec(source: str = TASK, variants: tuple[Variant, ...] = VARIANTS) -> TaskSpec:
    return TaskSpec(name="linear-softmax", source=source, variants=variants)


@dataclass
class Bench:
    """An open session and a counter of trials."""

    session: Session
    facts: TaskFacts
    trials: int = 0

    def judge(self, body: str, *, fresh: bool = False, timed: bool = False, head: str = HEAD) -> Evaluation:
        self.trials += 1
        source = head + body
        made = Candidate(source=source, language=language_of(source), generator=GeneratorKind.USER)
        request = RunTrial(trial_id=str(self.trials), candidate=made, fresh=fresh, timed=timed)
        return self.session.run(request, lambda stage, detail: None)


def open_session(task: TaskSpec, environment: Environment, peaks: Peaks, nursery: Nursery) -> Session:
    request = OpenSession(task=task, device=DeviceKind.CPU, settings=SETTINGS)
    return Session(request, device_of(DeviceKind.CPU), environment, peaks, nursery)


@pytest.fixture(scope="module")
def bench(environment: Environment, peaks: Peaks, nursery: Nursery) -> Iterator[Bench]:
    session = open_session(spec(), environment, peaks, nursery)
    yield Bench(session, session.open(lambda stage, detail: None))
    session.close()


def test_facts_hold_every_allowed_baseline_and_no_held_out_variant(bench: Bench) -> None:
    assert [variant.name for variant in bench.facts.variants] == ["main", "odd"]
    for variant in bench.facts.variants:
        assert set(variant.baselines_us()) == {"eager-fp32", "compile-fp32"}
        assert variant.fastest in variant.baselines_us()
        assert variant.floor_us is not None


def test_honest_candidate_is_timed_against_the_fastest_baseline(bench: Bench) -> None:
    evaluation = bench.judge(HONEST, timed=True)
    assert evaluation.verdict.is_correct
    assert evaluation.speedup is not None
    assert [row.name for row in evaluation.variants] == ["main", "odd"]
    assert all(row.candidate_us is not None and row.samples for row in evaluation.variants)
    assert evaluation.stages.total > 0


def test_same_trial_id_is_answered_from_the_record(bench: Bench) -> None:
    first = bench.judge(HONEST)
    bench.trials -= 1
    assert bench.judge(HONEST) == first


@pytest.mark.parametrize(
    ("body", "verdict", "reason"),
    [
        pytest.param("        return torch.zeros_like(x)", Verdict.INCORRECT, "times what is allowed", id="zeros"),
        pytest.param("        return torch.empty_like(x)", Verdict.INCORRECT, "variant main", id="unwritten"),
        pytest.param("        return self.linear(x)", Verdict.INCORRECT, "times what is allowed", id="half done"),
        pytest.param(
            "        return torch.softmax(self.linear(x).bfloat16(), dim=1).float()",
            Verdict.INCORRECT,
            "times what is allowed",
            id="lower precision",
        ),
        pytest.param("        return torch.ones(1)", Verdict.INCORRECT, "shape [1]", id="shape"),
        pytest.param(HONEST + ".double()", Verdict.INCORRECT, "dtype float64", id="dtype"),
        pytest.param(
            "        y = torch.softmax(self.linear(x), dim=1)\n        x.zero_()\n        return y",
            Verdict.INCORRECT,
            "changes its inputs",
            id="mutates",
        ),
        pytest.param("        raise RuntimeError('no')", Verdict.CRASH, "RuntimeError: no", id="raises"),
        pytest.param("        return nn.Parameter(x)", Verdict.CRASH, "plain tensors", id="subclass"),
        pytest.param("        return undefined(", Verdict.COMPILE_ERROR, "line", id="syntax"),
    ],
)
def test_wrong_candidate_gets_its_verdict(bench: Bench, body: str, verdict: Verdict, reason: str) -> None:
    evaluation = bench.judge(body)
    assert evaluation.verdict is verdict
    assert reason in evaluation.reason
    assert evaluation.speedup is None


def test_other_constructor_is_a_compile_error(bench: Bench) -> None:
    evaluation = bench.judge(HONEST, head=HEAD.replace("(self, features)", "(self)").replace("features", "32"))
    assert evaluation.verdict is Verdict.COMPILE_ERROR


def test_other_parameters_are_a_compile_error(bench: Bench) -> None:
    evaluation = bench.judge(HONEST, head=HEAD.replace("nn.Linear(features, features)", "nn.Identity()"))
    assert evaluation.verdict is Verdict.COMPILE_ERROR
    assert "linear.weight" in (evaluation.diagnostics or "")


STALE = """        if self.packed is None:
            self.packed = self.linear.weight.t().contiguous()
        return torch.softmax(x @ self.packed + self.linear.bias, dim=1)
"""


def test_value_prepacked_from_earlier_parameters_is_found(bench: Bench) -> None:
    evaluation = bench.judge(STALE)
    assert evaluation.verdict is Verdict.INCORRECT
    assert "after load_state_dict with other parameters" in evaluation.reason


def test_prepacking_that_a_load_invalidates_is_welcome(bench: Bench) -> None:
    hook = "        self.register_load_state_dict_post_hook(lambda module, keys: setattr(module, 'packed', None))\n"
    head = HEAD.replace("        self.packed = None\n", "        self.packed = None\n" + hook)
    assert bench.judge(STALE, head=head).verdict.is_correct


def test_held_out_variant_is_run_for_a_champion_only(bench: Bench) -> None:
    shown_only = "        assert x.shape[0] != 5\n" + HONEST
    assert bench.judge(shown_only).verdict.is_correct
    evaluation = bench.judge(shown_only, fresh=True)
    assert evaluation.verdict is Verdict.CRASH
    assert evaluation.reason == "failed on a shape it was not shown"
    assert evaluation.diagnostics is None


def test_wrong_result_on_a_held_out_variant_does_not_tell_its_shape(bench: Bench) -> None:
    wrong_there = "        if x.shape[0] == 5: return torch.zeros_like(x)\n" + HONEST
    evaluation = bench.judge(wrong_there, fresh=True)
    assert evaluation.verdict is Verdict.INCORRECT
    assert "5" not in evaluation.reason
    assert "secret" not in evaluation.model_dump_json(exclude={"task_digest", "candidate_digest"})


def test_fresh_trial_checks_declared_and_derived_held_out_variants(bench: Bench) -> None:
    evaluation = bench.judge(HONEST, fresh=True)
    assert all(row.correct for row in evaluation.variants)
    shown = [row.name for row in evaluation.variants if not row.held_out]
    hidden = [row.name for row in evaluation.variants if row.held_out]
    assert shown == ["main", "odd"]
    assert hidden[0] == "secret"
    assert len(hidden) > 1


def test_fresh_trial_draws_seeds_unless_nobody_was_shown_those_of_the_session(
    environment: Environment, peaks: Peaks, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def counted(builder: ReferenceBuilder, settings: EvaluationSettings) -> VariantReference:
        built.append(builder.variant.name)
        return build_reference(builder, settings)

    monkeypatch.setattr(sessions, "build_reference", counted)
    session = open_session(spec(variants=(Variant(name="main"), VARIANTS[2])), environment, peaks, nursery)
    with contextlib.closing(session):
        bench = Bench(session, session.open(lambda stage, detail: None))
        assert built == ["main"]
        for expected in (1, 2):
            assert bench.judge(HONEST, fresh=True).verdict.is_correct
            assert (built.count("main"), built.count("secret")) == (expected, expected)


def test_kernel_for_the_shown_shapes_alone_fails_on_a_shape_the_runner_derived(bench: Bench) -> None:
    shown_only = "        if x.shape not in [(8, 32), (3, 17), (5, 32)]: return torch.zeros_like(x)\n" + HONEST
    assert bench.judge(shown_only).verdict.is_correct
    evaluation = bench.judge(shown_only, fresh=True)
    assert evaluation.verdict is Verdict.INCORRECT
    assert evaluation.reason == "correct on the shapes it was shown, wrong on one it was not"


TIMED_ATTACKS = {
    "skips every second call": """
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 14 and self.calls % 2: return self.last
        self.last = torch.softmax(self.linear(x), dim=1)
        return self.last""",
    "returns zeros once it is timed": """
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 14: return torch.zeros_like(x)
        return torch.softmax(self.linear(x), dim=1)""",
    "remembers outputs by address": """
        self.memory = getattr(self, "memory", {})
        if x.data_ptr() not in self.memory or len(self.memory) < 8:
            self.memory[x.data_ptr()] = torch.softmax(self.linear(x), dim=1)
        return self.memory[x.data_ptr()]""",
}


@pytest.mark.parametrize("body", TIMED_ATTACKS.values(), ids=TIMED_ATTACKS)
def test_kernel_that_is_right_until_it_is_timed_is_found_out(bench: Bench, body: str) -> None:
    assert not bench.judge(body, timed=True).verdict.is_correct


def test_times_come_with_the_parents_own_view_of_them(bench: Bench) -> None:
    evaluation = bench.judge(HONEST, timed=True)
    assert evaluation.verdict.is_correct
    for row in evaluation.variants:
        assert row.speedup_by_wall is not None
        assert (row.rechecked or 0) > 1
    assert len(evaluation.readings) == 2


FORWARD = "return torch.softmax(self.linear(x), dim=1)"


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        pytest.param("return torch.softmax(self.linear(x), dim=1) * 0", "output is constant (0 everywhere)", id="zero"),
        pytest.param("return self.linear.weight.sum(0)", "output ignores its inputs", id="ignores"),
        pytest.param("return self.linear(x) + torch.rand_like(x)", "a reference must be deterministic", id="random"),
        pytest.param("return torch.softmax(self.linear(x), dim=1) / 0.0", "holds no finite number", id="infinite"),
        pytest.param("import sys; sys.exit(3)", "forward() failed: SystemExit", id="exits"),
        pytest.param("return 5", "returns no tensor", id="no tensor"),
        pytest.param("return self.missing(x)", "forward() failed: AttributeError", id="raises"),
    ],
)
def test_degenerate_task_is_refused(
    environment: Environment, peaks: Peaks, nursery: Nursery, forward: str, message: str
) -> None:
    session = open_session(spec(TASK.replace(FORWARD, forward)), environment, peaks, nursery)
    with pytest.raises(TaskError) as refused:
        session.open(lambda stage, detail: None)
    assert message in str(refused.value)


def test_held_out_variant_that_cannot_run_is_refused_at_once(
    environment: Environment, peaks: Peaks, nursery: Nursery
) -> None:
    broken = (Variant(name="main"), Variant(name="secret", constants={"batch_size": -1}, held_out=True))
    with pytest.raises(TaskError, match=r"get_inputs\(\) failed"):
        open_session(spec(variants=broken), environment, peaks, nursery).open(lambda stage, detail: None)
