"""Hostile forms: the values are the plain ones, the memory is not, and what cannot take a form is left alone."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.task import InputContract
from everforge.runners.tensors.trees import Block, leaves, map_block, read
from everforge.runners.truth.input_forms import EMPTY, OFFSET, TRANSPOSED, hostile_forms

EVERYTHING = InputContract(empty_batch=True)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]


def forms(*inputs: Any, contract: InputContract = EVERYTHING) -> dict[str, tuple[Any, ...]]:
    return dict(hostile_forms(inputs, contract))


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    values = torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape).to(draw(st.sampled_from(DTYPES)))
    return values.permute(draw(st.permutations(range(len(shape)))))


@given(st.lists(tensors(), min_size=1, max_size=3))
def test_moved_inputs_have_the_plain_values(inputs: list[torch.Tensor]) -> None:
    made = forms(*inputs)
    for label in (TRANSPOSED, OFFSET):
        for moved, plain in zip(made.get(label, inputs), inputs, strict=True):
            assert moved.dtype == plain.dtype
            assert torch.equal(moved, plain)


@given(tensors())
def test_a_transposed_form_is_another_layout(tensor: torch.Tensor) -> None:
    made = forms(tensor)
    assert (TRANSPOSED in made) == (tensor.numel() > 1)
    if TRANSPOSED in made:
        assert made[TRANSPOSED][0].is_contiguous() != tensor.is_contiguous()


@given(tensors())
def test_an_odd_offset_is_off_every_vector_load(tensor: torch.Tensor) -> None:
    made = forms(tensor)
    assert (OFFSET in made) == (tensor.numel() > 0)
    if OFFSET in made:
        moved = made[OFFSET][0]
        assert moved.data_ptr() % 16 != 0
        assert moved.is_contiguous() == tensor.is_contiguous()


@given(st.lists(tensors(), min_size=1, max_size=3))
def test_forms_reach_another_process_as_they_are(inputs: list[torch.Tensor]) -> None:
    for label, given_form in forms(*inputs).items():
        block, description = Block.sealed(given_form)
        arrived = read(description, map_block(block.descriptor, shared=False))
        for mine, theirs in zip(leaves(arrived), leaves(given_form), strict=True):
            assert torch.equal(mine, theirs), label
            assert mine.is_contiguous() == theirs.is_contiguous()
            assert mine.data_ptr() % 16 == theirs.data_ptr() % 16 or not mine.numel()


def test_a_vector_is_every_second_element_of_its_memory() -> None:
    assert forms(torch.arange(5.0))[TRANSPOSED][0].stride() == (2,)


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (2, 6, 1), (1, 6, 1)], ids=str)
def test_a_dimension_of_one_is_no_hiding_place(shape: tuple[int, ...]) -> None:
    assert not forms(torch.ones(shape))[TRANSPOSED][0].is_contiguous()


def test_only_floating_point_inputs_are_scaled() -> None:
    inputs = (torch.ones(3), torch.ones(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool), 7)
    values, counts, mask, number = forms(*inputs)["times 32"]
    assert (values.tolist(), counts.tolist(), mask.tolist(), number) == ([32.0] * 3, [1] * 3, [True] * 3, 7)
    assert values.data_ptr() != inputs[0].data_ptr()
    assert inputs[0].tolist() == [1.0] * 3


def test_inputs_without_numbers_to_scale_have_no_scaled_form() -> None:
    assert not any(label.startswith("times") for label in forms(torch.ones(3, dtype=torch.int64)))
    assert not any(label.startswith("times") for label in forms(torch.ones(3).to(torch.float8_e4m3fn)))


def test_the_empty_batch_goes_through_all_that_share_it() -> None:
    x, mask, weight = forms(torch.ones(4, 3), torch.ones(4, dtype=torch.bool), torch.ones(3, 3))[EMPTY]
    assert (x.shape, mask.shape, weight.shape) == ((0, 3), (0,), (3, 3))


def test_tensors_in_lists_and_dicts_take_the_form_too() -> None:
    ([first], second) = forms([torch.ones(4, 3)], {"mask": torch.ones(4, 3)})[TRANSPOSED]
    assert not first.is_contiguous()
    assert not second["mask"].is_contiguous()


@pytest.mark.parametrize(
    ("contract", "labels"),
    [
        (EVERYTHING, {TRANSPOSED, OFFSET, "times 0.01", "times 32", EMPTY}),
        (InputContract(), {TRANSPOSED, OFFSET, "times 0.01", "times 32"}),
        (InputContract(strided=False, scales=(0.5, 1.0)), {"times 0.5"}),
        (InputContract(strided=False, scales=()), set()),
    ],
    ids=["everything", "default", "scales alone", "nothing"],
)
def test_a_contract_says_which_forms_are_tried(contract: InputContract, labels: set[str]) -> None:
    assert set(forms(torch.ones(4, 3), contract=contract)) == labels
