"""What stands in for a GPU and its driver while a Triton candidate is checked without one.

`triton_gate.py` and `triton_interpret.py` use it inside a jailed child that ends afterwards: while `stand_ins` is
in force, Triton's driver and the device queries of `torch.cuda` answer for an architecture and launch nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple


class Architecture(NamedTuple):
    """Properties candidates ask for; sizes per the CUDA C++ Programming Guide's table of compute capabilities."""

    capability: int
    device_name: str
    multiprocessors: int
    shared_bytes: int
    l2_bytes: int
    memory_bytes: int


ARCHITECTURES = {
    "sm_80": Architecture(80, "NVIDIA A100", 108, 163 << 10, 40 << 20, 80 << 30),
    "sm_89": Architecture(89, "NVIDIA L40S", 142, 99 << 10, 96 << 20, 48 << 30),
    "sm_90": Architecture(90, "NVIDIA H200", 132, 227 << 10, 50 << 20, 141 << 30),
    "sm_100": Architecture(100, "NVIDIA B200", 148, 227 << 10, 126 << 20, 180 << 30),
}
_THREADS_PER_BLOCK = 1024
_REGISTERS_PER_MULTIPROCESSOR = 65536
_WARP_SIZE = 32
_INFINITE_US = float("inf")

# Runs one configuration of an autotuned kernel; whether it was run at all.
TryConfiguration = Callable[[Callable[[], Any]], bool]


def _always(answer: Any) -> Callable[..., Any]:
    """A function that gives the same answer whatever it is asked."""
    return lambda *_, **__: answer


class StandInDriver:
    """Triton's driver interface (triton.backends.driver.DriverBase) with nothing behind it."""

    # Makes a launcher, which launches nothing.
    launcher_cls = staticmethod(_always(_always(None)))
    set_current_device = staticmethod(_always(None))
    get_current_stream = staticmethod(_always(0))

    def __init__(self, name: str, architecture: Architecture, try_configuration: TryConfiguration) -> None:
        self._device = f"ahead-{name}"  # Triton keeps compiled kernels by device, whatever a device is
        self._architecture = architecture
        self._try_configuration = try_configuration
        self.get_device_capability = _always(divmod(architecture.capability, 10))
        self.utils = SimpleNamespace(
            get_device_properties=_always(triton_properties(architecture)),
            load_binary=_always((None, None, 0, 0, _THREADS_PER_BLOCK)),
            set_printf_fifo_size=_always(None),
        )

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self._architecture.capability, _WARP_SIZE)

    def get_current_device(self) -> str:
        return self._device

    def get_active_torch_device(self) -> Any:
        import torch

        return torch.device("cuda", 0)

    def get_benchmarker(self) -> Callable[..., list[float]]:
        return self.benchmark

    def benchmark(self, call: Callable[[], Any], *_: Any, **__: Any) -> list[float]:
        """What the autotuner takes for a measurement: the configurations that were run come out equal."""
        time_us = 1.0 if self._try_configuration(call) else _INFINITE_US
        return [time_us] * 3  # median, 20 % and 80 % quantile


def triton_properties(architecture: Architecture) -> dict[str, int]:
    """What `driver.active.utils.get_device_properties` gives."""
    return {
        "max_shared_mem": architecture.shared_bytes,
        "max_num_regs": _REGISTERS_PER_MULTIPROCESSOR,
        "multiprocessor_count": architecture.multiprocessors,
        "warpSize": _WARP_SIZE,
    }


def torch_properties(architecture: Architecture) -> SimpleNamespace:
    """What `torch.cuda.get_device_properties` gives."""
    major, minor = divmod(architecture.capability, 10)
    return SimpleNamespace(
        name=architecture.device_name,
        major=major,
        minor=minor,
        multi_processor_count=architecture.multiprocessors,
        total_memory=architecture.memory_bytes,
        L2_cache_size=architecture.l2_bytes,
        shared_memory_per_block=48 << 10,
        shared_memory_per_block_optin=architecture.shared_bytes,
        shared_memory_per_multiprocessor=architecture.shared_bytes + 1024,
        regs_per_multiprocessor=_REGISTERS_PER_MULTIPROCESSOR,
        max_threads_per_multi_processor=2048,
        warp_size=_WARP_SIZE,
    )


