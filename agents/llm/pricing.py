"""What a call costs: by the user's price, else by LiteLLM's table; a dollars budget needs one of them."""

from collections.abc import Mapping
from typing import Any

from everforge.errors import UsageError
from everforge.model.base import Record
from everforge.model.budget import Budget
from everforge.model.campaign import ModelSettings

_PER_MILLION = 1e6


class Price(Record):
    """Dollars for one token."""

    prompt_dollars: float
    completion_dollars: float

    def dollars(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Cost of one call."""
        return prompt_tokens * self.prompt_dollars + completion_tokens * self.completion_dollars


def price_of(settings: ModelSettings, table: Mapping[str, Mapping[str, Any]], budget: Budget) -> Price | None:
    """The price of a model; None where nobody knows it and nobody asked.

    `table` is LiteLLM's: model name to an entry with `input_cost_per_token` and `output_cost_per_token`.
    Raises UsageError when the budget limits dollars and a price is unknown.
    """
    entry = _entry(settings.model, table)
    prompt = _first(_per_token(settings.input_dollars_per_million), entry.get("input_cost_per_token"))
    completion = _first(_per_token(settings.output_dollars_per_million), entry.get("output_cost_per_token"))
    if prompt is not None and completion is not None:
        return Price(prompt_dollars=prompt, completion_dollars=completion)
    if budget.dollars is None:
        return None
    unknown = {"llm.inputDollarsPerMillion": prompt, "llm.outputDollarsPerMillion": completion}
    fields = " and ".join(name for name, value in unknown.items() if value is None)
    raise UsageError(
        f"the budget limits dollars, but the price of model {settings.model} is unknown: "
        f"set {fields} in the manifest, or limit tokens instead of dollars"
    )


def _entry(model: str, table: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The table lists OpenAI's and Anthropic's models bare, others below their provider's name."""
    provider, _, bare = model.partition("/")
    if model in table:
        return table[model]
    entry = table.get(bare, {})
    return entry if entry.get("litellm_provider") == provider else {}


def _per_token(per_million: float | None) -> float | None:
    return None if per_million is None else per_million / _PER_MILLION


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
