"""A budget refuses before it is overspent, and names the limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from everforge.model.budget import Budget, Spend

LIMITS = tuple(Budget.model_fields)
# Integers below 2**20: their sums are exact as floats too.
amounts = st.integers(0, 1 << 20)
spends = st.builds(Spend, **dict.fromkeys(Spend.model_fields, amounts))


@given(spent=spends, ahead=spends)
def test_no_limit_refuses_nothing(spent: Spend, ahead: Spend) -> None:
    assert Budget().refusal(spent, ahead) is None


@pytest.mark.parametrize("limit", LIMITS)
@given(size=st.integers(1, 1000), beyond=st.integers(1, 1000))
def test_step_that_would_overshoot_is_refused_and_the_limit_named(limit: str, size: int, beyond: int) -> None:
    refusal = Budget(**{limit: size}).refusal(Spend(), Spend(**{limit: size + beyond}))
    assert refusal is not None
    assert refusal.startswith(f"0 of {size} {limit.replace('_', ' ')} used")


@pytest.mark.parametrize("limit", LIMITS)
@given(size=st.integers(1, 1000))
def test_step_that_exactly_fits_is_allowed(limit: str, size: int) -> None:
    assert Budget(**{limit: size}).refusal(Spend(), Spend(**{limit: size})) is None


@pytest.mark.parametrize("limit", ["seconds", "device_seconds"])
def test_time_that_has_run_out_refuses_a_step_of_unknown_length(limit: str) -> None:
    assert Budget(**{limit: 10}).refusal(Spend(**{limit: 10}), Spend()) is not None
    assert Budget(**{limit: 10}).refusal(Spend(**{limit: 9.99}), Spend()) is None


@pytest.mark.parametrize("limit", ["trials", "tokens", "dollars"])
def test_counted_limit_that_is_reached_allows_a_step_that_needs_none_of_it(limit: str) -> None:
    assert Budget(**{limit: 10}).refusal(Spend(**{limit: 10}), Spend()) is None


@pytest.mark.parametrize("limit", ["tokens", "dollars"])
def test_budget_of_zero_refuses_the_first_token_and_the_first_dollar(limit: str) -> None:
    assert Budget(**{limit: 0}).refusal(Spend(), Spend(**{limit: 1})) is not None


@given(spent=spends, ahead=spends, limit=st.sampled_from(LIMITS), size=st.integers(1, 1 << 21))
def test_allowed_step_never_ends_beyond_the_limit(spent: Spend, ahead: Spend, limit: str, size: int) -> None:
    if Budget(**{limit: size}).refusal(spent, ahead) is None:
        assert getattr(spent.plus(ahead), limit) <= size


@given(one=spends, other=spends, third=spends)
def test_spends_add_up_in_any_order(one: Spend, other: Spend, third: Spend) -> None:
    assert one.plus(other).plus(third) == third.plus(one.plus(other))
    assert one.plus(Spend()) == one


@pytest.mark.parametrize("limit", LIMITS)
def test_negative_limit_is_not_a_budget(limit: str) -> None:
    with pytest.raises(ValidationError, match=limit):
        Budget(**{limit: -1})
