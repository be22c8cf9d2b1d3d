"""What a trial is checked and timed with, made once for each variant of a session.

Cases: plain ones from fresh seeds, and the hostile forms the task's contract allows. Timed inputs: draws that
no case shows. All of it stays in the trusted parent but the inputs. Called by `sessions.py`.
"""

import copy
import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from everforge.errors import TaskError
from everforge.model.session import EvaluationSettings
from everforge.model.task import InputContract, Variant
from everforge.runners.tensors.bits import input_sums
from everforge.runners.tensors.mixing import Mix, draw_mask, draw_mixes, mixed_inputs, places_to_mix, room_for
from everforge.runners.tensors.results import spread_of
from everforge.runners.tensors.trees import Tree, leaves, map_block, map_tree, read
from everforge.runners.truth.compare import Error, Finding, Tolerance, Truth, compare, error_of, tolerance_of
from everforge.runners.truth.input_forms import hostile_forms
from everforge.runners.truth.reference import Case, ReferenceBuilder, Shared

# Other parameters for the reload check: each value is scaled by up to 10 %, which keeps variances positive.
_PERTURBATION = 0.1
# Draws that timed inputs are mixed from; two where one alone is large.
_TIMED_SETS = 3
_MORE_DRAWS = 3
_LARGE_SET_BYTES = 2 << 30
# Inputs up to this size come back after every call, for the parent to see that they were left alone; of larger ones
# a checksum does.
_RETURNED_BYTES = 64 << 20


@dataclass(frozen=True)
class TimedInputs:
    """Draws for timed calls, the mask that mixes them, and which tensors are mixed."""

    sets: tuple[Shared, ...]
    mask: Shared
    places: tuple[int, ...]

    def draw(self, count: int, rng: random.Random) -> list[Mix]:
        """The inputs of the next timed calls."""
        return draw_mixes(count, len(self.sets), bool(self.places), rng)

    def tree(self, mix: Mix, device: torch.device) -> Tree:
        """One call's inputs, as the worker made them."""
        first, second = (_opened(self.sets[index], device) for index in (mix.first, mix.second))
        mask = _opened(self.mask, device)
        return mixed_inputs((first, second), mask, self.places, Mix(0, 1, mix.offset), room_for(first))


def _opened(shared: Shared, device: torch.device) -> Tree:
    tree = read(shared.description, map_block(shared.block.descriptor, shared=False))
    return map_tree(tree, lambda tensor: tensor.to(device))


@dataclass(frozen=True)
class VariantReference:
    """Everything a trial needs to check and time one variant."""

    variant: Variant
    builder: ReferenceBuilder
    factor: float
    init: Shared
    state: Shared
    cases: tuple[Case, ...]
    timed: TimedInputs
    changed: tuple[int, ...]
    dtypes: tuple[str, ...]
    other_state: Shared | None
    other_case: Case | None

    @property
    def plain(self) -> Case:
        """A case as get_inputs() gives it: its form is that of timed calls."""
        return self.cases[0]

    def judge(self, outputs: list[torch.Tensor], mix: Mix) -> Finding:
        """Compare what a timed call returned with the truth of its inputs."""
        maker = _CaseMaker(self.builder, self.factor)
        truths, errors = maker.truths(self.builder.model, self.timed.tree(mix, self.builder.device.torch_device))
        own = [tolerance_of([e], [t], self.factor) for e, t in zip(errors, truths, strict=True)]
        wider = [_wider(*pair) for pair in zip(own, self.plain.tolerances, strict=True)]
        placed = [out.to(truth.values.device) for out, truth in zip(outputs, truths, strict=True)]
        return compare(placed, truths, wider)

    def mixed_case(self, mix: Mix) -> Case:
        """The inputs of a timed call as a case of their own."""
        maker = _CaseMaker(self.builder, self.factor)
        inputs = self.timed.tree(mix, self.builder.device.torch_device)
        case = maker.case(f"{self.variant.name}/mixed", None, self.builder.model, inputs)
        pairs = zip(case.tolerances, self.plain.tolerances, strict=True)
        return _with_tolerances(case, [_wider(*pair) for pair in pairs])


