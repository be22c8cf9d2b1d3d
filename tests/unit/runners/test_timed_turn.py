"""A turn keeps what each call returned, and the witness takes what was kept by surprise."""

import random
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from everforge.model.device import DeviceKind
from everforge.model.session import EvaluationSettings
from everforge.model.task import TaskSpec, Variant
from everforge.runners.clock.contender import Contender, Course, Turn
from everforge.runners.clock.timed_turn import KeptOutputs, TimedTurn
from everforge.runners.clock.witness import Broken, Witness
from everforge.runners.devices import device_of
from everforge.runners.tensors.mixing import Mix
from everforge.runners.tensors.results import spread_of
from everforge.runners.tensors.trees import Block, Tree, map_block, map_tree, read
from everforge.runners.truth.cases import VariantReference, build_reference
from everforge.runners.truth.reference import ReferenceBuilder

TASK = """
import torch
from torch import nn

rows = 16

class Model(nn.Module):
    def forward(self, x, y):
        return {"sum": x + y, "parts": (x.exp(), y.t())}

def get_inputs():
    return [torch.randn(rows, 8), torch.randn(rows, 8)]

def get_init_inputs():
    return []
"""


@pytest.fixture(scope="module")
def reference() -> VariantReference:
    task = TaskSpec(name="task", source=TASK, variants=(Variant(name="main"),))
    builder = ReferenceBuilder(task, task.variants[0], device_of(DeviceKind.CPU))
    return build_reference(builder, EvaluationSettings(seeds=2))


def honest(x: torch.Tensor, y: torch.Tensor) -> Tree:
    return {"sum": x + y, "parts": (x.exp(), y.t())}


class Stage:
    """A turn of real calls in this process; outputs go to shared memory or stay, as on a device of its own."""

    def __init__(self, reference: VariantReference, run: Callable[..., Any], *, host_memory: bool) -> None:
        self.reference = reference
        self.course = Course.of(reference)
        worker: Any = type("Idle", (), {"frozen": lambda self: nullcontext()})()
        self.contender = Contender(worker, "main", self.course, host_memory)
        size = self.course.output_bytes
        self.contender.kept = Block(64 * size) if host_memory else None
        block = torch.zeros(64 * size, dtype=torch.uint8)
        if self.contender.kept is not None:
            block = map_block(self.contender.kept.descriptor, shared=True)
        self.kept = KeptOutputs(block, commits=not host_memory)
        self.witness = Witness(reference, self.contender, self.fetch, random.Random(0))
        self.run = run
        self.changed_inputs = False

    def fetch(self, call: int, block: Block) -> None:
        self.kept.write(call, map_block(block.descriptor, shared=True))

    def turn(self, count: int = 6) -> Turn:
        mixes = self.course.draw(count, random.Random(random.random()))
        timed = self.reference.timed
        sets = [opened(shared) for shared in timed.sets]
        course = {
            "places": timed.places,
            "changed": (),
            "expected": self.course.expected,
            "output_bytes": self.course.output_bytes,
        }
        turn = TimedTurn(self.run, sets, opened(timed.mask), course, self.kept)
        turn.start([(mix.first, mix.second, mix.offset) for mix in mixes], count - 1, lambda: None)
        for _ in mixes:
            turn.prepare()
            turn.call()
        turn.settle()
        self.changed_inputs = turn.has_changed_inputs()
        return Turn((1.0,) * count, 1e3, tuple(mixes), tuple(self.kept.commit(5)), 5)


def opened(shared: Any) -> Tree:
    return read(shared.description, map_block(shared.block.descriptor, shared=False))


both = pytest.mark.parametrize("host_memory", [True, False], ids=["memory of the parent", "memory of the device"])


@both
def test_outputs_of_an_honest_kernel_are_found_right(reference: VariantReference, host_memory: bool) -> None:
    stage = Stage(reference, honest, host_memory=host_memory)
    for _ in range(3):
        stage.witness.see(stage.turn())
    findings = stage.witness.findings()
    assert len(findings) >= 3
    assert [finding.detail for _, finding in findings] == [None] * len(findings)


@both
def test_output_replayed_from_an_earlier_call_is_always_taken(reference: VariantReference, host_memory: bool) -> None:
    kept: list[Tree] = []

    def replays(x: torch.Tensor, y: torch.Tensor) -> Tree:
        outputs = honest(x, y) if len(kept) != 4 else kept[1]
        kept.append(map_tree(outputs, torch.clone))
        return outputs

    stage = Stage(reference, replays, host_memory=host_memory)
    stage.witness.see(stage.turn(count=20))
    assert any(finding.detail is not None for _, finding in stage.witness.findings())


def test_output_that_changes_after_its_turn_breaks_the_promise(reference: VariantReference) -> None:
    stage = Stage(reference, honest, host_memory=False)
    turn = stage.turn()
    forged = Turn(turn.times_us, turn.wall_us, turn.mixes, tuple(number + 1 for number in turn.checksums), turn.salt)
    stage.witness.see(forged)
    with pytest.raises(Broken, match="not the one it had at the end of its turn"):
        stage.witness.findings()


@both
def test_call_that_returns_another_form_is_noticed(reference: VariantReference, host_memory: bool) -> None:
    stage = Stage(reference, lambda x, y: {**honest(x, y), "sum": (x + y)[:3]}, host_memory=host_memory)
    stage.turn()
    assert stage.kept.odd_form


def test_witness_takes_two_outputs_of_a_limited_number_of_turns(reference: VariantReference) -> None:
    stage = Stage(reference, honest, host_memory=True)
    for _ in range(30):
        stage.witness.see(stage.turn(count=3))
    mixes: list[Mix] = [mix for mix, _ in stage.witness.findings()]
    assert 6 <= len(mixes) <= 12


def test_call_that_works_in_its_inputs_memory_is_noticed(reference: VariantReference) -> None:
    stage = Stage(reference, lambda x, y: {"sum": x + y, "parts": (x.exp_(), y.t())}, host_memory=True)
    stage.turn()
    assert stage.changed_inputs
    stage = Stage(reference, honest, host_memory=True)
    stage.turn()
    assert not stage.changed_inputs


def test_inputs_lie_at_several_places(reference: VariantReference) -> None:
    places = set()

    def tells(x: torch.Tensor, y: torch.Tensor) -> Tree:
        places.add(x.data_ptr())
        return honest(x, y)

    Stage(reference, tells, host_memory=True).turn(count=9)
    assert len(places) == 3


@pytest.mark.parametrize(
    ("tensor", "spread"),
    [
        (torch.zeros(3, 4), "dense"),
        (torch.zeros(3, 4).t(), "dense"),
        (torch.zeros(0, 4), "dense"),
        (torch.zeros(1).expand(3, 4), "expanded"),
        (torch.zeros(6)[::2], "gapped"),
        (torch.zeros(1, 4).expand(1, 4), "dense"),
    ],
)
def test_spread_of_an_output_over_memory_is_named(tensor: torch.Tensor, spread: str) -> None:
    assert spread_of(tensor) == spread
