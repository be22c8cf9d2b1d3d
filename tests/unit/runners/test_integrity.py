"""What a candidate replaces is found, by name and place; what was never touched is not.

That honest candidates replace nothing is part of `test_coverage.py`, which runs forty of them.
"""

import builtins
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from everforge.runners.integrity.snapshot import Snapshot, changed, snapshot
from everforge.runners.isolation import channel
from everforge.runners.tensors import bits


@pytest.fixture
def before() -> Snapshot:
    return snapshot()  # for each test: pytest's own time limit sets a handler and a timer for each


def fake(*_: Any, **__: Any) -> Any:
    """What everything is replaced by here."""


REPLACED = [
    (time, "perf_counter", "time.perf_counter"),
    (time, "perf_counter_ns", "time.perf_counter_ns"),
    (time, "monotonic", "time.monotonic"),
    (time, "sleep", "time.sleep"),
    (torch.cuda.Event, "elapsed_time", "torch.cuda.Event.elapsed_time"),
    (torch.cuda.Event, "record", "torch.cuda.Event.record"),
    (torch.cuda, "synchronize", "torch.cuda.synchronize"),
    (torch.cuda, "current_stream", "torch.cuda.current_stream"),
    (torch.xpu, "synchronize", "torch.xpu.synchronize"),
    (torch.Tensor, "clone", "torch.Tensor.clone"),
    (torch.Tensor, "__eq__", "torch.Tensor.__eq__"),
    (torch.Tensor, "copy_", "torch.Tensor.copy_"),
    (torch.Tensor, "sum", "torch.Tensor.sum"),
    (torch, "equal", "torch.equal"),
    (torch, "allclose", "torch.allclose"),
    (torch, "randint", "torch.randint"),
    (torch.nn.Module, "load_state_dict", "torch.nn.Module.load_state_dict"),
    (torch.nn.Module, "__setattr__", "torch.nn.Module.__setattr__"),
    (torch.nn.Module, "_call_impl", "torch.nn.Module._call_impl"),
    (builtins, "zip", "builtins.zip"),
    (builtins, "sum", "builtins.sum"),
    (json, "dumps", "json.dumps"),
    (socket.socket, "recvmsg", "socket.socket.recvmsg"),
    (os, "fstat", "os.fstat"),
    (bits, "checksum", "everforge.runners.tensors.bits.checksum"),
    (channel.Channel, "send", "everforge.runners.isolation.channel.Channel.send"),
    (builtins, "isinstance", "builtins.isinstance"),
    (builtins, "type", "builtins.type"),
    (bits, "leaves", "everforge.runners.tensors.bits.leaves"),
]


@pytest.mark.parametrize(("owner", "name", "path"), REPLACED, ids=[path for *_, path in REPLACED])
def test_replaced_function_is_found(
    before: Snapshot, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, path: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fake)
        found = changed(before)
    line = fake.__code__.co_firstlineno
    assert f"{path} was replaced by function at line {line} of test_integrity.py" in found
    assert changed(before) == []


def test_exchanged_code_is_found(before: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bits.same_bits, "__code__", (lambda left, right: True).__code__)
        (finding,) = changed(before)
    assert finding.startswith("the code of everforge.runners.tensors.bits.same_bits was exchanged for function at line")


def test_exchanged_defaults_are_found(before: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda.Event.__new__, "__defaults__", (True, False))
        (finding,) = changed(before)
    assert finding.startswith("the code of torch.cuda.Event.__new__ was exchanged")


def test_replaced_module_of_the_harness_is_found(before: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "everforge.runners.tensors.bits", ModuleType("bits"))
        assert changed(before) == ["the module everforge.runners.tensors.bits was replaced by a module"]
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "everforge.runners.tensors.bits")
        assert changed(before) == ["the module everforge.runners.tensors.bits was replaced by nothing"]


class Finder:
    """An import hook of a candidate."""

    @staticmethod
    def find_spec(*_: Any) -> None:
        return None

    def found(self) -> None:
        return None


class Mode(torch.overrides.TorchFunctionMode):
    """Sees every call of PyTorch's functions."""


def set_profile() -> Iterator[None]:
    sys.setprofile(fake)
    yield
    sys.setprofile(None)


def set_threads_profile() -> Iterator[None]:
    threading.setprofile(fake)
    yield
    threading.setprofile(None)  # type: ignore[arg-type]


def add_collection_hook() -> Iterator[None]:
    gc.callbacks.append(fake)
    yield
    gc.callbacks.remove(fake)


def add_import_hook() -> Iterator[None]:
    finder = Finder()
    sys.meta_path.append(finder)
    yield
    sys.meta_path.remove(finder)


def take_signal() -> Iterator[None]:
    handler = signal.signal(signal.SIGUSR2, fake)
    yield
    signal.signal(signal.SIGUSR2, handler)


def start_timer() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def set_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


def enter_mode() -> Iterator[None]:
    with Mode():
        yield


def hook_all_modules() -> Iterator[None]:
    handle = torch.nn.modules.module.register_module_forward_hook(fake)
    yield
    handle.remove()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (set_profile, "sys.setprofile was given function"),
        (set_threads_profile, "threading.setprofile was given function"),
        (add_collection_hook, "gc.callbacks was given function"),
        (add_import_hook, "sys.meta_path was given Finder"),
        (take_signal, "signal.signal was given function"),
        (start_timer, "signal.getitimer(1) was changed"),
        (set_dtype, "torch.get_default_dtype() was changed from 'torch.float32' to 'torch.bfloat16'"),
        (enter_mode, "the number of active function modes was changed from 0 to 1"),
        (hook_all_modules, "the hooks of all modules was given function"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_changed_state_is_found(before: Snapshot, change: Callable[[], Iterator[None]], what: str) -> None:
    changing = change()
    next(changing)
    found = changed(before)
    next(changing, None)
    assert [finding for finding in found if finding.startswith(what)] == found
    assert len(found) == 1
    assert changed(before) == []


def test_default_device_is_free_to_set(before: Snapshot) -> None:
    torch.set_default_device("cpu")
    try:
        assert changed(before) == []
    finally:
        torch.set_default_device(None)


def test_description_runs_nothing_of_what_it_describes(before: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError("looked at")

        def __repr__(self) -> str:
            raise AssertionError("printed")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "equal", Trap())
        found = changed(before)
    assert found[0].startswith("torch.equal was replaced by Trap")


def test_check_is_cheap_even_with_every_module_of_the_suite_loaded(before: Snapshot) -> None:
    times_s = []
    for _ in range(20):
        began_s = time.thread_time()
        changed(before)
        times_s.append(time.thread_time() - began_s)
    assert min(times_s) < 25e-3  # 1.2 ms in a worker, 9 ms here after the rest of the suite