def _wider(own: Tolerance, base: Tolerance) -> Tolerance:
    """One draw's tolerance where eager was not lucky on it; else what several plain draws allow, relatively."""
    return Tolerance(relative=max(own.relative, base.relative), largest=max(own.largest, base.largest))


def build_reference(builder: ReferenceBuilder, settings: EvaluationSettings) -> VariantReference:
    """Cases, tolerances and timed inputs of one variant, from fresh seeds. Raises TaskError."""
    maker = _CaseMaker(builder, settings.error_factor)
    plain = maker.plain(settings.seeds)
    outputs = builder.run(builder.model, builder.inputs())
    other_state, other_case = maker.other_parameters()
    return VariantReference(
        variant=builder.variant,
        builder=builder,
        factor=settings.error_factor,
        init=builder.shared(builder.init_args),
        state=builder.shared(dict(builder.model.state_dict())),
        cases=(*plain, *maker.formed(plain[0])),
        timed=_timed_inputs(builder),
        changed=builder.changed,
        dtypes=tuple(str(leaf.dtype).removeprefix("torch.") for leaf in leaves(outputs[0])),
        other_state=other_state,
        other_case=other_case,
    )


class _CaseMaker:
    """Makes the cases of one variant."""

    def __init__(self, builder: ReferenceBuilder, factor: float) -> None:
        self._builder = builder
        self._factor = factor

    def plain(self, seeds: int) -> tuple[Case, ...]:
        """Cases as get_inputs() gives them; eager's error is pooled over all of them."""
        name = self._builder.variant.name
        cases = [
            self.case(f"{name}/{index}", None, self._builder.model, self._builder.inputs()) for index in range(seeds)
        ]
        return tuple(_with_tolerances(case, tolerances_of(cases, self._factor)) for case in cases)

    def formed(self, plain: Case) -> Iterator[Case]:
        """Cases in the forms the contract allows, those left out on which the reference itself fails."""
        builder = self._builder
        forms = hostile_forms(builder.inputs(), builder.task.inputs)
        for index, (form, inputs) in enumerate(forms):
            try:
                case = self.case(f"{builder.variant.name}/form-{index}", form, builder.model, inputs)
                others = self._errors_on_more_draws(form)
            except TaskError:
                continue
            if _all_finite(case) or not _all_finite(plain):
                yield _at_least_as_wide(self._pooled(case, others), plain)

    def _errors_on_more_draws(self, form: str) -> list[list[Error]]:
        """Eager's errors on more draws in a form: at another scale one draw alone may have been a lucky one.

        Against the tolerance of one draw, honest attention at 32 times its scale failed 3 times in 400; against that
        of five, not once.
        """
        builder = self._builder
        if not form.startswith("times"):
            return []  # the same values as plain inputs
        scales = InputContract(strided=False, scales=builder.task.inputs.scales)
        draws = (dict(hostile_forms(builder.inputs(), scales))[form] for _ in range(_MORE_DRAWS))
        return [self.truths(builder.model, inputs)[1] for inputs in draws]

    def _pooled(self, case: Case, others: list[list[Error]]) -> Case:
        tolerances = [
            tolerance_of([own, *(errors[index] for errors in others)], [truth], self._factor)
            for index, (own, truth) in enumerate(zip(case.eager_errors, case.truths, strict=True))
        ]
        return _with_tolerances(case, tolerances)

    def case(self, name: str, form: str | None, model: torch.nn.Module, inputs: tuple[Any, ...]) -> Case:
        """One case, its tolerance from its own error alone."""
        builder = self._builder
        truths, errors = self.truths(model, inputs)
        outputs = builder.run(model, inputs)
        shared, salt = builder.shared(inputs), secrets.randbits(32)
        expected, output_bytes = builder.description(map_tree(outputs, torch.clone if form is None else contiguous))
        case = Case(
            name=name,
            form=form,
            inputs=shared,
            truths=truths,
            eager_errors=errors,
            tolerances=[],
            expected=expected,
            input_sums=input_sums(inputs, salt) if shared.size > _RETURNED_BYTES else [],
            salt=salt,
            spreads=["dense" if form else spread_of(leaf) for leaf in leaves(outputs[0])],
            output_bytes=output_bytes,
        )
        return _with_tolerances(case, tolerances_of([case], self._factor))

    def truths(self, model: torch.nn.Module, inputs: Tree) -> tuple[list[Truth], list[Error]]:
        """Truth of any inputs, and the error eager makes on them at the policy's precision."""
        eager = self._builder.at_policy(model, inputs)
        truths = [Truth.of(*pair) for pair in zip(self._builder.truth(model, inputs), eager, strict=True)]
        return truths, [error_of(*pair) for pair in zip(eager, truths, strict=True)]

    def other_parameters(self) -> tuple[Shared | None, Case | None]:
        """Other parameters and a case under them, to find values prepacked from the first ones."""
        builder = self._builder
        if not any(value.is_floating_point() for value in builder.model.state_dict().values()):
            return None, None
        other = copy.deepcopy(builder.model)
        with torch.no_grad():
            for value in other.state_dict().values():
                if value.is_floating_point():
                    value.mul_(1 + _PERTURBATION * torch.rand_like(value))
        case = self.case(f"{builder.variant.name}/other", None, other, builder.inputs())
        return builder.shared(dict(other.state_dict())), case


