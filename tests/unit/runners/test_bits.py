"""Bits are compared and summed up as they are: NaN equals itself, and no two outputs share a checksum by accident."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everforge.runners.tensors.bits import changed_leaves, checksum, input_sums, row_sums, same_bits


def test_nan_has_the_bits_of_nan() -> None:
    assert same_bits(torch.tensor([math.nan, 1.0]), torch.tensor([math.nan, 1.0]))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.bool, torch.float64])
def test_every_width_is_compared(dtype: torch.dtype) -> None:
    ones = torch.ones(3, dtype=dtype)
    assert same_bits(ones, ones.clone())
    assert not same_bits(ones, torch.zeros(3, dtype=dtype))


def test_other_shape_or_dtype_is_another_tensor() -> None:
    assert not same_bits(torch.zeros(4), torch.zeros(2, 2))
    assert not same_bits(torch.zeros(4), torch.zeros(4, dtype=torch.int32))


def test_changed_inputs_are_told_by_their_place() -> None:
    before = (torch.zeros(2), 5, [torch.ones(2)])
    after = (torch.zeros(2), 5, [torch.ones(2) + 1])
    assert changed_leaves(before, before) == ()
    assert changed_leaves(before, after) == (1,)


@given(place=st.integers(0, 99), bit=st.integers(0, 31), salt=st.integers(0, 2**32 - 1))
def test_one_flipped_bit_changes_the_checksum(place: int, bit: int, salt: int) -> None:
    words = torch.arange(100, dtype=torch.int32)
    flipped = words.clone()
    flipped[place] ^= (1 << bit) if bit < 31 else -(1 << 31)
    assert checksum([words.view(torch.float32)], salt).item() != checksum([flipped.view(torch.float32)], salt).item()


def test_checksum_hangs_on_its_salt_and_on_the_order_of_outputs() -> None:
    first, second = torch.randn(8), torch.randn(8)
    assert checksum([first], 1).item() != checksum([first], 2).item()
    assert checksum([first, second], 1).item() != checksum([second, first], 1).item()


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_bytes_that_fill_no_word_count_too(count: int) -> None:
    ones = torch.ones(count, dtype=torch.uint8)
    assert (checksum([ones], 7).item() == checksum([ones * 2], 7).item()) is (count == 0)


def test_inputs_are_summed_up_in_row_major_order() -> None:
    matrix = torch.randn(3, 4)
    transposed = matrix.t().contiguous().t()
    assert input_sums((matrix,), 1) == input_sums((transposed,), 1)


def test_sums_of_rows_are_the_checksums_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randint(0, 255, (7, 64), dtype=torch.uint8)
    wanted = [int(checksum([row], 9).item()) for row in rows]
    assert row_sums(rows, 9) == wanted
    monkeypatch.setattr("everforge.runners.tensors.bits._SUMMED_BYTES", 130)  # two rows at once
    assert row_sums(rows, 9) == wanted
    assert row_sums(rows[:0], 9) == []
