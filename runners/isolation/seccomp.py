"""A filter of system calls for a candidate's processes: what no kernel and no device driver needs is refused.

The filter is classic BPF, built here and handed to the kernel through ctypes, so it needs no library and no
privilege. It is a list of refusals and not of permissions: drivers of CUDA and Level Zero use many calls, and the
ones left out are those that reach other processes, the machine's set-up or the kernel's rarely tested parts.
Called by `jail.py`, last of its layers; the filter holds for every descendant and cannot be taken off.

What it costs, by `benchmarks/jail_cost.py` on 2 cores of x86_64 with Linux 6.18: a call that is always allowed
takes 0.20 instead of 0.17 µs from Python, `fcntl`, whose arguments are looked at, 0.31 instead of 0.24 µs, and fork,
exec of `true` and wait 1.15 instead of 1.14 ms.
"""

import ctypes
import errno
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from everforge.runners.isolation import kernel_calls as kernel

# <linux/audit.h>: the machine of <linux/elf-em.h> with the bits for 64-bit and little-endian.
_ARCH_X86_64 = 0xC000003E
_ARCH_AARCH64 = 0xC00000B7
# Numbers from here on are the x32 ABI's, which reaches the same calls under other numbers.
_X32_BIT = 0x40000000

# Number on x86_64 (arch/x86/entry/syscalls/syscall_64.tbl) and on aarch64 (include/uapi/asm-generic/unistd.h), both
# as in Linux 6.1; None where the architecture has no such call. The numbers of a call never change.
_NUMBERS: dict[str, tuple[int, int | None]] = {
    # Other processes: their memory, registers, descriptors, and whether they share any.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # Observation of the machine, and programs inside the kernel.
    "perf_event_open": (298, 241), "bpf": (321, 280), "userfaultfd": (323, 282), "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "syslog": (103, 116),
    # Keys belong to a user id and would outlive the process.
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    # The view of files: mounts, roots, and files opened without their path.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "open_tree": (428, 428), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    # Namespaces: a process with a user namespace of its own reaches far more of the kernel.
    "setns": (308, 268), "unshare": (272, 97),
    # io_uring performs calls that no filter sees.
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # The machine itself: its kernel, clock, names, swap, accounting and ports.
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "create_module": (174, None), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "clock_settime": (227, 112), "settimeofday": (164, 170),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58), "nfsservctl": (180, 42),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "uselib": (134, None),
    # These two have the kernel send any signal later: SIGCONT from them would run a process that was stopped.
    "timer_create": (222, 107), "mq_notify": (244, 184),
    # Looked at more closely below.
    "clone": (56, 220), "clone3": (435, 435), "socket": (41, 198), "fcntl": (72, 25),
}  # fmt: skip
_EXAMINED = ("clone", "clone3", "socket", "fcntl")
# Every CLONE_NEW* flag that clone's first argument can hold; CLONE_NEWTIME is none of them.
_CLONE_NEW = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_F_SETSIG = 10
# Unix sockets are between processes of the jail, netlink asks about the machine's own interfaces. Refused with the
# others is AF_VSOCK, which leaves a virtual machine and knows no namespaces.
_FAMILIES = (1, 16)

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000
# Offsets in struct seccomp_data of <linux/seccomp.h>; both architectures are little-endian.
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
# BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, …|BPF_JGE, …|BPF_JSET, BPF_RET|BPF_K of <linux/filter.h>.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

_SET_MODE_FILTER = 1
# Kernels before 5.16 slow filtered processes down against speculation unless told not to: candidates would be
# measured on another machine than baselines, which have no filter. The flag is there since 4.17.
_SPEC_ALLOW = 4
_SECCOMP_NUMBERS = (317, 277)

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True)
class Architecture:
    """What a filter must know of the machine: its audit number, and the number of each call."""

    audit: int
    numbers: dict[str, int]
    seccomp: int
    has_x32: bool


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filters", ctypes.POINTER(_Filter)))


def architecture_of(machine: str) -> Architecture | None:
    """The architecture by its `uname -m` name, or None if the calls' numbers on it are not known here."""
    columns = {"x86_64": (0, _ARCH_X86_64), "aarch64": (1, _ARCH_AARCH64)}
    if machine not in columns or sys.byteorder != "little":
        return None
    column, audit = columns[machine]
    numbers = {name: number for name, row in _NUMBERS.items() if (number := row[column]) is not None}
    return Architecture(audit, numbers, _SECCOMP_NUMBERS[column], has_x32=machine == "x86_64")


def program_for(architecture: Architecture) -> list[Instruction]:
    """The filter: refuse by number, look at the arguments of four calls, allow the rest."""
    numbers = architecture.numbers
    refused = [number for name, number in numbers.items() if name not in _EXAMINED]
    program = [_load(_ARCH_AT), (_EQUAL, 1, 0, architecture.audit), _answer(_KILL), _load(_NUMBER_AT)]
    if architecture.has_x32:
        program += [(_AT_LEAST, 0, 1, _X32_BIT), _refusal(errno.ENOSYS)]
    # libc falls back to clone, whose flags can be seen; those of clone3 are behind a pointer.
    program += _refused((numbers["clone3"],), errno.ENOSYS)
    program += _refused(refused, errno.EPERM)
    program += _examined(numbers["clone"], 0, [(_ANY_BIT, 0, 1, _CLONE_NEW), _refusal(errno.EPERM)])
    # Like a timer, a descriptor with a signal of its choice could continue a stopped process.
    program += _examined(numbers["fcntl"], 1, [(_EQUAL, 0, 1, _F_SETSIG), _refusal(errno.EPERM)])
    families = [(_EQUAL, len(_FAMILIES) - place, 0, family) for place, family in enumerate(_FAMILIES)]
    program += _examined(numbers["socket"], 0, [*families, _refusal(errno.EAFNOSUPPORT)])
    return [*program, _answer(_ALLOW)]


def _load(offset: int) -> Instruction:
    return _LOAD, 0, 0, offset


def _answer(action: int) -> Instruction:
    return _RETURN, 0, 0, action


def _refusal(number: int) -> Instruction:
    return _answer(_ERRNO | number)


def _refused(numbers: Iterable[int], error: int) -> list[Instruction]:
    """Refuse these numbers; the accumulator holds the call's number before and after."""
    return [step for number in numbers for step in ((_EQUAL, 0, 1, number), _refusal(error))]


def _examined(number: int, argument: int, steps: list[Instruction]) -> list[Instruction]:
    """For one call, load the low half of an argument and take these steps; whatever they let through is allowed."""
    body = [_load(_ARGUMENTS_AT + 8 * argument), *steps, _answer(_ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body]


def apply() -> None:
    """Filter this process and all it will start. No new privileges must have been asked for before.

    Raises OSError where the kernel has no filters or the architecture is not known.
    """
    architecture = architecture_of(platform.machine())
    if architecture is None:
        raise OSError(errno.ENOSYS, f"seccomp: the numbers of the system calls on {platform.machine()} are not known")
    program = program_for(architecture)
    filters = (_Filter * len(program))(*(_Filter(*instruction) for instruction in program))
    argument = _Program(len(program), filters)
    try:
        kernel.system_call(architecture.seccomp, _SET_MODE_FILTER, _SPEC_ALLOW, ctypes.addressof(argument))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise OSError(error.errno, f"seccomp: {os.strerror(error.errno or 0)}") from error
        kernel.system_call(architecture.seccomp, _SET_MODE_FILTER, 0, ctypes.addressof(argument))