class StandInStream:
    """A stream or an event on which nothing runs."""

    cuda_stream = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def _nothing(self, *_: Any, **__: Any) -> None:
        return None

    wait_stream = wait_event = record = wait = synchronize = _nothing

    def record_event(self, event: Any = None) -> Any:
        return event or StandInStream()

    def query(self) -> bool:
        return True


def _torch_cuda(architecture: Architecture) -> dict[str, Any]:
    """Stand-ins for the functions of torch.cuda that a candidate calls around its launches."""
    return {
        "is_available": _always(True),
        "is_bf16_supported": _always(True),
        "device_count": _always(1),
        "current_device": _always(0),
        "set_device": _always(None),
        "synchronize": _always(None),
        "empty_cache": _always(None),
        "get_device_name": _always(architecture.device_name),
        "get_device_capability": _always(divmod(architecture.capability, 10)),
        "get_device_properties": _always(torch_properties(architecture)),
        "current_stream": StandInStream,
        "default_stream": StandInStream,
        "Stream": StandInStream,
        "Event": StandInStream,
        "stream": _always(nullcontext()),
        "device": _always(nullcontext()),
        "device_of": _always(nullcontext()),
    }


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give `owner` another attribute for a while."""
    is_own, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if is_own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


@contextmanager
def stand_in_driver(name: str, try_configuration: TryConfiguration) -> Iterator[None]:
    """Put the stand-in where Triton looks for its driver. `name` is a key of ARCHITECTURES."""
    import triton.testing
    from triton.runtime.driver import driver

    stand_in = StandInDriver(name, ARCHITECTURES[name], try_configuration)
    with ExitStack() as stack:
        stack.enter_context(replaced(driver, "_active", stand_in))
        # Autotuners with the old `warmup` and `rep` arguments call these by name.
        for function in ("do_bench", "do_bench_cudagraph"):
            stack.enter_context(replaced(triton.testing, function, stand_in.benchmark))
        yield


@contextmanager
def stand_in_queries(name: str) -> Iterator[None]:
    """torch.cuda answers for `name`; its streams and events do nothing."""
    import torch

    with ExitStack() as stack:
        for function, answer in _torch_cuda(ARCHITECTURES[name]).items():
            stack.enter_context(replaced(torch.cuda, function, answer))
        yield


def _apply(module: Any, change: Callable[[Any], Any], recurse: bool = True) -> Any:
    """What `.to()`, `.half()` and `.cuda()` of a module come down to, with new parameters in the place of old ones.

    PyTorch's own swaps parameters in place, which tensors without memory refuse (torch 2.11).
    """
    import torch

    for child in module.children() if recurse else ():
        child._apply(change)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = torch.nn.Parameter(change(parameter.data), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        module._buffers[name] = None if buffer is None else change(buffer)
    return module


@contextmanager
def stand_in_device(name: str) -> Iterator[None]:
    """Tensors made inside have shapes, strides and devices but no memory; torch.cuda answers for `name`.

    So a candidate for a GPU runs unchanged where there is none, and weights of gigabytes cost nothing.
    """
    import torch
    from torch._subclasses import fake_tensor

    def address(tensor: Any) -> int:
        # Aligned as torch's allocator aligns, so that kernels are specialised as they will be on the device.
        return 4096 + int(tensor.storage_offset() * tensor.element_size())

    with ExitStack() as stack:
        stack.enter_context(replaced(fake_tensor.FakeTensor, "data_ptr", address))
        # It allocates on the real device where torch.cuda says there is one.
        stack.enter_context(replaced(fake_tensor, "init_gpu_context", _always(None)))
        # It would ask torch.cuda, which says yes below, and then have copies select a device.
        stack.enter_context(replaced(fake_tensor.FakeTensorMode, "avoid_device_init", True))
        stack.enter_context(replaced(torch.nn.Module, "_apply", _apply))
        stack.enter_context(stand_in_queries(name))
        stack.enter_context(fake_tensor.FakeTensorMode(allow_non_fake_inputs=True))
        yield
