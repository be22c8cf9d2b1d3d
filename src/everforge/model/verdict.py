"""The outcome of a trial, and the exit code that says it to a shell."""

from enum import IntEnum, StrEnum


class Verdict(StrEnum):
    """What a trial showed. The first three are correct kernels."""

    FASTER = "faster"
    SLOWER = "slower"
    INCONCLUSIVE = "inconclusive"
    INCORRECT = "incorrect"
    COMPILE_ERROR = "compile_error"
    CRASH = "crash"
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    TAMPERED = "tampered"
    INFRA_ERROR = "infra_error"

    @property
    def is_correct(self) -> bool:
        """Whether the candidate computed the task."""
        return self in (Verdict.FASTER, Verdict.SLOWER, Verdict.INCONCLUSIVE)

    @property
    def is_final(self) -> bool:
        """Whether the candidate has been judged; a broken machine judges nobody."""
        return self is not Verdict.INFRA_ERROR


class Fault(StrEnum):
    """Which part of the machine an `infra_error` blames."""

    DEVICE = "device"
    HARNESS = "harness"


class ExitCode(IntEnum):
    """Exit codes of `everforge evaluate`, `run` and `suite`, and of the agents' and runners' pods; an API.

    10 to 14 are verdicts on one candidate. Pods end with 0, 2 and the codes from 20 on: docs/reference/pods.md.
    """

    CORRECT = 0
    USAGE = 2
    COMPILE_ERROR = 10
    INCORRECT = 11
    TIMEOUT = 12
    CRASH = 13
    REFUSED = 14
    DEVICE_FAULT = 20
    HARNESS_FAULT = 21
    STORE_UNREACHABLE = 22
    INTERRUPTED = 130
    TERMINATED = 143


_EXIT_CODES = {
    Verdict.INCORRECT: ExitCode.INCORRECT,
    Verdict.COMPILE_ERROR: ExitCode.COMPILE_ERROR,
    Verdict.TIMEOUT: ExitCode.TIMEOUT,
    Verdict.CRASH: ExitCode.CRASH,
    Verdict.REJECTED: ExitCode.REFUSED,
    Verdict.TAMPERED: ExitCode.REFUSED,
}


def exit_code_of(verdict: Verdict, fault: Fault | None) -> ExitCode:
    """The exit code that stands for a verdict (and, for `infra_error`, for whose fault it was)."""
    if verdict is Verdict.INFRA_ERROR:
        return ExitCode.DEVICE_FAULT if fault is Fault.DEVICE else ExitCode.HARNESS_FAULT
    return _EXIT_CODES.get(verdict, ExitCode.CORRECT)
