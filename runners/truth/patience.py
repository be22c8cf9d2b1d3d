"""An end to calls into the user's code that never return, so that a loop in a reference is told with its line.

Called by `taskfile.py`. A call that hangs outside Python (in a kernel, in C) is not ended: without news for ten
minutes, the client takes the runner for wedged (`agents/runner_client.py`).
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Half of the ten minutes of silence that a runner is allowed; the slowest task of benchmarks/ takes seconds a call.
USER_CALL_S = 300.0


class OutOfTime(Exception):
    """Raised inside the call, at the line it had reached."""


@contextmanager
def at_most(limit_s: float) -> Iterator[None]:
    """Raise OutOfTime in this thread if what is inside still runs Python after `limit_s` seconds."""
    thread = ctypes.c_ulong(threading.get_ident())
    lock, is_over, raised = threading.Lock(), False, False

    def interrupt() -> None:
        nonlocal raised
        with lock:
            if is_over:
                return
            raised = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OutOfTime))

    timer = threading.Timer(limit_s, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except OutOfTime as error:
        error.args = (f"it had not returned after {limit_s:g} s",)
        raise
    finally:
        timer.cancel()
        with lock:
            is_over = True
            if raised:  # no later line may be hit by what is still on its way
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)
