"""What Everforge asks of a device: is it there, wait for it, time a call, forget the caches, read its sensors."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from everforge.model.device import DeviceKind, Peaks
from everforge.model.evaluation import DeviceReading
from everforge.model.precision import Precision

Call = Callable[[], object]

TORCH_DTYPES = {
    Precision.FP32: torch.float32,
    Precision.TF32: torch.float32,
    Precision.FP16: torch.float16,
    Precision.BF16: torch.bfloat16,
}


class Device(ABC):
    """Adapter of one kind of device; the first that this process sees is used (`devices/visible.py`)."""

    kind: DeviceKind
    # Bytes of the large copy and side of the square matrix product that stand for the device's peaks.
    copy_bytes: int
    product_size: int
    # Whether tensors live in host memory, so that a limit on host memory limits them too.
    shares_host_memory = False

    @property
    def torch_device(self) -> torch.device:
        """The device as PyTorch names it."""
        return torch.device(self.kind.value)

    @abstractmethod
    def missing(self) -> str | None:
        """Why the device cannot be used and what would mend it; None if it can."""

    @abstractmethod
    def name(self) -> str:
        """Marketing name."""

    @abstractmethod
    def architecture(self) -> str:
        """Architecture as compilers name it: x86_64, sm_90, xe2."""

    @property
    def compiles_ahead(self) -> str | None:
        """The architecture Triton kernels are compiled for in a process without the device; None if they cannot."""
        return None

    @abstractmethod
    def driver(self) -> str | None:
        """Driver version; None where there is none."""

    @abstractmethod
    def memory_bytes(self) -> int | None:
        """Memory of the device."""

    def count(self) -> int:
        """How many devices of this kind this process sees."""
        return 1

    def uuid(self) -> str | None:
        """What tells this device from others of its kind; None where it does not say."""
        return None

    @abstractmethod
    def reading(self) -> DeviceReading:
        """The device's sensors now; None for what it does not tell.

        Power and throttling that are told by counters are those since the previous reading of this adapter.
        """

    @abstractmethod
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions that differ from one another on this device."""

    @abstractmethod
    def cache_bytes(self) -> int:
        """Size of the last-level cache that a timed call must find cold."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has done all that was asked."""

    @abstractmethod
    def time_us(self, calls: Sequence[Call], before: Call) -> list[float]:
        """Time of each call in microseconds, with `before` run ahead of each and left out of the time."""

    def head_start(self, duration_us: float) -> None:  # noqa: B027 - a host that computes itself has none
        """Keep the device busy about so long, while the host launches what it is to do next.

        A device that waits for launches would be timed waiting: Triton's launch takes 20 to 50 µs, a small kernel 5.
        """

    def captured(self, call: Call) -> Call | None:  # noqa: ARG002
        """`call` captured as a device graph, to be replayed; None where it cannot be or the device has no graphs."""
        return None

    def replay_us(self, call: Call, before: Call, iterations: int) -> list[float] | None:  # noqa: ARG002
        """Times of replays of `call` captured as a device graph, as `time_us` takes them.

        `call` must use the same memory each time. None where it cannot be captured or the device has no graphs.
        """
        return None

    def launch_times_us(self, call: Call, iterations: int) -> list[float] | None:  # noqa: ARG002
        """How long the host takes over each call while the device has nothing to do; None where it computes itself."""
        return None

    def release_memory(self) -> None:  # noqa: B027 - a device without a caching allocator has nothing to do
        """Give cached memory back, so that another process can take it."""

    @contextmanager
    def compute_in(self, precision: Precision) -> Iterator[None]:
        """Matrix products of fp32 tensors use TF32 inside, if that is the precision, and fp32 otherwise."""
        allowed = precision is Precision.TF32
        previous = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = previous

    def flusher(self) -> Call:
        """A call that evicts the last-level cache: it changes twice its size, 256 MiB at most.

        It reads as well as writes: filling large memory goes past a CPU's cache and leaves in it what was there.
        """
        size = min(max(2 * self.cache_bytes(), 16 << 20), 256 << 20)
        waste = torch.zeros(size // 4, dtype=torch.int32, device=self.torch_device)
        return lambda: waste.add_(1)

    def peaks(self, policy: Precision) -> Peaks:
        """The ceilings a policy allows, measured now: of bandwidth, and of a large matrix product per precision."""
        known = self.precisions()
        rates = {precision: self._product_rate(precision) for precision in policy.allowed if precision in known}
        return Peaks(bandwidth_bytes_per_s=self._bandwidth(), flops_per_s=rates)

    def _bandwidth(self) -> float:
        # A CPU's copy also reads what it is about to overwrite, which a kernel can avoid; a sum only reads.
        source = torch.ones(self.copy_bytes // 4, dtype=torch.float32, device=self.torch_device)
        target = torch.empty_like(source)
        copied = 2 * self.copy_bytes / self._best_us(lambda: target.copy_(source))
        return max(copied, self.copy_bytes / self._best_us(source.sum)) * 1e6

    def _product_rate(self, precision: Precision) -> float:
        # An emulated precision would take half a minute at full size (fp16 on a CPU without it: 0.4 GFLOP/s).
        pilot = self._rate_of_product(precision, self.product_size // 2)
        if 2.0 * self.product_size**3 / pilot > _SLOWEST_PRODUCT_S:
            return pilot
        return self._rate_of_product(precision, self.product_size)

    def _rate_of_product(self, precision: Precision, size: int) -> float:
        # Random data: a matrix product on zeros draws less power and runs faster than real ones.
        left, right = (torch.randn(size, size, device=self.torch_device).to(TORCH_DTYPES[precision]) for _ in range(2))
        with self.compute_in(precision):
            return 2.0 * size**3 / self._best_us(lambda: left @ right) * 1e6

    def _best_us(self, call: Call) -> float:
        # A ceiling is the best the device does: the least of up to 10 calls, fewer where they are slow.
        pilot_us = self.time_us([call] * 2, before=_nothing)[-1]
        return min(self.time_us([call] * max(2, min(10, int(_CEILING_US / pilot_us))), before=_nothing))


# Half a second for each ceiling: a few calls even of a product that runs at 4 GFLOP/s.
_CEILING_US = 5e5
_SLOWEST_PRODUCT_S = 2.0


def _nothing() -> None:
    """Nothing is done between the calls that measure a ceiling."""


def wall_us(call: Call) -> float:
    """Time of a synchronous call by the host's clock."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e3