def contiguous(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in plain row-major order."""
    return tensor.contiguous()


def tolerances_of(cases: Sequence[Case], factor: float) -> list[Tolerance]:
    """One tolerance for each output, from eager's errors over all cases."""
    outputs = range(len(cases[0].truths))
    return [
        tolerance_of([case.eager_errors[i] for case in cases], [case.truths[i] for case in cases], factor)
        for i in outputs
    ]


def _with_tolerances(case: Case, tolerances: list[Tolerance]) -> Case:
    return Case(**{**vars(case), "tolerances": tolerances})


def _at_least_as_wide(case: Case, plain: Case) -> Case:
    """Relatively, a form is allowed what plain inputs are; the cap on single elements goes with its own scale."""
    pairs = zip(case.tolerances, plain.tolerances, strict=True)
    wider = [Tolerance(max(own.relative, base.relative), own.largest) for own, base in pairs]
    return _with_tolerances(case, wider)


def _all_finite(case: Case) -> bool:
    return all(bool(torch.isfinite(truth.values).all()) for truth in case.truths if truth.values.is_floating_point())


def _timed_inputs(builder: ReferenceBuilder) -> TimedInputs:
    """Draws for timed calls. They are mixed unless the reference fails on a mix."""
    first = builder.inputs()
    seed = secrets.randbits(63)
    mask = draw_mask(first, seed)
    shared = [builder.shared(first)]
    large = shared[0].size > _LARGE_SET_BYTES
    draws = [first, *(builder.inputs() for _ in range(1 if large else _TIMED_SETS - 1))]
    shared += [builder.shared(draw) for draw in draws[1:]]
    places = places_to_mix(draws[0], draws[1])
    if places and not _bears_mixing(builder, draws, mask, places):
        places = ()
    return TimedInputs(tuple(shared), builder.shared(mask), places)


def _bears_mixing(builder: ReferenceBuilder, draws: list[Tree], mask: torch.Tensor, places: tuple[int, ...]) -> bool:
    """Whether the reference computes finite numbers from a mix where it does from a draw.

    A mix of integers is tried on the host: one that points outside a tensor would end a GPU's process.
    """
    floating = all(leaf.is_floating_point() for index, leaf in enumerate(leaves(draws[0])) if index in places)
    device = builder.device.torch_device if floating else torch.device("cpu")
    first, second = (map_tree(draw, lambda tensor: tensor.to(device)) for draw in draws[:2])
    mix = mixed_inputs((first, second), mask.to(device), places, Mix(0, 1, 0), room_for(first))
    try:
        plain, mixed = (builder.truth_on(device, builder.model, inputs) for inputs in (first, mix))
    except TaskError:
        return False
    return _finite_share(mixed) >= _finite_share(plain)


def _finite_share(outputs: list[torch.Tensor]) -> float:
    """The least share of finite elements over the outputs."""
    return min((torch.isfinite(output).double().mean().item() for output in outputs if output.numel()), default=1.0)
