"""The part of a worker that times calls, plainly and replayed as device graphs, and commits to what they returned.

The parent bounds every turn with its own clock and checks the outputs. Asked by `worker.py`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from everforge.runners.clock.captured_calls import CapturedCalls
from everforge.runners.clock.timed_turn import KeptOutputs, TimedTurn
from everforge.runners.isolation.channel import Descriptors, Message
from everforge.runners.slots import Slots
from everforge.runners.tensors.layouts import same_layout_copy
from everforge.runners.tensors.mixing import Mix, on_device
from everforge.runners.tensors.results import result_of
from everforge.runners.tensors.trees import map_block, map_tree


class TimedCalls:
    """The turn of each slot that was made ready, and its calls that were captured in a device graph."""

    OPERATIONS = ("keep", "ready", "rouse", "time", "left", "kept_output", "capture", "replays", "replay")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._flusher: Callable[[], object] | None = None
        self._turns: dict[str, TimedTurn] = {}
        self._captured: dict[str, CapturedCalls] = {}
        self._kept = KeptOutputs(torch.empty(0, dtype=torch.uint8), commits=False)

    def keep(self, message: Message, descriptors: Descriptors) -> dict[str, Any]:
        """Take the memory that the outputs of timed calls go to, the parent's or the device's own."""
        if descriptors:
            self._kept = KeptOutputs(map_block(descriptors[0], shared=True), commits=False)
        else:
            block = torch.zeros(message["bytes"], dtype=torch.uint8, device=self._slots.device.torch_device)
            self._kept = KeptOutputs(block, commits=True)
        return {}

    def ready(self, message: Message, _: Descriptors) -> dict[str, Any]:
        """Make room for a turn and have every thread of this process at work once, before the turn is measured."""
        sets = [self._slots.sets[name] for name in message["sets"]]
        run, mask = self._slots.callables[message["slot"]], self._slots.sets[message["mask"]]
        self._turns[message["slot"]] = TimedTurn(run, sets, mask, message, self._kept)
        return self.rouse(message, ())

    def rouse(self, _: Message, __: Descriptors) -> dict[str, Any]:
        """Have every thread of this process at work once."""
        self._flush()
        self._slots.device.synchronize()
        return {}

    def _flush(self) -> None:
        if self._flusher is None:
            self._flusher = self._slots.device.flusher()
        self._flusher()

    def time(self, message: Message, _: Descriptors) -> dict[str, Any]:
        """Time calls on inputs never seen before, and commit to what they returned."""
        slot, turn = message["slot"], self._turns[message["slot"]]
        with torch.no_grad(), self._slots.contexts[slot]():
            turn.start(message["mixes"], message["watched"], self._flush if message["flush"] else _nothing)
            self._slots.device.head_start(message["head_start_us"])
            times_us = self._slots.device.time_us([turn.call] * len(turn.mixes), turn.prepare)
            turn.settle()
        return {"times_us": times_us, "checksums": self._kept.commit(message["salt"])}

    def left(self, message: Message, _: Descriptors) -> dict[str, Any]:
        """In what state the calls of the turn left their inputs and results, once it is measured."""
        turn = self._turns.pop(message["slot"])
        return {"odd_form": self._kept.odd_form, "changed_inputs": turn.has_changed_inputs()}

    def capture(self, message: Message, _: Descriptors) -> dict[str, Any]:
        """Capture calls in one device graph, their outputs kept apart."""
        slot, sets = message["slot"], [self._slots.sets[name] for name in message["sets"]]
        mask = on_device(self._slots.sets[message["mask"]])
        captured = CapturedCalls(self._slots.callables[slot], sets, mask, message["places"], self._flush)
        self._captured[slot] = captured
        self._kept.expect(message["expected"], message["output_bytes"])
        with torch.no_grad(), self._slots.contexts[slot]():
            return {"captured": captured.capture(self._slots.device, message["calls"])}

    def replays(self, message: Message, _: Descriptors) -> dict[str, Any]:
        """Replay the captured calls on inputs never seen before, and commit to what the last ones returned."""
        captured = self._captured[message["slot"]]
        with torch.no_grad():
            captured.load(Mix(*message["mix"]))
            captured.replay(message["times"])
            self._kept.start()
            for result in captured.results:
                self._kept.add(result_of(result, captured.inputs, ()))
        return {"checksums": self._kept.commit(message["salt"])}

    def replay(self, message: Message, _: Descriptors) -> dict[str, Any]:
        """Time calls replayed as a device graph, on inputs that stay where they are."""
        slot, inputs = message["slot"], map_tree(self._slots.sets[message["set"]], same_layout_copy)
        with torch.no_grad(), self._slots.contexts[slot]():
            call = partial(self._slots.callables[slot], *inputs)
            launches_us = self._slots.device.launch_times_us(call, message["iterations"])
            return {
                "launches_us": launches_us,
                "times_us": self._slots.device.replay_us(call, self._flush, message["iterations"]),
            }

    def kept_output(self, message: Message, descriptors: Descriptors) -> dict[str, Any]:
        """What one call of the last turn returned, from the device's own memory."""
        self._kept.write(message["call"], map_block(descriptors[0], shared=True))
        return {}


def _nothing() -> None:
    """Timed calls that find the cache as the call before left it."""
