"""The loop of a worker process: build a module, call it, time it, as the parent asks. Started by `zygote.py`.

It shares its process with hostile code, so nothing it answers is believed without the parent's own check:
outputs are compared by the parent, and times are bounded by the parent's clock.
"""

import os
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

import torch

from everforge.model.candidate import Language
from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.task import Mode
from everforge.runners.clock.captured_calls import CapturedCalls
from everforge.runners.clock.timed_turn import KeptOutputs, TimedTurn
from everforge.runners.devices import adapter_of
from everforge.runners.gate.triton_gate import compile_ahead
from everforge.runners.gate.triton_interpret import interpret
from everforge.runners.integrity.coverage import counted, coverage_report
from everforge.runners.integrity.snapshot import Snapshot, changed, snapshot
from everforge.runners.isolation.channel import Channel, ChannelClosed, close_all
from everforge.runners.isolation.kernel_calls import keep_freed_memory
from everforge.runners.models import (
    Baseline,
    build_module,
    candidate_class,
    task_class,
    to_device,
)
from everforge.runners.tensors.bits import input_sums
from everforge.runners.tensors.layouts import same_layout_copy
from everforge.runners.tensors.mixing import Mix, on_device
from everforge.runners.tensors.poison import poison_device_memory, poisoned_host_memory
from everforge.runners.tensors.results import hand_over, result_of, settled
from everforge.runners.tensors.trees import Tree, blank, describe, map_block, map_tree, read, write

