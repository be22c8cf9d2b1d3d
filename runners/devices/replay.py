"""Time of a call replayed as a device graph: what its kernels take once nothing has to launch them one by one.

Beside the time of plain calls it tells launch overhead from kernel time. `devices/cuda.py` and `devices/xpu.py`
offer it; `backend` is torch.cuda or torch.xpu. A call that cannot be captured has no such time, which is no fault.

How to capture follows PyTorch's notes on CUDA graphs: warm up on a side stream, capture on it, replay anywhere.
"""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import torch

from everforge.runners.devices.base import Call
from everforge.runners.devices.events import event_times_us

# As PyTorch's notes have it; libraries that tune themselves do so in the first of them.
_WARM_UP_CALLS = 3
# Failed captures are kept: an allocator may hold a pointer to one and ask it during the next capture (torch 2.11).
_failed_captures: list[object] = []


def replay_times_us(backend: Any, call: Call, before: Call, iterations: int) -> list[float] | None:
    """Times of `iterations` replays of one captured `call`, `before` run ahead of each and left out of the time.

    None if it cannot be captured. Raises what `call` raises outside a capture. The inputs of `call` must stay where
    they are in memory.
    """
    replay = captured(backend, call)
    return None if replay is None else event_times_us(backend, [replay] * iterations, before)


def captured(backend: Any, call: Call) -> Call | None:
    """What replays a call. None if the call does not allow itself to be captured (it waits for the device, say), or
    launches nothing where the capture can see it. Raises what `call` raises outside a capture."""
    side = backend.Stream()
    _warm_up(backend, call, side)
    graph = _captured(backend, call, side)
    # A failed capture must not have hurt the device; if it did, this raises.
    backend.synchronize()
    if graph is None:
        return None
    replay: Call = graph.replay
    return replay


def _warm_up(backend: Any, call: Call, side: Any) -> None:
    side.wait_stream(backend.current_stream())
    with backend.stream(side):
        for _ in range(_WARM_UP_CALLS):
            call()
    backend.current_stream().wait_stream(side)


def _captured(backend: Any, call: Call, side: Any) -> Any | None:
    """The graph of one call, or None if the capture failed or is empty."""
    graph, pool = _new_graph(backend), backend.graph_pool_handle()
    with warnings.catch_warnings(record=True) as said, backend.stream(side):
        # The outer stream context puts the current stream back: PyTorch's graph context does not if its end raises.
        warnings.simplefilter("always")
        try:
            with backend.graph(graph, pool=pool, stream=side):
                call()
        except Exception:  # noqa: BLE001 - what is captured is a candidate's code, which may raise anything
            _end_failed_capture(backend, graph, pool)
            return None
    # An empty graph takes no time at all: what the call does, it does where the capture does not look.
    return None if any("Graph is empty" in str(warning.message) for warning in said) else graph


def _new_graph(backend: Any) -> Any:
    name = "CUDAGraph" if backend is torch.cuda else "XPUGraph"
    return getattr(backend, name)()


def _end_failed_capture(backend: Any, graph: Any, pool: Any) -> None:
    """Undo what a failed end of a capture leaves behind in PyTorch.

    The stream's capture is over by now, but up to torch 2.11 the allocator still believes in it (fixed by
    pytorch/pytorch#180395, in 2.12), and the default generator would refuse to draw numbers outside a capture.
    """
    index = backend.current_device()
    name = "cuda" if backend is torch.cuda else "xpu"
    end, release = (_private(f"_{name}_{action}") for action in ("endAllocateToPool", "releasePool"))
    # Raises where PyTorch has ended it itself: what is left then goes with the graph.
    with contextlib.suppress(RuntimeError):
        end(index, pool)
        _failed_captures.append(graph)
        release(index, pool)
    generator = backend.default_generators[index]
    with contextlib.suppress(RuntimeError, NotImplementedError):
        generator.graphsafe_set_state(generator.clone_state())


def _private(name: str) -> Callable[[int, Any], None]:
    function: Callable[[int, Any], None] = getattr(torch._C, name)
    return function
