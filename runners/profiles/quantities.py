"""Numbers as profilers print them: thousands separators, units with prefixes, and words for no value.

The adapters beside this file use it. Everything comes out in base units: seconds, bytes, shares from 0 to 1.
"""

import re

# ncu: n/a, nan, (!) nan; unitrace: unknown; torch: N/A.
_NO_VALUE = {"", "-", "n/a", "nan", "(!) nan", "unknown", "none", "inf", "-inf", "(!) n/a"}
# No counter comes near; sums, rates and units of what lies below stay finite numbers.
_LARGEST = 1e30
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+|(?=\.[0-9]))(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?")
_PREFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_COUNTED = re.compile(
    r"([KMGTP]?)(bytes?|B|inst|instructions?|requests?|cycles?|registers?|threads?|blocks?|sectors?|warps?|events|messages)"
)
_SECONDS = {"s": 1.0, "second": 1.0, "ms": 1e-3, "msecond": 1e-3, "us": 1e-6, "usecond": 1e-6}
_SECONDS |= {"ns": 1e-9, "nsecond": 1e-9, "sec": 1.0}
_PER_SECOND = {"Bps": 1.0, "KBps": 1e3, "MBps": 1e6, "GBps": 1e9, "TBps": 1e12}


def number(text: str) -> float | None:
    """The value of a cell; None where the tool says that it has none. Raises ValueError for anything else."""
    cell = text.strip().removesuffix("%").rstrip()
    if cell.lower() in _NO_VALUE:
        return None
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f"{text.strip()[:40]!r} is not a number")
    value = float(cell.replace(",", ""))
    if abs(value) > _LARGEST:
        raise ValueError(f"{cell[:40]!r} is more than anything that is measured")
    return value if abs(value) > 1 / _LARGEST else 0.0


def factor(unit: str) -> float:
    """What a value in a unit is multiplied by to be in base units: `Kbyte/block` 1000, `%` 0.01, `usecond` 1e-6.

    Prefixes are powers of 1000, as the tools use them. Raises ValueError for a unit that no export has had so far.
    """
    if unit in _PER_SECOND:
        return _PER_SECOND[unit]
    above, _, below = unit.partition("/")
    return _simple(above, unit) / (_simple(below, unit) if below else 1.0)


def _simple(unit: str, whole: str) -> float:
    if unit == "%":
        return 0.01
    if unit in ("", "1"):
        return 1.0
    if unit in _SECONDS:
        return _SECONDS[unit]
    counted = _COUNTED.fullmatch(unit)
    if counted is None:
        raise ValueError(f"the unit {whole[:40]!r} is not known")
    return _PREFIXES[counted[1]]


def share(value: float | None) -> float | None:
    """A share within its bounds: counters of different passes can make 100.3 %. None stays None."""
    return None if value is None else min(1.0, max(0.0, value))


def whole(value: float | None) -> int | None:
    """A count that a tool printed with decimals. None stays None."""
    return None if value is None else round(value)
