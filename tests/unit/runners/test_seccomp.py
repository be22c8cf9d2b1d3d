"""The filter refuses what reaches beyond the jail and lets through what candidates and drivers need."""

import errno
import platform
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.runners.isolation import seccomp
from everforge.runners.isolation.jail import Limits
from everforge.runners.isolation.seccomp import Architecture, Instruction, architecture_of, program_for

ALLOWED, KILLED = "allowed", "killed"
MACHINES = ("x86_64", "aarch64")


def known(machine: str) -> Architecture:
    architecture = architecture_of(machine)
    assert architecture is not None
    return architecture


def verdict(program: list[Instruction], audit: int, number: int, arguments: tuple[int, ...] = (0, 0)) -> str | int:
    """What the kernel would make of a call: the filter's few instructions, interpreted."""
    data = {0: number, 4: audit} | {16 + 8 * place: value & 0xFFFFFFFF for place, value in enumerate(arguments)}
    register, place = 0, 0
    tests = {0x15: lambda k: register == k, 0x35: lambda k: register >= k, 0x45: lambda k: bool(register & k)}
    while True:
        code, jump_true, jump_false, k = program[place]
        place += 1
        if code == 0x20:
            register = data[k]
        elif code == 0x06:
            return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(k, k & 0xFFFF)
        else:
            place += jump_true if tests[code](k) else jump_false


def judge(machine: str, name: str, *arguments: int) -> str | int:
    architecture = known(machine)
    return verdict(program_for(architecture), architecture.audit, architecture.numbers[name], (*arguments, 0, 0))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", sorted(set(seccomp._NUMBERS) - set(seccomp._EXAMINED)))
def test_calls_beyond_the_jail_are_refused(machine: str, name: str) -> None:
    if name in known(machine).numbers:
        assert judge(machine, name) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 600))
def test_calls_that_are_not_named_are_allowed(machine: str, number: int) -> None:
    architecture = known(machine)
    if number not in architecture.numbers.values():
        assert verdict(program_for(architecture), architecture.audit, number) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        pytest.param("clone", (0x003D0F00,), ALLOWED, id="thread"),
        pytest.param("clone", (0x01200011,), ALLOWED, id="fork"),
        pytest.param("clone", (0x00004111,), ALLOWED, id="posix_spawn"),
        pytest.param("clone", (0x10000011,), errno.EPERM, id="user namespace"),
        pytest.param("clone", (0x00020011,), errno.EPERM, id="mount namespace"),
        pytest.param("clone3", (), errno.ENOSYS, id="clone3 as if the kernel had none"),
        pytest.param("socket", (1,), ALLOWED, id="unix socket"),
        pytest.param("socket", (16,), ALLOWED, id="netlink"),
        pytest.param("socket", (2,), errno.EAFNOSUPPORT, id="IPv4"),
        pytest.param("socket", (10,), errno.EAFNOSUPPORT, id="IPv6"),
        pytest.param("socket", (40,), errno.EAFNOSUPPORT, id="the virtual machine's host"),
        pytest.param("socket", (1 << 32 | 40,), errno.EAFNOSUPPORT, id="high bits the kernel ignores"),
        pytest.param("fcntl", (3, 1), ALLOWED, id="F_GETFD"),
        pytest.param("fcntl", (3, 10), errno.EPERM, id="F_SETSIG"),
    ],
)
def test_arguments_decide_where_the_number_does_not(
    machine: str, name: str, arguments: tuple[int, ...], expected: str | int
) -> None:
    assert judge(machine, name, *arguments) == expected


def test_other_interfaces_to_the_same_calls_are_refused() -> None:
    x86, arm = known("x86_64"), known("aarch64")
    assert verdict(program_for(x86), x86.audit, 0x40000000 | 521) == errno.ENOSYS  # x32's ptrace
    assert verdict(program_for(x86), 0x40000003, 26) == KILLED  # i386's ptrace
    assert verdict(program_for(arm), 0x40000028, 26) == KILLED  # 32-bit ARM's ptrace


