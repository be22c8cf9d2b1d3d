"""Becomes another program that dies with the process which started it: `python lifeline.py PARENT PROGRAM ARGUMENT…`.

`server_process.py` starts every server of a test cluster through it, so that a killed test run leaves nothing behind.
A process of its own sets the signal because Python's preexec_fn may deadlock where there are threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for the signal, see that the parent is still there, and become the program."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(parent):  # it died before the kernel was asked
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
