"""Texts and times as Kubernetes objects write them: names, decimals, quantities, timestamps.

Every text has a longest length, because the API server refuses a rule over texts that may be of any length.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, Field, PlainSerializer

# 2**53 - 1: JSON readers that keep every number as a float lose digits above it.
MAX_INTEGER = 9007199254740991

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
DnsSubdomain = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253)
]
ConfigKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
# A label's key: a name, after the domain of whoever owns it. nvidia.com/gpu is written so, too.
QUALIFIED_NAME = (
    "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    "[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$"
)
QualifiedName = Annotated[str, Field(pattern=QUALIFIED_NAME, max_length=253)]
LabelValue = Annotated[str, Field(pattern=r"^([a-zA-Z0-9]([-._a-zA-Z0-9]*[a-zA-Z0-9])?)?$", max_length=63)]
Decimal = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,4})?$", max_length=11)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,3})?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$", max_length=16)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
PositiveCount = Annotated[int, Field(ge=1, le=MAX_INTEGER)]


def _rfc3339(time: datetime) -> str:
    """UTC in whole seconds, as the API server writes times itself."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parsed(time: object) -> object:
    """The time of a text; all else is left to pydantic, which in strict mode takes no text for a time."""
    return datetime.fromisoformat(time) if isinstance(time, str) else time


Timestamp = Annotated[
    AwareDatetime, BeforeValidator(_parsed), PlainSerializer(_rfc3339, return_type=str, when_used="json")
]


def decimal_text(value: float) -> str:
    """A number as an API field writes it: at most four decimals, no zeros behind the last one.

    Raises ValueError for what a Decimal cannot say: below 0, a million and more, not a number.
    """
    if not 0 <= value < 999_999.999_95:
        raise ValueError(f"a decimal of the API lies from 0 to below a million, got {value}")
    whole, _point, fraction = f"{value:.4f}".partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole
