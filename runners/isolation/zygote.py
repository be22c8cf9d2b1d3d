"""A warm process with torch imported, which forks one process for each candidate and baseline.

Importing torch takes seconds; forking takes milliseconds. The zygote never runs candidate code, never opens
a device, has one thread, and is started with an empty environment, so a fork of it carries nothing from one
candidate to the next. `nursery.py` starts it and talks to it over a channel.

A spawn makes three processes: a keeper in new namespaces, its child the init of a new pid namespace, and
the init's child the worker. The init outlives the worker only to report how it ended; when it goes, the kernel
kills whatever the candidate left behind.
"""

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from everforge.runners.isolation import jail
from everforge.runners.isolation import kernel_calls as kernel
from everforge.runners.isolation.channel import Channel, ChannelClosed, close_all
from everforge.runners.isolation.exchange import AnsweringEnd
from everforge.runners.isolation.file_view import FileView


def serve(channel: Channel) -> None:
    """Fork a worker for each message until the runner goes away."""
    while True:
        _reap()
        try:
            message, descriptors = channel.receive()
        except ChannelClosed:
            return
        keeper = os.fork()
        if keeper == 0:
            channel.close()
            _keep(message, *descriptors)
        close_all(descriptors)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _keep(message: dict[str, Any], connection: int, status: int, output: int) -> None:
    """Enter the namespaces and start the init; stay, so that the init's death by signal is noticed."""
    try:
        os.setsid()
        kernel.die_with_parent(signal.SIGKILL)
        cell = _cell_of(message)
        if cell is not None:
            jail.enter_namespaces(cell)
        kernel.forbid_tracing()
        init = os.fork()
        if init == 0:
            _init(message, cell, connection, status, output)
        close_all((connection, output))
        os.write(status, f"pid {init}\n".encode())
        os.close(status)
        os.waitpid(init, 0)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - nothing of the zygote's own loop may run in a fork
        os.write(status, f"broken {type(error).__name__}: {error}\n".encode())
        os._exit(1)


def _init(message: dict[str, Any], cell: jail.Cell | None, connection: int, status: int, output: int) -> None:
    """Start the worker, adopt its orphans, and say how it ended."""
    try:
        os.setsid()
        kernel.adopt_orphans()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        # With a pid namespace the kernel kills what the init leaves; without one, the init must do it itself.
        layers = () if cell is None else cell.layers
        kernel.die_with_parent(signal.SIGKILL if "pids" in layers else signal.SIGTERM)
        worker = os.fork()
        if worker == 0:
            os.close(status)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _become_worker(message, cell, connection, output)
        close_all((connection, output))
        os.write(status, b"started\n")
        while True:
            pid, code = os.waitpid(-1, 0)
            if pid == worker:
                break
        os.write(status, f"exit {code}\n".encode())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        jail.kill_descendants()
        os._exit(0)


def _become_worker(message: dict[str, Any], cell: jail.Cell | None, connection: int, output: int) -> None:
    try:
        os.setsid()  # a signal to its own group must not reach the init
        _redirect_output(output)
        os.environ.clear()
        os.environ.update(message["environment"])
        os.chdir(message["directory"])
        if cell is not None:
            jail.lock_down(cell)
        from everforge.runners.worker import run_worker

        run_worker(AnsweringEnd(socket.socket(fileno=connection)))
    except BaseException as error:  # noqa: BLE001 - the last border of the process: say why on stderr, then go
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


def _redirect_output(output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, number)
    close_all((output, nothing))


def _cell_of(message: dict[str, Any]) -> jail.Cell | None:
    cell = message["cell"]
    if cell is None:
        return None
    return jail.Cell(
        limits=jail.Limits(**cell["limits"]),
        directory=message["directory"],
        uid=cell["uid"],
        layers=tuple(cell["layers"]),
        view=_view_of(cell["view"]),
    )


def _view_of(view: dict[str, Any]) -> FileView:
    return FileView(hidden=tuple(view["hidden"]), visible=tuple(view["visible"]))


def main() -> None:
    """Warm up, say which jail layers work here, then serve the channel given as the argument."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    message, _ = channel.receive()
    layers = jail.probe(message["directory"], _view_of(message["view"]))
    if jail.shares_sight(layers):
        kernel.forbid_tracing()
    # Imported for the forks: candidates and baselines find them already there.
    # The second takes 1.4 s: every torch.compile needs it, and every tensor without memory (`triton_gate.py`).
    import torch._dynamo
    import torch.utils.cpp_extension  # noqa: F401

    with contextlib.suppress(ImportError):  # a CPU machine may have no Triton
        import triton.language  # noqa: F401

    from everforge.runners import worker  # noqa: F401

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    channel.send({"layers": layers, "address_bytes": pages * os.sysconf("SC_PAGE_SIZE")})
    serve(channel)


if __name__ == "__main__":
    main()
