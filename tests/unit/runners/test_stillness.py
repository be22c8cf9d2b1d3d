"""A candidate whose threads never rest is convicted; one that comes to rest is not, however late."""

from collections.abc import Sequence
from typing import Any

import pytest

from everforge.runners.clock import stillness
from everforge.runners.clock.stillness import Restless, at_rest


class Busy:
    """Stands for a worker and for time: in each stretch of sleep it uses what it is told to."""

    def __init__(self, uses_s: Sequence[float]) -> None:
        self.uses_s = list(uses_s)
        self.now_s = self.used_s = 0.0

    def cpu_seconds(self) -> float:
        return self.used_s

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s
        self.used_s += self.uses_s.pop(0) if self.uses_s else 0.0


def watch(monkeypatch: pytest.MonkeyPatch, *uses_s: float) -> Busy:
    worker: Any = Busy(uses_s)
    monkeypatch.setattr(stillness, "time", worker)
    with at_rest(worker):
        pass
    return worker


def test_process_at_rest_is_watched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch, 0.02).now_s == pytest.approx(0.3)


def test_thread_that_never_rests_convicts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Restless, match=r"ran for 2.70 s of 2.70 s"):
        watch(monkeypatch, *[0.3] * 20)


def test_compiler_that_ends_convicts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch, 0.3, 0.3, 0.3, 0.0).now_s == pytest.approx(1.2)


def test_little_work_that_goes_on_convicts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    watch(monkeypatch, 0.08, *[0.02] * 20)
