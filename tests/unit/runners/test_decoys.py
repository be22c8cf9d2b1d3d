"""What a launch wrote is overwritten, all of it and nothing else, and what it may have written is told from that."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everforge.runners.integrity.decoys import Overwriting, contributes
from everforge.runners.integrity.launches import Launch

DTYPES = [
    *(torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool),
]


def launched(run: Callable[[], Any], *arguments: Any, trusts_unchanged: bool = True) -> tuple[Any, Overwriting]:
    """What a launch returned, and how it was overwritten."""
    overwriting = Overwriting(trusts_unchanged=trusts_unchanged)
    return overwriting(Launch("kernel", arguments, run)), overwriting


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_that_was_written_has_other_values(dtype: torch.dtype) -> None:
    right = (torch.arange(12) % 5).to(torch.float32).to(dtype)
    out = (torch.arange(12) % 3).to(torch.float32).to(dtype)
    written = plain(out) != plain(right)
    launched(lambda: out.copy_(right), right, out)
    assert written.any()
    assert torch.equal(plain(out) != plain(right), written)
    assert plain(out).isfinite().all()


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in a type that can be compared and asked for infinities."""
    return tensor.to(torch.complex128)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_integers_stay_in_the_range_of_indices(values: list[int]) -> None:
    out = torch.full((len(values),), -1)
    launched(lambda: out.copy_(torch.tensor(values)), out)
    assert int(out.min()) >= 0
    assert int(out.max()) <= max(*values, 1)
    assert not torch.equal(out, torch.tensor(values))


def test_elements_beside_the_written_ones_stay() -> None:
    whole = torch.zeros(10)
    launched(lambda: whole[2:4].fill_(1.0), whole[2:4])
    assert (whole[2:4] != 1).all()
    assert (whole[:2] == 0).all()
    assert (whole[4:] == 0).all()


def test_memory_behind_a_view_is_seen() -> None:
    whole = torch.zeros(10)
    launched(lambda: whole.fill_(1.0), whole[0])
    assert (whole != 1).all()


def test_returned_tensor_is_overwritten_though_it_is_expanded() -> None:
    result, overwriting = launched(lambda: torch.ones(1).expand(5))
    assert overwriting.wrote
    assert (result != 1).all()


def test_returned_argument_is_overwritten_where_the_kernel_wrote() -> None:
    x = torch.tensor([1.0, 2.0, 3.0])
    result, _ = launched(lambda: x[:1].add_(1) and x, x)
    assert (result[1:] == torch.tensor([2.0, 3.0])).all()
    assert result[0] != 2


def test_returned_number_is_another() -> None:
    assert launched(lambda: 2.0)[0] == 7.0


def test_kernel_that_wrote_what_was_there_is_told_from_one_that_wrote_nothing() -> None:
    x, out = torch.tensor([1.0, -2.0]), torch.tensor([2.0, -4.0])
    launched(lambda: torch.mul(x, 2, out=out), x, out)
    assert (out != torch.tensor([2.0, -4.0])).all()
    assert x.tolist() == [1.0, -2.0]
    _, overwriting = launched(lambda: None, x, out)
    assert not overwriting.wrote
    assert x.tolist() == [1.0, -2.0]


def test_integers_that_did_not_change_leave_it_open_in_reused_memory() -> None:
    out = torch.tensor([1, 2])
    _, overwriting = launched(lambda: out.copy_(torch.tensor([1, 2])), out, trusts_unchanged=False)
    assert overwriting.unseen


def test_address_is_followed_to_the_tensor_that_lies_there() -> None:
    x, out = torch.ones(8), torch.zeros(8)
    _, overwriting = launched(lambda: out.copy_(x), x.data_ptr(), out[3:].data_ptr(), 8)
    assert overwriting.wrote
    assert (out != 1).all()
    assert (x == 1).all()


def test_unknown_address_leaves_it_open() -> None:
    _, overwriting = launched(lambda: None, 1 << 60)
    assert overwriting.unseen


def test_kernel_that_refuses_other_numbers_leaves_it_open() -> None:
    x = torch.ones(3)

    def run() -> None:
        if (x < 0).any():
            raise ValueError("only positive numbers")

    _, overwriting = launched(run, x)
    assert overwriting.unseen
    assert (x == 1).all()


def test_call_without_outputs_tells_nothing() -> None:
    assert contributes(lambda: None) is None


def test_call_without_launches_tells_nothing() -> None:
    assert contributes(lambda: torch.ones(3)) is None


def test_what_the_plain_call_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        contributes(lambda: 1 // 0)
