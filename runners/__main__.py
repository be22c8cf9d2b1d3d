"""The runner's command, on a Unix socket for one machine or on a TCP port for a cluster.

`python -m everforge.runners --socket PATH` reads the client's token from the first line of standard input, prints
`ready` once it listens, and ends when standard input closes. Started by `agents/runner_process.py`.

`python -m everforge.runners --listen HOST:PORT --token-digest DIGEST` is what a runner's pod runs: see `service.py`.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from everforge.clock import SystemClock
from everforge.model.credential import token_digest
from everforge.runners.devices.visible import only_device
from everforge.runners.server import Manners, RunnerServer
from everforge.runners.service import GRACE_S, Service, address_of, credential_of, digest_of, log, log_fault
from everforge.runners.workshop import Workshop


def _index(text: str) -> int:
    index = int(text)
    if index < 0:
        raise argparse.ArgumentTypeError("devices are counted from 0")
    return index


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("a number of seconds above 0 is needed")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m everforge.runners", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="Unix socket to listen on")
    where.add_argument("--listen", type=address_of, metavar="HOST:PORT", help="TCP address to listen on")
    parser.add_argument(
        "--remove-directory", action="store_true", help="remove the socket's directory at the end, with all in it"
    )
    parser.add_argument(
        "--device-index", type=_index, default=0, help="use this device of each kind, counted from 0 among the visible"
    )
    credential = parser.add_mutually_exclusive_group()
    credential.add_argument(
        "--token-digest",
        dest="credential",
        type=digest_of,
        metavar="DIGEST",
        help="with --listen: sha256:… of the client's token",
    )
    credential.add_argument(
        "--token-file",
        dest="credential",
        type=credential_of,
        metavar="FILE",
        help="with --listen, instead: holds the client's token",
    )
    parser.add_argument("--idle-seconds", type=_seconds, help="with --listen: end after so long without a request")
    parser.add_argument(
        "--grace-seconds",
        type=_seconds,
        default=GRACE_S,
        help="with --listen: how long SIGTERM waits for the trial under way (default: %(default)g)",
    )
    return parser


def main() -> None:
    """Serve until standard input closes, or until there is a reason to end."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.device_index:
        # Importing torch asks no driver for its devices; the first use of one does.
        os.environ.update(only_device(os.environ, arguments.device_index))
    if arguments.listen is not None:
        if arguments.credential is None:
            parser.error("--listen needs --token-digest or --token-file")
        service = Service(arguments.listen, arguments.credential, arguments.idle_seconds, arguments.grace_seconds)
        _taken_from_standard_input()
        os._exit(service.run(arguments.device_index))
    try:
        token = sys.stdin.readline().strip()
        if not token:
            parser.error("the first line of standard input must be the client's token")
        _serve(arguments.socket, token, _taken_from_standard_input(), arguments.device_index)
    finally:
        if arguments.remove_directory:
            shutil.rmtree(arguments.socket.parent, ignore_errors=True)


def _taken_from_standard_input() -> int:
    """A descriptor of the client's pipe, which is no longer `sys.stdin`.

    Task files run in this process: `exit()` in one closes `sys.stdin`, and would wait for ever for whoever reads it.
    """
    client = os.dup(sys.stdin.fileno())
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - open as long as the process
    return client


def _serve(socket_path: Path, token: str, client: int, device_index: int) -> None:
    """Serve until the client closes its end of the pipe, or is gone before it heard that we are ready."""
    with tempfile.TemporaryDirectory(prefix="everforge-") as root:
        # Workers' users must be able to reach their own directories below; its listing stays closed.
        Path(root).chmod(0o711)
        workshop = Workshop(Path(root), SystemClock(), log_fault, device_index)
        manners = Manners(ends_with_client=True)
        server = RunnerServer(socket_path, token_digest(token), log, manners, workshop)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
                os.write(sys.stdout.fileno(), b"ready\n")
                while os.read(client, 4096):
                    pass
        finally:
            server.shutdown()
            socket_path.unlink(missing_ok=True)
            workshop.close()


if __name__ == "__main__":
    main()
