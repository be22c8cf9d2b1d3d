"""Who gets a runner of a pool: priority, then turns between namespaces; whoever idles makes room.

Pure, and used only where no Kueue queue is named: with one, Kueue admits Jobs and this limiter steps aside.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Asking:
    """A claim as the limiter sees it. `held` means that a runner of it may be using a device."""

    uid: str
    namespace: str
    priority: int
    asked_s: float
    held: bool = False
    held_since_s: float | None = None
    idle_since_s: float | None = None
    idle_seconds: int = 60


@dataclass(frozen=True)
class Shares:
    """The limiter's answer, as uids of claims; `waiting` is in the order of turns."""

    granted: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    next_idle_s: float | None = None


def shared_out(
    asking: Sequence[Asking],
    slots: int,
    occupied_by_others: int,
    now_s: float,
    served_s: Mapping[str, float] | None = None,
) -> Shares:
    """Give free slots away; take back runners that idle while somebody waits.

    slots: runners the pool may have at once. occupied_by_others: runners whose claim is gone, still ending.
    served_s: namespace to when a claim that asks for nothing any more last had a runner.
    A runner at work is never taken back, not even when `slots` was lowered below what is held.
    """
    holders = [claim for claim in asking if claim.held]
    queue = in_turn(asking, served_s or {})
    free = max(0, slots - occupied_by_others - len(holders))
    granted, waiting = queue[:free], queue[free:]
    contended = len(waiting) + max(0, len(holders) + occupied_by_others - slots)
    revoked = idlest(holders, now_s)[:contended]
    return Shares(
        granted=tuple(claim.uid for claim in granted),
        revoked=tuple(claim.uid for claim in revoked),
        waiting=tuple(claim.uid for claim in waiting),
        next_idle_s=next_idle(holders, now_s) if waiting else None,
    )


def in_turn(asking: Sequence[Asking], served_s: Mapping[str, float]) -> list[Asking]:
    """The claims without a runner, in the order in which they get one.

    A higher priority goes first; among equals the namespace that holds fewest, then the one served longest ago.
    """
    held = Counter(claim.namespace for claim in asking if claim.held)
    served = dict(served_s)
    for claim in asking:
        if claim.held_since_s is not None:
            served[claim.namespace] = max(served.get(claim.namespace, 0.0), claim.held_since_s)
    left = [claim for claim in asking if not claim.held]
    order: list[Asking] = []
    while left:
        first = min(
            left,
            key=lambda c: (-c.priority, held[c.namespace], served.get(c.namespace, 0.0), c.asked_s, c.uid),
        )
        left.remove(first)
        held[first.namespace] += 1
        order.append(first)
    return order


def idlest(holders: Iterable[Asking], now_s: float) -> list[Asking]:
    """The claims that idle for longer than they may, the longest first."""
    idle = [claim for claim in holders if (until := idle_until(claim)) is not None and until <= now_s]
    return sorted(idle, key=lambda claim: (claim.idle_since_s or 0.0, claim.uid))


def next_idle(holders: Iterable[Asking], now_s: float) -> float | None:
    """Seconds until the next claim has idled for as long as it may; None if none idles."""
    times = [until - now_s for claim in holders if (until := idle_until(claim)) is not None and until > now_s]
    return min(times, default=None)


def idle_until(claim: Asking) -> float | None:
    """When an idle claim may be revoked."""
    return None if claim.idle_since_s is None else claim.idle_since_s + claim.idle_seconds
