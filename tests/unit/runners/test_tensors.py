"""Trees of tensors cross to another process unchanged, and what was sealed stays as it is."""

import os
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everforge.runners.models import to_device
from everforge.runners.tensors.layouts import ALIGNMENT, offset_of, order_of, same_layout_copy, steps_of
from everforge.runners.tensors.trees import (
    Block,
    UnsupportedValue,
    blank,
    describe,
    leaves,
    map_block,
    map_tree,
    read,
    size_bytes,
    write,
)

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    values = torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape).to(draw(st.sampled_from(DTYPES)))
    order = draw(st.permutations(range(len(shape))))
    return values.permute(order)


@st.composite
def views(draw: st.DrawFn) -> torch.Tensor:
    """Tensors with gaps between their elements, off a cache line's start, their dimensions in any order."""
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    steps = draw(st.lists(st.sampled_from([1, 1, 2, 3]), min_size=len(shape), max_size=len(shape)))
    offset, dtype = draw(st.integers(0, 20)), draw(st.sampled_from(DTYPES))
    memory = torch.arange(offset + torch.Size(size * step for size, step in zip(shape, steps, strict=True)).numel())
    whole = memory.to(dtype)[offset:].view([size * step for size, step in zip(shape, steps, strict=True)])
    return whole[tuple(slice(None, None, step) for step in steps)].permute(draw(st.permutations(range(len(shape)))))


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(DTYPES)
trees = st.recursive(
    tensors() | plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(trees)
def test_tree_survives_the_crossing(tree: object) -> None:
    block, description = Block.sealed(tree)
    assert same(read(description, map_block(block.descriptor, shared=False)), tree)


@given(trees)
def test_blank_tree_has_the_same_description(tree: object) -> None:
    description, _ = describe(tree)
    assert describe(blank(description, torch.device("cpu")))[0] == description


def test_strides_of_dimensions_of_size_1_are_no_part_of_a_layout() -> None:
    one, other = torch.empty(1, 2, 3).permute(0, 2, 1), torch.empty(2, 3, 1).permute(2, 1, 0)
    assert one.stride() != other.stride()
    assert describe(one) == describe(other)


@given(tensors())
def test_memory_layout_survives_the_crossing(tensor: torch.Tensor) -> None:
    block, description = Block.sealed(tensor)
    copy = read(description, map_block(block.descriptor, shared=False))
    # The stride of a dimension of size 1 means nothing, nor does any of an empty tensor.
    meaningful = [dim for dim, size in enumerate(tensor.shape) if size > 1 and tensor.numel()]
    assert [copy.stride(dim) for dim in meaningful] == [tensor.stride(dim) for dim in meaningful]


def laid_out_alike(copy: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Whether alignment, gaps and order are the same; of a thin view, which is packed on its way, the order may go."""
    packed = not tensor.is_contiguous() and order_of(tensor) is None and steps_of(tensor) is None
    same_order = packed or order_of(copy) == order_of(tensor)
    return offset_of(copy) == offset_of(tensor) and steps_of(copy) == steps_of(tensor) and same_order


@given(tensors() | views())
def test_gaps_and_alignment_survive_the_crossing(tensor: torch.Tensor) -> None:
    block, description = Block.sealed([torch.ones(3), tensor])
    _, arrived = read(description, map_block(block.descriptor, shared=False))
    assert same(arrived, tensor)
    assert laid_out_alike(arrived, tensor)


@given(tensors() | views())
def test_copies_keep_values_gaps_and_alignment(tensor: torch.Tensor) -> None:
    for copy in (same_layout_copy(tensor), to_device([tensor], torch.device("cpu"))[0]):
        assert same(copy, tensor)
        assert laid_out_alike(copy, tensor)
        assert copy.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr() or not tensor.numel()


@given(tensors() | views())
def test_alignment_is_that_of_the_address(tensor: torch.Tensor) -> None:
    if tensor.numel():
        assert offset_of(tensor) * tensor.element_size() == tensor.data_ptr() % ALIGNMENT


def test_what_a_candidate_returns_is_described_without_gaps_and_alignment() -> None:
    plain = torch.ones(3, 2)
    assert describe(torch.ones(6, 2)[::2]) == describe(plain)
    assert describe(torch.ones(7)[1:].view(3, 2)) == describe(plain)


@pytest.mark.parametrize(
    "view",
    [torch.ones(1, 4).expand(3, 4), torch.ones(10).as_strided((4, 3), (1, 1)), torch.ones(100, 100)[:, 0]],
    ids=["expanded", "windows", "column"],
)
def test_shared_elements_and_thin_views_are_packed(view: torch.Tensor) -> None:
    assert steps_of(view) is None
    block, description = Block.sealed(view)
    arrived = read(description, map_block(block.descriptor, shared=False))
    assert arrived.is_contiguous()
    assert same(arrived, view)
    assert same(same_layout_copy(view), view)


def test_gaps_of_a_copy_hold_zeros() -> None:
    copy = same_layout_copy(torch.full((8,), 7.0)[::2])
    assert torch.as_strided(copy, (7,), (1,)).tolist() == [7, 0, 7, 0, 7, 0, 7]


def same(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return left == right


def test_sealed_block_cannot_be_written() -> None:
    block, _ = Block.sealed(torch.ones(8))
    with pytest.raises(PermissionError):
        os.pwrite(block.descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        map_block(block.descriptor, shared=True)


def test_private_mapping_keeps_writes_to_itself() -> None:
    block, description = Block.sealed(torch.ones(8))
    read(description, map_block(block.descriptor, shared=False)).zero_()
    assert read(description, map_block(block.descriptor, shared=False)).sum() == 8


def test_shared_block_carries_outputs_back() -> None:
    outputs = (torch.arange(6.0).reshape(2, 3), torch.tensor([True, False]))
    description, size = describe(outputs)
    block = Block(size)
    write(outputs, description, map_block(block.descriptor, shared=True))
    assert same(read(description, map_block(block.descriptor, shared=False)), outputs)


def test_size_counts_every_tensor_once() -> None:
    tree = {"a": torch.ones(3), "b": [torch.ones(2, dtype=torch.float64), 5]}
    assert size_bytes(tree) == 3 * 4 + 2 * 8
    assert len(list(leaves(tree))) == 2


def test_value_that_is_no_data_is_refused() -> None:
    with pytest.raises(UnsupportedValue, match="a Linear cannot be passed"):
        describe([torch.nn.Linear(1, 1)])


def test_order_of_names_is_no_part_of_a_result() -> None:
    first, second = torch.zeros(2), torch.ones(3)
    one, other = {"a": first, "b": second}, {"b": second, "a": first}
    assert describe(one) == describe(other)
    assert [leaf.numel() for leaf in leaves(other)] == [2, 3]
    assert list(map_tree(other, lambda tensor: tensor.numel()).items()) == [("a", 2), ("b", 3)]


class Lazy(dict[str, torch.Tensor]):
    """Would make its values when it is asked for them, after the clock has stopped."""

    def items(self) -> Any:
        return {"late": torch.ones(1)}.items()


class LazyList(list[torch.Tensor]):
    """The same for a list."""

    def __iter__(self) -> Any:
        return iter([torch.ones(1)])


def test_containers_hold_what_they_hold_and_not_what_they_say() -> None:
    assert list(leaves(Lazy())) == []
    assert list(leaves(LazyList())) == []
    assert describe([Lazy(), LazyList()])[0] == {"list": [{"dict": []}, {"list": []}]}
