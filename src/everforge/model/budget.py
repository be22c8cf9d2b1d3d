"""Budget and spend: one value each, compared before anything is spent."""

from pydantic import Field

from everforge.model.base import Record


class Spend(Record):
    """What has been used so far."""

    trials: int = 0
    seconds: float = Field(0.0, description="Wall time of the campaign")
    device_seconds: float = Field(0.0, description="Time a device was held by evaluations")
    tokens: int = Field(0, description="LLM tokens, prompt and completion")
    dollars: float = Field(0.0, description="LLM cost")

    def plus(self, other: "Spend") -> "Spend":
        """The sum of two spends, field by field."""
        return Spend(**{name: getattr(self, name) + getattr(other, name) for name in Spend.model_fields})


class Budget(Record):
    """What a campaign may use; None is no limit."""

    trials: int | None = Field(None, ge=1)
    seconds: float | None = Field(None, gt=0)
    device_seconds: float | None = Field(None, gt=0)
    tokens: int | None = Field(None, ge=0)
    dollars: float | None = Field(None, ge=0)

    def refusal(self, spent: Spend, ahead: Spend) -> str | None:
        """Why `ahead` may not be spent on top of `spent`, or None if it may.

        A limit already reached refuses any step; a step of a known size is refused when it would overshoot.
        """
        after = spent.plus(ahead)
        for name in Budget.model_fields:
            limit, planned = getattr(self, name), getattr(after, name)
            if limit is None:
                continue
            already = getattr(spent, name)
            if planned > limit or (already >= limit and name in ("seconds", "device_seconds")):
                used = f"{already:.6g} of {limit:g} {name.replace('_', ' ')} used"
                return used if already >= limit else f"{used}, the next step needs {planned - already:g}"
        return None
