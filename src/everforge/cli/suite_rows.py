"""From campaigns to a SuiteReport: what each task's row says and how the rows are averaged; pure.

The means: a task that kept its baseline counts 1.0, for the user loses nothing and gains nothing. In the
fp32 mean it counts the ratio of its fastest fp32 baseline to its fastest allowed baseline, which the user has
without Everforge. A refused task is no task and counts nowhere. Intervals are bootstrapped over tasks.
"""

from collections.abc import Sequence

from everforge.model.campaign import CampaignRecord, CampaignState, Champion, StopReason
from everforge.model.device import DeviceKind
from everforge.model.interval import Interval, bootstrap, geometric_mean
from everforge.model.suite import SuiteReport, TaskRow, TaskStatus

# Any fixed seed: the same rows must give the same report.
_BOOTSTRAP_SEED = 20


def row_of_campaign(key: str, record: CampaignRecord, champion_path: str | None) -> TaskRow:
    """The row of a task whose campaign ran to its end."""
    champion = record.champion
    return TaskRow(
        task=key,
        status=_status(record),
        champion=champion_path if champion else None,
        speedup=champion.speedup if champion else None,
        speedup_fp32=champion.speedup_fp32 if champion else None,
        sol_fraction=champion.sol_fraction if champion else None,
        algebraic=champion.algebraic if champion else False,
        baselines_us=next(iter(record.baselines_us.values()), {}),
        trials=record.trials,
        device_seconds=record.spend.device_seconds,
        by_generator=record.by_generator,
        notes=record.notes,
        error=_failure(record),
    )


def _status(record: CampaignRecord) -> TaskStatus:
    if _failure(record):
        return TaskStatus.FAILED
    return TaskStatus.IMPROVED if _improves(record.champion) else TaskStatus.NOT_IMPROVED


def _improves(champion: Champion | None) -> bool:
    return champion is not None and champion.speedup.low > 1


def _failure(record: CampaignRecord) -> str | None:
    """Why the machine let the campaign down; None if it did not, whether or not anything was found."""
    broken = record.stop_reason is StopReason.MACHINE or (
        record.state is CampaignState.FAILED and record.stop_reason is None
    )
    return (record.detail or "the machine kept failing") if broken else None


def row_of_error(key: str, status: TaskStatus, message: str) -> TaskRow:
    """The row of a task that was refused, or whose machine failed before anything was measured."""
    return TaskRow(task=key, status=status, error=message)


def suite_report(device: DeviceKind, device_name: str | None, rows: Sequence[TaskRow]) -> SuiteReport:
    """The rows with their means."""
    counted = [row for row in rows if row.status is not TaskStatus.REFUSED]
    wins = sum(row.status is TaskStatus.IMPROVED for row in counted)
    return SuiteReport(
        device=device,
        device_name=device_name,
        tasks=tuple(rows),
        geomean=_mean([counted_speedup(row) for row in counted]),
        geomean_fp32=_mean([counted_speedup_fp32(row) for row in counted]),
        win_rate=wins / len(counted) if counted else None,
    )


def counted_speedup(row: TaskRow) -> float:
    """What a task counts in the geometric mean."""
    if row.status is TaskStatus.IMPROVED and row.speedup is not None:
        return row.speedup.value
    return 1.0


def counted_speedup_fp32(row: TaskRow) -> float:
    """What a task counts in the mean over the fastest fp32 baseline, which papers quote."""
    if row.status is TaskStatus.IMPROVED and row.speedup_fp32 is not None:
        return row.speedup_fp32
    fp32 = [time_us for name, time_us in row.baselines_us.items() if name.endswith("-fp32")]
    return min(fp32) / min(row.baselines_us.values()) if fp32 else 1.0


def _mean(values: Sequence[float]) -> Interval | None:
    return bootstrap(values, geometric_mean, _BOOTSTRAP_SEED) if values else None
