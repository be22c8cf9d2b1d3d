"""Baselines of a task: eager and torch.compile at every precision the policy allows, in a trusted worker.

Measured once for each session; the fastest ones stay built, to be raced against candidates. Called by `sessions.py`.
"""

import time
from collections.abc import Callable
from typing import Any

from everforge.errors import DeviceFault, HarnessFault, TaskError
from everforge.model.precision import Precision
from everforge.model.session import Baseline, EvaluationSettings
from everforge.model.task import TaskSpec
from everforge.runners.clock.contender import Contender, Course, Nonsense, Turn, TurnFailed
from everforge.runners.clock.race import race
from everforge.runners.devices.base import Device
from everforge.runners.isolation.worker_handle import Worker, WorkerEnded, WorkerTimeout
from everforge.runners.truth.cases import VariantReference

# Inductor took up to a minute for the largest published tasks on a cold cache.
_BUILD_TIMEOUT_S = 300.0
_TIMING_TIMEOUT_S = 120.0


def name_of(precision: Precision, compiled: bool) -> str:
    """`eager-fp32`, `compile-bf16`, …"""
    return f"{'compile' if compiled else 'eager'}-{precision}"


class BaselineRunner:
    """Builds, measures and keeps baselines in one trusted worker."""

    def __init__(self, worker: Worker, task: TaskSpec, device: Device, settings: EvaluationSettings) -> None:
        self._worker = worker
        self._task = task
        self._device = device
        self._settings = settings
        self._contenders: dict[tuple[str, str], Contender] = {}
        self._courses: dict[str, Course] = {}
        self._ask({"op": "load", "device": device.kind, "tf32": False, "source": None})

    def _ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = (), limit_s: float = 60.0) -> dict[str, Any]:
        try:
            return self._worker.ask(message, descriptors, deadline_s=time.monotonic() + limit_s)
        except WorkerTimeout as error:
            raise HarnessFault(f"a baseline took more than {limit_s:.0f} s") from error
        except WorkerEnded as error:
            raise DeviceFault(f"the baselines' process ended: {error.how}\n{self._worker.output_tail()}") from error

    def measure(
        self, reference: VariantReference, on_progress: Callable[[str], None]
    ) -> tuple[tuple[Baseline, ...], str, str]:
        """All baselines of a variant, the fastest the policy allows, and the fastest fp32 one.

        Raises TaskError when not even eager fp32 runs.
        """
        self._put(reference)
        measured = []
        for precision in self._precisions():
            for compiled in (False, True):
                on_progress(f"{reference.variant.name}: {name_of(precision, compiled)}")
                measured.append(self._measure(reference, precision, compiled))
        fastest = _fastest(measured, tuple(self._task.precision.allowed))
        fastest_fp32 = _fastest(measured, (Precision.FP32,))
        if fastest is None or fastest_fp32 is None:
            raise TaskError(f"{self._task.name}: the reference does not run: {measured[0].error}")
        self._keep_only(reference.variant.name, {fastest, fastest_fp32})
        return tuple(measured), fastest, fastest_fp32

    def _precisions(self) -> tuple[Precision, ...]:
        known = self._device.precisions()
        return tuple(precision for precision in self._task.precision.allowed if precision in known)

    def _put(self, reference: VariantReference) -> None:
        course = self._courses[reference.variant.name] = Course.of(reference)
        for message, descriptors in course.puts(reference):
            self._ask(message, descriptors)

    def _measure(self, reference: VariantReference, precision: Precision, compiled: bool) -> Baseline:
        name = name_of(precision, compiled)
        contender = self._made(reference.variant.name, name)
        error = self._build(reference, contender.slot, precision, compiled)
        if error is not None:
            return Baseline(name=name, error=error)
        try:
            race([contender], self._settings, time.monotonic() + _TIMING_TIMEOUT_S)
        except (Nonsense, TurnFailed) as failure:
            return Baseline(name=name, error=str(failure))
        except (WorkerEnded, WorkerTimeout) as failure:
            raise DeviceFault(f"baseline {name} ended its process: {failure}") from failure
        self._contenders[reference.variant.name, name] = contender
        return Baseline(name=name, median_us=contender.median_us)

    def _build(self, reference: VariantReference, slot: str, precision: Precision, compiled: bool) -> str | None:
        """Build and run once; the error line if that fails."""
        build = {
            "op": "build",
            "slot": slot,
            "init": reference.init.description,
            "state": reference.state.description,
            "mode": self._task.mode,
            "trainable": self._task.trainable,
            "baseline": {
                "task": {
                    "name": self._task.name,
                    "source": self._task.source,
                    "constants": reference.variant.constants,
                },
                "precision": precision,
                "compile": compiled,
                "dtypes": reference.dtypes,
            },
        }
        descriptors = (reference.init.block.descriptor, reference.state.block.descriptor)
        for message, attached in ((build, descriptors), (_first_call(slot, reference), ())):
            answer = self._ask(message, attached, _BUILD_TIMEOUT_S)
            if "failure" in answer:
                return str(answer["failure"]["line"])
        return None

    def _keep_only(self, variant: str, names: set[str]) -> None:
        gone = [key for key in self._contenders if key[0] == variant and key[1] not in names]
        slots = [self._contenders.pop(key).slot for key in gone]
        self._ask({"op": "drop", "sets": [], "slots": slots})

    def contender(self, variant: str, name: str) -> Contender:
        """A kept baseline, with no turns yet."""
        kept = self._contenders[variant, name]
        return BaselineContender(kept.worker, kept.slot, kept.course, kept.host_memory, strict=False, kept=kept.kept)

    def _made(self, variant: str, name: str) -> Contender:
        course, host_memory = self._courses[variant], self._device.shares_host_memory
        return Contender(self._worker, f"{variant}/{name}", course, host_memory, strict=False)


def _first_call(slot: str, reference: VariantReference) -> dict[str, Any]:
    """Compiles what is compiled late; nobody compares what it returns."""
    course = Course.of(reference)
    message = {"op": "call", "slot": slot, "set": course.sets[0], "expected": None}
    return message | {"changed": course.changed, "any_layout": True, "bytes": [], "salt": 0}


class BaselineContender(Contender):
    """A baseline in a race: it ran before, so if it fails now the machine is at fault."""

    def turn(self, iterations: int, deadline_s: float, *, flush: bool = True) -> Turn:
        """As of any contender. Raises DeviceFault instead of blaming the candidate."""
        try:
            return super().turn(iterations, deadline_s, flush=flush)
        except (Nonsense, TurnFailed, WorkerEnded, WorkerTimeout) as error:
            raise DeviceFault(f"baseline {self.slot} failed while it was timed: {error}") from error


def _fastest(measured: list[Baseline], precisions: tuple[Precision, ...]) -> str | None:
    names = {name_of(precision, compiled) for precision in precisions for compiled in (False, True)}
    times = {b.median_us: b.name for b in measured if b.median_us is not None and b.name in names}
    return times[min(times)] if times else None
