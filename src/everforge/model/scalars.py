"""Texts and times as Kubernetes objects write them: names, decimals, quantities, timestamps.

Every text has a longest length, because the API server refuses a rule over texts that may be of any length.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, Field, PlainSerializer

# 2**53 - 1: JSON readers that keep every number as a float lose digits above it.
MAX_INTEGER = 9007199254740991

LABEL = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SUBDOMAIN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
CONFIG_KEY = "^[-._a-zA-Z0-9]+$"
# A label's key: a name, after the domain of whoever owns it. nvidia.com/gpu is written so, too.
QUALIFIED_NAME = (
    "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    "[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$"
)
LABEL_VALUE = "^([a-zA-Z0-9]([-._a-zA-Z0-9]*[a-zA-Z0-9])?)?$"
DECIMAL = "^[0-9]{1,6}([.][0-9]{1,4})?$"
FRACTION = "^(0[.][0-9]*[1-9][0-9]*|1([.]0+)?)$"
QUANTITY = "^[0-9]{1,9}([.][0-9]{1,3})?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
ARCHITECTURE = "^[a-z0-9][a-z0-9_.-]*$"
COMMIT = "^[0-9a-f]{40}$"
DIGEST = "^sha256:[0-9a-f]{64}$"
PINNED_IMAGE = "^[a-zA-Z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$"
IMAGE = "^[a-zA-Z0-9][a-zA-Z0-9._:/-]*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]*|@sha256:[0-9a-f]{64})$"

# What a pattern asks for, in words that follow `must be`.
MEANINGS = {
    LABEL: "lower-case letters, digits and dashes, such as softmax-lse",
    SUBDOMAIN: "lower-case letters, digits, dashes and dots, such as llm-keys",
    CONFIG_KEY: "letters, digits, dashes, underscores and dots, such as task.py",
    QUALIFIED_NAME: "a name, with or without a domain before it, such as nvidia.com/gpu",
    LABEL_VALUE: "a label's value: letters, digits, dashes, underscores and dots",
    DECIMAL: 'a decimal number in quotes, such as "1.5"',
    FRACTION: 'a share in quotes, above 0 and at most 1, such as "0.9"',
    QUANTITY: 'a quantity in quotes, such as "500m" or "16Gi"',
    ARCHITECTURE: "an architecture in lower case, such as x86_64, sm_90, xe2",
    COMMIT: "a full commit: 40 hex digits",
    DIGEST: "a digest: sha256:<64 hex digits>",
    PINNED_IMAGE: "an image pinned by digest: name@sha256:<64 hex digits>",
    IMAGE: "an image with a tag or a digest, such as everforge/runner-cpu:1.0",
}

# A tool's version as it says itself, and how many tools are worth telling.
MAX_VERSION = 256
MAX_VERSIONS = 16

DnsLabel = Annotated[str, Field(pattern=LABEL, max_length=63)]
DnsSubdomain = Annotated[str, Field(pattern=SUBDOMAIN, max_length=253)]
ConfigKey = Annotated[str, Field(pattern=CONFIG_KEY, max_length=253)]
QualifiedName = Annotated[str, Field(pattern=QUALIFIED_NAME, max_length=253)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE, max_length=63)]
Decimal = Annotated[str, Field(pattern=DECIMAL, max_length=11)]
Fraction = Annotated[str, Field(pattern=FRACTION, max_length=8)]
Quantity = Annotated[str, Field(pattern=QUANTITY, max_length=16)]
Commit = Annotated[str, Field(pattern=COMMIT, max_length=40)]
Digest = Annotated[str, Field(pattern=DIGEST, max_length=71)]
PinnedImage = Annotated[str, Field(pattern=PINNED_IMAGE, max_length=512)]
Image = Annotated[str, Field(pattern=IMAGE, max_length=512)]
Version = Annotated[str, Field(max_length=MAX_VERSION)]
Versions = Annotated[dict[Annotated[str, Field(max_length=63)], Version], Field(max_length=MAX_VERSIONS)]
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
