"""A runner as a pod runs it: on a TCP port, for whoever knows its token, until it idles or is told to end.

There is no TLS: a token is good for one claim and as long as its runner lives, a NetworkPolicy lets only agents of its
namespace connect, and a certificate for each runner would need an authority that can read or write secrets.
Where the network between nodes is not trusted, its encryption (WireGuard, a mesh) is the network's.

Exit codes: 0 idled, or told to end with nothing left undone; 2 wrong arguments; 21 the warm process is gone or did not
start; 143 told to end, and gave up the trial under way.
"""

import argparse
import os
import re
import signal
import stat
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from types import FrameType

from everforge.clock import SystemClock
from everforge.errors import HarnessFault
from everforge.model.credential import token_digest
from everforge.model.scalars import DIGEST
from everforge.model.verdict import ExitCode
from everforge.runners.server import Manners, RunnerServer
from everforge.runners.workshop import Workshop

# Below the 30 s that Kubernetes gives a pod unless told otherwise.
GRACE_S = 25.0
# A client that is there takes its answer in milliseconds.
_DELIVERY_S = 2.0
_TICK_S = 0.5
# 32 hexadecimal digits are 128 bits, which nobody guesses.
_SHORTEST_TOKEN = 32


def log(text: str) -> None:
    """Write a line to the runner's log."""
    sys.stderr.write(text.rstrip("\n") + "\n")
    sys.stderr.flush()


def log_fault(error: BaseException) -> None:
    """Write an unexpected error's traceback to the runner's log."""
    log("".join(traceback.format_exception(error)))


def address_of(text: str) -> tuple[str, int]:
    """HOST:PORT, as argparse wants it. Raises ArgumentTypeError."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 0.0.0.0:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def credential_of(path: str) -> str:
    """The digest of the token a file holds. Raises ArgumentTypeError if it holds none, or others may read it."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read: {error}") from None
    if len(text) < _SHORTEST_TOKEN or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(
            f"{path} must hold a token of {_SHORTEST_TOKEN} characters or more in one line; it holds {len(text)}"
        )
    if mode & stat.S_IRWXO:
        raise argparse.ArgumentTypeError(
            f"{path} has mode {mode:04o}, so every user may read the token: mount the Secret with defaultMode 0440"
        )
    return token_digest(text)


def digest_of(text: str) -> str:
    """A token's digest, as argparse wants it. Raises ArgumentTypeError."""
    if re.fullmatch(DIGEST, text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not sha256: and 64 hexadecimal digits")
    return text


class Service:
    """Serves until it idles for `idle_s`, or a signal asks for the end and `grace_s` are over."""

    def __init__(self, address: tuple[str, int], credential: str, idle_s: float | None, grace_s: float) -> None:
        self._address = address
        self._credential = credential
        self._idle_s = idle_s
        self._grace_s = grace_s
        self._told_to_end = threading.Event()

    def run(self, device_index: int) -> int:
        """Serve; the exit code the process is to end with at once, for work given up may still be at it.

        Health is answered before the warm process is up.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            server = RunnerServer(self._address, self._credential, log, Manners())
        except OSError as error:
            log(f"cannot listen on {self._address[0]}:{self._address[1]}: {error.strerror}")
            return ExitCode.USAGE
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._say(f"listening on port {server.port}")
        try:
            with tempfile.TemporaryDirectory(prefix="everforge-", ignore_cleanup_errors=True) as root:
                # Workers' users must be able to reach their own directories below; its listing stays closed.
                Path(root).chmod(0o711)
                server.workshop = Workshop(Path(root), SystemClock(), log_fault, device_index, exclusive=True)
                self._say("ready")
                return self._serve(server, server.workshop)
        except HarnessFault as error:
            log(str(error))
            return ExitCode.HARNESS_FAULT
        finally:
            server.shutdown()
            server.server_close()

    def _serve(self, server: RunnerServer, workshop: Workshop) -> int:
        code = self._until_the_end(workshop)
        server.is_ending = True
        if code is None:
            ended = workshop.bench.drain(self._grace_s)
            log("told to end: " + ("nothing is left undone" if ended else "the trial under way was given up"))
            code = 0 if ended else ExitCode.TERMINATED
        if code == 0:
            server.await_answers(_DELIVERY_S)
            workshop.close()
        else:
            workshop.give_up()
        return code

    def _until_the_end(self, workshop: Workshop) -> int | None:
        """Wait for a reason to end: the exit code it has, None for a signal."""
        while not self._told_to_end.wait(_TICK_S):
            if not workshop.is_sound:
                log("the warm process is gone")
                return ExitCode.HARNESS_FAULT
            if self._idle_s is not None and workshop.bench.idle_s() >= self._idle_s:
                log(f"nobody asked for anything for {self._idle_s:g} s")
                return 0
        return None

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_end.set()

    @staticmethod
    def _say(text: str) -> None:
        os.write(sys.stdout.fileno(), text.encode() + b"\n")
