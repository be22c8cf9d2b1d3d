"""The loop of a worker process: build a module, call it, time it, as the parent asks. Started by `zygote.py`.

It shares its process with hostile code, so nothing it answers is believed without the parent's own check:
outputs are compared by the parent, and times are bounded by the parent's clock.
"""

import os
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch

from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.task import Mode
from everforge.runners.channel import Channel, ChannelClosed, close_all
from everforge.runners.devices import adapter_of
from everforge.runners.models import (
    Baseline,
    build_module,
    candidate_class,
    task_class,
    to_device,
)
from everforge.runners.tensors import Tree, blank, describe, leaves, map_block, map_tree, read, write
from everforge.runners.triton_gate import compile_ahead
from everforge.runners.triton_interpret import interpret

_BUILD_FAILURES = {
    *("CompilationError", "CompileTimeAssertionFailure", "OutOfResources", "PTXASError"),  # Triton
    *("CalledProcessError", "SyntaxError", "NotACandidate"),
}
# The end of a traceback holds the error; 6 kB hold a compiler's first errors too.
_TRACEBACK_CHARACTERS = 6000


class WorkerState:
    """What a worker holds: the device, modules by slot, input sets by name."""

    def __init__(self) -> None:
        self.device = adapter_of(DeviceKind.CPU)
        self.make: dict[str, Callable[..., Any]] = {}
        self.models: dict[str, torch.nn.Module] = {}
        self.callables: dict[str, Callable[..., Any]] = {}
        self.contexts: dict[str, Callable[[], AbstractContextManager[None]]] = {}
        self.sets: dict[str, Tree] = {}
        self.flush: Callable[[], object] | None = None
        self.stack = ExitStack()

    def load(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Take the device and import a candidate's source."""
        self.device = adapter_of(DeviceKind(message["device"]))
        torch.backends.cudnn.allow_tf32 = bool(message["tf32"])
        if message["source"] is not None:
            self.make["candidate"] = candidate_class(message["source"])
        return {}

    def interpret(self, message: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """As `load`, with the candidate's Triton kernels interpreted from here on."""
        self.stack.enter_context(interpret())
        return self.load(message, descriptors)

    def compile_ahead(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Compile a candidate's Triton kernels as each of the forms launches them, on tensors without memory."""
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # where there is a GPU, it is not for this process
        device = torch.device("cuda")

        def run_forward() -> None:
            make = candidate_class(message["source"])
            for form in message["forms"]:
                init, state, inputs = (blank(form[part], device) for part in ("init", "state", "inputs"))
                model = build_module(make, init, state, device, Mode(message["mode"]), message["trainable"])
                with torch.device(device), torch.no_grad():
                    model(*inputs)

        return {"report": compile_ahead(run_forward, message["arch"]).model_dump(mode="json")}

    def peaks(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Measure the device's ceilings; asked of a worker that holds no candidate."""
        return {"peaks": self.device.peaks(Precision(message["policy"])).model_dump(mode="json")}

    def build(self, message: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """Construct a module in a slot, load its parameters, and wrap it if it is a baseline."""
        slot, baseline = message["slot"], message["baseline"]
        init = to_device(read(message["init"], map_block(descriptors[0], shared=False)), torch.device("cpu"))
        state = read(message["state"], map_block(descriptors[1], shared=False))
        make = self.make["candidate"] if baseline is None else task_class(**baseline["task"])
        model = build_module(make, init, state, self.device.torch_device, Mode(message["mode"]), message["trainable"])
        self.contexts[slot] = nullcontext
        self.models[slot] = self.callables[slot] = model
        if baseline is not None:
            self._wrap(slot, model, baseline)
        return {}

    def _wrap(self, slot: str, model: torch.nn.Module, baseline: dict[str, Any]) -> None:
        precision = Precision(baseline["precision"])
        self.contexts[slot] = lambda: self.device.compute_in(precision)
        if precision in (Precision.BF16, Precision.FP16):
            dtypes = tuple(getattr(torch, name) for name in baseline["dtypes"])
            model = Baseline(model, precision, dtypes)
        self.callables[slot] = torch.compile(model, dynamic=False) if baseline["compile"] else model

    def reload(self, message: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """Load other parameters into a built module, as a server does when a model is updated."""
        state = read(message["state"], map_block(descriptors[0], shared=False))
        self.models[message["slot"]].load_state_dict(state, strict=True)
        return {}

    def put(self, message: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """Keep a set of inputs on the device."""
        tree = read(message["inputs"], map_block(descriptors[0], shared=False))
        self.sets[message["set"]] = to_device(tree, self.device.torch_device)
        return {}

    def drop(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Forget input sets and slots."""
        for name in message["sets"]:
            self.sets.pop(name, None)
        for slot in message["slots"]:
            for table in (self.models, self.callables, self.contexts):
                table.pop(slot, None)
        self.device.release_memory()
        return {}

    def call(self, message: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """Run a module once and write its outputs where the parent wants them, if they have the right form."""
        slot, given = message["slot"], self.sets[message["set"]]
        inputs = map_tree(given, torch.clone)
        start = time.perf_counter()
        with torch.no_grad(), self.contexts[slot]():
            outputs = self.callables[slot](*inputs)
        self.device.synchronize()
        seconds = time.perf_counter() - start
        strangers = [type(leaf).__name__ for leaf in leaves(outputs) if type(leaf) is not torch.Tensor]
        if strangers:
            raise TypeError(f"forward must return plain tensors, got {strangers[0]}")
        description, _ = describe(outputs)
        if message["expected"] is not None and description == message["expected"]:
            write(outputs, description, map_block(descriptors[0], shared=True))
        mutated = not _equal(inputs, given)
        return {"description": description, "seconds": seconds, "mutated": mutated}

    def time(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Time calls on fresh copies of rotating inputs, the cache flushed before each."""
        sets = [self.sets[name] for name in message["sets"]]
        run, count = self.callables[message["slot"]], message["iterations"]
        if self.flush is None:
            self.flush = self.device.flusher()
        rotation = Rotation(sets, message["turn"], self.flush)
        with torch.no_grad(), self.contexts[message["slot"]]():
            times_us = self.device.time_us([lambda: run(*rotation.inputs)] * count, rotation.turn)
        return {"times_us": times_us}


class Rotation:
    """Fresh copies of one input set after another, made ahead of each timed call."""

    def __init__(self, sets: list[Tree], first: int, flush: Callable[[], object]) -> None:
        self._sets = sets
        self._next = first
        self._flush = flush
        self.inputs: Tree = ()

    def turn(self) -> None:
        """Copy the next set to new memory, then evict the cache."""
        self.inputs = map_tree(self._sets[self._next % len(self._sets)], torch.clone)
        self._next += 1
        self._flush()


def _equal(left: Tree, right: Tree) -> bool:
    pairs = zip(leaves(left), leaves(right), strict=True)
    # NaN inputs are legal and equal to themselves here, so compare bytes, not values.
    return all(a.shape == b.shape and bool((_bits(a) == _bits(b)).all()) for a, b in pairs)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.view(integers[tensor.element_size()]) if tensor.element_size() in integers else tensor


def failure_of(error: BaseException) -> dict[str, Any]:
    """What went wrong, as data: whether it was the build, one line, and the end of the traceback."""
    names = {type(link).__name__ for link in _chain(error)}
    text = "".join(traceback.format_exception(error))
    built = bool(names & _BUILD_FAILURES) or "Error building extension" in text
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return {
        "build": built,
        "memory": "OutOfMemoryError" in names or "MemoryError" in names,
        "line": f"{type(error).__name__}: {line}"[:500],
        "traceback": text[-_TRACEBACK_CHARACTERS:],
    }


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in links:
        links.append(current)
        current = current.__cause__ or current.__context__
    return links


def run_worker(channel: Channel) -> None:
    """Answer requests until the parent closes the channel."""
    state = WorkerState()
    names = ("load", "peaks", "interpret", "compile_ahead", "build", "reload", "put", "drop", "call", "time")
    operations = {name: getattr(state, name) for name in names}
    while True:
        try:
            message, descriptors = channel.receive()
        except ChannelClosed:
            return
        try:
            answer = operations[message["op"]](message, descriptors)
        except BaseException as error:  # noqa: BLE001 - a candidate may raise anything, SystemExit included: all of it is data
            answer = {"failure": failure_of(error)}
        close_all(descriptors)
        channel.send(answer)
