"""Trees of tensors cross to another process unchanged, and what was sealed stays as it is."""

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everforge.runners.tensors import (
    Block,
    UnsupportedValue,
    blank,
    describe,
    leaves,
    map_block,
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
