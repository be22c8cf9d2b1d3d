"""How a result differs is told in one phrase; a description that no honest process gives is evidence, not a crash."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.verdict import Verdict
from everforge.runners.tensors.trees import Tree, describe
from everforge.runners.trial import Judged, result_difference

EXPECTED, _ = describe((torch.zeros(2, 3), []))
PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
NAMES = st.sampled_from(["tuple", "list", "dict", "tensor", "shape", "dtype", "device", "order"]) | st.text(max_size=3)


@pytest.mark.parametrize(
    ("outputs", "phrase"),
    [
        (torch.zeros(3, 2), "output has shape [3, 2], the reference has [2, 3]"),
        (torch.zeros(2, 3, dtype=torch.int64), "output has dtype int64, the reference has float32"),
        (torch.zeros(3, 2).t(), "output has another memory layout than the reference's"),
        ((torch.zeros(2, 3), torch.zeros(2, 3)), "returns a tuple of 2, the reference returns one tensor"),
    ],
)
def test_difference_is_named(outputs: Tree, phrase: str) -> None:
    assert result_difference(describe((outputs, []))[0], EXPECTED) == phrase


@given(st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)))
def test_no_description_breaks_the_parent(described: Any) -> None:
    assert isinstance(judged(described), str | Verdict)


def judged(described: Any) -> str | Verdict | None:
    try:
        return result_difference(described, EXPECTED)
    except Judged as error:
        return error.verdict
