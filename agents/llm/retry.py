"""When to ask a model's endpoint again: pure decisions on attempts and delays; `exchange.py` sleeps by them."""

import email.utils
import math

from pydantic import Field

from everforge.model.base import Record


class RetryPolicy(Record):
    """How patiently an endpoint is asked."""

    attempts: int = Field(5, ge=1, description="Calls in all: the waits add up to 15 s without Retry-After")
    first_delay_s: float = Field(1.0, gt=0, description="Doubles with every attempt")
    max_delay_s: float = Field(30.0, gt=0, description="Longest wait of our own choosing")
    max_retry_after_s: float = Field(
        300.0, gt=0, description="Longest wait an endpoint may ask for: rate limits refill within minutes"
    )

    def delay_s(self, failed: int, retry_after_s: float | None) -> float | None:
        """Seconds to wait after the `failed`-th failure in a row (from 1); None to give up.

        An endpoint's Retry-After is a lower bound; one above the limit means it is down for us.
        """
        if failed >= self.attempts:
            return None
        own = min(self.max_delay_s, self.first_delay_s * 2.0 ** (failed - 1))
        if retry_after_s is None:
            return own
        return None if retry_after_s > self.max_retry_after_s else max(own, retry_after_s)


def retry_after_seconds(header: str | None, now_s: float) -> float | None:
    """Seconds a Retry-After header asks for (RFC 9110, 10.2.3: a number or a date); None if it says nothing."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _until_date_s(header, now_s)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until_date_s(header: str, now_s: float) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None
