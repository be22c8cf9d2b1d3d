"""Every exception Everforge raises on purpose; a bad kernel is never one of them, it is a verdict.

EverforgeError
├── UsageError            the user's input is wrong: says what, where, and what would be right (exit 2)
│   ├── ManifestError     a KernelOptimization that does not validate
│   └── TaskError         a task file that cannot be a task (missing class, import error, degenerate)
├── BudgetExceeded        the next step would spend more than the campaign may
├── ModelUnavailable      the LLM endpoint gave no usable answer after every retry
├── MachineFault          the machine under a trial is broken
│   ├── DeviceFault       the device is missing, lost or wedged (exit 20)
│   └── HarnessFault      Everforge's own process broke: runner gone, protocol violated (exit 21)
└── StoreUnavailable      the tracking server cannot be reached; writes wait in the outbox
    └── StoreRefused      the server answered, but takes no writes of this campaign; they wait as well
"""


class EverforgeError(Exception):
    """Base of all: its text is written for the person at the terminal."""


class UsageError(EverforgeError):
    """The input is wrong; the message names the file, the field or line, and what would be right."""


class ManifestError(UsageError):
    """A KernelOptimization manifest does not validate."""


class TaskError(UsageError):
    """A task file cannot serve as a task."""


class BudgetExceeded(EverforgeError):
    """Spending was refused before it happened."""


class ModelUnavailable(EverforgeError):
    """No usable answer from the LLM endpoint."""


class MachineFault(EverforgeError):
    """The machine, not the candidate, is at fault."""


class DeviceFault(MachineFault):
    """The device is missing, lost or wedged."""


class HarnessFault(MachineFault):
    """Everforge's own process or protocol broke."""


class StoreUnavailable(EverforgeError):
    """The tracking server cannot be reached."""


class StoreRefused(StoreUnavailable):
    """The tracking server will not take this write, as when its experiment was deleted."""
