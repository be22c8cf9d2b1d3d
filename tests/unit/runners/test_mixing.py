"""Timed inputs are made of the task's own draws, are never the same twice, and can be made again by the parent."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everforge.runners.tensors.bits import same_bits
from everforge.runners.tensors.mixing import Mix, draw_mask, draw_mixes, mixed_inputs, places_to_mix, room_for
from everforge.runners.tensors.trees import Tree

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int32, torch.int64, torch.int8]


def draws(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> tuple[Tree, Tree]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(shape, generator=generator).mul(50).to(dtype) for _ in range(2))
    return (first, 3), (second, 3)


def mixed(first: Tree, second: Tree, mix: Mix, seed: int = 1) -> Tree:
    mask = draw_mask(first, seed)
    return mixed_inputs((first, second), mask, places_to_mix(first, second), mix, room_for(first))


@given(
    dtype=st.sampled_from(DTYPES), shape=st.sampled_from([(7,), (3, 5), (2, 0), (2, 3, 4)]), offset=st.integers(0, 99)
)
@settings(max_examples=40)
def test_every_element_comes_from_one_of_the_draws_at_its_own_place(
    dtype: torch.dtype, shape: tuple[int, ...], offset: int
) -> None:
    first, second = draws(dtype, shape, seed=offset)
    made, constant = mixed(first, second, Mix(0, 1, offset))
    assert constant == 3
    assert bool(((made == first[0]) | (made == second[0])).all())


def test_complex_and_boolean_inputs_are_mixed_whole() -> None:
    first = (torch.randn(64, dtype=torch.complex64), torch.zeros(64, dtype=torch.bool))
    second = (torch.randn(64, dtype=torch.complex64), torch.ones(64, dtype=torch.bool))
    mask = draw_mask(first, 1)
    numbers, flags = mixed_inputs((first, second), mask, (0, 1), Mix(0, 1, 5), room_for(first))
    assert bool(((numbers == first[0]) | (numbers == second[0])).all())
    assert 0 < int(flags.sum()) < 64


@given(dtype=st.sampled_from([*DTYPES, torch.complex64, torch.complex128, torch.bool]))
@settings(max_examples=20)
def test_mask_of_booleans_chooses_what_a_mask_of_bits_does(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = ((torch.randn(5, 7, generator=generator).to(dtype),) for _ in range(2))
    mask, mix = draw_mask(first, 1), Mix(0, 1, 11)
    by_bits = mixed_inputs((first, second), mask, (0,), mix, room_for(first))
    by_booleans = mixed_inputs((first, second), mask.bool(), (0,), mix, room_for(first))
    assert same_bits(by_bits[0], by_booleans[0])


def test_another_offset_gives_other_inputs_and_the_same_one_the_same() -> None:
    first, second = draws(torch.float32, (64, 64), seed=0)
    once, again, other = (mixed(first, second, Mix(0, 1, offset))[0] for offset in (5, 5, 6))
    assert same_bits(once, again)
    assert not same_bits(once, other)
    assert not same_bits(once, first[0])
    assert not same_bits(once, second[0])


def test_transposed_inputs_stay_transposed() -> None:
    first, second = ((torch.randn(4, 6).t(),) for _ in range(2))
    (made,) = mixed(first, second, Mix(0, 1, 3))
    assert made.stride() == first[0].stride()
    assert bool(((made == first[0]) | (made == second[0])).all())


def test_numbers_that_point_are_mixed_only_where_no_values_are() -> None:
    ids, other_ids = torch.arange(8), torch.arange(8).flip(0)
    table, other_table = torch.randn(8), torch.randn(8)
    assert places_to_mix((ids, table), (other_ids, other_table)) == (1,)
    assert places_to_mix((ids,), (other_ids,)) == (0,)
    assert places_to_mix((table,), (table.clone(),)) == ()


@given(count=st.integers(1, 200), sets=st.integers(2, 4), seed=st.integers(0, 2**32))
def test_both_sets_of_a_mix_differ(count: int, sets: int, seed: int) -> None:
    mixes = draw_mixes(count, sets, True, random.Random(seed))
    assert len(mixes) == count
    assert all(mix.first != mix.second and max(mix.first, mix.second) < sets for mix in mixes)


@pytest.mark.parametrize("sets", [1, 3])
def test_what_is_not_mixed_comes_from_one_set(sets: int) -> None:
    assert all(mix.first == mix.second for mix in draw_mixes(20, sets, False, random.Random(0)))
