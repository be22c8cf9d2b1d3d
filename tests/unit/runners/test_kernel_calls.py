"""Memory nobody has written holds the pattern while it is asked for, whatever the block's size."""

import subprocess
import sys

import pytest
import torch

from everforge.runners.isolation import kernel_calls
from everforge.runners.isolation.kernel_calls import POISON_BYTE, poison_allocations


@pytest.fixture
def poisoned() -> bool:
    if not poison_allocations(True):
        pytest.skip("this C library cannot fill memory")
    return True


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("size_bytes", [1 << 10, 64 << 20], ids=["1 KiB", "64 MiB"])
def test_uninitialised_tensor_holds_absurd_numbers(size_bytes: int) -> None:
    try:
        tensor = torch.empty(size_bytes // 4)
    finally:
        poison_allocations(False)
    assert bool((tensor.view(torch.uint8) == POISON_BYTE).all())
    assert bool((tensor > 3e38).all())
    assert bool(tensor.view(torch.float16).isnan().all())


@pytest.mark.usefixtures("poisoned")
def test_reused_block_is_filled_again() -> None:
    try:
        torch.ones(1 << 10)
        assert bool((torch.empty(1 << 10).view(torch.uint8) == POISON_BYTE).all())
    finally:
        poison_allocations(False)


@pytest.mark.usefixtures("poisoned")
def test_memory_is_not_filled_once_it_is_switched_off() -> None:
    assert poison_allocations(False)
    torch.zeros(64 << 20, dtype=torch.uint8)  # a block that is free again, if these are not fresh pages
    assert not bool((torch.empty(64 << 20, dtype=torch.uint8) == POISON_BYTE).all())


def test_library_without_the_parameter_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_calls, "_libc", object())
    assert not poison_allocations(True)


def test_capabilities_do_not_come_back() -> None:
    code = (
        "import os; from everforge.runners.isolation.kernel_calls import drop_capabilities as drop; drop(); drop()\n"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapPrm'))])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(["0" * 16] * 2)
