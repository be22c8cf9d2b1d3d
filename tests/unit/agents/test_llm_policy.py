"""Retries, prices and allowances: the pure decisions around a call."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from everforge.agents.llm.allowance import MIN_REPLY_TOKENS, cost_of, reply_allowance
from everforge.agents.llm.pricing import Price, price_of
from everforge.agents.llm.retry import RetryPolicy, retry_after_seconds
from everforge.errors import BudgetExceeded, UsageError
from everforge.model.budget import Budget, Spend
from everforge.model.campaign import ModelSettings

NOW_S = 1_700_000_000.0
TABLE = {
    "gpt-x": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6},
    "groq/llama": {"litellm_provider": "groq", "input_cost_per_token": 2e-7, "output_cost_per_token": 3e-7},
    "free": {"litellm_provider": "openai", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    "half": {"litellm_provider": "openai", "input_cost_per_token": 1e-6},
}


def test_waits_double_up_to_the_limit_and_end() -> None:
    policy = RetryPolicy(attempts=8, first_delay_s=1.0, max_delay_s=5.0)
    assert [policy.delay_s(failed, None) for failed in range(1, 9)] == [1, 2, 4, 5, 5, 5, 5, None]


def test_retry_after_is_a_lower_bound_up_to_its_limit() -> None:
    policy = RetryPolicy(first_delay_s=4.0, max_retry_after_s=60.0)
    assert policy.delay_s(1, 0.5) == 4.0
    assert policy.delay_s(1, 60.0) == 60.0
    assert policy.delay_s(1, 61.0) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, expected: float | None) -> None:
    assert retry_after_seconds(header, NOW_S) == expected


@given(st.text(max_size=40))
def test_any_retry_after_is_a_wait_or_nothing(header: str) -> None:
    wait_s = retry_after_seconds(header, NOW_S)
    assert wait_s is None or wait_s >= 0.0


@pytest.mark.parametrize(
    ("model", "prompt_dollars"), [("gpt-x", 1e-6), ("openai/gpt-x", 1e-6), ("groq/llama", 2e-7), ("free", 0.0)]
)
def test_listed_price_is_found_with_or_without_provider(model: str, prompt_dollars: float) -> None:
    price = price_of(ModelSettings(model=model), TABLE, Budget(dollars=1.0))
    assert price is not None
    assert price.prompt_dollars == prompt_dollars


def test_price_of_another_provider_is_not_taken() -> None:
    assert price_of(ModelSettings(model="elsewhere/gpt-x"), TABLE, Budget()) is None


def test_given_price_goes_before_the_list() -> None:
    settings = ModelSettings(model="gpt-x", input_dollars_per_million=10.0, output_dollars_per_million=20.0)
    price = price_of(settings, TABLE, Budget())
    assert price is not None
    assert price.dollars(1_000_000, 1_000_000) == pytest.approx(30.0)


def test_only_the_missing_price_is_asked_for() -> None:
    with pytest.raises(UsageError, match=r"set llm\.outputDollarsPerMillion in the manifest"):
        price_of(ModelSettings(model="half"), TABLE, Budget(dollars=1.0))


def test_unknown_price_without_a_dollars_budget_is_unknown() -> None:
    assert price_of(ModelSettings(model="nobody/knows"), TABLE, Budget(tokens=5)) is None


def test_unlimited_budget_allows_the_longest_reply() -> None:
    assert reply_allowance(Budget(), Spend(), 1000, 8192, None) == 8192


def test_reply_shorter_than_the_shortest_useful_one_may_be_asked_for() -> None:
    assert reply_allowance(Budget(tokens=200), Spend(), 100, 64, None) == 64


def test_too_little_left_for_a_useful_reply_refuses_with_the_numbers() -> None:
    with pytest.raises(BudgetExceeded, match="500 of 2000 tokens used"):
        reply_allowance(Budget(tokens=2000), Spend(tokens=500), 1000, 8192, None)


def test_spent_wall_time_refuses_a_call() -> None:
    with pytest.raises(BudgetExceeded, match="10 of 10 seconds used"):
        reply_allowance(Budget(seconds=10), Spend(seconds=10), 100, 1000, None)


# In picodollars: what costs less than that a token vanishes beside a dollar in a float.
DOLLARS = st.integers(0, 10**9).map(lambda picodollars: picodollars * 1e-12)
PRICES = st.builds(Price, prompt_dollars=DOLLARS, completion_dollars=DOLLARS)


@given(
    tokens=st.none() | st.integers(0, 200_000),
    dollars=st.none() | st.floats(0, 5),
    spent=st.builds(Spend, tokens=st.integers(0, 200_000), dollars=st.floats(0, 5)),
    prompt_tokens=st.integers(1, 50_000),
    max_tokens=st.integers(1, 131_072),
    price=PRICES,
)
def test_allowed_call_never_overspends_and_is_as_long_as_it_can_be(
    tokens: int | None, dollars: float | None, spent: Spend, prompt_tokens: int, max_tokens: int, price: Price
) -> None:
    budget = Budget(tokens=tokens, dollars=dollars)
    try:
        allowed = reply_allowance(budget, spent, prompt_tokens, max_tokens, price)
    except BudgetExceeded:
        least = min(MIN_REPLY_TOKENS, max_tokens)
        assert budget.refusal(spent, cost_of(prompt_tokens, least, price)) is not None
        return
    assert min(MIN_REPLY_TOKENS, max_tokens) <= allowed <= max_tokens
    assert budget.refusal(spent, cost_of(prompt_tokens, allowed, price)) is None
    assume(allowed + 2 <= max_tokens)
    assert budget.refusal(spent, cost_of(prompt_tokens, allowed + 2, price)) is not None
