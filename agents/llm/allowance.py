"""How long a reply the budget still allows: asked before every call, so no call can overspend.

The prompt is counted with the tokenizer LiteLLM has for the model; an endpoint that counts more can overshoot
by that difference once, after which the true usage is on the books.
"""

import math

from everforge.agents.llm.pricing import Price
from everforge.errors import BudgetExceeded
from everforge.model.budget import Budget, Spend

# A reply of fewer tokens holds no kernel: the shortest useful Triton candidates have about 400.
MIN_REPLY_TOKENS = 512
# More than any model writes.
_UNLIMITED = 1 << 40


def reply_allowance(budget: Budget, spent: Spend, prompt_tokens: int, max_tokens: int, price: Price | None) -> int:
    """The largest `max_tokens` for the next call that cannot overspend.

    Raises BudgetExceeded when not even the shortest useful reply fits.
    """
    least = min(MIN_REPLY_TOKENS, max_tokens)
    refusal = budget.refusal(spent, cost_of(prompt_tokens, least, price))
    if refusal is not None:
        raise BudgetExceeded(f"no further model call: {refusal}")
    fitting = min(
        max_tokens,
        _by_tokens(budget, spent, prompt_tokens),
        _by_dollars(budget, spent, prompt_tokens, price),
    )
    if budget.refusal(spent, cost_of(prompt_tokens, fitting, price)) is not None:
        fitting -= 1  # the division's last bit rounded up
    return max(least, fitting)


def cost_of(prompt_tokens: int, completion_tokens: int, price: Price | None) -> Spend:
    """What a call of that many tokens uses; dollars stay 0 where the price is unknown."""
    dollars = 0.0 if price is None else price.dollars(prompt_tokens, completion_tokens)
    return Spend(tokens=prompt_tokens + completion_tokens, dollars=dollars)


def _by_tokens(budget: Budget, spent: Spend, prompt_tokens: int) -> int:
    return _UNLIMITED if budget.tokens is None else budget.tokens - spent.tokens - prompt_tokens


def _by_dollars(budget: Budget, spent: Spend, prompt_tokens: int, price: Price | None) -> int:
    if budget.dollars is None or price is None or price.completion_dollars == 0:
        return _UNLIMITED
    left = budget.dollars - spent.dollars - price.dollars(prompt_tokens, 0)
    return math.floor(left / price.completion_dollars)
