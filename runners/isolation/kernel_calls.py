"""The few Linux calls Python has no binding for before 3.12, through ctypes. Used by the files of the jail."""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
# nosuid, nodev, noexec, noatime, nodiratime: statvfs(3) tells them by the same bits.
MS_KEPT_ON_REMOUNT = 2 | 4 | 8 | 1024 | 2048
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
# <linux/capability.h>: version 3 of the header has two words of each set.
_CAPABILITY_VERSION = 0x20080522
# More than any kernel has; the first unknown one ends the loop.
_CAPABILITY_LIMIT = 64

# <malloc.h>. Memory from malloc is filled with the complement of this parameter's low byte.
_M_PERTURB = -6
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# The most that glibc takes for each on 64 bits.
_LARGEST_ON_HEAP_BYTES = 32 << 20
_NEVER_TRIMMED_BYTES = (1 << 31) - 1
# 3.4e38 as float32, 1.4e306 as float64, NaN as float16, 2139062143 as int32: no sum or index of them looks right.
POISON_BYTE = 0x7F
_POISON_PROBE_BYTES = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by CLONE_* flags. Raises OSError where that is not allowed."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Raises OSError."""
    arguments = [None if text is None else text.encode() for text in (source, target, kind)]
    options = None if data is None else data.encode()
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), options), f"mount {target}")


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this signal when the parent process ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def forbid_new_privileges() -> None:
    """No set-uid program can raise this process's privileges any more."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def forbid_tracing() -> None:
    """No process of the same user can attach to this one or read its memory."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, as init would."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def drop_capabilities() -> None:
    """Give up every capability, for good where this process may do that.

    Inside a user namespace a process has all of them although it is nobody, and could undo mounts.
    """
    for capability in range(_CAPABILITY_LIMIT):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def system_call(number: int, *arguments: int) -> int:
    """syscall(2), for calls libc has no function for. Raises OSError."""
    result = int(_libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments)))
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def keep_freed_memory() -> None:
    """Have malloc reuse what was freed instead of returning it to the kernel.

    glibc decides by what a process has freed before: of two processes that ran the same kernel of 4 MB, the one that
    had been verified first took 217 us a call and the other 256, for the pages it was given anew each time.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIMMED_BYTES)


def poison_allocations(on: bool) -> bool:
    """Fill memory that malloc hands out with POISON_BYTE, or stop doing so; whether that was done.

    PyTorch's CPU allocator and C++ candidates take their memory from malloc: what they do not write then reads as
    an absurd number instead of as the zeros of fresh pages. Filling costs a pass over the memory, so it is off while
    calls are timed. False where malloc is not glibc's (musl, or a preloaded one): it cannot be filled there.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is None or mallopt(_M_PERTURB, (POISON_BYTE ^ 0xFF) if on else 0) != 1:
        return False
    return not on or _fills_memory()


def _fills_memory() -> bool:
    """Whether a new block holds the pattern at its end; what the allocator keeps in a free block is at its start."""
    _libc.malloc.restype = ctypes.c_void_p
    block = _libc.malloc(ctypes.c_size_t(_POISON_PROBE_BYTES))
    if not block:
        return False
    held = ctypes.string_at(block + _POISON_PROBE_BYTES - 256, 256)
    _libc.free(ctypes.c_void_p(block))
    return held == bytes([POISON_BYTE]) * 256
