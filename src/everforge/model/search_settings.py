"""How a campaign searches: which policy asks the model, under which seed, and when it gives up for good reason.

The manifest's `search` becomes one of these in `CampaignSpec`; `search/policies/` and `search/stop_rules.py` read it.
"""

from enum import StrEnum

from pydantic import Field

from everforge.model.base import Record


class PolicyKind(StrEnum):
    """Who decides what the model is asked next; each is one file in `search/policies/`."""

    GREEDY = "greedy"
    MAP_ELITES = "map-elites"
    TREE = "tree"


class Plateau(Record):
    """Stop when the best speedup has not grown by `percent` for `trials` judged candidates."""

    # 20 candidates are half of the default budget; 1 % is about what an interval of a quiet device spans.
    trials: int = Field(20, ge=1, description="Judged candidates in a row without that much gained")
    percent: float = Field(1.0, gt=0, description="Growth of the best speedup that still counts")


class SearchSettings(Record):
    """Everything that steers a search; None leaves a stop rule out."""

    policy: PolicyKind = PolicyKind.GREEDY
    seed: int = Field(0, ge=0, description="Seed of the policy's own draws")
    plateau: Plateau | None = None
    sol_fraction: float | None = Field(
        None, gt=0, le=1, description="Stop once a champion is confirmed at this share of the roofline's rate"
    )