def test_unknown_machine_has_no_filter() -> None:
    assert architecture_of("riscv64") is None


@pytest.mark.parametrize(
    ("machine", "header", "pattern"),
    [
        pytest.param("x86_64", "x86_64-linux-gnu/asm/unistd_64.h", r"#define __NR_(\w+)\s+(\d+)", id="x86_64"),
        pytest.param("aarch64", "asm-generic/unistd.h", r"#define __NR(?:3264)?_(\w+)\s+(\d+)", id="aarch64"),
    ],
)
def test_numbers_are_those_of_the_kernels_headers(machine: str, header: str, pattern: str) -> None:
    path = Path("/usr/include") / header
    if not path.is_file():
        pytest.skip(f"no {path} here to compare with")
    theirs = {name: int(number) for name, number in re.findall(pattern, path.read_text())}
    ours = known(machine).numbers
    assert {name: theirs.get(name) for name in ours} == ours


REFUSED = """
import ctypes, errno, fcntl, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
numbers = {numbers}
found = {{}}
def attempt(name, *arguments):
    result = libc.syscall(numbers[name], *arguments)
    found[name] = 'done' if result != -1 else errno.errorcode[ctypes.get_errno()]
attempt('ptrace', 16, 1, 0, 0)
attempt('process_vm_readv', 1, 0, 0, 0, 0, 0)
attempt('unshare', 0x10000000)
attempt('mount', 0, 0, 0, 0, 0)
attempt('umount2', b'/tmp', 0)
attempt('timer_create', 1, 0, 0)
attempt('io_uring_setup', 1, 0)
attempt('keyctl', 0, -3, 0)
attempt('bpf', 0, 0, 0)
try:
    fcntl.fcntl(0, 10, 18)
except OSError as error:
    found['F_SETSIG'] = errno.errorcode[error.errno]
"""


def test_candidate_meets_the_filter(confidant: Any) -> None:
    confidant.need("seccomp")
    architecture = architecture_of(platform.machine())
    assert architecture is not None
    found = confidant.find(REFUSED.format(numbers=architecture.numbers))
    assert set(found.values()) == {"EPERM"}
    assert len(found) == 10


NEEDED = """
import asyncio, concurrent.futures, ctypes, multiprocessing, os, select, subprocess, torch, torch._inductor.config
found = {}
found['threads'] = list(concurrent.futures.ThreadPoolExecutor(2).map(abs, [-1, 2]))
found['program'] = subprocess.run(['true']).returncode
found['memory'] = os.write(os.memfd_create('x'), b'x')
found['event'] = os.eventfd_read(os.eventfd(3))
pool = multiprocessing.get_context('fork').Pool(1)
found['processes'] = pool.map(abs, [-4])
pool.terminate()
os.sched_setaffinity(0, os.sched_getaffinity(0))
found['loop'] = asyncio.run(asyncio.sleep(0, 5))
found['parallel'] = (torch.ones(1 << 20) @ torch.ones(1 << 20)).item()
open('six.cpp', 'w').write('extern "C" int six() { return 6; }')
subprocess.run([os.environ.get('CXX', 'g++'), '-shared', '-fPIC', 'six.cpp', '-o', 'six.so'], check=True)
found['built'] = ctypes.CDLL('./six.so').six()
torch._inductor.config.cpp.vec_isa_ok = True  # it would start Python with torch for each kind of vectors
found['compiled'] = torch.compile(lambda x: x.sin() + x.cos())(torch.zeros(8)).sum().item()
"""


@pytest.mark.slow
def test_candidate_has_what_kernels_need(confidant: Any) -> None:
    limits = Limits(cpu_seconds=200, address_bytes=None, file_bytes=1 << 28, processes=256)
    with confidant.nursery.worker(limits) as worker:
        found = confidant.ask(worker, NEEDED, timeout_s=250.0)
    assert found == {
        "threads": [1, 2],
        "program": 0,
        "memory": 1,
        "event": 3,
        "processes": [4],
        "loop": 5,
        "parallel": 1 << 20,
        "built": 6,
        "compiled": 8.0,
    }
