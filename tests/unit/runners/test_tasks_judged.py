"""What a session says by itself of a task that a wrong kernel could pass, or that has less work than it states."""

import pytest

from everforge.errors import TaskError
from everforge.model.device import DeviceKind, Environment, Peaks
from everforge.model.session import EvaluationSettings, OpenSession, TaskFacts
from everforge.model.task import Mode, TaskSpec, Variant
from everforge.runners.devices import device_of
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.sessions import Session

SETTINGS = EvaluationSettings(seeds=3, timeout_s=30, min_rounds=3, max_rounds=3, timing_seconds=0.2)


def task(forward: str, state: str = "", inputs: str = "torch.randn(rows, features)") -> str:
    """A task file around the lines of forward() and those that make its parameters."""
    lines = "".join(f"        {line}\n" for line in ("super().__init__()", *state.splitlines()))
    body = "".join(f"        {line}\n" for line in forward.splitlines())
    names = ", ".join(f"x{index}" if index else "x" for index in range(inputs.count("torch.")))
    return (
        "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\nrows, features, hidden = 8, 32, 16\n\n"
        f"class Model(nn.Module):\n    def __init__(self):\n{lines}\n    def forward(self, {names}):\n{body}\n"
        f"def get_inputs():\n    return [{inputs}]\n\ndef get_init_inputs():\n    return []\n"
    )


LINEAR = "self.linear = nn.Linear(features, hidden)"


class Opener:
    """Opens sessions on tasks given as source."""

    def __init__(self, environment: Environment, peaks: Peaks, nursery: Nursery) -> None:
        self._given = environment, peaks, nursery

    def __call__(self, source: str, mode: Mode = Mode.EVAL) -> TaskFacts:
        spec = TaskSpec(name="judged", source=source, variants=(Variant(name="main"),), mode=mode)
        request = OpenSession(task=spec, device=DeviceKind.CPU, settings=SETTINGS)
        session = Session(request, device_of(DeviceKind.CPU), *self._given)
        try:
            return session.open(lambda stage, detail: None)
        finally:
            session.close()

    def refusal(self, source: str, mode: Mode = Mode.EVAL) -> str:
        """What a session says as it refuses a task."""
        with pytest.raises(TaskError) as refused:
            self(source, mode)
        return str(refused.value)


@pytest.fixture
def opened(environment: Environment, peaks: Peaks, nursery: Nursery) -> Opener:
    return Opener(environment, peaks, nursery)


def test_maximum_less_its_own_mean_is_refused_as_constant(opened: Opener) -> None:
    forward = "y = self.linear(x).max(dim=1, keepdim=True).values\nreturn F.gelu(y - y.mean(dim=1, keepdim=True))"
    assert "output is constant (0 everywhere)" in opened.refusal(task(forward, LINEAR))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "forward"),
    [
        pytest.param(
            "self.weight = nn.Parameter(torch.randn(hidden, features))",
            "return torch.sum(x @ self.weight.T / 2, dim=1, keepdim=True) * 1.5",
            id="scaled sum",
        ),
        pytest.param(
            LINEAR,
            "y = torch.sum(self.linear(x), dim=1, keepdim=True).max(dim=1, keepdim=True).values\n"
            "y = torch.logsumexp(y.mean(dim=1, keepdim=True), dim=1, keepdim=True)\n"
            "return torch.logsumexp(y, dim=1, keepdim=True)",
            id="sum and reductions of one element",
        ),
        pytest.param(
            LINEAR + "\nself.shift = nn.Parameter(torch.randn(hidden))",
            "y = torch.mean(self.linear(x) - self.shift, dim=1, keepdim=True)\n"
            "return F.gelu(torch.logsumexp(y, dim=1, keepdim=True)) + x",
            id="mean, then residual",
        ),
    ],
)
def test_sum_over_a_products_columns_is_told_with_both_flop_counts(opened: Opener, state: str, forward: str) -> None:
    facts = opened(task(forward, state))
    note = next(note for note in facts.notes if "matrix-vector" in note)
    assert "summed over its 16 output features" in note
    assert "512 FLOPs are enough where the reference states 8.19e+03" in note  # 2·8·32 and 2·8·32·16
    variant = facts.variants[0]
    assert variant.suspicion_floor_us is not None
    assert variant.shortcut_floor_us is not None
    assert variant.shortcut_floor_us < variant.suspicion_floor_us


DROPOUT = task("return torch.softmax(self.drop(self.linear(x)), dim=1)", LINEAR + "\nself.drop = nn.Dropout(0.2)")


@pytest.mark.slow
def test_dropout_that_mode_eval_turns_off_is_told_with_its_module(opened: Opener) -> None:
    assert any("mode eval turns module drop (Dropout, p=0.2) off" in note for note in opened(DROPOUT).notes)


def test_dropout_in_mode_train_is_refused_with_its_module(opened: Opener) -> None:
    message = opened.refusal(DROPOUT, Mode.TRAIN)
    assert "random numbers are drawn by module drop (Dropout, p=0.2)" in message
    assert "dropout needs mode eval" in message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(
            task("return 1e6 + 1e-4 * x"), "varies by less than its tolerance: a kernel that returns 1e+06", id="tiny"
        ),
        pytest.param(
            task("return torch.stack([x * 0, x * 0 + 3])", inputs="torch.randn(rows, features)"),
            "return something computed from inputs that differ",
            id="replayed",
        ),
        pytest.param(
            task("return self.linear(x)", LINEAR, inputs="torch.linspace(0, 1, features).expand(rows, -1)"),
            "get_inputs() gives the same values every time",
            id="fixed inputs",
        ),
        pytest.param(
            task("return x + 1e-3 * torch.randn_like(x)"),
            "random numbers are drawn by randn_like() in forward()",
            id="noise",
        ),
        pytest.param(
            task("return 1e-6 * torch.rand_like(x)"), "rand_like() in forward()", id="noise of a small output"
        ),
    ],
)
def test_task_that_cannot_tell_kernels_apart_is_refused(opened: Opener, source: str, message: str) -> None:
    assert message in opened.refusal(source)


@pytest.mark.slow
def test_idle_inputs_and_constant_outputs_are_told_one_by_one(opened: Opener) -> None:
    inputs = "torch.randn(rows, features), torch.randn(rows, features), torch.ones(rows, features)"
    forward = "return x * x2 + 1e-12 * x1, torch.full_like(x, 2.0), x.sum().expand(4)"
    notes = opened(task(forward, inputs=inputs)).notes
    assert (
        "variant main: input 1 moves the output by less than its tolerance: a kernel that ignores it would pass"
        in notes
    )
    assert "variant main: input 2 is the same in every draw: a kernel may have its values built in" in notes
    assert "variant main: a kernel that returns 2 everywhere as output 1 would pass" in notes
    assert "variant main: output 2 holds one and the same value everywhere, another one for other inputs" in notes
    assert not any("input 0" in note or "output 0" in note for note in notes)
