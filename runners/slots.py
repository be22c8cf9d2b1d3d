"""What a worker holds for its parent: modules by slot, input sets by name; building, loading and calling them.

It shares its process with hostile code, so the parent believes nothing of what comes back without its own check.
Asked by `worker.py`; `timed_calls.py` times what it holds.
"""

import os
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
from everforge.runners.devices import adapter_of
from everforge.runners.gate.triton_gate import compile_ahead
from everforge.runners.gate.triton_interpret import interpret
from everforge.runners.integrity.coverage import counted, coverage_report
from everforge.runners.integrity.snapshot import Snapshot, changed, snapshot
from everforge.runners.isolation.channel import Descriptors, Message
from everforge.runners.models import Baseline, build_module, candidate_class, task_class, to_device
from everforge.runners.tensors.bits import input_sums
from everforge.runners.tensors.layouts import same_layout_copy
from everforge.runners.tensors.poison import poison_device_memory, poisoned_host_memory
from everforge.runners.tensors.results import hand_over, settled
from everforge.runners.tensors.trees import Tree, blank, describe, map_block, map_tree, read, write


class Slots:
    """The device, modules by slot, input sets by name. A candidate and a baseline are two slots of one worker."""

    OPERATIONS = (
        *("load", "interpret", "compile_ahead", "peaks", "build", "reload", "put", "drop"),
        *("call", "integrity", "coverage"),
    )

    def __init__(self) -> None:
        self.device = adapter_of(DeviceKind.CPU)
        self.callables: dict[str, Callable[..., Any]] = {}
        self.contexts: dict[str, Callable[[], AbstractContextManager[None]]] = {}
        self.sets: dict[str, Tree] = {}
        self._make: dict[str, Callable[..., Any]] = {}
        self._models: dict[str, torch.nn.Module] = {}
        self._stack = ExitStack()
        self._untouched: Snapshot | None = None
        self._launches: dict[str, Counter[str]] = {}

    def load(self, message: Message, _: Descriptors) -> dict[str, Any]:
        """Take the device and import a candidate's source."""
        self.device = adapter_of(DeviceKind(message["device"]))
        torch.backends.cudnn.allow_tf32 = bool(message["tf32"])
        if message["source"] is not None:
            self._untouched = snapshot()
            self._make["candidate"] = candidate_class(message["source"])
        return {}

    def integrity(self, _: Message, __: Descriptors) -> dict[str, Any]:
        """What of the harness, of PyTorch or of the interpreter the candidate has replaced."""
        return {"replaced": [] if self._untouched is None else changed(self._untouched)}

    def interpret(self, message: Message, descriptors: Descriptors) -> dict[str, Any]:
        """As `load`, with the candidate's Triton kernels interpreted from here on."""
        self._stack.enter_context(interpret())
        return self.load(message, descriptors)

    def compile_ahead(self, message: Message, _: Descriptors) -> dict[str, Any]:
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

    def peaks(self, message: Message, _: Descriptors) -> dict[str, Any]:
        """Measure the device's ceilings; asked of a worker that holds no candidate."""
        return {"peaks": self.device.peaks(Precision(message["policy"])).model_dump(mode="json")}

    def build(self, message: Message, descriptors: Descriptors) -> dict[str, Any]:
        """Construct a module in a slot, load its parameters, and wrap it if it is a baseline."""
        slot, baseline = message["slot"], message["baseline"]
        if baseline is not None:
            model = self._module(message, descriptors, task_class(**baseline["task"]))
        else:
            with counted() as self._launches[slot]:
                model = self._module(message, descriptors, self._make["candidate"])
        self.contexts[slot] = nullcontext
        self._models[slot] = self.callables[slot] = model
        if baseline is not None:
            self._wrap(slot, model, baseline)
        return {}

    def _module(self, message: Message, descriptors: Descriptors, make: Callable[..., Any]) -> Any:
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

    def reload(self, message: Message, descriptors: Descriptors) -> dict[str, Any]:
        """Load other parameters into a built module, as a server does when a model is updated."""
        state = read(message["state"], map_block(descriptors[0], shared=False))
        self._models[message["slot"]].load_state_dict(state, strict=True)
        return {}

    def put(self, message: Message, descriptors: Descriptors) -> dict[str, Any]:
        """Keep a set of inputs on the device."""
        tree = read(message["inputs"], map_block(descriptors[0], shared=False))
        self.sets[message["set"]] = to_device(tree, self.device.torch_device)
        return {}

    def drop(self, message: Message, _: Descriptors) -> dict[str, Any]:
        """Forget input sets and slots."""
        for name in message["sets"]:
            self.sets.pop(name, None)
        for slot in message["slots"]:
            for table in (self._models, self.callables, self.contexts):
                table.pop(slot, None)
        self.device.release_memory()
        return {}

    def call(self, message: Message, descriptors: Descriptors) -> dict[str, Any]:
        """Run a module once and hand over its result, and its inputs as they are afterwards."""
        slot, given = message["slot"], self.sets[message["set"]]
        inputs = map_tree(given, same_layout_copy)
        if message["bytes"]:
            poison_device_memory(message["bytes"], self.device.torch_device)
        with poisoned_host_memory(), torch.no_grad(), self.contexts[slot](), counted() as launches:
            outputs = self.callables[slot](*inputs)
        self._launches.setdefault(slot, Counter()).update(launches)
        result = settled(outputs, inputs, message["changed"])
        self.device.synchronize()
        answer = hand_over(result, message["expected"], message["any_layout"], descriptors[:1])
        if descriptors[1:]:
            plain = map_tree(inputs, torch.Tensor.contiguous)
            write(plain, describe(plain)[0], map_block(descriptors[1], shared=True))
        elif message["expected"] is not None:
            answer["input_sums"] = input_sums(inputs, message["salt"])
        return answer

    def coverage(self, message: Message, descriptors: Descriptors) -> dict[str, Any]:
        """What the candidate's own kernels have to do with its output; the module is of no use afterwards."""
        slot, device = message["slot"], self.device

        def run(model: Callable[..., Any], name: str) -> Any:
            inputs = map_tree(self.sets[name], same_layout_copy)
            with torch.no_grad():
                return [model(*inputs), inputs]  # what is written into inputs reaches the caller, too

        def anew() -> Any:
            return run(self._module(message, descriptors, self._make["candidate"]), message["set"])

        model = self.callables[slot]
        report = coverage_report(
            Language(message["language"]),
            partial(run, model, message["set"]),
            device,
            earlier=self._launches.get(slot, Counter()),
            other=partial(run, model, message["other"]),
            anew=anew,
        )
        return {"report": report}
