"""Several rows or launches of one kernel as one: adapters beside this file make a KernelProfile of each row first."""

from collections.abc import Callable, Iterable, Sequence

from everforge.model.kernel_profile import KernelProfile, Stall, ranked

_SUMS = ("time_us", "bytes_read", "bytes_written")
_MEANS = (
    "waves",
    "occupancy_achieved",
    "occupancy_theoretical",
    "busy_share",
    "l2_hit_rate",
    "matrix_utilisation",
    "bandwidth_bytes_per_s",
    "flops_per_s",
)
_LARGEST = (
    "threads_per_block",
    "blocks",
    "registers_per_thread",
    "spilled_bytes",
    "shared_bytes",
    "pipeline_stages",
)


def merged(rows: Iterable[KernelProfile]) -> tuple[KernelProfile, ...]:
    """One record for each name, largest share of time first.

    A sum is known if every row knows its part, a mean if any row does: rows without it have no weight.
    """
    by_name: dict[str, list[KernelProfile]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return ranked(_one(name, same) for name, same in by_name.items())


def _one(name: str, rows: Sequence[KernelProfile]) -> KernelProfile:
    if len(rows) == 1:
        return rows[0]
    fields: dict[str, object] = {field: _of_all(rows, field, sum) for field in (*_SUMS, "launches")}
    fields |= {field: _mean(rows, field) for field in _MEANS}
    fields |= {field: _largest(rows, field) for field in _LARGEST}
    return KernelProfile(name=name, stalls=_stalls(rows), block_limits=_limits(rows), **fields)


def _of_all(rows: Sequence[KernelProfile], field: str, combine: Callable[[list[float]], float]) -> float | None:
    values = [value for row in rows if (value := getattr(row, field)) is not None]
    return combine(values) if len(values) == len(rows) else None


def _largest(rows: Sequence[KernelProfile], field: str) -> int | None:
    return max((value for row in rows if (value := getattr(row, field)) is not None), default=None)


def _mean(rows: Sequence[KernelProfile], field: str) -> float | None:
    """Weighted by time; by launches where no row has a time."""
    known: list[tuple[float, KernelProfile]] = [
        (value, row) for row in rows if (value := getattr(row, field)) is not None
    ]
    weights = [row.time_us or 0.0 for _, row in known]
    if sum(weights) <= 0:
        weights = [float(row.launches or 1) for _, row in known]
    if not known:
        return None
    mean = sum(value * weight for (value, _), weight in zip(known, weights, strict=True)) / sum(weights)
    values = [value for value, _ in known]
    return min(max(mean, min(values)), max(values))  # rounding must not carry a share above 1


def _stalls(rows: Sequence[KernelProfile]) -> tuple[Stall, ...]:
    """Each reason's mean over the rows that tell reasons; a reason that a row leaves out had no share in it."""
    telling = [row for row in rows if row.stalls]
    reasons = dict.fromkeys(stall.reason for row in telling for stall in row.stalls)
    weights = [row.time_us or 0.0 for row in telling]
    weights = weights if sum(weights) > 0 else [1.0] * len(telling)
    shares = {reason: 0.0 for reason in reasons}
    for row, weight in zip(telling, weights, strict=True):
        for stall in row.stalls:
            shares[stall.reason] += stall.share * weight / sum(weights)
    return largest_first(Stall(reason=reason, share=min(1.0, share)) for reason, share in shares.items())


def largest_first(stalls: Iterable[Stall]) -> tuple[Stall, ...]:
    """Stalls by their share."""
    return tuple(sorted(stalls, key=lambda stall: (-stall.share, stall.reason)))


def _limits(rows: Sequence[KernelProfile]) -> dict[str, int]:
    """The tightest limit of any row: what holds the largest launch back."""
    limits: dict[str, int] = {}
    for row in rows:
        for resource, blocks in row.block_limits.items():
            limits[resource] = min(blocks, limits.get(resource, blocks))
    return limits
