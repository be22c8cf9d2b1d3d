"""What the filter of system calls costs a candidate: three loops before and after it is applied to this process.

`python benchmarks/seccomp_cost.py` on Linux, x86_64 or aarch64. The number in `runners/seccomp.py` is from it.
"""

import fcntl
import os
import statistics
import time
from collections.abc import Callable

from everforge.runners import kernel_calls, seccomp

CALLS = 200_000
FORKS = 200
ROUNDS = 5


def fork_and_exec() -> None:
    """Start `true` and wait for it."""
    child = os.fork()
    if child == 0:
        os.execv("/bin/true", ["true"])
    os.waitpid(child, 0)


def median_us(work: Callable[[], object], count: int) -> float:
    """Microseconds for each call: the median of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        for _ in range(count):
            work()
        rounds.append((time.perf_counter() - began_s) / count * 1e6)
    return statistics.median(rounds)


def measure() -> dict[str, float]:
    """The three loops, by name."""
    return {
        "getppid": median_us(os.getppid, CALLS),
        "fcntl": median_us(lambda: fcntl.fcntl(0, fcntl.F_GETFD), CALLS),
        "fork, exec, wait": median_us(fork_and_exec, FORKS),
    }


def main() -> None:
    """Print a line for each loop."""
    without = measure()
    kernel_calls.forbid_new_privileges()
    seccomp.apply()
    for name, time_us in measure().items():
        print(f"{name}: {without[name]:.2f} us without, {time_us:.2f} us with the filter")


if __name__ == "__main__":
    main()
