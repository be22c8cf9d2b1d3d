"""A failure told in a form that no honest worker gives it is evidence, whatever it holds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.runners.told_failure import Misreported, told_failure
from everforge.runners.worker import failure_of

PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


def test_failure_that_a_worker_makes_is_read() -> None:
    told = told_failure({"failure": failure_of(ValueError("too\nlong" * 1000))})
    assert told is not None
    assert told.line.startswith("ValueError: too")


def test_answer_without_a_failure_tells_of_none() -> None:
    assert told_failure({"times_us": []}) is None


@given(st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner)))
def test_anything_else_is_misreported(failure: Any) -> None:
    with pytest.raises(Misreported):
        told_failure({"failure": failure})