_BUILD_FAILURES = {
    *("CompilationError", "CompileTimeAssertionFailure", "OutOfResources", "PTXASError"),  # Triton
    *("CalledProcessError", "SyntaxError", "NotACandidate"),
}
_OPERATIONS = (
    *("load", "interpret", "compile_ahead", "peaks", "build", "reload", "put", "drop"),
    *("call", "keep", "ready", "rouse", "time", "left", "kept_output", "capture", "replays", "replay"),
    *("integrity", "coverage"),
)
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
        # The turn of each slot that was made ready, and its calls that were captured in a device graph.
        self.turns: dict[str, TimedTurn] = {}
        self.captured: dict[str, CapturedCalls] = {}
        self.kept = KeptOutputs(torch.empty(0, dtype=torch.uint8), commits=False)
        self.stack = ExitStack()
        self.untouched: Snapshot | None = None
        self.launches: dict[str, Counter[str]] = {}

    def load(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Take the device and import a candidate's source."""
        self.device = adapter_of(DeviceKind(message["device"]))
        torch.backends.cudnn.allow_tf32 = bool(message["tf32"])
        if message["source"] is not None:
            self.untouched = snapshot()
            self.make["candidate"] = candidate_class(message["source"])
        return {}

    def integrity(self, _: dict[str, Any], __: tuple[int, ...]) -> dict[str, Any]:
        """What of the harness, of PyTorch or of the interpreter the candidate has replaced."""
        return {"replaced": [] if self.untouched is None else changed(self.untouched)}

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
        if baseline is not None:
            model = self._module(message, descriptors, task_class(**baseline["task"]))
        else:
            with counted() as self.launches[slot]:
                model = self._module(message, descriptors, self.make["candidate"])
        self.contexts[slot] = nullcontext
        self.models[slot] = self.callables[slot] = model
        if baseline is not None:
            self._wrap(slot, model, baseline)
        return {}

    def _module(self, message: dict[str, Any], descriptors: tuple[int, ...], make: Callable[..., Any]) -> Any:
        init = to_device(read(message["init"], map_block(descriptors[0], shared=False)), torch.device("cpu"))
        state = read(message["state"], map_block(descriptors[1], shared=False))
        return build_module(make, init, state, self.device.torch_device, Mode(message["mode"]), message["trainable"])

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
        """Run a module once and hand over its result, and its inputs as they are afterwards."""
        slot, given = message["slot"], self.sets[message["set"]]
        inputs = map_tree(given, same_layout_copy)
        if message["bytes"]:
            poison_device_memory(message["bytes"], self.device.torch_device)
        with poisoned_host_memory(), torch.no_grad(), self.contexts[slot](), counted() as launches:
            outputs = self.callables[slot](*inputs)
        self.launches.setdefault(slot, Counter()).update(launches)
        result = settled(outputs, inputs, message["changed"])
        self.device.synchronize()
        answer = hand_over(result, message["expected"], message["any_layout"], descriptors[:1])
        if descriptors[1:]:
            plain = map_tree(inputs, torch.Tensor.contiguous)
            write(plain, describe(plain)[0], map_block(descriptors[1], shared=True))
        elif message["expected"] is not None:
            answer["input_sums"] = input_sums(inputs, message["salt"])
        return answer

    def keep(self, message: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """Take the memory that the outputs of timed calls go to, the parent's or the device's own."""
        if descriptors:
            self.kept = KeptOutputs(map_block(descriptors[0], shared=True), commits=False)
        else:
            block = torch.zeros(message["bytes"], dtype=torch.uint8, device=self.device.torch_device)
            self.kept = KeptOutputs(block, commits=True)
        return {}

    def ready(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Make room for a turn and have every thread of this process at work once, before the turn is measured."""
        sets = [self.sets[name] for name in message["sets"]]
        run, mask = self.callables[message["slot"]], self.sets[message["mask"]]
        self.turns[message["slot"]] = TimedTurn(run, sets, mask, message, self.kept)
        return self.rouse(message, ())

    def rouse(self, _: dict[str, Any], __: tuple[int, ...]) -> dict[str, Any]:
        """Have every thread of this process at work once."""
        self._flush()
        self.device.synchronize()
        return {}

    def _flush(self) -> None:
        if self.flush is None:
            self.flush = self.device.flusher()
        self.flush()

    def time(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Time calls on inputs never seen before, and commit to what they returned."""
        slot, turn = message["slot"], self.turns[message["slot"]]
        with torch.no_grad(), self.contexts[slot]():
            turn.start(message["mixes"], message["watched"], self._flush if message["flush"] else _nothing)
            self.device.head_start(message["head_start_us"])
            times_us = self.device.time_us([turn.call] * len(turn.mixes), turn.prepare)
            turn.settle()
        return {"times_us": times_us, "checksums": self.kept.commit(message["salt"])}

    def left(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """In what state the calls of the turn left their inputs and results, once it is measured."""
        turn = self.turns.pop(message["slot"])
        return {"odd_form": self.kept.odd_form, "changed_inputs": turn.has_changed_inputs()}

    def capture(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Capture calls in one device graph, their outputs kept apart."""
        slot, sets = message["slot"], [self.sets[name] for name in message["sets"]]
        mask = on_device(self.sets[message["mask"]])
        captured = CapturedCalls(self.callables[slot], sets, mask, message["places"], self._flush)
        self.captured[slot] = captured
        self.kept.expect(message["expected"], message["output_bytes"])
        with torch.no_grad(), self.contexts[slot]():
            return {"captured": captured.capture(self.device, message["calls"])}

    def replays(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Replay the captured calls on inputs never seen before, and commit to what the last ones returned."""
        captured = self.captured[message["slot"]]
        with torch.no_grad():
            captured.load(Mix(*message["mix"]))
            captured.replay(message["times"])
            self.kept.start()
            for result in captured.results:
                self.kept.add(result_of(result, captured.inputs, ()))
        return {"checksums": self.kept.commit(message["salt"])}

    def replay(self, message: dict[str, Any], _: tuple[int, ...]) -> dict[str, Any]:
        """Time calls replayed as a device graph, on inputs that stay where they are."""
        slot, inputs = message["slot"], map_tree(self.sets[message["set"]], same_layout_copy)
        with torch.no_grad(), self.contexts[slot]():
            call = partial(self.callables[slot], *inputs)
            launches_us = self.device.launch_times_us(call, message["iterations"])
            return {
                "launches_us": launches_us,
                "times_us": self.device.replay_us(call, self._flush, message["iterations"]),
            }

    def coverage(self, message: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """What the candidate's own kernels have to do with its output; the module is of no use afterwards."""
        slot, device = message["slot"], self.device

        def run(model: Callable[..., Any], name: str) -> Any:
            inputs = map_tree(self.sets[name], same_layout_copy)
            with torch.no_grad():
                return [model(*inputs), inputs]  # what is written into inputs reaches the caller, too

        def anew() -> Any:
            return run(self._module(message, descriptors, self.make["candidate"]), message["set"])

        model = self.callables[slot]
        report = coverage_report(
            Language(message["language"]),
            partial(run, model, message["set"]),
            device,
            earlier=self.launches.get(slot, Counter()),
            other=partial(run, model, message["other"]),
            anew=anew,
        )
        return {"report": report}

    def kept_output(self, message: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """What one call of the last turn returned, from the device's own memory."""
        self.kept.write(message["call"], map_block(descriptors[0], shared=True))
        return {}


def _nothing() -> None:
    """Timed calls that find the cache as the call before left it."""


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
    keep_freed_memory()
    state = WorkerState()
    operations = {name: getattr(state, name) for name in _OPERATIONS}
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
